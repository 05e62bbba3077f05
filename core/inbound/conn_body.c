/* conn_body.c - the request's body: from the stream, through its framing, into the pipe.
 *
 * With a full pipe the connection stops reading, so a slow consumer slows the client down.  A body
 * whose consumer gave it up is read and dropped for a while, for the answer can only be followed by
 * another request when its end was found.  Behind a complete body a little is read ahead: that is
 * how the end of a client is noticed while its answer is being made. */
#include "inbound/conn_parts.h"

enum { RATE_GRACE_S = 10 }; /* before the least rate counts */

static struct ml_pipe *open_pipe(const struct turn *t)
{
    struct ml_pipe *p = t->ex->req.body;

    return p != NULL && p->state == ML_PIPE_OPEN ? p : NULL;
}

void ml_conn_body_fail(struct ml_conn *c, enum ml_err why)
{
    struct turn *t = c->turn;

    t->body.dead = true;
    ml_stream_want_read(c->stream, false); /* what still comes is dropped by the lingering close */
    c->readable = false;
    if (t->ex->req.body != NULL)
        ml_pipe_abort(t->ex->req.body, why);
}

static void body_end(struct turn *t)
{
    t->body.done = true;
    if (t->ex->req.body != NULL)
        ml_pipe_eof(t->ex->req.body);
}

/* A body of known length was judged by its length, when its head came or by the policy itself. */
static bool too_large(const struct turn *t)
{
    uint64_t came = t->ex->notes.bytes_in;

    return t->body.framing == ML_BODY_CHUNKED &&
           (came > t->conf->body_max || (t->ex->body_limited && came > t->ex->body_max));
}

/* Counts len bytes of content that came. */
static void content_came(struct ml_conn *c, size_t len)
{
    struct turn *t = c->turn;

    t->ex->notes.bytes_in += len;
    if (open_pipe(t) == NULL) {
        t->body.dropped += len;
        if (t->body.dropped > CONN_DRAIN_MAX)
            ml_conn_body_fail(c, ML_LIMIT);
    } else if (too_large(t)) {
        ml_conn_body_fail(c, ML_BODY_TOO_LARGE);
    }
}

static void put(struct turn *t, struct ml_str bytes)
{
    struct ml_pipe *p = open_pipe(t);

    if (p != NULL)
        ml_pipe_put(p, bytes);
}

static void feed_length(struct ml_conn *c)
{
    struct turn *t = c->turn;
    struct ml_str s = ml_buf_str(&c->in);

    if (t->body.framing == ML_BODY_LENGTH && s.len > t->body.left)
        s.len = t->body.left;
    content_came(c, s.len);
    put(t, s);
    ml_buf_consume(&c->in, s.len);
    if (t->body.framing == ML_BODY_LENGTH && (t->body.left -= s.len) == 0)
        body_end(t);
}

static void feed_chunked(struct ml_conn *c)
{
    struct turn *t = c->turn;
    struct ml_pipe *p = open_pipe(t);
    struct ml_buf *trailers = p != NULL && t->conf->trailers_pass ? &p->trailers : NULL;
    struct ml_str data = ML_STR_NONE;
    size_t used = 0;
    enum ml_err err = ml_http1_dechunk(&t->body.chunks, ml_buf_str(&c->in), &used, &data, trailers);

    if (err != ML_OK && err != ML_AGAIN) {
        ml_conn_body_fail(c, err);
        return;
    }
    if (data.len > 0) {
        content_came(c, data.len);
        put(t, data);
    }
    ml_buf_consume(&c->in, used);
    if (err == ML_OK)
        body_end(t);
}

static void feed(struct ml_conn *c)
{
    size_t before = ml_buf_len(&c->in);

    if (c->turn->body.framing == ML_BODY_CHUNKED)
        feed_chunked(c);
    else
        feed_length(c);
    c->turn->body.raw += before - ml_buf_len(&c->in);
}

/* From socket to socket.  One move for each event: the socket stays readable. */
static enum ml_err body_splice(struct ml_conn *c, struct ml_pipe *p)
{
    struct turn_body *b = &c->turn->body;
    uint64_t before = b->left;
    enum ml_err err;

    ml_stream_want_read(c->stream, true);
    if ((!c->readable && !ml_pipe_pending(p)) || c->reads_left == 0)
        return ML_AGAIN;
    c->reads_left--;
    c->readable = false;
    err = ml_pipe_splice(p, c->stream, &b->left);
    b->raw += before - b->left;
    content_came(c, (size_t)(before - b->left));
    if (err == ML_OK)
        body_end(c->turn);
    c->eof |= err == ML_EOF;
    return err == ML_AGAIN && b->left < before ? ML_OK : err;
}

/* More bytes of the body, straight into the pipe when nothing has to be cut out of them. */
static enum ml_err body_read(struct ml_conn *c)
{
    struct turn *t = c->turn;
    struct ml_pipe *p = open_pipe(t);
    size_t max, before;
    enum ml_err err;

    if (p == NULL || t->body.framing == ML_BODY_CHUNKED)
        return conn_read(c, &c->in, CONN_READ);
    if (ml_pipe_splices(p)) {
        err = body_splice(c, p);
        if (err != ML_LIMIT)
            return err;
        c->readable = true; /* as ever, then */
    }
    before = ml_buf_len(&p->buf);
    max = ML_PIPE_CAP - before < CONN_READ ? CONN_READ : ML_PIPE_CAP - before;
    if (t->body.framing == ML_BODY_CLOSE) /* a tunnel: messages are small, and come one by one */
        max = CONN_READ;
    if (t->body.left < max)
        max = (size_t)t->body.left;
    if (max > CONN_READ && c->readable)
        ml_buf_reserve(&p->buf, max); /* much is to come: fewer and larger reads */
    err = conn_read(c, &p->buf, max);
    if (err == ML_OK) {
        size_t len = ml_buf_len(&p->buf) - before;

        t->body.raw += len;
        t->body.left -= len;
        content_came(c, len);
        ml_pipe_filled(p, len);
        if (t->body.left == 0) {
            c->readable = false; /* the read was filled because we asked for no more */
            body_end(t);
        }
    }
    return err;
}

static enum verdict body_more(struct ml_conn *c)
{
    struct turn *t = c->turn;

    switch (body_read(c)) {
    case ML_OK:
        t->body.expect = false; /* the client did not wait */
        t->body.seen_s = conn_now_s(c);
        return MORE;
    case ML_AGAIN:
        return WAIT;
    case ML_EOF:
        if (t->body.framing != ML_BODY_CLOSE)
            return conn_gone(c, ML_EOF); /* RFC 9112 section 8: the request is incomplete */
        body_end(t);
        return MORE;
    default:
        return conn_gone(c, ML_RESET);
    }
}

/* Reads a little of what follows a complete request. */
static enum verdict read_ahead(struct ml_conn *c)
{
    if (ml_buf_len(&c->in) >= CONN_READ) {
        ml_stream_want_read(c->stream, false);
        return WAIT;
    }
    if (c->eof)
        return WAIT;
    return conn_read(c, &c->in, CONN_READ) == ML_RESET ? conn_gone(c, ML_RESET) : WAIT;
}

/* The consumer is slow: reading rests, and the time does not count as the client's. */
static bool must_rest(struct ml_conn *c)
{
    struct turn_body *b = &c->turn->body;
    struct ml_pipe *p = open_pipe(c->turn);

    if (p != NULL && ml_pipe_full(p)) {
        if (b->full_s == 0)
            b->full_s = conn_now_s(c);
        ml_stream_want_read(c->stream, false);
        return true;
    }
    if (b->full_s != 0) {
        b->begin_s += conn_now_s(c) - b->full_s;
        b->seen_s = conn_now_s(c);
        b->full_s = 0;
    }
    return false;
}

enum verdict ml_conn_body_step(struct ml_conn *c)
{
    struct turn_body *b = &c->turn->body;
    enum verdict v = MORE;

    while (v == MORE && !b->done && !b->dead) {
        if (must_rest(c))
            return WAIT;
        if (ml_buf_len(&c->in) > 0) {
            b->expect = false;
            feed(c);
        } else {
            v = body_more(c);
        }
    }
    if (v == MORE && b->done)
        v = read_ahead(c);
    return v == GONE ? GONE : WAIT;
}

double ml_conn_body_due_s(const struct ml_conn *c)
{
    const struct turn *t = c->turn;
    const struct turn_body *b = &t->body;
    double due_s = b->seen_s + t->conf->body_timeout, rate_s;

    if (b->done || b->dead || b->framing == ML_BODY_CLOSE || b->full_s != 0 || b->expect)
        return 0;
    if (t->conf->body_rate_min <= 0)
        return due_s;
    /* when the bytes that came so far will be too few, not earlier than the grace ends */
    rate_s = b->begin_s + (double)b->raw / t->conf->body_rate_min;
    if (rate_s < b->begin_s + RATE_GRACE_S)
        rate_s = b->begin_s + RATE_GRACE_S;
    return rate_s < due_s ? rate_s : due_s;
}

void ml_conn_body_tunnel(struct ml_conn *c)
{
    struct turn *t = c->turn;

    if (open_pipe(t) == NULL) {
        ml_conn_body_fail(c, ML_CANCELLED); /* nobody takes what the client sends */
        return;
    }
    t->ex->req.body->on_room = conn_turn_wake;
    t->ex->req.body->room_ctx = t;
    t->body = (struct turn_body){.framing = ML_BODY_CLOSE, .left = UINT64_MAX};
    if (c->port->in->draining && !c->port->in->patient)
        ml_exchange_leave(t->ex);
}
