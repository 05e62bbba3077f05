/* h2_stream.c - one stream from its begin to its end, and the queue of those that something
 * happened to. */
#include "inbound/h2_parts.h"

#include "inbound/access_log.h"
#include "inbound/account.h"

#include <assert.h>

struct h2_stream *ml_h2_stream_new(struct ml_h2 *h, int32_t id)
{
    struct ml_exchange *ex =
        ml_intake_begin(h->port->in, h->port->conf, &h->peer, ml_h2_answer_wire);
    struct h2_stream *s = ml_arena_zalloc(ex->arena, sizeof *s);

    ml_intake_over(ex, h->stream);
    ex->wire.ctx = s;
    s->h2 = h;
    s->ex = ex;
    s->conf = ml_intake_conf(ex);
    s->id = id;
    s->next = h->streams;
    s->link = &h->streams;
    if (s->next != NULL)
        s->next->link = &s->next;
    h->streams = s;
    h->open++;
    return s;
}

/* ---- the queue ---- */

void ml_h2_stream_queue(struct h2_stream *s)
{
    struct ml_h2 *h = s->h2;

    if (s->w_link != NULL)
        return;
    s->w_link = h->woken_end;
    s->w_next = NULL;
    *h->woken_end = s;
    h->woken_end = &s->w_next;
    if (!h->running)
        ml_h2_wake(h);
}

static void unqueue(struct h2_stream *s)
{
    if (s->w_link == NULL)
        return;
    *s->w_link = s->w_next;
    if (s->w_next != NULL)
        s->w_next->w_link = s->w_link;
    else
        s->h2->woken_end = s->w_link;
    s->w_link = NULL;
}

/* ---- the end ---- */

/* What the log tells of an answer that the client has not got whole. */
static int status_of(const struct h2_stream *s)
{
    int status = ml_err_status(s->why);

    if (s->answer.submitted)
        return s->ex->res.status;
    return status != 0 ? status : ML_STATUS_CLIENT_GONE;
}

static void log_stream(struct h2_stream *s, int status)
{
    struct ml_inbound *in = s->h2->port->in;

    if (s->answer.logged)
        return;
    s->answer.logged = true;
    ml_account(in, s->ex, status);
}

void ml_h2_stream_answered(struct h2_stream *s)
{
    struct ml_exchange *ex = s->ex;

    if (s->answer.logged)
        return;
    log_stream(s, ex->res.status);
    ml_http2_patience_earn(&s->h2->patience, ML_HTTP2_PER_ANSWER);
    if (s->body.ended)
        return;
    s->answer.progress_s = h2_now_s(s->h2);
    ml_h2_due(s->h2, ml_h2_answer_due_s(s));
    if (ex->req.body != NULL)
        ml_pipe_abort(ex->req.body, ML_CANCELLED);
}

static void forget(struct h2_stream *s)
{
    struct ml_h2 *h = s->h2;

    unqueue(s);
    ml_buf_release(&s->body.early);
    if (h->receiving == s)
        h->receiving = NULL;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    if (--h->open > 0)
        return;
    h->idle_s = h2_now_s(h);
    h->streams_s = 0;
}

static void end(struct h2_stream *s)
{
    struct ml_exchange *ex = s->ex;

    forget(s);
    if (!s->started)
        ex->handler = NULL; /* which never saw it */
    if (s->answer.complete) {
        ml_h2_stream_answered(s);
        ml_exchange_finish(&ex);
        return;
    }
    if (s->why == ML_OK)
        s->why = ML_CANCELLED;
    ex->notes.why = s->why;
    log_stream(s, status_of(s));
    ml_exchange_cancel(&ex, s->why);
}

void ml_h2_stream_drop_all(struct ml_h2 *h, enum ml_err why)
{
    while (h->streams != NULL) {
        struct h2_stream *s = h->streams;

        if (s->why == ML_OK)
            s->why = why;
        nghttp2_session_set_stream_user_data(h->session, s->id, NULL);
        end(s);
    }
}

void ml_h2_stream_reset(struct h2_stream *s, uint32_t code, enum ml_err why)
{
    if (s->closed || s->reset)
        return;
    s->reset = true;
    if (s->why == ML_OK)
        s->why = why;
    nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code);
    ml_h2_wake(s->h2);
}

/* ---- work ---- */

/* Room of the connection's window that the stream still holds. */
static void give_back_all(struct h2_stream *s)
{
    uint64_t held = s->body.received - s->body.credited;

    if (held > 0)
        nghttp2_session_consume_connection(s->h2->session, (size_t)held);
    s->body.credited = s->body.received;
}

/* Whether a body of no length is one is known at its end; nobody shall see it before. */
static bool must_wait(const struct h2_stream *s)
{
    const struct ml_request *req = &s->ex->req;

    return req->has_length && req->length == 0 && !s->body.ended && s->head.wrong == ML_OK;
}

static void work(struct h2_stream *s)
{
    if (s->closed) {
        give_back_all(s);
        end(s);
        return;
    }
    if (!s->started) {
        if (!s->head.complete || s->reset || must_wait(s))
            return;
        ml_h2_body_work(s);
        ml_h2_head_start(s);
    }
    ml_h2_body_work(s);
    if (s->answer.complete)
        ml_h2_stream_answered(s);
    else
        ml_h2_answer_work(s);
}

void ml_h2_stream_work(struct ml_h2 *h)
{
    while (h->woken != NULL) {
        struct h2_stream *s = h->woken;

        unqueue(s);
        work(s);
    }
}

/* ---- time ---- */

static bool may_send(const struct h2_stream *s)
{
    nghttp2_session *session = s->h2->session;

    return nghttp2_session_get_remote_window_size(session) > 0 &&
           nghttp2_session_get_stream_remote_window_size(session, s->id) > 0;
}

/* The client has asked for an answer and does not take it.  When nothing at all can be sent, or it
 * does so again and again, it is not worth its connection. */
static void stalled(struct h2_stream *s, double now_s)
{
    struct ml_h2 *h = s->h2;

    if (!ml_http2_patience_pay(&h->patience, ML_HTTP2_STALL, now_s) ||
        nghttp2_session_get_remote_window_size(h->session) <= 0) {
        h->calm_down = true;
        h->toll = ML_HTTP2_STALL;
    }
    ml_h2_stream_reset(s, NGHTTP2_ENHANCE_YOUR_CALM, ML_LIMIT);
}

static void sooner(double *due_s, double at_s)
{
    if (at_s > 0 && (*due_s == 0 || at_s < *due_s))
        *due_s = at_s;
}

static void answer_late(struct h2_stream *s, double now_s)
{
    double due_s = ml_h2_answer_due_s(s);

    if (due_s == 0 || due_s > now_s)
        return;
    if (s->answer.complete)
        ml_h2_stream_reset(s, NGHTTP2_NO_ERROR, ML_OK);
    else if (may_send(s)) /* it is the kernel or another stream that it waits for */
        s->answer.progress_s = now_s;
    else
        stalled(s, now_s);
}

/* A client without room can not send: that is the consumer's time. */
static bool has_room(const struct h2_stream *s)
{
    nghttp2_session *session = s->h2->session;

    return nghttp2_session_get_local_window_size(session) > 0 &&
           nghttp2_session_get_stream_local_window_size(session, s->id) > 0;
}

static void body_late(struct h2_stream *s, double now_s)
{
    double due_s = ml_h2_body_due_s(s);

    if (due_s == 0 || due_s > now_s)
        return;
    if (has_room(s)) {
        ml_h2_body_fail(s, ML_REQUEST_TIMEOUT);
    } else {
        s->body.seen_s = s->body.begin_s = now_s;
        s->body.counted = 0;
    }
}

double ml_h2_stream_late(struct ml_h2 *h, double now_s)
{
    double next_s = 0;

    for (struct h2_stream *s = h->streams; s != NULL; s = s->next) {
        if (s->closed || s->reset)
            continue;
        body_late(s, now_s);
        answer_late(s, now_s);
        if (s->reset)
            continue;
        sooner(&next_s, ml_h2_body_due_s(s));
        sooner(&next_s, ml_h2_answer_due_s(s));
    }
    return next_s;
}
