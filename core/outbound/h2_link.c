/* h2_link.c - the life of one connection to a server, and its bytes in and out.
 *
 *   new --> takes calls --GOAWAY, or idle for long--> leaving: no new ones --the last one ends-->
 *   closed.  Whatever breaks it ends all its calls, which then see to another try.
 *
 * A server that does not read is read from no more while the output is full, so nothing piles up.
 * A server that is silent is asked by a PING, when a call begins after some silence, or always
 * (ping_s): without a sign of life the connection is given up, long before the calls' own times. */
#include "outbound/h2_parts.h"

#include "base/log_event.h"

#include <assert.h>
#include <stdlib.h>

static const double SETTLE_S = 10, SILENCE_S = 10, ANSWER_S = 10, REPORT_S = 10;

enum { READ_MAX = 64 << 10, READS_PER_RUN = 4, NEXT_ID_MAX = 1 << 30 };

static struct ml_buf scratch; /* what was read last; a worker has one thread */

static void run(struct ml_h2_link *link);

/* ---- ends ---- */

static void release(void *p)
{
    struct ml_h2_link *link = p;

    nghttp2_session_del(link->session);
    free(link);
}

/* One line for many: a server that breaks each connection is no flood of log lines. */
static void report(struct ml_h2_link *link)
{
    static double next_s;
    static uint64_t times;

    times++;
    if (h2_link_now_s(link) < next_s)
        return;
    ml_log_event(ML_LOG_WARN, "an HTTP/2 connection to a server broke", ML_KV("server", link->name),
                 ML_KV("why", link->broken), ML_KV("times", times));
    times = 0;
    next_s = h2_link_now_s(link) + REPORT_S;
}

void ml_h2_link_close(struct ml_h2_link *link)
{
    assert(!link->dead);
    link->dead = link->running = true; /* nothing wakes it any more */
    ml_h2_set_remove(link);
    if (link->why == ML_OK)
        link->why = ML_UP_CLOSED;
    if (link->broken != NULL)
        report(link);
    ml_h2_call_lose(link);
    ml_loop_undefer(link->set->loop, &link->wake);
    ml_timer_drop(&link->timer);
    ml_buf_release(&link->out);
    ml_stream_close(&link->stream);
    ml_loop_bury(link->set->loop, release, link);
}

/* GOAWAY; nghttp2 takes nothing in any more. */
static void give_up(struct ml_h2_link *link, uint32_t code, enum ml_err why, const char *broken)
{
    if (link->why == ML_OK)
        link->why = why;
    if (link->broken == NULL)
        link->broken = broken;
    link->leaving = true;
    nghttp2_session_terminate_session(link->session, code);
}

/* ---- input ---- */

static void feed(struct ml_h2_link *link, struct ml_str bytes)
{
    enum ml_err err = ml_http2_scan(&link->scan, bytes, h2_link_now_s(link), &link->patience);
    ssize_t n;

    if (err != ML_OK) {
        give_up(link, NGHTTP2_ENHANCE_YOUR_CALM, ML_UP_PROTOCOL,
                ml_http2_toll_word(link->scan.toll));
        return;
    }
    n = nghttp2_session_mem_recv(link->session, (const uint8_t *)bytes.p, bytes.len);
    if (n < 0)
        give_up(link, NGHTTP2_PROTOCOL_ERROR, ML_UP_PROTOCOL, nghttp2_strerror((int)n));
}

static bool full(const struct ml_h2_link *link)
{
    return ml_buf_len(&link->out) >= H2_OUT_HIGH;
}

/* Reads once; true: another read may succeed. */
static bool take_in(struct ml_h2_link *link)
{
    bool rest = link->blocked && full(link);
    enum ml_err err;

    ml_stream_want_read(link->stream, !link->eof && !rest);
    if (link->eof || rest || !link->readable)
        return false;
    err = ml_stream_read(link->stream, &scratch, READ_MAX, &link->readable);
    if (err == ML_AGAIN)
        link->readable = false;
    if (err == ML_AGAIN)
        return false;
    if (err != ML_OK) {
        link->eof = true;
        return false;
    }
    link->heard_s = h2_link_now_s(link);
    link->asked_s = 0;
    feed(link, ml_buf_str(&scratch));
    ml_buf_consume(&scratch, ml_buf_len(&scratch));
    return link->readable;
}

/* ---- output ---- */

static void pump(struct ml_h2_link *link)
{
    const uint8_t *bytes;
    ssize_t n = 1;

    while (n > 0 && !full(link)) {
        n = nghttp2_session_mem_send(link->session, &bytes);
        if (n > 0)
            ml_buf_append(&link->out, (struct ml_str){(const char *)bytes, (size_t)n});
        else if (n < 0)
            give_up(link, NGHTTP2_INTERNAL_ERROR, ML_UP_PROTOCOL, nghttp2_strerror((int)n));
    }
}

/* Lets nghttp2 and the callers do all they can.  The last caller may take the server along, and
 * with it this connection. */
static void make(struct ml_h2_link *link)
{
    bool worked;

    do {
        pump(link);
        worked = link->woken != NULL;
        ml_h2_call_work(link);
    } while (worked && !link->dead);
    if (!link->dead)
        pump(link);
}

static bool give_out(struct ml_h2_link *link)
{
    size_t before = ml_buf_len(&link->out);
    enum ml_err err;

    if (link->blocked || before == 0)
        return true;
    err = ml_stream_write(link->stream, &link->out);
    link->wrote_s = h2_link_now_s(link);
    link->blocked = err == ML_AGAIN;
    if (ml_buf_len(&link->out) == 0)
        ml_buf_release(&link->out);
    return err != ML_RESET;
}

/* ---- the turn ---- */

static bool over(const struct ml_h2_link *link)
{
    if (link->eof || link->why != ML_OK)
        return true;
    if (link->leaving && link->open == 0 && link->calls == NULL)
        return true;
    return !nghttp2_session_want_read(link->session) && !nghttp2_session_want_write(link->session);
}

/* nghttp2 has given the connection up, and calls are left. */
static void judge(struct ml_h2_link *link)
{
    if (link->why != ML_OK || (link->eof && link->settled))
        return;
    if (link->calls == NULL && link->settled)
        return;
    link->why = link->eof ? ML_UP_CLOSED : ML_UP_PROTOCOL;
    link->broken = link->settled ? "an error of the protocol" : "it does not speak HTTP/2";
}

static void sooner(double *due_s, double at_s)
{
    if (*due_s == 0 || at_s < *due_s)
        *due_s = at_s;
}

static void set_timer(struct ml_h2_link *link)
{
    double due_s = 0, left_s;

    if (!link->settled)
        sooner(&due_s, link->begun_s + SETTLE_S);
    if (link->blocked)
        sooner(&due_s, link->wrote_s + link->set->send_s);
    if (link->asked_s > 0)
        sooner(&due_s, link->asked_s + ANSWER_S);
    else if (link->open > 0 && link->set->ping_s > 0)
        sooner(&due_s, link->heard_s + link->set->ping_s);
    if (link->open == 0)
        sooner(&due_s, link->idle_s + link->set->idle_s);
    if (due_s == 0) {
        ml_timer_stop(&link->timer);
        return;
    }
    left_s = due_s - h2_link_now_s(link);
    ml_timer_set(&link->timer, left_s > 0 ? left_s : 0);
}

/* What a server that breaks the rules has to be told, as far as the kernel takes it at once. */
static void farewell(struct ml_h2_link *link)
{
    size_t before;

    if (!link->eof && !link->blocked) {
        nghttp2_session_terminate_session(link->session, NGHTTP2_NO_ERROR);
        pump(link);
        do { /* now or never; ML_HARD writes halves */
            before = ml_buf_len(&link->out);
            link->blocked = false;
        } while (give_out(link) && link->blocked && ml_buf_len(&link->out) < before);
    }
    ml_h2_link_close(link);
}

static void run(struct ml_h2_link *link)
{
    int reads = READS_PER_RUN;
    bool more = true;

    if (link->running)
        return;
    link->running = true;
    while (more) {
        more = take_in(link) && --reads > 0;
        make(link);
        if (link->dead)
            return;
        if (!give_out(link))
            link->eof = true;
        if (over(link)) {
            judge(link);
            farewell(link);
            return;
        }
        more |= !link->blocked && nghttp2_session_want_write(link->session) && full(link);
    }
    link->running = false;
    set_timer(link);
    if (link->readable) /* others first */
        ml_loop_defer_later(link->set->loop, &link->wake);
    else if (!link->blocked && (ml_buf_len(&link->out) > 0 || link->woken != NULL))
        ml_loop_defer(link->set->loop, &link->wake);
}

void ml_h2_link_wake(struct ml_h2_link *link)
{
    if (!link->running)
        ml_loop_defer(link->set->loop, &link->wake);
}

/* ---- events ---- */

static void on_ready(void *ctx, int what)
{
    struct ml_h2_link *link = ctx;

    link->readable |= (what & ML_STREAM_READ) != 0;
    if (what & ML_STREAM_WRITE)
        link->blocked = false;
    run(link);
}

static void on_wake(void *ctx)
{
    run(ctx);
}

static void ask(struct ml_h2_link *link)
{
    if (link->asked_s > 0)
        return;
    nghttp2_submit_ping(link->session, NGHTTP2_FLAG_NONE, NULL);
    link->asked_s = h2_link_now_s(link);
}

static void on_timer(void *ctx)
{
    struct ml_h2_link *link = ctx;
    double now_s = h2_link_now_s(link) + 0.002;
    bool silent = link->asked_s > 0 && now_s >= link->asked_s + ANSWER_S;

    if (!link->settled && now_s >= link->begun_s + SETTLE_S)
        give_up(link, NGHTTP2_SETTINGS_TIMEOUT, ML_UP_TIMEOUT, "no SETTINGS came");
    else if (silent)
        give_up(link, NGHTTP2_NO_ERROR, ML_UP_CLOSED, "no answer to a PING came");
    else if (link->blocked && now_s >= link->wrote_s + link->set->send_s)
        give_up(link, NGHTTP2_NO_ERROR, ML_UP_TIMEOUT, "the server reads nothing");
    else if (link->open == 0 && now_s >= link->idle_s + link->set->idle_s)
        link->leaving = true;
    else if (link->open > 0 && link->set->ping_s > 0 && now_s >= link->heard_s + link->set->ping_s)
        ask(link);
    run(link);
}

/* ---- the begin ---- */

struct ml_h2_link *ml_h2_link_new(struct ml_h2_set *set, struct ml_stream **stream, uint64_t peer,
                                  struct ml_str name, bool alone)
{
    struct ml_h2_link *link = calloc(1, sizeof *link);

    if (link == NULL)
        abort();
    link->set = set;
    link->stream = *stream;
    *stream = NULL;
    link->peer = peer;
    link->name = name;
    link->alone = alone;
    link->woken_end = &link->woken;
    link->begun_s = link->heard_s = link->wrote_s = link->idle_s = ml_loop_now_s(set->loop);
    link->scan.preface = ML_HTTP2_PREFACE_LEN;
    link->scan.of_server = true;
    ml_http2_patience_init(&link->patience, link->begun_s);
    link->wake.fire = on_wake;
    link->wake.ctx = link;
    ml_timer_init(&link->timer, set->loop, on_timer, link);
    link->session = ml_h2_events_session(link);
    ml_stream_listen_to(link->stream, on_ready, link);
    link->readable = true; /* what came with the handshake brings no event of its own */
    ml_h2_set_add(set, link);
    ml_h2_link_wake(link);
    return link;
}

bool ml_h2_link_room(const struct ml_h2_link *link)
{
    uint32_t max =
        nghttp2_session_get_remote_settings(link->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

    if (link->leaving || link->dead || link->alone || link->refusing || link->eof)
        return false;
    return link->open < max && link->open < ML_H2_CALLS_MAX &&
           nghttp2_session_check_request_allowed(link->session) &&
           nghttp2_session_get_next_stream_id(link->session) < NEXT_ID_MAX;
}

/* ---- a call ---- */

enum { FIELDS_MORE = 6 };

static unsigned count_lines(struct ml_str text)
{
    unsigned lines = 0;

    for (size_t i = 0; i < text.len; i++)
        lines += text.p[i] == '\n';
    return lines;
}

bool ml_h2_link_begin(struct ml_h2_link *link, struct ml_h2_call *call, struct ml_buf *head,
                      bool tls, bool te)
{
    nghttp2_data_provider body = {.read_callback = ml_h2_call_read};
    unsigned max = count_lines(ml_buf_str(head)) + FIELDS_MORE;
    nghttp2_nv *nv = ml_arena_alloc(call->arena, max * sizeof *nv);
    size_t count = ml_h2_fields_request(ml_buf_str(head), tls, te, nv);
    double now_s = h2_link_now_s(link);

    assert(count <= max && !link->dead);
    call->id = nghttp2_submit_request(link->session, NULL, nv, count,
                                      call->up != NULL ? &body : NULL, call);
    if (call->id < 0) {
        link->leaving = true;
        return false;
    }
    ml_buf_consume(head, ml_buf_len(head));
    call->link = link;
    call->reused = link->answered > 0;
    call->sent_s = call->heard_s = now_s;
    call->next = link->calls;
    call->prev = &link->calls;
    if (call->next != NULL)
        call->next->prev = &call->next;
    link->calls = call;
    link->open++;
    if (now_s - link->heard_s > SILENCE_S)
        ask(link);
    ml_h2_link_wake(link);
    return true;
}
