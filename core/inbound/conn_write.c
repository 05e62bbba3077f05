/* conn_write.c - the answer: head, framing, body, with as few system calls as can be.
 *
 * Heads and framing go into answer.out.  The body follows from the pipe itself when its length was
 * announced; for the chunked coding what is in the pipe becomes one chunk, whole, by taking its
 * buffer away (answer.flight), so no byte is copied either way. */
#include "inbound/conn_parts.h"

#include "base/decimal.h"
#include "inbound/date.h"
#include "inbound/intake.h"

#include <assert.h>
#include <stdio.h>

enum { PIECE = 65536 }; /* of a body in memory */

/* ---- the wire of the exchange ---- */

static void wire_respond(void *ctx, struct ml_exchange *ex)
{
    struct ml_conn *c = ctx;

    if (ex->res.status == 101 && ex->req.body == NULL)
        ex->req.body = ml_arena_zalloc(ex->arena, sizeof *ex->req.body);
    ml_loop_defer(ex->loop, &c->turn->wake);
}

/* RFC 9110 section 10.1.1: only to who asked, not after the final answer, not when the body is on
 * its way already. */
static void wire_ask_body(void *ctx, struct ml_exchange *ex)
{
    struct ml_conn *c = ctx;
    struct turn *t = c->turn;

    if (!t->body.expect || ex->responded)
        return;
    t->body.expect = false;
    t->body.begin_s = t->body.seen_s = conn_now_s(c);
    ml_buf_append(&t->answer.out, ML_STR("HTTP/1.1 100 Continue\r\n\r\n"));
    ml_loop_defer(ex->loop, &t->wake);
}

static void wire_interim(void *ctx, struct ml_exchange *ex, int status, const struct ml_headers *h)
{
    struct ml_conn *c = ctx;
    struct ml_buf *out = &c->turn->answer.out;

    if (ex->responded || ex->req.minor == 0 || status < 100 || status > 199 || status == 101)
        return; /* RFC 9110 section 15.2: never to HTTP/1.0 */
    if (status == 100) {
        wire_ask_body(ctx, ex);
        return;
    }
    ml_buf_printf(out, "HTTP/1.1 %d %s\r\n", status, ml_http1_reason(status));
    for (uint32_t i = 0; h != NULL && i < h->count; i++) {
        ml_buf_append(out, h->v[i].name);
        ml_buf_append(out, ML_STR(": "));
        ml_buf_append(out, h->v[i].value);
        ml_buf_append(out, ML_STR("\r\n"));
    }
    ml_buf_append(out, ML_STR("\r\n"));
    ml_loop_defer(ex->loop, &c->turn->wake);
}

const struct ml_wire ml_conn_write_wire = {wire_respond, wire_ask_body, wire_interim, NULL};

/* ---- the head ---- */

static char *add(char *p, struct ml_str s)
{
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    return p + s.len;
}

/* Fields that this file decides on. */
static bool ours(enum ml_header_id id, const struct turn *t)
{
    switch (id) {
    case ML_H_CONNECTION:
    case ML_H_KEEP_ALIVE:
    case ML_H_PROXY_CONNECTION:
    case ML_H_CONTENT_LENGTH:
    case ML_H_TRANSFER_ENCODING:
        return true;
    case ML_H_TRAILER:
        return !t->conf->trailers_pass || t->answer.framing != ML_BODY_CHUNKED;
    case ML_H_UPGRADE:
        return t->ex->res.status != 101 && t->ex->res.status != 426;
    default:
        return false;
    }
}

static char *add_fields(char *p, const struct turn *t, bool *has_date)
{
    const struct ml_headers *h = &t->ex->res.headers;

    for (uint32_t i = 0; i < h->count; i++) {
        const struct ml_field *f = &h->v[i];

        if (ours(f->id, t))
            continue;
        *has_date |= f->id == ML_H_DATE;
        p = add(add(p, f->name), ML_STR(": "));
        p = add(add(p, f->value), ML_STR("\r\n"));
    }
    return p;
}

static char *add_framing(char *p, const struct turn *t)
{
    const struct ml_response *res = &t->ex->res;
    int status = res->status;

    if (t->answer.framing == ML_BODY_CHUNKED)
        return add(p, ML_STR("Transfer-Encoding: chunked\r\n"));
    /* RFC 9110 section 8.6: none in 1xx and 204; elsewhere it tells the length even without body */
    if (status < 200 || status == 204 || !res->has_length)
        return p;
    p = add(p, ML_STR("Content-Length: "));
    return add(p + ml_decimal(p, res->length), ML_STR("\r\n"));
}

static char *add_connection(char *p, const struct turn *t)
{
    if (t->ex->res.status == 101 || t->ex->res.status == 426) {
        if (!t->answer.keep_alive && t->ex->res.status == 426)
            return add(p, ML_STR("Connection: upgrade, close\r\n"));
        return add(p, ML_STR("Connection: upgrade\r\n"));
    }
    if (!t->answer.keep_alive)
        return add(p, ML_STR("Connection: close\r\n"));
    if (t->ex->req.minor == 0)
        return add(p, ML_STR("Connection: keep-alive\r\n"));
    return p;
}

static void write_head(struct turn *t)
{
    const struct ml_response *res = &t->ex->res;
    struct ml_str reason = ml_str_of(ml_http1_reason(res->status));
    size_t room = 256 + reason.len;
    bool has_date = false;
    char *begin, *p;

    for (uint32_t i = 0; i < res->headers.count; i++)
        room += res->headers.v[i].name.len + res->headers.v[i].value.len + 4;
    begin = p = ml_buf_reserve(&t->answer.out, room);
    p = add(p, ML_STR("HTTP/1.1 "));
    *p++ = (char)('0' + res->status / 100 % 10);
    *p++ = (char)('0' + res->status / 10 % 10);
    *p++ = (char)('0' + res->status % 10);
    *p++ = ' ';
    p = add(add(p, reason), ML_STR("\r\n"));
    p = add_fields(p, t, &has_date);
    if (!has_date && res->status >= 200) { /* RFC 9110 section 6.6.1 */
        p = add(add(p, ML_STR("Date: ")), ml_date_http());
        p = add(p, ML_STR("\r\n"));
    }
    p = add_framing(p, t);
    p = add(add_connection(p, t), ML_STR("\r\n"));
    assert((size_t)(p - begin) <= room);
    ml_buf_commit(&t->answer.out, (size_t)(p - begin));
}

/* ---- how the answer is framed, and what comes after it ---- */

/* Fields behind a body need the chunked coding. */
static bool has_trailers(const struct turn *t)
{
    return t->conf->trailers_pass && ml_buf_len(&t->ex->res.body->trailers) > 0;
}

/* Decides on framing and length (RFC 9112 section 6). */
static void choose_framing(struct turn *t)
{
    struct ml_response *res = &t->ex->res;
    struct turn_answer *a = &t->answer;
    /* an upstream's answer to HEAD, which may keep its length to itself (RFC 9110 section 8.6) */
    bool untold = res->no_body && res->bytes.len == 0 && !res->has_length;

    res->no_body = res->status < 200 || res->status == 204 || res->status == 304 ||
                   ml_str_eq(t->ex->req.method, ML_STR("HEAD"));
    if (res->body == NULL && !(res->no_body && res->has_length)) {
        res->length = res->bytes.len;
        res->has_length = res->status != 304 && !untold;
    } else if (res->body != NULL && !res->has_length && res->body->state == ML_PIPE_EOF &&
               !has_trailers(t) && !res->no_body) {
        res->length = ml_buf_len(&res->body->buf); /* it was short and is here already */
        res->has_length = true;
    }
    if (res->status == 101)
        a->framing = ML_BODY_CLOSE;
    else if (res->no_body)
        a->framing = ML_BODY_NONE;
    else if (res->has_length)
        a->framing = ML_BODY_LENGTH;
    else
        a->framing = t->ex->req.minor > 0 ? ML_BODY_CHUNKED : ML_BODY_CLOSE;
    a->left = a->framing == ML_BODY_LENGTH ? res->length : 0;
}

/* A body that is still to come must be read to its end before another request can be found. */
static bool body_is_in_the_way(const struct turn *t)
{
    const struct turn_body *b = &t->body;

    if (b->done)
        return false;
    if (b->dead || b->expect) /* whether it will come at all is open (RFC 9110 section 10.1.1) */
        return true;
    return b->framing == ML_BODY_LENGTH && b->left > CONN_DRAIN_MAX;
}

static bool may_keep_alive(const struct ml_conn *c)
{
    const struct turn *t = c->turn;

    if (!t->keep_alive || t->answer.framing == ML_BODY_CLOSE || body_is_in_the_way(t))
        return false;
    if (c->port->in->draining || c->port->closing || (c->eof && ml_buf_len(&c->in) == 0))
        return false;
    if (t->conf->requests_max != 0 && c->requests >= t->conf->requests_max)
        return false;
    return !ml_intake_says_close(&t->ex->res.headers);
}

void ml_conn_write_begin(struct ml_conn *c)
{
    struct turn *t = c->turn;
    struct ml_pipe *body = t->ex->res.body;

    if (body != NULL && body->state == ML_PIPE_ABORTED) {
        ml_exchange_error_response(t->ex,
                                   body->why); /* nothing was sent: a plain error still can */
        body = NULL;
    }
    choose_framing(t);
    t->answer.keep_alive = may_keep_alive(c);
    t->answer.progress_s = conn_now_s(c);
    write_head(t);
    if (t->answer.framing == ML_BODY_NONE) {
        t->answer.complete = true;
        if (body != NULL)
            ml_pipe_abort(body, ML_CANCELLED);
    } else if (body != NULL) {
        body->on_data = conn_turn_wake;
        body->data_ctx = t;
    }
    if (t->ex->res.status == 101)
        ml_conn_body_tunnel(c);
    c->state = CONN_WRITE;
}

/* ---- the body ---- */

static void fill_from_bytes(struct turn *t)
{
    struct turn_answer *a = &t->answer;
    struct ml_str s = t->ex->res.bytes;

    if (ml_buf_len(&a->flight) > 0)
        return;
    s.p += a->taken;
    s.len -= a->taken;
    if (s.len > PIECE)
        s.len = PIECE;
    if (s.len > 0)
        ml_buf_append(a->taken == 0 && s.len < PIECE ? &a->out : &a->flight, s);
    a->taken += s.len;
    t->ex->notes.bytes_out += s.len;
    a->complete = a->taken == t->ex->res.bytes.len;
}

static void last_chunk(struct turn *t, struct ml_buf *to)
{
    struct ml_pipe *p = t->ex->res.body;

    ml_buf_append(to, ML_STR("0\r\n"));
    if (t->conf->trailers_pass)
        ml_buf_append(to, ml_buf_str(&p->trailers));
    ml_buf_append(to, ML_STR("\r\n"));
    t->answer.complete = true;
}

/* What is in the pipe becomes one chunk (RFC 9112 section 7.1). */
static void fill_chunk(struct turn *t)
{
    struct turn_answer *a = &t->answer;
    struct ml_pipe *p = t->ex->res.body;
    size_t len = ml_buf_len(&p->buf);

    if (ml_buf_len(&a->flight) > 0)
        return;
    if (len > 0) {
        ml_buf_printf(&a->out, "%zx\r\n", len);
        ml_buf_release(&a->flight);
        a->flight = p->buf;
        p->buf = (struct ml_buf){0};
        ml_buf_append(&a->flight, ML_STR("\r\n"));
        t->ex->notes.bytes_out += len;
        ml_pipe_took(p, len);
    }
    if (p->state == ML_PIPE_EOF && ml_buf_len(&p->buf) == 0)
        last_chunk(t, len > 0 ? &a->flight : &a->out);
}

/* Bytes go out of the pipe as they are.  False: it holds more or less than was announced. */
static bool fill_raw(struct turn *t)
{
    struct turn_answer *a = &t->answer;
    struct ml_pipe *p = t->ex->res.body;
    size_t len = ml_buf_len(&p->buf);

    if (a->framing == ML_BODY_CLOSE) {
        a->complete = p->state == ML_PIPE_EOF;
        return p->state != ML_PIPE_ABORTED;
    }
    a->complete = len == a->left; /* an abort behind the last byte does no harm */
    return a->complete || (p->state == ML_PIPE_OPEN && len < a->left);
}

/* Gets ready what can be written next; false: the answer can not be completed. */
static bool fill(struct turn *t)
{
    struct ml_pipe *p = t->ex->res.body;
    enum ml_framing framing = t->answer.framing;

    if (p != NULL && (framing == ML_BODY_LENGTH || framing == ML_BODY_CLOSE))
        return fill_raw(t);
    if (t->answer.complete)
        return true;
    if (p == NULL)
        fill_from_bytes(t);
    else if (p->state == ML_PIPE_ABORTED)
        return false;
    else
        fill_chunk(t);
    return true;
}

static struct ml_buf *body_buf(struct turn *t)
{
    bool raw = t->ex->res.body != NULL &&
               (t->answer.framing == ML_BODY_LENGTH || t->answer.framing == ML_BODY_CLOSE);

    return raw ? &t->ex->res.body->buf : &t->answer.flight;
}

/* One system call. */
static enum ml_err write_some(struct ml_conn *c, struct ml_buf *body)
{
    struct turn *t = c->turn;
    struct turn_answer *a = &t->answer;
    size_t out_len = ml_buf_len(&a->out), body_len = ml_buf_len(body), took;
    bool full = t->ex->res.body != NULL && ml_pipe_full(t->ex->res.body);
    enum ml_err err = ml_stream_write2(c->stream, &a->out, body);

    took = body_len - ml_buf_len(body);
    if (took > 0 || ml_buf_len(&a->out) < out_len) {
        a->begun = true;
        a->progress_s = conn_now_s(c);
    }
    a->blocked = err == ML_AGAIN;
    if (took > 0 && body != &a->flight) {
        a->left -= a->framing == ML_BODY_LENGTH ? took : 0;
        t->ex->notes.bytes_out += took;
        if (a->framing == ML_BODY_LENGTH && err == ML_OK)
            ml_pipe_offer(t->ex->res.body, c->stream, t->ex->res.length, a->left);
        if (t->ex->res.status == 101 && ml_buf_len(body) == 0)
            ml_buf_release(body); /* a tunnel is silent for most of the time */
        if (full || t->ex->res.status != 101) /* its producer waits for nothing else */
            ml_pipe_took(t->ex->res.body, took);
    }
    return err;
}

/* The answer broke off.  A client that was told no length and no chunks would take the end of the
 * connection for the end of the body: it gets a reset. */
static enum verdict break_off(struct ml_conn *c)
{
    struct turn *t = c->turn;
    struct ml_pipe *p = t->ex->res.body;

    if (t->answer.framing == ML_BODY_CLOSE && t->ex->res.status != 101)
        ml_stream_poison(c->stream);
    return conn_gone(c, p != NULL && p->state == ML_PIPE_ABORTED ? p->why : ML_LIMIT);
}

/* What went from socket to socket since we looked; false: ours has failed. */
static bool count_spliced(struct ml_conn *c)
{
    struct turn *t = c->turn;
    struct turn_answer *a = &t->answer;
    struct ml_pipe *p = t->ex->res.body;
    uint64_t given;

    if (p == NULL || (p->splice_to == NULL && p->splice_given == 0))
        return true;
    given = ml_pipe_given(p);
    a->left -= given;
    t->ex->notes.bytes_out += given;
    if (given > 0)
        a->progress_s = conn_now_s(c);
    a->blocked = p->splice_blocked;
    return !p->splice_broken;
}

enum verdict ml_conn_write_step(struct ml_conn *c)
{
    struct turn *t = c->turn;
    enum ml_err err;

    for (;;) {
        struct ml_buf *body;

        if (!count_spliced(c)) /* again after each write: the producer may have run inside of it */
            return conn_gone(c, ML_RESET);
        if (!fill(t))
            return break_off(c);
        if (t->answer.blocked)
            return WAIT;
        body = body_buf(t);
        if (ml_buf_len(&t->answer.out) + ml_buf_len(body) == 0)
            return t->answer.complete ? ANSWERED : WAIT;
        err = write_some(c, body);
        if (err == ML_AGAIN)
            return WAIT;
        if (err != ML_OK)
            return conn_gone(c, err);
    }
}

enum verdict ml_conn_write_flush(struct ml_conn *c)
{
    struct turn_answer *a = &c->turn->answer;
    enum ml_err err;

    if (a->blocked || ml_buf_len(&a->out) == 0)
        return WAIT;
    a->progress_s = conn_now_s(c); /* it was not blocked before: the kernel has taken something */
    err = ml_stream_write(c->stream, &a->out);
    a->blocked = err == ML_AGAIN;
    return err == ML_RESET ? conn_gone(c, err) : WAIT;
}
