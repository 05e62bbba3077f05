/* upstream_head.c - which fields pass, which are ours. */
#include "outbound/upstream_head.h"

#include "protocol/websocket.h"

#include <stdio.h>

static const struct ml_str websocket = {"websocket", 9};

/* ---- what both directions share ---- */

/* Fields that no Connection field has to name. */
static bool always_stays(enum ml_header_id id)
{
    switch (id) {
    case ML_H_CONNECTION:
    case ML_H_KEEP_ALIVE:
    case ML_H_PROXY_CONNECTION:
    case ML_H_PROXY_AUTHORIZATION:
    case ML_H_PROXY_AUTHENTICATE:
    case ML_H_PROXY: /* "httpoxy": CGI would take it for a setting of its own */
    case ML_H_TE:
    case ML_H_TRAILER: /* trailers are dropped */
    case ML_H_TRANSFER_ENCODING:
    case ML_H_CONTENT_LENGTH: /* the framing is written anew */
    case ML_H_UPGRADE:
    case ML_H_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
}

/* Does some Connection field name fields?  Mostly none is there, or it says keep-alive or close. */
static bool names_fields(const struct ml_headers *h)
{
    for (const struct ml_field *f = ml_headers_get(h, ML_H_CONNECTION); f != NULL;
         f = ml_headers_next(h, f)) {
        struct ml_str rest = f->value, element;

        if (ml_str_eq(rest, ML_STR("keep-alive"))) /* at once what nearly all say */
            continue;
        while (ml_list_next(&rest, &element))
            if (!ml_str_ieq(element, ML_STR("close")) && !ml_str_ieq(element, ML_STR("keep-alive")))
                return true;
    }
    return false;
}

static bool list_has(const struct ml_headers *h, enum ml_header_id id, struct ml_str word)
{
    for (const struct ml_field *f = ml_headers_get(h, id); f != NULL; f = ml_headers_next(h, f)) {
        struct ml_str rest = f->value, element;

        while (ml_list_next(&rest, &element))
            if (ml_str_ieq(element, word))
                return true;
    }
    return false;
}

/* ---- the request ---- */

/* A handshake that no server may accept (RFC 6455 section 4.2.1) is passed on without Upgrade: what
 * comes of it is an ordinary answer. */
bool ml_upstream_head_upgrade(const struct ml_request *req)
{
    struct ml_str key;

    return ml_str_ieq(req->upgrade, websocket) && ml_str_eq(req->method, ML_STR("GET")) &&
           req->body == NULL && ml_websocket_check(&req->headers, true, &key) == ML_WEBSOCKET_ASKED;
}

bool ml_upstream_head_te(const struct ml_request *req)
{
    return list_has(&req->headers, ML_H_TE, ML_STR("trailers"));
}

/* Fields of the client that the gateway writes itself, beside Host and (as the client was asked
 * for its body already) Expect. */
static bool replaced(enum ml_header_id id, bool trusted)
{
    switch (id) {
    case ML_H_X_FORWARDED_FOR:
    case ML_H_X_REAL_IP:
        return true;
    case ML_H_X_FORWARDED_PROTO:
    case ML_H_X_FORWARDED_HOST:
    case ML_H_X_FORWARDED_PORT:
    case ML_H_FORWARDED:
        return !trusted;
    default:
        return false;
    }
}

static void text(struct ml_buf *out, struct ml_str s)
{
    if (s.len == 0)
        return;
    memcpy(out->p + out->end, s.p, s.len);
    out->end += s.len;
}

static void field(struct ml_buf *out, struct ml_str name, struct ml_str value)
{
    text(out, name);
    text(out, ML_STR(": "));
    text(out, value);
    text(out, ML_STR("\r\n"));
}

/* More than everything together can be, so that text() needs no check. */
static size_t bound(const struct ml_exchange *ex, const struct ml_head_conf *conf)
{
    const struct ml_request *r = &ex->req;
    size_t len = 512 + r->method.len + conf->prefix.len + r->path.len + r->query.len +
                 conf->host.len + 2 * r->peer_ip.len + r->ip.len + r->scheme.len +
                 r->authority.len + r->host.len;

    for (uint32_t i = 0; i < r->headers.count; i++)
        len += r->headers.v[i].name.len + r->headers.v[i].value.len + 4;
    return len;
}

static void request_line(struct ml_buf *out, const struct ml_request *r, struct ml_str prefix)
{
    text(out, r->method);
    text(out, ML_STR(" "));
    if (!ml_str_eq(r->path, ML_STR("*")))
        text(out, prefix);
    text(out, r->path);
    if (r->has_query) {
        text(out, ML_STR("?"));
        text(out, r->query);
    }
    text(out, ML_STR(" HTTP/1.1\r\n"));
}

/* RFC 9110 section 7.6.2: one forward less; that none is left is found out before. */
static void max_forwards(struct ml_buf *out, const struct ml_field *f)
{
    char digits[16];
    unsigned left = 0;

    for (size_t i = 0; i < f->value.len; i++) {
        if (f->value.p[i] < '0' || f->value.p[i] > '9')
            return; /* it means nothing, to nobody */
        left = left < 1000 ? left * 10 + (unsigned)(f->value.p[i] - '0') : left;
    }
    if (f->value.len == 0)
        return;
    snprintf(digits, sizeof digits, "%u", left > 0 ? left - 1 : 0);
    field(out, f->name, ml_str_of(digits));
}

static void client_fields(struct ml_buf *out, const struct ml_request *r, bool own)
{
    bool named = names_fields(&r->headers);
    bool options = !own && ml_str_eq(r->method, ML_STR("OPTIONS"));

    for (uint32_t i = 0; i < r->headers.count; i++) {
        const struct ml_field *f = &r->headers.v[i];

        if (always_stays(f->id) || f->id == ML_H_HOST || f->id == ML_H_EXPECT)
            continue;
        if (!own && replaced(f->id, r->trusted))
            continue;
        if (named && ml_http1_hop_by_hop(&r->headers, f))
            continue;
        if (f->id == ML_H_MAX_FORWARDS && options)
            max_forwards(out, f);
        else
            field(out, f->name, f->value);
    }
}

/* X-Forwarded-For: what a trusted proxy has said, then its own address; else the client's alone. */
static void forwarded_for(struct ml_buf *out, const struct ml_request *r)
{
    const struct ml_field *f = NULL;

    text(out, ML_STR("X-Forwarded-For: "));
    if (r->trusted)
        f = ml_headers_get(&r->headers, ML_H_X_FORWARDED_FOR);
    for (; f != NULL; f = ml_headers_next(&r->headers, f)) {
        if (f->value.len == 0)
            continue;
        text(out, f->value);
        text(out, ML_STR(", "));
    }
    text(out, r->peer_ip);
    text(out, ML_STR("\r\n"));
}

/* Was the field kept, because a trusted proxy has sent it and nothing has removed it? */
static bool kept(const struct ml_request *r, enum ml_header_id id)
{
    const struct ml_field *f = r->trusted ? ml_headers_get(&r->headers, id) : NULL;

    return f != NULL && !ml_http1_hop_by_hop(&r->headers, f);
}

/* The port that the client has asked for: of Host, else the usual one of the scheme. */
static void forwarded_port(struct ml_buf *out, const struct ml_request *r)
{
    struct ml_str port = r->authority;
    size_t at = port.len;

    while (at > 0 && port.p[at - 1] >= '0' && port.p[at - 1] <= '9')
        at--;
    if (at == 0 || at == port.len || port.p[at - 1] != ':')
        port = ml_str_eq(r->scheme, ML_STR("https")) ? ML_STR("443") : ML_STR("80");
    else
        port = (struct ml_str){port.p + at, port.len - at};
    field(out, ML_STR("X-Forwarded-Port"), port);
}

static void our_fields(struct ml_buf *out, const struct ml_request *r,
                       const struct ml_head_conf *conf)
{
    struct ml_str host = r->authority.len > 0 ? r->authority : r->host;
    char version[2] = {(char)('0' + r->major % 10), (char)('0' + r->minor % 10)};

    forwarded_for(out, r);
    if (!kept(r, ML_H_X_FORWARDED_PROTO))
        field(out, ML_STR("X-Forwarded-Proto"), r->scheme);
    if (host.len > 0 && !kept(r, ML_H_X_FORWARDED_HOST))
        field(out, ML_STR("X-Forwarded-Host"), host);
    if (conf->forwarded_port && !kept(r, ML_H_X_FORWARDED_PORT))
        forwarded_port(out, r);
    if (!conf->no_real_ip)
        field(out, ML_STR("X-Real-IP"), r->ip);
    if (!conf->via)
        return;
    text(out, ML_STR("Via: "));
    text(out, (struct ml_str){&version[0], 1});
    text(out, ML_STR("."));
    text(out, (struct ml_str){&version[1], 1});
    text(out, ML_STR(" moonlatch\r\n"));
}

/* RFC 9110 section 8.6: a method that expects content says so even when there is none. */
static bool expects_content(struct ml_str method)
{
    return ml_str_eq(method, ML_STR("POST")) || ml_str_eq(method, ML_STR("PUT")) ||
           ml_str_eq(method, ML_STR("PATCH"));
}

static void framing(struct ml_buf *out, const struct ml_request *r)
{
    char digits[24];
    uint64_t length = r->body != NULL ? r->length : 0;

    if (r->body == NULL ? !expects_content(r->method) : false)
        return;
    if (r->body != NULL && !r->has_length) {
        text(out, ML_STR("Transfer-Encoding: chunked\r\n"));
        return;
    }
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)length);
    field(out, ML_STR("Content-Length"), ml_str_of(digits));
}

void ml_upstream_head_write(struct ml_buf *out, struct ml_exchange *ex,
                            const struct ml_head_conf *conf)
{
    const struct ml_request *r = &ex->req;

    ml_buf_reserve(out, bound(ex, conf));
    request_line(out, r, conf->prefix);
    field(out, ML_STR("Host"), conf->host);
    client_fields(out, r, conf->client);
    if (!conf->client)
        our_fields(out, r, conf);
    framing(out, r);
    if (conf->upgrade)
        text(out, ML_STR("Connection: upgrade\r\nUpgrade: websocket\r\n"));
    else if (conf->close)
        text(out, ML_STR("Connection: close\r\n"));
    text(out, ML_STR("\r\n"));
}

/* ---- the response ---- */

/* Is it the answer to this very handshake?  A server that was tricked into some 101 does not know
 * it (RFC 6455 section 4.1). */
static bool accepted(const struct ml_http1_response *parsed, const struct ml_request *req)
{
    const struct ml_field *f = ml_headers_find(&parsed->headers, ML_STR("sec-websocket-accept"));
    char want[ML_WEBSOCKET_ACCEPT_LEN];
    struct ml_str key;

    if (f == NULL || ml_headers_next(&parsed->headers, f) != NULL ||
        ml_websocket_check(&req->headers, true, &key) != ML_WEBSOCKET_ASKED)
        return false;
    ml_websocket_accept(key, want);
    return ml_str_eq(f->value, (struct ml_str){want, sizeof want});
}

bool ml_upstream_head_switched(const struct ml_http1_response *parsed, const struct ml_request *req)
{
    const struct ml_field *f = ml_headers_get(&parsed->headers, ML_H_UPGRADE);

    return accepted(parsed, req) && f != NULL && parsed->minor > 0 && ml_headers_next(&parsed->headers, f) == NULL &&
           ml_str_ieq(f->value, websocket) &&
           list_has(&parsed->headers, ML_H_CONNECTION, ML_STR("upgrade"));
}

double ml_upstream_head_keep_s(const struct ml_http1_response *parsed)
{
    const struct ml_field *f = ml_headers_get(&parsed->headers, ML_H_KEEP_ALIVE);
    struct ml_str rest, element;

    if (f == NULL)
        return 0;
    rest = f->value;
    while (ml_list_next(&rest, &element)) {
        double s = 0;

        if (element.len < 9 || element.len > 14 ||
            !ml_str_ieq((struct ml_str){element.p, 8}, ML_STR("timeout=")))
            continue;
        for (size_t i = 8; i < element.len && element.p[i] >= '0' && element.p[i] <= '9'; i++)
            s = s * 10 + (element.p[i] - '0');
        return s > 1 ? s - 1 : 0.5;
    }
    return 0;
}

/* Upgrade is for the client in the two answers that are about it: RFC 9110 sections 15.2.2 and
 * 15.5.22.  A browser refuses a 101 without it (RFC 6455 section 4.1). */
static bool stays(const struct ml_field *f, int status)
{
    return always_stays(f->id) && (f->id != ML_H_UPGRADE || (status != 101 && status != 426));
}

/* Takes out what is for the gateway alone. */
static void filter(struct ml_headers *h, int status)
{
    bool named = names_fields(h);
    uint32_t count = 0;

    if (named) /* decided before anything moves: the Connection fields are among them */
        for (uint32_t i = 0; i < h->count; i++)
            if (!always_stays(h->v[i].id) && ml_http1_hop_by_hop(h, &h->v[i]))
                h->v[i].id = ML_H_COUNT;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->v[i].id != ML_H_COUNT && !stays(&h->v[i], status))
            h->v[count++] = h->v[i];
    h->count = count;
}

void ml_upstream_head_take(struct ml_exchange *ex, struct ml_http1_response *parsed)
{
    filter(&parsed->headers, parsed->status);
    ex->res = (struct ml_response){
        .status = parsed->status,
        .headers = parsed->headers,
        .from = ML_FROM_UPSTREAM,
        .has_length = parsed->has_length || parsed->framing == ML_BODY_LENGTH,
        .length = parsed->length,
        .no_body = parsed->framing == ML_BODY_NONE,
    };
}

void ml_upstream_head_interim(struct ml_exchange *ex, struct ml_http1_response *parsed)
{
    if (parsed->status == 100 || ex->wire.interim == NULL)
        return;
    filter(&parsed->headers, parsed->status);
    ex->wire.interim(ex->wire.ctx, ex, parsed->status, &parsed->headers);
}
