/* conn_head.c - bytes become a request: finds the head, checks it, begins the exchange.
 *
 * The head is copied into the arena of the exchange, whose strings point into it.  Whatever is
 * wrong with it is answered without a handler, and nothing of it reaches one. */
#include "inbound/conn_parts.h"

#include "base/clock.h"

#include <assert.h>

enum { BLANK_LINES_MAX = 8, ID_BYTES = 16, LOG_LINE_MAX = 1024 };

static const struct ml_str methods = {"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", 44};

/* ---- the turn ---- */

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

static struct turn *turn_begin(struct ml_conn *c, void (*wake)(void *))
{
    struct ml_inbound *in = c->port->in;
    struct ml_wire wire = ml_conn_write_wire;
    struct ml_exchange *ex;
    struct turn *t;

    wire.ctx = c;
    ex = ml_exchange_new(in->loop, in->handler, wire);
    t = ml_arena_zalloc(ex->arena, sizeof *t);
    t->ex = ex;
    t->conf = c->port->conf;
    t->wake.fire = wake;
    t->wake.ctx = c;
    ex->server_conf = (void *)(uintptr_t)t->conf;
    ex->req.scheme = ML_STR("http");
    ex->req.peer_ip = ex->req.ip = address_text(ex->arena, &c->peer);
    request_id(ex);
    c->turn = t;
    c->state = CONN_RUN;
    c->requests++;
    c->blank_lines = 0;
    c->head_begun = false;
    memset(&c->scan, 0, sizeof c->scan);
    return t;
}

/* ---- a request that is wrong ---- */

/* What the log can tell of a head that could not be parsed: the words of its first line. */
static void note_first_line(struct ml_request *req, struct ml_arena *arena, struct ml_str bytes)
{
    size_t len = 0, method_len = 0;
    struct ml_str line, target;

    while (len < bytes.len && len < LOG_LINE_MAX && bytes.p[len] != '\r' && bytes.p[len] != '\n')
        len++;
    line = ml_arena_dup(arena, (struct ml_str){bytes.p, len});
    while (method_len < len && line.p[method_len] != ' ')
        method_len++;
    req->method = (struct ml_str){line.p, method_len};
    if (method_len == len)
        return;
    target = (struct ml_str){line.p + method_len + 1, len - method_len - 1};
    for (size_t i = 0; i < target.len; i++)
        if (target.p[i] == ' ')
            target.len = i;
    req->raw_target = target;
}

/* While a handler has the exchange, its generation keeps the options of the port alive.  This
 * answer has none, and may still be on its way when a reload replaces them. */
static void keep_conf(struct turn *t)
{
    struct ml_listener_conf *copy = ml_arena_alloc(t->ex->arena, sizeof *copy);

    *copy = *t->conf;
    t->conf = copy;
    t->ex->server_conf = copy;
}

/* The site's fields, whose texts may be gone with a reload before the answer is. */
static void add_always(struct ml_exchange *ex, const struct ml_headers *always)
{
    for (uint32_t i = 0; i < always->count; i++)
        ml_headers_set(&ex->res.headers, ex->arena, ml_arena_dup(ex->arena, always->v[i].name),
                       ml_arena_dup(ex->arena, always->v[i].value));
}

/* Answers for err without a handler.  The connection can not go on: where the next request would
 * begin is unknown (RFC 9112 section 9.6). */
static void refuse(struct ml_conn *c, enum ml_err err)
{
    struct turn *t = c->turn;

    t->keep_alive = false;
    t->ex->handler = NULL;
    keep_conf(t);
    if (!t->body.done)
        ml_conn_body_fail(c, err);
    ml_exchange_error_response(t->ex, err);
    add_always(t->ex, &t->conf->always);
    if (err == ML_METHOD_REFUSED) /* TRACE: a 405 says what would be allowed, RFC 9110 15.5.6 */
        ml_headers_add(&t->ex->res.headers, t->ex->arena, ML_STR("Allow"), methods);
    ml_exchange_respond(t->ex);
}

void ml_conn_head_error(struct ml_conn *c, enum ml_err why, void (*wake)(void *))
{
    struct turn *t = turn_begin(c, wake);

    t->ex->req.major = t->ex->req.minor = 1;
    note_first_line(&t->ex->req, t->ex->arena, ml_buf_str(&c->in));
    refuse(c, why);
}

/* ---- a request that ends here ---- */

static bool is_zero(struct ml_str digits)
{
    for (size_t i = 0; i < digits.len; i++)
        if (digits.p[i] != '0')
            return false;
    return digits.len > 0;
}

/* RFC 9110 section 7.6.2: an OPTIONS that may not be forwarded any more asks about the gateway. */
static bool is_for_us(const struct ml_request *req)
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

static void answer_options(struct turn *t)
{
    t->ex->handler = NULL;
    keep_conf(t);
    t->ex->res.status = 204;
    ml_headers_add(&t->ex->res.headers, t->ex->arena, ML_STR("Allow"), methods);
    ml_exchange_respond(t->ex);
}

/* ---- a request that is right ---- */

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

static enum ml_err fill_target(struct ml_exchange *ex, const struct ml_listener_conf *conf)
{
    struct ml_request *req = &ex->req;
    struct ml_target target;
    enum ml_err err = ml_url_target(req->method, req->raw_target, &conf->url, ex->arena, &target);

    if (err != ML_OK)
        return err;
    req->path = target.path;
    req->query = target.query;
    req->has_query = target.has_query;
    return fill_host(ex, &target);
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

static void fill_client(struct ml_conn *c, struct ml_exchange *ex)
{
    const struct ml_listener_conf *conf = ex->server_conf;
    struct ml_address client;

    if (conf->trusted_count == 0)
        return;
    ex->req.trusted = ml_address_within(conf->trusted, conf->trusted_count, &c->peer);
    if (!ex->req.trusted)
        return;
    fill_scheme(&ex->req);
    client = ml_address_client(&ex->req.headers, conf->trusted, conf->trusted_count, &c->peer);
    ex->req.ip = address_text(ex->arena, &client);
}

static void fill_body(struct turn *t, const struct ml_http1_request *h)
{
    struct ml_request *req = &t->ex->req;

    req->has_length = h->framing == ML_BODY_LENGTH;
    req->length = req->has_length ? h->length : 0;
    t->body.framing = h->framing;
    t->body.left = req->length;
    t->body.done = h->framing == ML_BODY_NONE || (req->has_length && h->length == 0);
    if (t->body.done)
        return;
    t->body.expect = h->expect_continue;
    t->body.begin_s = t->body.seen_s = ml_loop_now_s(t->ex->loop);
    req->body = ml_arena_zalloc(t->ex->arena, sizeof *req->body);
    req->body->on_room = conn_turn_wake;
    req->body->room_ctx = t;
}

/* Parses the copied head; the first thing that is wrong with it. */
static enum ml_err fill_request(struct ml_conn *c, struct ml_str head)
{
    struct turn *t = c->turn;
    struct ml_request *req = &t->ex->req;
    struct ml_http1_request h = {0};
    enum ml_err err;

    req->major = req->minor = 1;
    err = ml_http1_parse_request(head.p, head.len, t->ex->arena, &t->conf->limits, &h);
    if (err != ML_OK) {
        note_first_line(req, t->ex->arena, head);
        return err;
    }
    req->method = h.method;
    req->raw_target = h.target;
    req->minor = h.minor;
    req->headers = h.headers;
    req->upgrade = h.upgrade;
    t->keep_alive = h.keep_alive;
    fill_client(c, t->ex);
    fill_body(t, &h);
    err = fill_target(t->ex, t->conf);
    if (err == ML_OK && req->length > t->conf->body_max)
        err = ML_BODY_TOO_LARGE;
    return err;
}

/* A short chunked body that is here already has a length like any other: nobody behind us need
 * know of its chunks. */
static void measure_body(struct ml_request *req)
{
    if (req->has_length || req->body->state != ML_PIPE_EOF || ml_buf_len(&req->body->trailers) > 0)
        return;
    req->has_length = true;
    req->length = ml_buf_len(&req->body->buf);
}

/* What of the body is here already goes into the pipe first, so that it can leave with the head of
 * the forwarded request, and so that nothing starts for a body that is malformed at once. */
static enum verdict begin(struct ml_conn *c, size_t head_len, void (*wake)(void *))
{
    struct turn *t = turn_begin(c, wake);
    struct ml_exchange *ex = t->ex;
    struct ml_str head = ml_arena_dup(ex->arena, (struct ml_str){ml_buf_str(&c->in).p, head_len});
    enum ml_err err;

    ml_buf_consume(&c->in, head_len);
    err = fill_request(c, head);
    if (err == ML_OK && !t->body.done) {
        enum verdict v = ml_conn_body_step(c);

        if (v == GONE) {
            ex->handler = NULL; /* which never saw it */
            return v;
        }
        if (ex->req.body->state == ML_PIPE_ABORTED)
            err = ex->req.body->why;
        measure_body(&ex->req);
    }
    if (err != ML_OK)
        refuse(c, err);
    else if (is_for_us(&ex->req))
        answer_options(c->turn);
    else
        ex->handler->start(ex->handler->ctx, ex);
    return MORE;
}

/* ---- the head ---- */

/* RFC 9112 section 2.2: an empty line or two before a request are ignored. */
static enum ml_err skip_blank_lines(struct ml_conn *c)
{
    struct ml_str s = ml_buf_str(&c->in);

    while (s.len >= 2 && s.p[0] == '\r' && s.p[1] == '\n' && c->scan.seen == 0) {
        if (++c->blank_lines > BLANK_LINES_MAX)
            return ML_BAD_REQUEST;
        ml_buf_consume(&c->in, 2);
        s = ml_buf_str(&c->in);
    }
    return s.len == 0 || (s.len == 1 && s.p[0] == '\r') ? ML_AGAIN : ML_OK;
}

static enum ml_err find_head(struct ml_conn *c, size_t *head_len)
{
    struct ml_str s;
    enum ml_err err = skip_blank_lines(c);

    if (err != ML_OK)
        return err;
    s = ml_buf_str(&c->in);
    return ml_http1_scan(&c->scan, &c->port->conf->limits, s.p, s.len, head_len);
}

static enum verdict read_more(struct ml_conn *c)
{
    switch (conn_read(c, &c->in, CONN_READ)) {
    case ML_OK:
        if (!c->head_begun) {
            c->head_begun = true;
            c->since_s = conn_now_s(c);
        }
        return MORE;
    case ML_AGAIN:
        if (ml_buf_len(&c->in) == 0)
            ml_buf_release(&c->in);
        return WAIT;
    case ML_EOF:
        return conn_gone(c, ML_EOF);
    default:
        return conn_gone(c, ML_RESET);
    }
}

enum verdict ml_conn_head_step(struct ml_conn *c, void (*wake)(void *))
{
    size_t head_len = 0;
    enum ml_err err = ML_AGAIN;

    if (ml_buf_len(&c->in) > 0)
        err = find_head(c, &head_len);
    if (err == ML_AGAIN)
        return read_more(c);
    if (err == ML_OK)
        return begin(c, head_len, wake);
    ml_conn_head_error(c, err, wake);
    return MORE;
}
