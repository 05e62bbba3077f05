/* redis_conn.c - the life of a connection to a Redis server.
 *
 *   IDLE --first command--> DIAL --> HELLO --PING answered--> READY
 *    ^                      ^  \________\__ it failed, is silent, talks garbage __/ |
 *    |                      \-- PAUSE <----/                                        |
 *    \_______________ the server closed a connection that had worked _______________/
 *
 * From PAUSE it goes to DIAL by itself when a delay is over.  `down` is true from the first
 * PAUSE until READY: commands are refused then.  Before READY commands collect in `out`, for what
 * signs in must be answered first.  Everything that waits is told of an end by fail_waiting, after
 * the state has changed, so whoever is told may send again. */
#include "outbound/redis_conn.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "outbound/client_tls.h"
#include "outbound/redis_dial.h"
#include "outbound/redis_hello.h"
#include "outbound/redis_queue.h"
#include "outbound/server.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { READ_MAX = 65536, OUT_MAX = 64 << 20, STUCK_TIMES = 4 };
#define BACKOFF_FIRST_S 0.05
#define BACKOFF_MAX_S 5.0
#define EARLY_S 0.002 /* timers may fire so much too early */

enum state { IDLE, PAUSE, DIAL, HELLO, READY, CLOSED };

struct ml_redis_conn {
    struct ml_outbound *o; /* borrowed, like conf */
    const struct ml_redis_conf *conf;
    struct ml_redis_place place;
    struct ml_redis_dial dial;
    struct ml_stream *stream;       /* owned */
    struct ml_redis_reader *reader; /* owned */
    struct ml_buf in, out, hello;   /* owned; hello: what signs in */
    struct ml_redis_queue queue;
    struct ml_timer attempt; /* of an attempt to connect, or of a delay */
    struct ml_timer due;     /* of the first in the queue */
    struct ml_deferred flush;
    enum state state;
    bool down;
    bool proved;         /* a command was answered since READY */
    unsigned hello_left; /* answers to come; redis_hello.h */
    unsigned failures;   /* since a command was answered */
    double heard_s;      /* the last byte came */
    char why[ML_REDIS_HOST_CAP + 160];
};

static double now_s(const struct ml_redis_conn *c)
{
    return ml_loop_now_s(c->o->loop);
}

static void set_why(struct ml_redis_conn *c, const char *what)
{
    const char *host = c->place.host;

    if (c->place.port == 0)
        snprintf(c->why, sizeof c->why, "%s: %s", host, what);
    else
        snprintf(c->why, sizeof c->why, "%s:%d: %s", host, c->place.port, what);
}

/* ---- the end of a connection, whole or for now ---- */

static void hang_up(struct ml_redis_conn *c)
{
    ml_redis_dial_stop(&c->dial);
    ml_stream_close(&c->stream);
    ml_redis_reader_free(&c->reader);
    ml_redis_hello_wipe(&c->hello);
    ml_buf_release(&c->in);
    ml_buf_release(&c->out);
    ml_timer_stop(&c->attempt);
    ml_timer_stop(&c->due);
}

/* Those who wait now; they may send again, which is behind them. */
static void fail_waiting(struct ml_redis_conn *c, enum ml_err err)
{
    for (unsigned n = ml_redis_queue_count(&c->queue); n > 0 && c->state != CLOSED; n--) {
        struct ml_redis_entry entry = ml_redis_queue_pop(&c->queue);

        ml_redis_reply_free(&entry.error);
        if (entry.part == NULL)
            continue;
        entry.part->conn = NULL;
        entry.part->done(entry.part, err, NULL, c->why);
    }
}

static void pause_for_a_while(struct ml_redis_conn *c)
{
    double delay_s = BACKOFF_FIRST_S;
    unsigned char random;

    for (unsigned i = 0; i < c->failures && delay_s < BACKOFF_MAX_S; i++)
        delay_s *= 2;
    c->failures++;
    ml_random_bytes(&random, 1); /* so that a restarted server is not met by all at once */
    delay_s = (delay_s < BACKOFF_MAX_S ? delay_s : BACKOFF_MAX_S) * (0.5 + random / 512.0);
    if (!c->down)
        ml_log_event(ML_LOG_WARN, "redis is unavailable", ML_KV("why", (const char *)c->why));
    c->down = true;
    c->state = PAUSE;
    ml_timer_set(&c->attempt, delay_s);
}

static void arm(struct ml_redis_conn *c);

static void lost(struct ml_redis_conn *c, enum ml_err err, const char *what)
{
    bool worked = c->state == READY && err == ML_UP_CLOSED &&
                  (c->proved || ml_redis_queue_count(&c->queue) == 0);

    set_why(c, what);
    hang_up(c);
    if (worked)
        c->state = IDLE;
    else
        pause_for_a_while(c);
    fail_waiting(c, err);
    if (c->state != CLOSED)
        arm(c); /* for what was sent meanwhile */
}

static void conn_free(void *p)
{
    struct ml_redis_conn *c = p;

    ml_redis_queue_free(&c->queue);
    free(c);
}

void ml_redis_conn_free(struct ml_redis_conn **conn)
{
    struct ml_redis_conn *c = *conn;

    *conn = NULL;
    if (c == NULL)
        return;
    c->state = CLOSED;
    hang_up(c);
    ml_timer_drop(&c->attempt);
    ml_timer_drop(&c->due);
    ml_loop_undefer(c->o->loop, &c->flush);
    ml_redis_dial_drop(&c->dial);
    ml_loop_bury(c->o->loop, conn_free, c);
}

/* ---- time limits of commands ---- */

/* When the whole connection runs out of time: its server was silent for the time limit of a
 * command, or answers, but not this one, for a few times that. */
static double broken_at_s(const struct ml_redis_conn *c)
{
    double first_s = ml_redis_queue_first(&c->queue)->due_s, timeout_s = c->conf->timeout_s;

    if (c->state != READY)
        return INFINITY;
    return fmin(fmax(first_s, c->heard_s + timeout_s), first_s + STUCK_TIMES * timeout_s);
}

static double next_due_s(const struct ml_redis_conn *c)
{
    const struct ml_redis_queue *q = &c->queue;

    for (uint64_t at = q->begin; at < q->end; at++)
        if (ml_redis_queue_at(q, at)->part != NULL)
            return fmin(ml_redis_queue_at(q, at)->due_s, broken_at_s(c));
    return q->begin < q->end ? broken_at_s(c) : INFINITY;
}

static void arm(struct ml_redis_conn *c)
{
    double due_s = next_due_s(c);

    if (due_s == INFINITY)
        ml_timer_stop(&c->due);
    else
        ml_timer_set(&c->due, fmax(due_s - now_s(c), EARLY_S));
}

/* Those whose time is over hear of it; what was sent for them stays in its place. */
static void expire(struct ml_redis_conn *c, double now)
{
    uint64_t end = c->queue.end;

    set_why(c, "no answer in time");
    for (uint64_t at = c->queue.begin; at < end && c->state != CLOSED; at++) {
        struct ml_redis_entry *entry = ml_redis_queue_at(&c->queue, at);
        struct ml_redis_part *part = entry->part;

        if (entry->due_s > now + EARLY_S)
            break;
        if (part == NULL)
            continue;
        entry->part = NULL;
        part->conn = NULL;
        part->done(part, ML_UP_TIMEOUT, NULL, c->why);
    }
}

static void on_due(void *ctx)
{
    struct ml_redis_conn *c = ctx;

    if (ml_redis_queue_count(&c->queue) == 0)
        return;
    if (broken_at_s(c) <= now_s(c) + EARLY_S) {
        lost(c, ML_UP_TIMEOUT, "no answer in time");
        return;
    }
    expire(c, now_s(c));
    if (c->state != CLOSED)
        arm(c);
}

/* ---- writing ---- */

/* Commands whose caller gave up before they were sent are not sent. */
static void drop_cancelled(struct ml_redis_conn *c)
{
    struct ml_buf kept = {0};

    for (unsigned n = ml_redis_queue_count(&c->queue); n > 0; n--) {
        struct ml_redis_entry entry = ml_redis_queue_pop(&c->queue);

        if (entry.part != NULL) {
            ml_buf_append(&kept, (struct ml_str){c->out.p + c->out.start, entry.len});
            ml_redis_queue_push(&c->queue, entry);
        }
        ml_buf_consume(&c->out, entry.len);
    }
    ml_buf_release(&c->out);
    c->out = kept;
}

/* The connection broke, or was never made: TLS knows why. */
static void lost_stream(struct ml_redis_conn *c)
{
    const char *tls = ml_stream_tls_failure(c->stream);
    char why[160];

    if (tls == NULL) {
        lost(c, ML_UP_CLOSED, "the connection was lost");
        return;
    }
    snprintf(why, sizeof why, "TLS: %s", tls);
    lost(c, ML_UP_CONNECT, why);
}

static void write_out(struct ml_redis_conn *c, struct ml_buf *out)
{
    if (ml_stream_write(c->stream, out) == ML_RESET)
        lost_stream(c);
    else if (ml_buf_len(out) == 0)
        ml_buf_release(out);
}

/* ---- signing in ---- */

static void begin_hello(struct ml_redis_conn *c)
{
    c->state = HELLO;
    c->reader = ml_redis_reader_new();
    c->hello_left = ml_redis_hello_write(c->conf, &c->hello);
    write_out(c, &c->hello);
}

static void become_ready(struct ml_redis_conn *c)
{
    if (c->down)
        ml_log_event(ML_LOG_INFO, "redis is available again",
                     ML_KV("host", (const char *)c->place.host), ML_KV("port", c->place.port));
    ml_redis_hello_wipe(&c->hello);
    ml_timer_stop(&c->attempt);
    c->state = READY;
    c->down = c->proved = false;
    drop_cancelled(c);
    ml_loop_defer(c->o->loop, &c->flush);
}

static void take_hello(struct ml_redis_conn *c, struct ml_redis_reply *reply)
{
    char why[96];

    if (!ml_redis_hello_take(c->conf, &c->hello_left, reply, why, sizeof why))
        lost(c, ML_UP_CONNECT, why);
    else if (c->hello_left == 0)
        become_ready(c);
    ml_redis_reply_free(&reply);
}

/* ---- reading ---- */

/* A skipped reply: it counts only when it is the first error of its command's. */
static void skip_reply(struct ml_redis_entry *entry, struct ml_redis_reply *reply)
{
    entry->skip--;
    if (reply->type == ML_REDIS_ERROR && entry->error == NULL)
        entry->error = reply;
    else
        ml_redis_reply_free(&reply);
}

static void take_reply(struct ml_redis_conn *c, struct ml_redis_reply *reply)
{
    struct ml_redis_entry *first = ml_redis_queue_first(&c->queue), entry;

    if (first == NULL) {
        ml_redis_reply_free(&reply);
        lost(c, ML_UP_PROTOCOL, "a reply came that nobody asked for");
        return;
    }
    if (first->skip > 0) {
        skip_reply(first, reply);
        return;
    }
    entry = ml_redis_queue_pop(&c->queue);
    c->proved = true;
    c->failures = 0;
    if (reply->type == ML_REDIS_ERROR && entry.error != NULL) { /* which is its cause */
        ml_redis_reply_free(&reply);
        reply = entry.error;
        entry.error = NULL;
    }
    ml_redis_reply_free(&entry.error);
    if (entry.part == NULL) {
        ml_redis_reply_free(&reply);
        return;
    }
    entry.part->conn = NULL;
    entry.part->done(entry.part, ML_OK, reply, NULL);
}

/* What is told may end the connection, or begin the next: then these bytes are no longer its. */
static void take_replies(struct ml_redis_conn *c)
{
    const struct ml_redis_reader *reader = c->reader;
    struct ml_redis_reply *reply;
    enum ml_err err = ML_OK;

    while (c->reader == reader) {
        err = ml_redis_reader_next(c->reader, &reply);
        if (err != ML_OK)
            break;
        if (c->state == HELLO)
            take_hello(c, reply);
        else
            take_reply(c, reply);
    }
    if (c->reader != reader)
        return;
    if (err == ML_AGAIN)
        arm(c);
    else
        lost(c, err, err == ML_LIMIT ? "a reply is too large" : "a reply is malformed");
}

static void on_readable(struct ml_redis_conn *c)
{
    enum ml_err err = ml_stream_read(c->stream, &c->in, READ_MAX, NULL);

    if (err == ML_AGAIN)
        return;
    if (err != ML_OK) {
        lost_stream(c);
        return;
    }
    c->heard_s = now_s(c);
    ml_redis_reader_feed(c->reader, ml_buf_str(&c->in));
    ml_buf_release(&c->in);
    take_replies(c);
}

/* ---- connecting ---- */

static void begin_attempt(struct ml_redis_conn *c)
{
    c->state = DIAL;
    ml_timer_set(&c->attempt, c->conf->connect_timeout_s);
    ml_redis_dial_start(&c->dial);
}

static void on_ready(void *ctx, int what);

static void on_dialled(void *ctx, enum ml_err err, struct ml_stream **stream)
{
    struct ml_redis_conn *c = ctx;

    if (err == ML_OK) {
        c->stream = *stream;
        ml_stream_listen_to(c->stream, on_ready, c);
        if (c->conf->secure)
            ml_client_tls_start(c->conf->tls, c->stream, ml_str_of(c->place.host));
        begin_hello(c);
    } else {
        lost(c, ML_UP_CONNECT,
             err == ML_UP_RESOLVE ? "the name can not be resolved"
                                  : "the server can not be reached");
    }
}

static void on_attempt(void *ctx)
{
    struct ml_redis_conn *c = ctx;

    if (c->state == PAUSE)
        begin_attempt(c);
    else if (c->state == DIAL || c->state == HELLO)
        lost(c, ML_UP_CONNECT, "the server did not accept the connection in time");
}

/* ---- events ---- */

static void on_flush(void *ctx)
{
    struct ml_redis_conn *c = ctx;

    if (c->state == IDLE && ml_redis_queue_count(&c->queue) > 0)
        begin_attempt(c);
    else if (c->state == READY)
        write_out(c, &c->out);
}

static void on_ready(void *ctx, int what)
{
    struct ml_redis_conn *c = ctx;
    const struct ml_stream *stream = c->stream;

    if (what & ML_STREAM_READ)
        on_readable(c);
    if (!(what & ML_STREAM_WRITE) || c->stream != stream)
        return;
    if (c->state == HELLO)
        write_out(c, &c->hello);
    else
        on_flush(c);
}

/* ---- the public side ---- */

struct ml_redis_conn *ml_redis_conn_new(struct ml_outbound *o, const struct ml_redis_conf *conf,
                                        const struct ml_redis_place *place)
{
    struct ml_redis_conn *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    c->o = o;
    c->conf = conf;
    c->place = *place;
    ml_redis_dial_init(&c->dial, o, &c->place, on_dialled, c);
    c->flush.fire = on_flush;
    c->flush.ctx = c;
    ml_timer_init(&c->attempt, o->loop, on_attempt, c);
    ml_timer_init(&c->due, o->loop, on_due, c);
    return c;
}

enum ml_err ml_redis_conn_send(struct ml_redis_conn *c, struct ml_redis_part *part,
                               struct ml_str bytes, unsigned skip)
{
    struct ml_redis_entry entry = {part, skip, bytes.len, now_s(c) + c->conf->timeout_s, NULL};

    if (c->down)
        return ML_UP_CONNECT;
    if (ml_redis_queue_count(&c->queue) >= ML_REDIS_QUEUE_MAX ||
        bytes.len > OUT_MAX - ml_buf_len(&c->out)) {
        set_why(c, "too many commands wait for an answer");
        return ML_OVERLOAD;
    }
    part->conn = part->from = c;
    ml_redis_queue_push(&c->queue, entry);
    ml_buf_append(&c->out, bytes);
    if (ml_redis_queue_count(&c->queue) == 1)
        arm(c);
    ml_loop_defer(c->o->loop, &c->flush); /* all of this turn in one write */
    return ML_OK;
}

void ml_redis_conn_cancel(struct ml_redis_part *part)
{
    struct ml_redis_conn *c = part->conn;

    if (c == NULL)
        return;
    part->conn = NULL;
    ml_redis_queue_at(&c->queue, part->at)->part = NULL;
}

enum ml_redis_state ml_redis_conn_state(const struct ml_redis_conn *c)
{
    if (c->down)
        return ML_REDIS_DOWN;
    if (c->state == READY)
        return ML_REDIS_READY;
    return c->state == IDLE ? ML_REDIS_IDLE : ML_REDIS_CONNECTING;
}

unsigned ml_redis_conn_waiting(const struct ml_redis_conn *c)
{
    return ml_redis_queue_count(&c->queue);
}

const char *ml_redis_conn_why(const struct ml_redis_conn *c)
{
    return c->why;
}

const struct ml_redis_place *ml_redis_conn_place(const struct ml_redis_conn *c)
{
    return &c->place;
}
