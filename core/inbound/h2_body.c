/* h2_body.c - the request's body: out of DATA frames into the pipe.
 *
 * The client gets room back when the consumer has taken bytes, so a slow consumer slows the client
 * down, and what nobody has taken is never more than the connection's window. */
#include "inbound/h2_parts.h"

enum { RATE_GRACE_S = 10 }; /* before the least rate counts */

static struct ml_pipe *open_pipe(const struct h2_stream *s)
{
    struct ml_pipe *p = s->ex->req.body;

    return p != NULL && p->state == ML_PIPE_OPEN ? p : NULL;
}

/* A body of known length was judged by its length; nghttp2 sees that it keeps to it. */
static bool too_large(const struct h2_stream *s)
{
    const struct ml_exchange *ex = s->ex;
    uint64_t came = ex->notes.bytes_in;

    return !ex->req.has_length && !s->connect &&
           (came > s->conf->body_max || (ex->body_limited && came > ex->body_max));
}

static void wake(void *stream) /* callback of the pipe */
{
    ml_h2_stream_queue(stream);
}

void ml_h2_body_data(struct h2_stream *s, struct ml_str bytes)
{
    struct ml_pipe *p = open_pipe(s);

    s->head.expect = false; /* the client did not wait */
    s->body.received += bytes.len;
    s->body.counted += bytes.len;
    s->body.seen_s = h2_now_s(s->h2);
    s->ex->notes.bytes_in += bytes.len;
    if (p != NULL && !s->body.dead && s->head.wrong == ML_OK && !too_large(s)) {
        ml_buf_append(&p->buf, bytes);
        s->body.filled += bytes.len;
    } else if (s->connect && !s->answer.submitted) {
        ml_buf_append(&s->body.early, bytes); /* a client that does not wait for its tunnel */
    }
    if (s->answer.complete)
        s->body.dropped += bytes.len;
    ml_h2_stream_queue(s);
}

void ml_h2_body_trailer(struct h2_stream *s, struct ml_str name, struct ml_str value)
{
    struct ml_pipe *p = open_pipe(s);

    if (p == NULL || !ml_http1_may_trail(name))
        return;
    p->trailers_h2 = !s->conf->trailers_pass;
    if (ml_buf_len(&p->trailers) + name.len + value.len > H2_TRAILERS_MAX) {
        s->head.wrong = ML_HEADERS_TOO_LARGE;
        return;
    }
    ml_buf_append(&p->trailers, name);
    ml_buf_append(&p->trailers, ML_STR(": "));
    ml_buf_append(&p->trailers, value);
    ml_buf_append(&p->trailers, ML_STR("\r\n"));
}

void ml_h2_body_end(struct h2_stream *s)
{
    s->body.ended = true;
    ml_h2_stream_queue(s);
}

void ml_h2_body_fail(struct h2_stream *s, enum ml_err why)
{
    s->body.dead = true;
    if (!s->started) { /* it is answered without a handler */
        s->head.wrong = why;
        ml_h2_stream_queue(s);
    }
    if (s->ex->req.body != NULL)
        ml_pipe_abort(s->ex->req.body, why);
}

static void tell(struct h2_stream *s)
{
    struct ml_pipe *p = open_pipe(s);
    size_t filled = s->body.filled;

    s->body.filled = 0;
    if (p == NULL)
        return;
    if (s->started && s->head.wrong != ML_OK)
        ml_h2_body_fail(s, s->head.wrong); /* of its trailers */
    else if (too_large(s))
        ml_h2_body_fail(s, ML_BODY_TOO_LARGE);
    else if (filled > 0)
        ml_pipe_filled(p, filled);
    if (s->body.ended && !s->body.done) {
        s->body.done = true;
        ml_pipe_eof(p);
    }
}

/* For a body that nobody takes only the connection gets room back: its client need not send on,
 * before it has the answer and for a while after it. */
static void give_back(struct h2_stream *s)
{
    const struct ml_pipe *p = s->ex->req.body;
    uint64_t held = ml_buf_len(&s->body.early), taken;

    if (p != NULL && p->state != ML_PIPE_ABORTED)
        held += ml_buf_len(&p->buf);
    if (held > s->body.received) /* a script has put another body in its place */
        held = s->body.received;
    taken = s->body.received - held;
    if (taken <= s->body.credited)
        return;
    if (!s->answer.complete && (p == NULL || p->state == ML_PIPE_ABORTED))
        nghttp2_session_consume_connection(s->h2->session, (size_t)(taken - s->body.credited));
    else
        nghttp2_session_consume(s->h2->session, s->id, (size_t)(taken - s->body.credited));
    s->body.credited = taken;
    s->body.seen_s = h2_now_s(s->h2);
}

void ml_h2_body_work(struct h2_stream *s)
{
    if (s->body.filled > 0 || s->body.ended != s->body.done || s->body.received > s->body.credited)
        tell(s);
    give_back(s);
    if (s->body.dropped > H2_DRAIN_MAX) /* RFC 9113 section 8.1: the answer does not need it */
        ml_h2_stream_reset(s, NGHTTP2_NO_ERROR, ML_OK);
}

void ml_h2_body_tunnel(struct h2_stream *s)
{
    struct ml_pipe *p = open_pipe(s);

    if (p == NULL)
        return; /* nobody takes what the client sends */
    p->on_room = wake;
    p->room_ctx = s;
    p->metered = true;
    s->body.filled += ml_buf_len(&s->body.early);
    ml_buf_append(&p->buf, ml_buf_str(&s->body.early));
    ml_buf_release(&s->body.early);
    ml_h2_stream_queue(s);
}

double ml_h2_body_due_s(const struct h2_stream *s)
{
    const struct h2_body *b = &s->body;
    double due_s = b->seen_s + s->conf->body_timeout, rate_s;

    if (open_pipe(s) == NULL || b->ended || b->dead || s->head.expect || s->tunnel ||
        s->ex->conversation)
        return 0;
    if (s->conf->body_rate_min <= 0)
        return due_s;
    /* when the bytes that came so far will be too few, not earlier than the grace ends */
    rate_s = b->begin_s + (double)b->counted / s->conf->body_rate_min;
    if (rate_s < b->begin_s + RATE_GRACE_S)
        rate_s = b->begin_s + RATE_GRACE_S;
    return rate_s < due_s ? rate_s : due_s;
}
