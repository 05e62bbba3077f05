/* intake.c - a request's head, once its fields are there: target, host, client, and the answers
 * that need no handler. */
#include "inbound/intake.h"

#include "base/clock.h"
#include "transport/tls_info.h"

#include <stdio.h>

enum { ID_BYTES = 16 };

static const struct ml_str methods = {"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", 44};

static void request_id(struct ml_exchange *ex)
{
    char *id = ml_arena_alloc(ex->arena, 2 * ID_BYTES + 1);

    ml_random_hex(id, ID_BYTES);
    ex->req.id = (struct ml_str){id, 2 * ID_BYTES};
}

static struct ml_str address_text(struct ml_arena *arena, const struct ml_address *a)
{
    char *p = ml_arena_alloc(arena, ML_ADDRESS_TEXT_CAP);

    return (struct ml_str){p, ml_address_text(a, p)};
}

struct ml_exchange *ml_intake_begin(struct ml_inbound *in, const struct ml_listener_conf *conf,
                                    const struct ml_address *peer, struct ml_wire wire)
{
    struct ml_exchange *ex = ml_exchange_new(in->loop, in->handler, wire);

    ex->server_conf = (void *)(uintptr_t)conf;
    ex->req.scheme = ML_STR("http");
    ex->req.peer_ip = ex->req.ip = address_text(ex->arena, peer);
    ex->req.peer_port = peer->port;
    request_id(ex);
    return ex;
}

void ml_intake_over(struct ml_exchange *ex, const struct ml_stream *stream)
{
    struct ssl_st *session = ml_stream_tls_session(stream);

    if (session == NULL)
        return;
    ex->req.tls = ml_tls_session_ref(session);
    ex->req.scheme = ML_STR("https");
}

/* ---- answers without a handler ---- */

/* While a handler has the exchange, its generation keeps the options of the port alive.  This
 * answer has none, and may still be on its way when a reload replaces them. */
static void keep_conf(struct ml_exchange *ex)
{
    struct ml_listener_conf *copy = ml_arena_alloc(ex->arena, sizeof *copy);

    *copy = *ml_intake_conf(ex);
    ex->server_conf = copy;
}

/* The site's fields, whose texts may be gone with a reload before the answer is. */
static void add_always(struct ml_exchange *ex, const struct ml_headers *always)
{
    for (uint32_t i = 0; i < always->count; i++)
        ml_headers_set(&ex->res.headers, ex->arena, ml_arena_dup(ex->arena, always->v[i].name),
                       ml_arena_dup(ex->arena, always->v[i].value));
}

void ml_intake_refuse(struct ml_exchange *ex, enum ml_err why)
{
    ex->handler = NULL;
    keep_conf(ex);
    ml_exchange_error_response(ex, why);
    add_always(ex, &ml_intake_conf(ex)->always);
    if (why == ML_METHOD_REFUSED) /* TRACE: a 405 says what would be allowed, RFC 9110 15.5.6 */
        ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Allow"), methods);
    ml_exchange_respond(ex);
}

static void options_response(struct ml_exchange *ex)
{
    ex->res.status = 204;
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Allow"), methods);
}

/* The host as the client wrote it, without a port. */
static struct ml_str host_text(struct ml_str authority)
{
    for (size_t i = authority.len; i > 0 && authority.p[i - 1] != ']'; i--)
        if (authority.p[i - 1] == ':')
            return (struct ml_str){authority.p, i - 1};
    return authority;
}

/* The same URL with https. */
static void redirect_response(struct ml_exchange *ex)
{
    const struct ml_listener_conf *conf = ml_intake_conf(ex);
    const struct ml_request *req = &ex->req;
    struct ml_str host = conf->redirect_host, path = req->path;
    char port[16] = "";

    if (host.len == 0)
        host = host_text(req->authority);
    if (path.len == 0 || path.p[0] != '/') /* OPTIONS * */
        path = ML_STR("/");
    if (conf->redirect_port != 443)
        snprintf(port, sizeof port, ":%d", conf->redirect_port);
    ex->res.status = conf->redirect_status;
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Location"),
                   ml_arena_printf(ex->arena, "https://%.*s%s%.*s%s%.*s", (int)host.len, host.p,
                                   port, (int)path.len, path.p, req->has_query ? "?" : "",
                                   (int)req->query.len, req->query.p != NULL ? req->query.p : ""));
    add_always(ex, &conf->always);
    /* RFC 6797 section 7.2: not over a plain connection */
    ml_headers_remove(&ex->res.headers, ML_STR("Strict-Transport-Security"));
}

static bool asks_about_us(const struct ml_request *req);

void ml_intake_answer(struct ml_exchange *ex)
{
    if (!asks_about_us(&ex->req) && ex->req.authority.len == 0) {
        ml_intake_refuse(ex, ML_BAD_HOST); /* where to? */
        return;
    }
    ex->handler = NULL;
    keep_conf(ex);
    if (asks_about_us(&ex->req))
        options_response(ex);
    else
        redirect_response(ex);
    ml_exchange_respond(ex);
}

bool ml_intake_says_close(const struct ml_headers *h)
{
    const struct ml_field *f = ml_headers_get(h, ML_H_CONNECTION);
    struct ml_str rest, element;

    if (f == NULL)
        return false;
    rest = f->value;
    while (ml_list_next(&rest, &element))
        if (ml_str_ieq(element, ML_STR("close")))
            return true;
    return false;
}

/* ---- what the head says ---- */

static bool is_zero(struct ml_str digits)
{
    for (size_t i = 0; i < digits.len; i++)
        if (digits.p[i] != '0')
            return false;
    return digits.len > 0;
}

static bool asks_about_us(const struct ml_request *req)
{
    const struct ml_field *f;

    if (!ml_str_eq(req->method, ML_STR("OPTIONS")))
        return false;
    f = ml_headers_get(&req->headers, ML_H_MAX_FORWARDS);
    for (; f != NULL; f = ml_headers_next(&req->headers, f))
        if (is_zero(f->value))
            return true;
    return false;
}

static bool is_excepted(const struct ml_listener_conf *conf, struct ml_str path)
{
    for (unsigned i = 0; i < conf->redirect_except_count; i++) {
        struct ml_str prefix = conf->redirect_except[i];

        if (path.len >= prefix.len && memcmp(path.p, prefix.p, prefix.len) == 0)
            return true;
    }
    return false;
}

bool ml_intake_is_for_us(const struct ml_exchange *ex)
{
    const struct ml_listener_conf *conf = ml_intake_conf(ex);

    if (conf->redirect_status != 0 && !is_excepted(conf, ex->req.path))
        return true;
    return asks_about_us(&ex->req);
}

/* The host that the request is for.  An absolute target wins over Host, and then Host says what the
 * target said, so that nobody sees two answers (RFC 9112 section 3.2.2). */
static enum ml_err fill_host(struct ml_exchange *ex, const struct ml_target *target)
{
    struct ml_request *req = &ex->req;
    const struct ml_field *host = ml_headers_get(&req->headers, ML_H_HOST);
    struct ml_authority a;
    enum ml_err err;

    if (target->authority.len > 0) {
        req->authority = target->authority;
        ml_headers_set(&req->headers, ex->arena, ML_STR("Host"), target->authority);
    } else if (host != NULL) {
        req->authority = host->value;
    }
    if (req->authority.len == 0)
        return ML_OK; /* HTTP/1.0, or an empty Host (RFC 9112 section 3.2) */
    err = ml_url_authority(req->authority, ex->arena, &a);
    if (err == ML_OK)
        req->host = a.host;
    return err;
}

/* Where certificates of clients count, a connection is for the host it was opened for: what was
 * demanded of the client was demanded for that name (RFC 9110 section 7.4). */
static enum ml_err check_name(const struct ml_exchange *ex)
{
    struct ml_tls_info info;

    if (ex->req.tls == NULL || !ml_intake_conf(ex)->tls_clients)
        return ML_OK;
    ml_tls_info(ex->req.tls, &info);
    return info.sni.len == 0 || ml_str_ieq(info.sni, ex->req.host) ? ML_OK : ML_MISDIRECTED;
}

enum ml_err ml_intake_target(struct ml_exchange *ex)
{
    struct ml_request *req = &ex->req;
    struct ml_target target;
    enum ml_err err =
        ml_url_target(req->method, req->raw_target, &ml_intake_conf(ex)->url, ex->arena, &target);

    if (err != ML_OK)
        return err;
    req->path = target.path;
    req->query = target.query;
    req->has_query = target.has_query;
    err = fill_host(ex, &target);
    return err == ML_OK ? check_name(ex) : err;
}

/* What a trusted proxy says of its client's connection; the last word is that of the nearest one.
 */
static void fill_scheme(struct ml_request *req)
{
    const struct ml_field *f = ml_headers_get(&req->headers, ML_H_X_FORWARDED_PROTO);
    struct ml_str rest, element = ML_STR_NONE;

    for (; f != NULL; f = ml_headers_next(&req->headers, f))
        for (rest = f->value; ml_list_next(&rest, &element);)
            ;
    if (ml_str_ieq(element, ML_STR("https")))
        req->scheme = ML_STR("https");
    else if (ml_str_ieq(element, ML_STR("http")))
        req->scheme = ML_STR("http");
}

void ml_intake_client(struct ml_exchange *ex, const struct ml_address *peer)
{
    const struct ml_listener_conf *conf = ml_intake_conf(ex);
    struct ml_address client;

    if (conf->trusted_count == 0)
        return;
    ex->req.trusted = ml_address_within(conf->trusted, conf->trusted_count, peer);
    if (!ex->req.trusted)
        return;
    fill_scheme(&ex->req);
    client = ml_address_client(&ex->req.headers, conf->trusted, conf->trusted_count, peer);
    ex->req.ip = address_text(ex->arena, &client);
}
