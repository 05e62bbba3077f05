/* conn_head.c - bytes become a request: finds the head, checks it, begins the exchange.
 *
 * The head is copied into the arena of the exchange, whose strings point into it.  Whatever is
 * wrong with it is answered without a handler, and nothing of it reaches one. */
#include "inbound/conn_parts.h"
#include "inbound/intake.h"
#include "protocol/http2.h"
#include "transport/tls_info.h"

#include <assert.h>

enum { BLANK_LINES_MAX = 8, LOG_LINE_MAX = 1024 };

/* ---- the turn ---- */

static struct turn *turn_begin(struct ml_conn *c, void (*wake)(void *))
{
    struct ml_wire wire = ml_conn_write_wire;
    struct ml_exchange *ex;
    struct turn *t;

    wire.ctx = c;
    ex = ml_intake_begin(c->port->in, c->port->conf, &c->peer, wire);
    ml_intake_over(ex, c->stream);
    t = ml_arena_zalloc(ex->arena, sizeof *t);
    t->ex = ex;
    t->conf = c->port->conf;
    t->wake.fire = wake;
    t->wake.ctx = c;
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

/* Answers for err without a handler.  The connection can not go on: where the next request would
 * begin is unknown (RFC 9112 section 9.6). */
static void refuse(struct ml_conn *c, enum ml_err err)
{
    struct turn *t = c->turn;

    t->keep_alive = false;
    if (!t->body.done)
        ml_conn_body_fail(c, err);
    ml_intake_refuse(t->ex, err);
    t->conf = ml_intake_conf(t->ex);
}

void ml_conn_head_error(struct ml_conn *c, enum ml_err why, void (*wake)(void *))
{
    struct turn *t = turn_begin(c, wake);

    t->ex->req.major = t->ex->req.minor = 1;
    note_first_line(&t->ex->req, t->ex->arena, ml_buf_str(&c->in));
    refuse(c, why);
}

/* ---- a request that is right ---- */

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
    ml_intake_client(t->ex, &c->peer);
    fill_body(t, &h);
    err = ml_intake_target(t->ex);
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
    if (err == ML_OK && c->port->in->pressed)
        err = ML_OVERLOAD;
    if (err != ML_OK) {
        refuse(c, err);
    } else if (ml_intake_is_for_us(ex)) {
        ml_intake_answer(ex);
        t->conf = ml_intake_conf(ex);
    } else {
        ex->handler->start(ex->handler->ctx, ex);
    }
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

/* Is it HTTP/2 that the client speaks?  With TLS the handshake has settled that (RFC 9113 section
 * 3.2), else the first bytes tell (section 3.3).  ML_VERSION: it is not. */
static enum ml_err find_http2(const struct ml_conn *c)
{
    bool first = c->requests == 0 && c->blank_lines == 0 && c->scan.seen == 0;
    struct ssl_st *session;
    struct ml_tls_info info;

    if (!first)
        return ML_VERSION;
    session = ml_stream_tls_session(c->stream);
    if (session == NULL)
        return c->port->conf->http2 ? ml_http2_preface(ml_buf_str(&c->in)) : ML_VERSION;
    ml_tls_info(session, &info);
    return ml_str_eq(info.alpn, ML_STR("h2")) ? ML_OK : ML_VERSION;
}

enum verdict ml_conn_head_step(struct ml_conn *c, void (*wake)(void *))
{
    size_t head_len = 0;
    enum ml_err err = ML_AGAIN;

    if (ml_buf_len(&c->in) > 0)
        err = find_http2(c);
    if (err == ML_OK)
        return HTTP2;
    if (err == ML_VERSION)
        err = find_head(c, &head_len);
    if (err == ML_AGAIN)
        return read_more(c);
    if (err == ML_OK)
        return begin(c, head_len, wake);
    ml_conn_head_error(c, err, wake);
    return MORE;
}
