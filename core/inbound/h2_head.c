/* h2_head.c - fields become a request: checked, put into the form that HTTP/1.1 gives them, handed
 * to the handler.
 *
 * nghttp2 has seen to the grammar of names and values, to pseudo-fields (which, how often, where),
 * to fields that belong to a connection and to Content-Length (RFC 9113 sections 8.2 and 8.3); what
 * it refuses ends in a reset and never gets to ml_h2_head_start.  What is wrong beyond that is
 * answered as in HTTP/1.1, without a handler. */
#include "inbound/h2_parts.h"

#include "protocol/websocket.h"

enum { METHOD_MAX = 64, ENDLESS = 4, ENDLESS_MIN = 64 << 10 };

static struct ml_str str_of(nghttp2_rcbuf *rc)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(rc);

    return (struct ml_str){(const char *)v.base, v.len};
}

/* Entries of HPACK's static table need no copy. */
static struct ml_str keep(struct h2_stream *s, nghttp2_rcbuf *rc)
{
    struct ml_str str = str_of(rc);

    return nghttp2_rcbuf_is_static(rc) ? str : ml_arena_dup(s->ex->arena, str);
}

static void pseudo(struct h2_stream *s, struct ml_str name, nghttp2_rcbuf *value)
{
    struct h2_head *head = &s->head;

    if (ml_str_eq(name, ML_STR(":method")))
        head->method = keep(s, value);
    else if (ml_str_eq(name, ML_STR(":path")))
        head->path = keep(s, value);
    else if (ml_str_eq(name, ML_STR(":scheme")))
        head->scheme = keep(s, value);
    else if (ml_str_eq(name, ML_STR(":authority")))
        head->authority = keep(s, value);
    else if (ml_str_eq(name, ML_STR(":protocol")))
        head->protocol = keep(s, value);
}

static void field(struct h2_stream *s, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
    struct ml_str text = str_of(name);
    enum ml_header_id id = ml_header_id(text);

    if (id == ML_H_COOKIE) {
        ml_headers_add(&s->head.crumbs, s->ex->arena, ML_STR("cookie"), keep(s, value));
        if (s->head.crumbs.count > H2_CRUMBS_MAX)
            s->head.wrong = ML_HEADERS_TOO_LARGE;
        return;
    }
    if (++s->head.lines > s->conf->limits.fields_max) {
        s->head.wrong = ML_HEADERS_TOO_LARGE;
        return;
    }
    if (id == ML_H_OTHER && memchr(text.p, '_', text.len) != NULL)
        return; /* as in HTTP/1.1: it collides with '-' in CGI-like upstreams */
    text = id == ML_H_OTHER ? keep(s, name) : ml_header_name(id);
    ml_headers_add_field(&s->ex->req.headers, s->ex->arena,
                         &(struct ml_field){text, keep(s, value), id});
}

enum ml_err ml_h2_head_field(struct h2_stream *s, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
    const struct ml_http1_limits *limits = &s->conf->limits;
    struct ml_str text = str_of(name);
    size_t endless = ENDLESS * limits->head_max;

    s->head.len += text.len + nghttp2_rcbuf_get_buf(value).len + 4; /* ": " and CRLF */
    if (s->head.len > (endless > ENDLESS_MIN ? endless : ENDLESS_MIN))
        return ML_LIMIT;
    if (s->head.complete) {
        ml_h2_body_trailer(s, text, str_of(value));
        return ML_OK;
    }
    if (s->head.len > limits->head_max && s->head.wrong == ML_OK)
        s->head.wrong = ML_HEADERS_TOO_LARGE;
    if (text.len > 0 && text.p[0] == ':') /* these are for the log, whatever is wrong */
        pseudo(s, text, value);
    else if (s->head.wrong == ML_OK)
        field(s, name, value);
    return ML_OK;
}

/* ---- what the fields say ---- */

/* RFC 9113 section 8.2.3: for everybody behind us the crumbs are one field again. */
static void join_cookies(struct h2_stream *s)
{
    const struct ml_headers *crumbs = &s->head.crumbs;
    struct ml_str cookie = {NULL, 0};
    char *p;

    if (crumbs->count == 0)
        return;
    for (uint32_t i = 0; i < crumbs->count; i++)
        cookie.len += crumbs->v[i].value.len + 2;
    cookie.p = p = ml_arena_alloc(s->ex->arena, cookie.len);
    for (uint32_t i = 0; i < crumbs->count; i++) {
        struct ml_str value = crumbs->v[i].value;

        if (value.len > 0)
            memcpy(p, value.p, value.len);
        memcpy(p + value.len, "; ", 2);
        p += value.len + 2;
    }
    cookie.len -= 2;
    ml_headers_add(&s->ex->req.headers, s->ex->arena, ML_STR("cookie"), cookie);
}

/* nghttp2 has seen that there is one Content-Length at most, of digits that fit into 63 bits. */
static void fill_length(struct ml_request *req)
{
    const struct ml_field *f = ml_headers_get(&req->headers, ML_H_CONTENT_LENGTH);

    if (f == NULL)
        return;
    req->has_length = true;
    for (size_t i = 0; i < f->value.len; i++)
        req->length = req->length * 10 + (uint64_t)(f->value.p[i] - '0');
}

/* RFC 9113 section 8.3.1: :authority is what Host is elsewhere, and nobody gets two answers. */
static enum ml_err fill_host(struct h2_stream *s)
{
    struct ml_headers *headers = &s->ex->req.headers;
    const struct ml_field *host = ml_headers_get(headers, ML_H_HOST);
    struct ml_str authority = s->head.authority;

    if (host == NULL && authority.len > 0)
        ml_headers_add(headers, s->ex->arena, ML_STR("host"), authority);
    else if (host == NULL || host->value.len == 0 ||
             (authority.len > 0 && !ml_str_ieq(host->value, authority)))
        return ML_BAD_HOST;
    return ML_OK;
}

static enum ml_err check_method(struct ml_str method)
{
    if (!ml_header_name_ok(method))
        return ML_BAD_REQUEST;
    if (method.len > METHOD_MAX || ml_str_eq(method, ML_STR("CONNECT")))
        return ML_NOT_IMPLEMENTED;
    return ml_str_eq(method, ML_STR("TRACE")) ? ML_METHOD_REFUSED : ML_OK;
}

/* The scheme is the client's idea, also of what is in front of us; which one it is in truth, the
 * connection tells. */
static enum ml_err check_target(const struct h2_stream *s)
{
    struct ml_str scheme = s->head.scheme, path = s->head.path;

    if (!ml_str_ieq(scheme, ML_STR("https")) && !ml_str_ieq(scheme, ML_STR("http")))
        return ML_BAD_TARGET;
    if (path.len == 0 || (path.p[0] != '/' && !ml_str_eq(path, ML_STR("*"))))
        return ML_BAD_TARGET;
    if (s->head.method.len + path.len + sizeof "  HTTP/2.0" > s->conf->limits.line_max)
        return ML_URI_TOO_LONG;
    return ML_OK;
}

/* RFC 9110 section 10.1.1: 100-continue is all there is to expect. */
static enum ml_err check_expect(struct h2_stream *s)
{
    const struct ml_headers *headers = &s->ex->req.headers;
    const struct ml_field *f = ml_headers_get(headers, ML_H_EXPECT);

    for (; f != NULL; f = ml_headers_next(headers, f)) {
        struct ml_str rest = f->value, element;

        while (ml_list_next(&rest, &element)) {
            if (!ml_str_ieq(element, ML_STR("100-continue")))
                return ML_EXPECTATION;
            s->head.expect = s->ex->req.body != NULL && s->body.received == 0;
        }
    }
    return ML_OK;
}

static enum ml_err check(struct h2_stream *s)
{
    struct ml_request *req = &s->ex->req;
    enum ml_err err = s->head.wrong;

    if (err == ML_OK)
        err = check_method(req->method);
    if (err == ML_OK)
        err = check_target(s);
    if (err == ML_OK)
        err = fill_host(s);
    if (err == ML_OK)
        err = check_expect(s);
    if (err != ML_OK)
        return err;
    ml_intake_client(s->ex, &s->h2->peer);
    err = ml_intake_target(s->ex);
    if (err == ML_OK && req->length > s->conf->body_max)
        err = ML_BODY_TOO_LARGE;
    if (err == ML_OK && req->body != NULL && req->body->state == ML_PIPE_ABORTED)
        err = req->body->why; /* it was here and was wrong already */
    return err;
}

static void wake(void *stream) /* callback of the pipe */
{
    ml_h2_stream_queue(stream);
}

static void open_body(struct h2_stream *s)
{
    struct ml_request *req = &s->ex->req;

    req->body = ml_arena_zalloc(s->ex->arena, sizeof *req->body);
    req->body->on_room = wake;
    req->body->room_ctx = s;
    s->body.seen_s = s->body.begin_s = h2_now_s(s->h2);
    ml_h2_due(s->h2, ml_h2_body_due_s(s));
}

/* RFC 8441: what HTTP/1.1 says by a GET with Upgrade.  For everybody behind us it is that, with the
 * key that upstreams of HTTP/1.1 want. */
static void become_upgrade(struct h2_stream *s, bool end_stream)
{
    struct ml_request *req = &s->ex->req;
    struct ml_arena *arena = s->ex->arena;
    char *key = ml_arena_alloc(arena, ML_WEBSOCKET_KEY_LEN);

    s->connect = true;
    if (end_stream || req->has_length) /* a tunnel that has ended, or that will */
        s->head.wrong = ML_BAD_REQUEST;
    ml_websocket_key(key);
    req->method = ML_STR("GET");
    req->upgrade = ML_STR("websocket");
    ml_headers_set(&req->headers, arena, ML_STR("connection"), ML_STR("Upgrade"));
    ml_headers_set(&req->headers, arena, ML_STR("upgrade"), req->upgrade);
    ml_headers_set(&req->headers, arena, ML_STR("sec-websocket-key"),
                   (struct ml_str){key, ML_WEBSOCKET_KEY_LEN});
}

static bool asks_for_websocket(const struct h2_head *head)
{
    return ml_str_eq(head->method, ML_STR("CONNECT")) &&
           ml_str_ieq(head->protocol, ML_STR("websocket"));
}

void ml_h2_head_complete(struct h2_stream *s, bool end_stream)
{
    struct ml_request *req = &s->ex->req;

    s->head.complete = true;
    req->method = s->head.method;
    req->raw_target = s->head.path;
    req->major = 2;
    join_cookies(s);
    fill_length(req);
    if (asks_for_websocket(&s->head))
        become_upgrade(s, end_stream);
    if (end_stream)
        s->body.ended = s->body.done = true;
    else if (!s->connect)
        open_body(s);
    ml_h2_stream_queue(s);
}

/* A short body that is here already has a length like any other. */
static void measure_body(struct ml_request *req)
{
    if (req->body == NULL || req->has_length || req->body->state != ML_PIPE_EOF ||
        ml_buf_len(&req->body->trailers) > 0)
        return;
    req->has_length = true;
    req->length = ml_buf_len(&req->body->buf);
}

void ml_h2_head_start(struct h2_stream *s)
{
    struct ml_exchange *ex = s->ex;
    enum ml_err err = check(s);

    if (err == ML_OK && s->h2->port->in->pressed)
        err = ML_OVERLOAD;
    s->started = true;
    s->h2->requests++;
    s->h2->started_in_run++;
    if (err == ML_OK && !ml_intake_is_for_us(ex)) {
        measure_body(&ex->req);
        ex->handler->start(ex->handler->ctx, ex);
        return;
    }
    if (ex->req.body != NULL)
        ml_h2_body_fail(s, err != ML_OK ? err : ML_CANCELLED);
    if (err != ML_OK)
        ml_intake_refuse(ex, err);
    else
        ml_intake_answer(ex);
    s->conf = ml_intake_conf(ex);
}
