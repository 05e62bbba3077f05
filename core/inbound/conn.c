/* conn.c - the life of a client connection.
 *
 *   HEAD --request--> RUN --responded--> WRITE --answered--> (DRAIN -->) HEAD, or LINGER --> CLOSED
 *     \______________________ drop, from any state _________________________________________/
 *
 * Only run() calls steps; steps give verdicts, and only this file acts on them.  What the
 * handler or another end of a pipe causes is deferred to the end of the loop turn, so that a head
 * and the first bytes of its body leave in one system call and no callback meets a step half done.
 *
 * RUN and WRITE read the request's body too.  There is one timer; after each run it is set to the
 * nearest of the deadlines that count in this state, which costs nothing when it moves later. */
#include "inbound/conn.h"

#include "inbound/access_log.h"
#include "inbound/account.h"
#include "inbound/conn_parts.h"
#include "inbound/h2.h"

#include <assert.h>
#include <stdlib.h>

/* RFC 9112 section 9.6: after our last byte, reads until the client has seen it. */
static const double LINGER_QUIET_S = 2, LINGER_TOTAL_S = 10;
static const double DRAIN_IDLE_S = 0.5; /* a request that crosses our close on the way is lost */
/* Between looks at a client that half closed; see probe(). */
static const double PROBE_FIRST_S = 0.6, PROBE_CHECK_S = 0.3, PROBE_NEXT_S = 5;
static const double EARLY_S = 0.002;

enum {
    LINGER_MAX = 64 << 20, /* bytes dropped at most */
#ifdef ML_HARD
    READS_PER_RUN = 250, /* of one byte each */
#else
    READS_PER_RUN = 8, /* then the other connections have their turn */
#endif
    TURNS_PER_RUN = 32
};

/* ---- ends ---- */

static void conn_end(struct ml_conn *c)
{
    struct ml_port *port = c->port;

    assert(c->turn == NULL && c->state != CONN_CLOSED);
    c->state = CONN_CLOSED;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    port->in->connections--;
    if (port->in->stats != NULL)
        atomic_fetch_sub_explicit(&port->in->stats->connections, 1, memory_order_relaxed);
    if (c->stream != NULL && c->requests == 0 && ml_stream_shaking_hands(c->stream))
        ml_account_handshake(port, ml_stream_tls_failed(c->stream));
    ml_timer_drop(&c->timer);
    ml_buf_release(&c->in);
    ml_stream_close(&c->stream);
    if (port->in->resting)
        ml_inbound_resume(port->in);
    ml_loop_bury(port->in->loop, free, c);
    if (port->conns == NULL && port->h2s == NULL && port->empty != NULL)
        port->empty(port);
}

static void log_turn(struct ml_conn *c, int status)
{
    struct ml_inbound *in = c->port->in;
    struct turn *t = c->turn;

    if (t->logged)
        return;
    t->logged = true;
    ml_account(in, t->ex, status);
}

static void turn_release(struct ml_conn *c)
{
    struct turn *t = c->turn;

    ml_loop_undefer(c->port->in->loop, &t->wake);
    ml_buf_release(&t->answer.out);
    ml_buf_release(&t->answer.flight);
    c->turn = NULL;
}

/* The client is gone, or is dropped: what is in hand is cancelled. */
void ml_conn_drop(struct ml_conn *c, enum ml_err why)
{
    struct turn *t = c->turn;

    if (t != NULL) {
        struct ml_exchange *ex = t->ex;
        bool answered = t->logged;

        if (!answered) {
            ex->notes.why = why;
            log_turn(c, t->answer.begun ? ex->res.status : ML_STATUS_CLIENT_GONE);
        }
        turn_release(c);
        if (answered)
            ml_exchange_finish(&ex);
        else
            ml_exchange_cancel(&ex, why);
    }
    conn_end(c);
}

static void linger(struct ml_conn *c)
{
    c->state = CONN_LINGER;
    c->since_s = conn_now_s(c);
    c->lingered = 0;
    ml_stream_shutdown(c->stream);
}

static void finish_turn(struct ml_conn *c)
{
    struct ml_exchange *ex = c->turn->ex;

    turn_release(c);
    ml_exchange_finish(&ex);
}

/* After an answer that was the last: input that is unread, or comes from a client that did not
 * expect the end, would turn our close into a reset, which can take the answer away from it. */
static void last_answer(struct ml_conn *c)
{
    bool unread = !c->turn->body.done || ml_buf_len(&c->in) > 0 || c->readable;
    bool surprised = c->turn->keep_alive;

    finish_turn(c);
    if ((unread || surprised) && !c->eof)
        linger(c);
    else
        conn_end(c);
}

static void next_request(struct ml_conn *c)
{
    finish_turn(c);
    c->state = CONN_HEAD;
    c->since_s = conn_now_s(c);
    c->head_begun = ml_buf_len(&c->in) > 0;
}

static void answered(struct ml_conn *c)
{
    struct turn *t = c->turn;

    log_turn(c, t->ex->res.status);
    if (!t->answer.keep_alive) {
        last_answer(c);
    } else if (t->body.done) {
        next_request(c);
    } else {
        c->state = CONN_DRAIN;
        c->since_s = conn_now_s(c);
        ml_pipe_abort(t->ex->req.body, ML_CANCELLED); /* from now on its bytes are dropped */
    }
}

/* ---- steps ---- */

static enum verdict step_run(struct ml_conn *c)
{
    enum verdict v = ml_conn_body_step(c);

    if (v == WAIT)
        v = ml_conn_write_flush(c);
    if (v == WAIT && c->turn->ex->responded) {
        ml_conn_write_begin(c);
        return MORE;
    }
    return v;
}

static enum verdict step_write(struct ml_conn *c)
{
    enum verdict v = ml_conn_write_step(c);

    return v == WAIT ? ml_conn_body_step(c) : v;
}

static enum verdict step_drain(struct ml_conn *c)
{
    enum verdict v = ml_conn_body_step(c);

    if (v == GONE)
        return v;
    if (c->turn->body.dead) {
        last_answer(c);
        return MORE;
    }
    if (!c->turn->body.done)
        return WAIT;
    next_request(c);
    return MORE;
}

static enum verdict step_linger(struct ml_conn *c)
{
    enum ml_err err;

    c->lingered += ml_buf_len(&c->in);
    ml_buf_consume(&c->in, ml_buf_len(&c->in));
    if (c->lingered > LINGER_MAX)
        return conn_gone(c, ML_LIMIT);
    err = conn_read(c, &c->in, CONN_READ * 4);
    if (err == ML_OK) {
        c->heard_s = conn_now_s(c);
        return MORE;
    }
    return err == ML_AGAIN ? WAIT : conn_gone(c, err);
}

static void wake(void *ctx)
{
    ml_conn_run(ctx);
}

static enum verdict step(struct ml_conn *c)
{
    switch (c->state) {
    case CONN_HEAD:
        return ml_conn_head_step(c, wake);
    case CONN_RUN:
        return step_run(c);
    case CONN_WRITE:
        return step_write(c);
    case CONN_DRAIN:
        return step_drain(c);
    case CONN_LINGER:
        return step_linger(c);
    default:
        return WAIT;
    }
}

/* ---- time ---- */

static void sooner(double *due_s, double at_s)
{
    if (at_s > 0 && (*due_s == 0 || at_s < *due_s))
        *due_s = at_s;
}

static double head_due_s(const struct ml_conn *c)
{
    const struct ml_listener_conf *conf = c->port->conf;

    if (c->requests == 0 && ml_stream_shaking_hands(c->stream))
        return c->since_s + conf->handshake_timeout;
    if (c->head_begun)
        return c->since_s + conf->header_timeout;
    if (c->port->in->draining && conf->idle_timeout > DRAIN_IDLE_S)
        return c->since_s + DRAIN_IDLE_S;
    return c->since_s + conf->idle_timeout;
}

static double send_due_s(const struct ml_conn *c)
{
    const struct turn *t = c->turn;

    return t->answer.blocked ? t->answer.progress_s + t->conf->send_timeout : 0;
}

static double linger_due_s(const struct ml_conn *c)
{
    double quiet_s = (c->heard_s > c->since_s ? c->heard_s : c->since_s) + LINGER_QUIET_S;
    double total_s = c->since_s + LINGER_TOTAL_S;

    return quiet_s < total_s ? quiet_s : total_s;
}

static double due_s(const struct ml_conn *c)
{
    double due = 0;

    switch (c->state) {
    case CONN_HEAD:
        return head_due_s(c);
    case CONN_LINGER:
        return linger_due_s(c);
    case CONN_DRAIN:
        return c->since_s + c->turn->conf->body_timeout;
    case CONN_RUN:
    case CONN_WRITE:
        sooner(&due, ml_conn_body_due_s(c));
        sooner(&due, send_due_s(c));
        sooner(&due, c->turn->probe_s);
        return due;
    default:
        return 0;
    }
}

static void set_timer(struct ml_conn *c)
{
    double due, left_s;

    if (c->turn != NULL && c->eof && c->turn->probe_s == 0 && c->turn->body.done &&
        c->turn->body.framing != ML_BODY_CLOSE)
        c->turn->probe_s = conn_now_s(c) + PROBE_FIRST_S;
    due = due_s(c);
    if (c->yielded) {
        ml_timer_set(&c->timer, 0);
        return;
    }
    if (due == 0) {
        ml_timer_stop(&c->timer);
        return;
    }
    left_s = due - conn_now_s(c);
    ml_timer_set(&c->timer, left_s > 0 ? left_s : 0);
}

/* After its FIN a client may be waiting for the answer or be gone: TCP shows no difference until
 * something is sent, which a client that is gone answers with a reset.  While the answer is being
 * made that something is an interim response, which every HTTP/1.1 client must be able to ignore
 * (RFC 9110 section 15.2).  HTTP/1.0 clients know none; they are believed to wait. */
static void probe(struct ml_conn *c)
{
    struct turn *t = c->turn;

    if (ml_stream_is_reset(c->stream)) {
        ml_conn_drop(c, ML_RESET);
        return;
    }
    if (t->probed || t->ex->responded || t->ex->req.minor == 0) {
        t->probed = false;
        t->probe_s = conn_now_s(c) + PROBE_NEXT_S;
        return;
    }
    ml_buf_append(&t->answer.out, ML_STR("HTTP/1.1 102 Processing\r\n\r\n"));
    t->probed = true;
    t->probe_s = conn_now_s(c) + PROBE_CHECK_S;
}

/* Has an idle client asked just now? */
static bool asked_at_last(struct ml_conn *c)
{
    if (ml_stream_read(c->stream, &c->in, CONN_READ, &c->readable) != ML_OK)
        return false;
    c->head_begun = true;
    c->since_s = conn_now_s(c);
    return true;
}

static void late_head(struct ml_conn *c)
{
    if (ml_buf_len(&c->in) > 0)
        ml_conn_head_error(c, ML_REQUEST_TIMEOUT, wake);
    else if (!asked_at_last(c))
        conn_end(c); /* nothing was asked, so there is nothing to answer */
}

static void late_turn(struct ml_conn *c, double now_s)
{
    struct turn *t = c->turn;
    double body_s = ml_conn_body_due_s(c), send_s = send_due_s(c);

    if (send_s > 0 && send_s <= now_s) {
        ml_stream_poison(c->stream); /* the kernel need not go on trying */
        ml_conn_drop(c, ML_LIMIT);
    } else if (body_s > 0 && body_s <= now_s) {
        ml_conn_body_fail(c, ML_REQUEST_TIMEOUT);
    } else if (t->probe_s > 0 && t->probe_s <= now_s) {
        probe(c);
    }
}

static void on_timer(void *ctx)
{
    struct ml_conn *c = ctx;
    double now_s = conn_now_s(c) + EARLY_S, due = due_s(c);

    if (c->yielded) {
        ml_conn_run(c);
        return;
    }
    if (due == 0 || due > now_s) {
        set_timer(c);
        return;
    }
    if (c->state == CONN_HEAD)
        late_head(c);
    else if (c->state == CONN_LINGER)
        conn_end(c);
    else if (c->state == CONN_DRAIN)
        last_answer(c);
    else
        late_turn(c, now_s);
    if (c->state != CONN_CLOSED)
        ml_conn_run(c);
}

/* ---- events ---- */

static struct ml_conn *in_hand; /* whose run() it is */

struct ml_exchange *ml_conn_in_hand(void)
{
    return in_hand != NULL && in_hand->turn != NULL ? in_hand->turn->ex : NULL;
}

void ml_conn_run(struct ml_conn *c)
{
    enum verdict v = MORE;
    uint32_t first = c->requests;

    assert(!c->running);
    in_hand = c;
    c->running = true;
    c->reads_left = READS_PER_RUN;
    c->yielded = false;
    while (v == MORE && c->state != CONN_CLOSED && !c->yielded) {
        v = step(c);
        if (v == GONE) {
            ml_conn_drop(c, (enum ml_err)c->why);
        } else if (v == HTTP2) {
            ml_h2_new(c->port, &c->stream, &c->peer, &c->in);
            conn_end(c);
        } else if (v == ANSWERED) {
            answered(c);
            c->yielded = c->state == CONN_HEAD && c->requests - first >= TURNS_PER_RUN;
            v = MORE;
        }
    }
    c->running = false;
    in_hand = NULL;
    if (c->state != CONN_CLOSED)
        set_timer(c);
}

static void on_ready(void *ctx, int what)
{
    struct ml_conn *c = ctx;

    if (what & ML_STREAM_READ)
        c->readable = true;
    if ((what & ML_STREAM_WRITE) && c->turn != NULL) {
        c->turn->answer.blocked = false;
        if (c->turn->ex->res.body != NULL)
            ml_pipe_writable(c->turn->ex->res.body);
    }
    ml_conn_run(c);
}

struct ml_conn *ml_conn_new(struct ml_port *port, struct ml_stream **stream,
                            const struct ml_address *peer)
{
    struct ml_conn *c = calloc(1, sizeof *c);
    struct ml_inbound *in = port->in;

    if (c == NULL)
        abort();
    c->port = port;
    c->stream = *stream;
    *stream = NULL;
    c->peer = *peer;
    c->next = port->conns;
    c->link = &port->conns;
    if (c->next != NULL)
        c->next->link = &c->next;
    port->conns = c;
    in->connections++;
    if (in->stats != NULL)
        atomic_fetch_add_explicit(&in->stats->connections, 1, memory_order_relaxed);
    ml_timer_init(&c->timer, in->loop, on_timer, c);
    ml_stream_listen_to(c->stream, on_ready, c);
    c->state = CONN_HEAD;
    c->since_s = ml_loop_now_s(in->loop);
    c->head_begun = true; /* the first request is expected at once */
    set_timer(c);
    return c;
}
