/* h2.c - the life of a connection of HTTP/2.
 *
 *   RUN --drain--> NOTICE --a moment--> LEAVE --all answered--> FLUSH --> LINGER --> CLOSED
 *    \________ an error, an idle client, a client too much _____^
 *
 * Leaving takes two GOAWAYs (RFC 9113 section 6.8): one that refuses nothing yet, and another when
 * requests that crossed it have come. */
#include "inbound/h2_parts.h"

#include <assert.h>
#include <stdlib.h>

static const double NOTICE_S = 0.5;
static const double LINGER_QUIET_S = 2, LINGER_TOTAL_S = 10; /* as conn.c */
static const double EARLY_S = 0.002;

enum {
    LINGER_MAX = 64 << 20, /* bytes dropped at most */
    WRITES_PER_RUN = 8,
#ifdef ML_HARD
    READS_PER_RUN = 250, /* of one byte each */
#else
    READS_PER_RUN = 4,
#endif
};

static void run(struct ml_h2 *h);

/* ---- ends ---- */

static void release(void *p)
{
    struct ml_h2 *h = p;

    nghttp2_session_del(h->session);
    free(h);
}

static void end(struct ml_h2 *h, enum ml_err why)
{
    struct ml_port *port = h->port;

    assert(h->state != H2_CLOSED);
    h->running = true; /* nothing wakes it any more */
    ml_h2_stream_drop_all(h, why);
    h->state = H2_CLOSED;
    *h->link = h->next;
    if (h->next != NULL)
        h->next->link = h->link;
    port->in->connections--;
    if (port->in->stats != NULL)
        atomic_fetch_sub_explicit(&port->in->stats->connections, 1, memory_order_relaxed);
    ml_loop_undefer(port->in->loop, &h->wake);
    ml_timer_drop(&h->timer);
    ml_buf_release(&h->out);
    ml_stream_close(&h->stream);
    ml_loop_bury(port->in->loop, release, h);
    if (port->conns == NULL && port->h2s == NULL && port->empty != NULL)
        port->empty(port);
}

static void set_state(struct ml_h2 *h, enum h2_state state)
{
    h->state = (uint8_t)state;
    h->state_s = h2_now_s(h);
}

/* Nothing more is said, but what was said shall arrive. */
static void flush_and_go(struct ml_h2 *h, enum ml_err why)
{
    ml_h2_stream_drop_all(h, why);
    set_state(h, H2_FLUSH);
}

/* ---- the turn ---- */

static void make(struct ml_h2 *h)
{
    if (!ml_h2_io_make(h))
        flush_and_go(h, ML_CANCELLED);
}

static void sooner(double *due_s, double at_s)
{
    if (at_s > 0 && (*due_s == 0 || at_s < *due_s))
        *due_s = at_s;
}

static double linger_due_s(const struct ml_h2 *h)
{
    double quiet_s = (h->heard_s > h->state_s ? h->heard_s : h->state_s) + LINGER_QUIET_S;
    double total_s = h->state_s + LINGER_TOTAL_S;

    return quiet_s < total_s ? quiet_s : total_s;
}

static double idle_due_s(const struct ml_h2 *h)
{
    const struct ml_listener_conf *conf = h->port->conf;

    return h->idle_s + (h->first_seen ? conf->idle_timeout : conf->header_timeout);
}

static double due_s(const struct ml_h2 *h)
{
    const struct ml_listener_conf *conf = h->port->conf;
    double due = 0;

    if (h->state == H2_LINGER)
        return linger_due_s(h);
    if (h->blocked || h->state == H2_FLUSH)
        sooner(&due, h->progress_s + conf->send_timeout);
    if (h->state == H2_FLUSH)
        return due;
    if (h->block_s > 0)
        sooner(&due, h->block_s + conf->header_timeout);
    if (h->state == H2_NOTICE)
        sooner(&due, h->state_s + NOTICE_S);
    sooner(&due, h->open == 0 ? idle_due_s(h) : h->streams_s);
    return due;
}

static void set_timer(struct ml_h2 *h)
{
    double due = due_s(h), left_s;

    if (h->yielded) {
        ml_timer_set(&h->timer, 0);
        return;
    }
    if (due == 0) {
        ml_timer_stop(&h->timer);
        return;
    }
    left_s = due - h2_now_s(h);
    ml_timer_set(&h->timer, left_s > 0 ? left_s : 0);
}

void ml_h2_due(struct ml_h2 *h, double at_s)
{
    sooner(&h->streams_s, at_s);
}

/* The client has been served as many requests as the listener allows one connection. */
static void count_requests(struct ml_h2 *h)
{
    unsigned max = h->port->conf->requests_max;

    h->first_seen |= h->open > 0 || h->requests > 0;
    if (h->state == H2_RUN && max != 0 && h->requests >= max) {
        nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                              nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                              NULL, 0);
        set_state(h, H2_LEAVE);
        make(h);
    }
}

/* False: it has ended. */
static bool run_session(struct ml_h2 *h)
{
    int writes = WRITES_PER_RUN;

    for (;;) {
        bool more = ml_h2_io_take_in(h);

        make(h);
        count_requests(h);
        if (h->state < H2_FLUSH && more && !ml_h2_io_full(h))
            continue;
        if (!ml_h2_io_give_out(h)) {
            end(h, ML_RESET);
            return false;
        }
        if (h->eof && h->state < H2_FLUSH)
            flush_and_go(h, ML_RESET); /* it may still take what is ready */
        if (h->state == H2_FLUSH || h->blocked)
            return true;
        if (!more && !nghttp2_session_want_write(h->session))
            return true;
        if (--writes == 0 || (!more && ml_h2_io_started_enough(h))) {
            h->yielded = true;
            return true;
        }
    }
}

static bool run_linger(struct ml_h2 *h)
{
    enum ml_err err = ML_OK;

    while (err == ML_OK && h->readable && h->reads_left-- > 0)
        err = ml_h2_io_drop(h);
    if ((err != ML_OK && err != ML_AGAIN) || h->lingered > LINGER_MAX) {
        end(h, ML_CANCELLED);
        return false;
    }
    return true;
}

/* What is left to be written, then the close that does not take it away from the client. */
static bool run_flush(struct ml_h2 *h)
{
    if (!ml_h2_io_give_out(h)) {
        end(h, ML_RESET);
        return false;
    }
    if (h->blocked || ml_buf_len(&h->out) > 0)
        return true;
    if (h->eof) {
        end(h, ML_CANCELLED);
        return false;
    }
    ml_stream_shutdown(h->stream);
    ml_stream_want_read(h->stream, true);
    set_state(h, H2_LINGER);
    h->readable = true;
    return run_linger(h);
}

static void run(struct ml_h2 *h)
{
    bool alive = true;

    assert(!h->running);
    h->running = true;
    h->reads_left = READS_PER_RUN;
    h->started_in_run = 0;
    h->yielded = false;
    if (h->state < H2_FLUSH)
        alive = run_session(h);
    if (alive && h->state == H2_FLUSH)
        alive = run_flush(h);
    else if (alive && h->state == H2_LINGER)
        alive = run_linger(h);
    if (!alive)
        return;
    h->running = false;
    set_timer(h);
}

static void fire_wake(void *ctx)
{
    struct ml_h2 *h = ctx;

    if (h->state < H2_FLUSH)
        run(h);
}

void ml_h2_wake(struct ml_h2 *h)
{
    if (!h->running)
        ml_loop_defer(h->port->in->loop, &h->wake);
}

/* ---- time ---- */

static void leave_now(struct ml_h2 *h)
{
    nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(h->session), NGHTTP2_NO_ERROR,
                          NULL, 0);
    set_state(h, H2_LEAVE);
}

/* Ends what is late.  False: the connection itself has ended. */
static bool late(struct ml_h2 *h, double now_s)
{
    const struct ml_listener_conf *conf = h->port->conf;

    if ((h->blocked || h->state == H2_FLUSH) && h->progress_s + conf->send_timeout <= now_s) {
        ml_stream_poison(h->stream); /* the kernel need not go on trying */
        end(h, ML_LIMIT);
        return false;
    }
    if (h->state == H2_LINGER) {
        end(h, ML_CANCELLED);
        return false;
    }
    if (h->state == H2_FLUSH)
        return true;
    if (h->block_s > 0 && h->block_s + conf->header_timeout <= now_s)
        ml_h2_io_calm(h, "header_timeout");
    else if (h->open == 0 && idle_due_s(h) <= now_s && h->state != H2_LEAVE)
        leave_now(h);
    else if (h->state == H2_NOTICE && h->state_s + NOTICE_S <= now_s)
        leave_now(h);
    if (h->open > 0)
        h->streams_s = ml_h2_stream_late(h, now_s);
    if (h->calm_down) {
        h->calm_down = false;
        ml_h2_io_calm(h, ml_http2_toll_word(h->toll));
    }
    return true;
}

static void on_timer(void *ctx)
{
    struct ml_h2 *h = ctx;
    double due = due_s(h), now_s = h2_now_s(h) + EARLY_S;

    if (h->yielded || (due != 0 && due <= now_s && late(h, now_s)))
        run(h);
    else if (h->state != H2_CLOSED)
        set_timer(h);
}

/* ---- events ---- */

static void on_ready(void *ctx, int what)
{
    struct ml_h2 *h = ctx;

    if (what & ML_STREAM_READ)
        h->readable = true;
    if (what & ML_STREAM_WRITE)
        h->blocked = false;
    run(h);
}

static void count_connection(struct ml_h2 *h)
{
    struct ml_port *port = h->port;

    h->next = port->h2s;
    h->link = &port->h2s;
    if (h->next != NULL)
        h->next->link = &h->next;
    port->h2s = h;
    port->in->connections++;
    if (port->in->stats != NULL)
        atomic_fetch_add_explicit(&port->in->stats->connections, 1, memory_order_relaxed);
}

void ml_h2_leave(struct ml_h2 *h)
{
    if (h->state != H2_RUN)
        return;
    nghttp2_submit_shutdown_notice(h->session);
    set_state(h, H2_NOTICE);
    ml_h2_wake(h);
}

/* The process ends, or its listener. */
static void leave(struct ml_h2 *h)
{
    if (h->port->in->draining && !h->port->in->patient)
        for (struct h2_stream *s = h->streams; s != NULL; s = s->next)
            if (s->tunnel)
                ml_exchange_leave(s->ex);
    ml_h2_leave(h);
}

void ml_h2_new(struct ml_port *port, struct ml_stream **stream, const struct ml_address *peer,
               struct ml_buf *in)
{
    struct ml_h2 *h = calloc(1, sizeof *h);
    struct ml_inbound *inbound = port->in;

    if (h == NULL)
        abort();
    h->port = port;
    h->stream = *stream;
    *stream = NULL;
    h->peer = *peer;
    h->woken_end = &h->woken;
    h->wake.fire = fire_wake;
    h->wake.ctx = h;
    h->idle_s = h->state_s = h2_now_s(h);
    h->readable = true;
    count_connection(h);
    ml_timer_init(&h->timer, inbound->loop, on_timer, h);
    ml_http2_patience_init(&h->patience, h->idle_s);
    h->session = ml_h2_frames_session(h);
    ml_stream_listen_to(h->stream, on_ready, h);
    h->running = true; /* what the first bytes cause waits until all of them are there */
    ml_h2_io_feed(h, ml_buf_str(in));
    ml_buf_release(in);
    h->running = false;
    if (inbound->draining || port->closing)
        leave(h);
    run(h);
}

void ml_h2_leave_all(struct ml_port *port)
{
    for (struct ml_h2 *h = port->h2s; h != NULL; h = h->next)
        leave(h);
}

void ml_h2_close_all(struct ml_port *port)
{
    struct ml_h2 *h = port->h2s, *next;

    for (; h != NULL; h = next) {
        next = h->next;
        end(h, ML_CANCELLED);
    }
}
