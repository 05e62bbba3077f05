/* h2.c - the life of a connection of HTTP/2.
 *
 *   RUN --drain--> NOTICE --a moment--> LEAVE --all answered--> FLUSH --> LINGER --> CLOSED
 *    \________ an error, an idle client, a client too much _____^
 *
 * Reads go into a buffer that all connections share, for nghttp2 takes what it is given.  What it
 * has to say goes into the connection's own output, up to a mark: beyond it nothing more is made,
 * and while the kernel takes none of it nothing is read either.  So a client that does not read can
 * not make us collect anything, whatever it sends.
 *
 * Leaving takes two GOAWAYs (RFC 9113 section 6.8): one that refuses nothing yet, and another when
 * requests that crossed it have come. */
#include "inbound/h2_parts.h"

#include "base/log_event.h"

#include <assert.h>
#include <stdlib.h>

static const double NOTICE_S = 0.5;
static const double LINGER_QUIET_S = 2, LINGER_TOTAL_S = 10; /* as conn.c */
static const double EARLY_S = 0.002, REPORT_S = 10;

enum {
    READ_MAX = 64 << 10,
    LINGER_MAX = 64 << 20, /* bytes dropped at most */
    STARTS_PER_RUN = 64,   /* then the other connections have their turn */
    WRITES_PER_RUN = 8,
#ifdef ML_HARD
    READS_PER_RUN = 250, /* of one byte each */
#else
    READS_PER_RUN = 4,
#endif
};

static struct ml_buf scratch; /* what was read last; a worker has one thread */

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

/* ---- a client that is too much ---- */

/* One line for many: a flood of clients is no flood of log lines. */
static void report(struct ml_h2 *h, const char *what)
{
    static double next_s;
    static uint64_t times;
    char ip[ML_ADDRESS_TEXT_CAP];
    size_t len = ml_address_text(&h->peer, ip);

    times++;
    if (h->port->in->stats != NULL)
        atomic_fetch_add_explicit(&h->port->in->stats->h2_calmed, 1, memory_order_relaxed);
    if (h2_now_s(h) < next_s)
        return;
    ml_log_event(ML_LOG_WARN, "an HTTP/2 client was told to calm down", ML_KV("error", what),
                 ML_KV("ip", ((struct ml_str){ip, len})), ML_KV("port", h->port->conf->port),
                 ML_KV("times", times));
    times = 0;
    next_s = h2_now_s(h) + REPORT_S;
}

/* GOAWAY; nghttp2 takes nothing in any more. */
static void terminate(struct ml_h2 *h, uint32_t code)
{
    nghttp2_session_terminate_session(h->session, code);
}

static void calm(struct ml_h2 *h, const char *what)
{
    report(h, what);
    terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- input ---- */

static bool out_full(const struct ml_h2 *h)
{
    return ml_buf_len(&h->out) >= H2_OUT_HIGH;
}

/* nghttp2 gives the connection up, which it has not told the client by itself. */
static void refused(struct ml_h2 *h, ssize_t err)
{
    if (h->too_long)
        calm(h, "header_list");
    else if (err == NGHTTP2_ERR_FLOODED)
        calm(h, "flood");
    else if (err == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        terminate(h, NGHTTP2_PROTOCOL_ERROR);
    else
        calm(h, nghttp2_strerror((int)err));
}

static void feed(struct ml_h2 *h, struct ml_str bytes)
{
    bool in_block = ml_http2_scan_in_block(&h->scan);
    ssize_t n;

    switch (ml_http2_scan(&h->scan, bytes, h2_now_s(h), &h->patience)) {
    case ML_OK:
        break;
    case ML_LIMIT:
        calm(h, ml_http2_toll_word(h->scan.toll));
        return;
    case ML_EOF:
        terminate(h, NGHTTP2_STREAM_CLOSED);
        return;
    default:
        terminate(h, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (!ml_http2_scan_in_block(&h->scan))
        h->block_s = 0;
    else if (!in_block || h->block_s == 0)
        h->block_s = h2_now_s(h);
    n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.len);
    if (n < 0)
        refused(h, n);
}

/* Reads once; false: there is nothing to read, or it is not the time to. */
static bool take_in(struct ml_h2 *h)
{
    bool rest = (h->blocked && out_full(h)) || h->started_in_run >= STARTS_PER_RUN;
    enum ml_err err;

    ml_stream_want_read(h->stream, !h->eof && !(h->blocked && out_full(h)));
    if (h->eof || rest || !h->readable || h->reads_left == 0)
        return false;
    h->reads_left--;
    err = ml_stream_read(h->stream, &scratch, READ_MAX, &h->readable);
    if (err == ML_AGAIN)
        return false;
    if (err != ML_OK) {
        h->eof = true;
        return false;
    }
    feed(h, ml_buf_str(&scratch));
    ml_buf_consume(&scratch, ml_buf_len(&scratch));
    return true;
}

/* ---- output ---- */

static void pump(struct ml_h2 *h)
{
    const uint8_t *bytes;
    ssize_t n = 1;

    while (n > 0 && !out_full(h)) {
        n = nghttp2_session_mem_send(h->session, &bytes);
        if (n > 0)
            ml_buf_append(&h->out, (struct ml_str){(const char *)bytes, (size_t)n});
    }
    if (h->calm_down) {
        h->calm_down = false;
        calm(h, ml_http2_toll_word(h->toll));
    }
}

/* Lets nghttp2 and the streams do all they can. */
static void make(struct ml_h2 *h)
{
    bool worked;

    do {
        pump(h);
        worked = h->woken != NULL;
        ml_h2_stream_work(h);
    } while (worked && !out_full(h));
    if (!nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        flush_and_go(h, ML_CANCELLED);
}

/* One write.  False: the client is gone. */
static bool give_out(struct ml_h2 *h)
{
    size_t before = ml_buf_len(&h->out);
    enum ml_err err;

    if (h->blocked || before == 0)
        return true;
    err = ml_stream_write(h->stream, &h->out);
    if (ml_buf_len(&h->out) < before || err == ML_AGAIN) /* it was not blocked before */
        h->progress_s = h2_now_s(h);
    h->blocked = err == ML_AGAIN;
    if (ml_buf_len(&h->out) == 0)
        ml_buf_release(&h->out);
    return err != ML_RESET;
}

/* ---- the turn ---- */

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
        bool more = take_in(h);

        make(h);
        count_requests(h);
        if (h->state < H2_FLUSH && more && !out_full(h))
            continue;
        if (!give_out(h) || (h->eof && h->state < H2_FLUSH)) {
            end(h, ML_RESET);
            return false;
        }
        if (h->state == H2_FLUSH || h->blocked)
            return true;
        if (!more && !nghttp2_session_want_write(h->session))
            return true;
        if (--writes == 0 || (!more && h->started_in_run >= STARTS_PER_RUN)) {
            h->yielded = true;
            return true;
        }
    }
}

static bool run_linger(struct ml_h2 *h)
{
    enum ml_err err = ML_OK;

    while (err == ML_OK && h->readable && h->reads_left-- > 0) {
        err = ml_stream_read(h->stream, &scratch, READ_MAX, &h->readable);
        h->lingered += ml_buf_len(&scratch);
        ml_buf_consume(&scratch, ml_buf_len(&scratch));
        h->heard_s = h2_now_s(h);
    }
    if ((err != ML_OK && err != ML_AGAIN) || h->lingered > LINGER_MAX) {
        end(h, ML_CANCELLED);
        return false;
    }
    return true;
}

/* What is left to be written, then the close that does not take it away from the client. */
static bool run_flush(struct ml_h2 *h)
{
    if (!give_out(h)) {
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
        calm(h, "header_timeout");
    else if (h->open == 0 && idle_due_s(h) <= now_s && h->state != H2_LEAVE)
        leave_now(h);
    else if (h->state == H2_NOTICE && h->state_s + NOTICE_S <= now_s)
        leave_now(h);
    if (h->open > 0)
        h->streams_s = ml_h2_stream_late(h, now_s);
    if (h->calm_down) {
        h->calm_down = false;
        calm(h, ml_http2_toll_word(h->toll));
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

static void leave(struct ml_h2 *h)
{
    if (h->state != H2_RUN)
        return;
    nghttp2_submit_shutdown_notice(h->session);
    set_state(h, H2_NOTICE);
    ml_h2_wake(h);
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
    feed(h, ml_buf_str(in));
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
