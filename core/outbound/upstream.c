/* upstream.c - the life of one request to a server.
 *
 *   PICK --idle connection--> RUN --response complete--> ENDED
 *    |  \--> RESOLVE -> CONNECT --^ \--101--> RUN as a tunnel
 *    ^_____ another server or a fresh connection, while that is safe _____|
 *
 * In RUN both directions go on at the same time: the request is written from the client's pipe, the
 * answer is read into the response's pipe.  Events and pipes only note what happened and call run(),
 * which no callback can enter twice; whatever a callback does, this struct stays until run() ends.
 * An answer that came whole with its head is complete before anybody is told of it, and its
 * connection is idle again by then. */
#include "outbound/group.h"
#include "outbound/upstream_body.h"
#include "outbound/upstream_head.h"

#include <assert.h>
#include <stdlib.h>

enum { INTERIM_MAX = 8, SMALL_BODY = 4096, READS_PER_RUN = 4, ADDRS_MAX = 8, SPARE_MAX = 64 };

enum state { PICK, RESOLVE, CONNECT, RUN, FAILED, ENDED };
enum next { WAIT, MORE };

struct ml_upstream {
    struct ml_outbound *o;  /* borrowed */
    struct ml_upstream *next; /* in the list of spare ones */
    struct ml_timer timer;
    struct ml_name_waiter waiter;
    struct ml_deferred later; /* tells of a failure inside ml_upstream_forward */
    /* What follows begins anew with each request. */
    struct ml_group *group; /* held */
    struct ml_exchange *ex; /* borrowed until ENDED */
    struct ml_forward f;
    struct ml_server *server; /* borrowed from the group; its in-flight count is ours */
    struct ml_link *link;     /* owned */
    bool *tried;              /* servers that failed; NULL: none yet */
    struct ml_pick pick;
    struct ml_buf out; /* owned */
    struct ml_body_out send;
    struct ml_body_in recv;
    struct ml_http1_scan scan;
    double begin_s, total_due_s, head_due_s; /* 0: not set */
    double keep_s;                           /* how long the server keeps an idle connection */
    size_t head_len;                         /* bytes of the request's head in out */
    enum state state;
    enum ml_err why; /* of FAILED */
    unsigned addrs_tried, interims, retries;
    bool running, again;   /* inside run(), and asked for meanwhile */
    bool forwarding;       /* inside ml_upstream_forward: nobody may be called back yet */
    bool readable, blocked; /* a read may succeed; a write would not */
    bool sent, lost;       /* the request is with the kernel; the server stopped reading it */
    bool got_bytes;        /* of the answer to this try */
    bool answered, told;   /* res is filled; f.head was called */
    bool keep_alive, tunnel, paused;
    bool upgrade;          /* was asked for */
    bool fresh;            /* take no idle connection: one was dead already */
};

static void run(struct ml_upstream *u);

/* ---- small pieces ---- */

static double now_s(const struct ml_upstream *u)
{
    return ml_loop_now_s(u->o->loop);
}

/* RFC 9110 section 9.2.2 */
static bool idempotent(struct ml_str method)
{
    static const struct ml_str list[] = {{"GET", 3},    {"HEAD", 4},    {"PUT", 3},
                                         {"DELETE", 6}, {"OPTIONS", 7}, {"TRACE", 5}};

    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (ml_str_eq(method, list[i]))
            return true;
    return false;
}

/* The timer goes off after after_s, or when the time of the whole request is over. */
static void arm(struct ml_upstream *u, double after_s)
{
    if (u->total_due_s > 0) {
        double left_s = u->total_due_s - now_s(u);

        if (after_s <= 0 || left_s < after_s)
            after_s = left_s > 0 ? left_s : 0.001;
    }
    if (after_s > 0)
        ml_timer_set(&u->timer, after_s);
    else
        ml_timer_stop(&u->timer);
}

/* What RUN waits for, and how long. */
static void arm_run(struct ml_upstream *u)
{
    const struct ml_group_conf *c = &u->group->conf;

    if (u->tunnel) /* silence is no fault, but a half-closed tunnel must end */
        arm(u, u->sent ? c->read_timeout : 0);
    else if (u->blocked)
        arm(u, c->send_timeout);
    else if (u->answered)
        arm(u, u->paused ? 0 : c->read_timeout);
    else if (u->sent || u->lost)
        arm(u, u->head_due_s > now_s(u) ? u->head_due_s - now_s(u) : 0.001);
    else
        arm(u, 0); /* the client's body is awaited; its own limits apply */
}

static void detach(struct ml_upstream *u)
{
    struct ml_pipe *up = u->send.pipe, *down = u->recv.pipe;

    if (up != NULL && up->data_ctx == u) {
        up->on_data = NULL;
        up->data_ctx = NULL;
    }
    if (down != NULL && down->room_ctx == u) {
        down->on_room = NULL;
        down->room_ctx = NULL;
    }
}

/* The connection ends here.  A request of which a part is missing must not look complete. */
static void drop_link(struct ml_upstream *u)
{
    if (u->link == NULL)
        return;
    if (u->state == RUN && !u->sent && !u->tunnel)
        ml_stream_poison(u->link->stream);
    ml_pool_close(&u->link);
}

static void leave_server(struct ml_upstream *u)
{
    drop_link(u);
    ml_name_unwait(&u->waiter);
    if (u->server != NULL)
        ml_server_end(u->server);
    u->server = NULL;
}

/* The exchange has no upstream any more; run() recycles u. */
static void end(struct ml_upstream *u)
{
    leave_server(u);
    detach(u);
    ml_timer_stop(&u->timer);
    ml_loop_undefer(u->o->loop, &u->later);
    ml_buf_release(&u->out);
    u->ex->upstream = NULL;
    u->state = ENDED;
}

static void upstream_free(void *p)
{
    free(p);
}

/* Kept for the next request: its timer may stay armed, so most requests touch no timer heap. */
static void recycle(struct ml_upstream *u)
{
    struct ml_outbound *o = u->o;

    ml_group_release(&u->group);
    if (o->spare_count < SPARE_MAX) {
        o->spare_count++;
        u->next = o->spare;
        o->spare = u;
        return;
    }
    ml_timer_drop(&u->timer);
    ml_loop_bury(o->loop, upstream_free, u);
}

/* ---- failure, and what may be tried after it ---- */

static enum next give_up(struct ml_upstream *u, enum ml_err why)
{
    struct ml_exchange *ex = u->ex;
    struct ml_forward f = u->f;
    bool told = u->told;

    ex->notes.why = why;
    if (u->forwarding) { /* the caller does not expect to be called back yet */
        leave_server(u);
        detach(u);
        ml_timer_stop(&u->timer);
        u->why = why;
        u->state = FAILED;
        ml_loop_defer(u->o->loop, &u->later);
        return WAIT;
    }
    end(u);
    if (told) {
        ml_pipe_abort(u->recv.pipe, why);
        return WAIT;
    }
    if (u->answered)
        ml_exchange_reset_response(ex);
    f.head(f.ctx, why);
    return WAIT;
}

static void fail_later(void *ctx)
{
    struct ml_upstream *u = ctx;

    u->forwarding = false;
    run(u);
}

static void mark_tried(struct ml_upstream *u)
{
    if (u->tried == NULL)
        u->tried = ml_arena_zalloc(u->ex->arena, u->group->conf.server_count * sizeof *u->tried);
    u->tried[u->pick.index] = true;
}

/* A kept connection may have been closed by the server just when we wrote to it.  Once, and only
 * if the server cannot have acted on the request or may act on it twice (RFC 9110 section 9.2.2). */
static bool may_refresh(const struct ml_upstream *u)
{
    bool untouched = ml_buf_len(&u->out) == u->head_len && !u->send.taken;

    return u->state == RUN && u->link->served > 0 && !u->fresh && !u->got_bytes &&
           !u->send.taken && (untouched || idempotent(u->ex->req.method));
}

static bool may_try_other(struct ml_upstream *u, enum ml_err why)
{
    if (u->state == RESOLVE || u->state == CONNECT)
        return true; /* nothing was sent */
    if (why == ML_UP_PROTOCOL || why == ML_UP_TOO_LARGE)
        return false;
    return idempotent(u->ex->req.method) && u->ex->req.body == NULL &&
           u->retries++ < u->group->conf.retries;
}

static void begin_try(struct ml_upstream *u, enum state state)
{
    u->state = state;
    u->sent = u->lost = u->blocked = u->readable = u->got_bytes = false;
    u->addrs_tried = 0;
    u->scan = (struct ml_http1_scan){0};
    ml_buf_release(&u->out);
}

/* The server failed us. */
static enum next failed(struct ml_upstream *u, enum ml_err why)
{
    bool refresh, other;

    if (u->told)
        return give_up(u, why);
    refresh = may_refresh(u) && why != ML_UP_TIMEOUT;
    if (refresh) {
        drop_link(u);
        u->fresh = true;
        begin_try(u, RESOLVE);
        return MORE;
    }
    ml_health_failed(u->server->state, &u->group->health, (uint64_t)(now_s(u) * 1000), why);
    mark_tried(u);
    other = may_try_other(u, why) && (u->total_due_s == 0 || now_s(u) < u->total_due_s);
    u->why = why;
    if (!other || u->answered)
        return give_up(u, why);
    leave_server(u);
    begin_try(u, PICK);
    return MORE;
}

/* ---- PICK, RESOLVE, CONNECT ---- */

static void on_ready(void *ctx, int what)
{
    struct ml_upstream *u = ctx;

    if (what & ML_STREAM_READ)
        u->readable = true;
    if (what & ML_STREAM_WRITE)
        u->blocked = false;
    run(u);
}

static enum next step_pick(struct ml_upstream *u)
{
    struct ml_exchange *ex = u->ex;
    struct ml_str key = u->f.hash_key.len > 0 ? u->f.hash_key : ex->req.ip;

    u->pick = ml_group_pick(u->group, key, u->tried);
    if (u->pick.index == u->group->conf.server_count)
        return give_up(u, u->why != ML_OK ? u->why : ML_UP_NO_SERVER);
    u->server = u->group->servers[u->pick.index];
    ml_server_begin(u->server);
    ex->notes.server = ml_arena_dup(ex->arena, u->server->text);
    ex->notes.tries++;
    u->link = u->fresh ? NULL : ml_pool_take(&u->server->pool);
    if (u->link == NULL) {
        u->state = RESOLVE;
        return MORE;
    }
    ml_stream_listen_to(u->link->stream, on_ready, u);
    u->state = CONNECT; /* which it has behind it */
    return MORE;
}

static void name_known(void *ctx)
{
    run(ctx);
}

static double connect_s(const struct ml_upstream *u)
{
    return u->f.connect_timeout > 0 ? u->f.connect_timeout : u->group->conf.connect_timeout;
}

static enum next step_resolve(struct ml_upstream *u)
{
    const struct ml_addr *addrs;
    struct ml_stream *stream;
    enum ml_err err;
    unsigned count = ml_name_addresses(u->server->name, &addrs, &err);

    if (count == 0 && err == ML_AGAIN) {
        ml_name_unwait(&u->waiter);
        ml_name_wait(u->server->name, &u->waiter);
        arm(u, connect_s(u));
        return WAIT;
    }
    if (count == 0)
        return failed(u, ML_UP_RESOLVE);
    for (; u->addrs_tried < count && u->addrs_tried < ADDRS_MAX; u->addrs_tried++) {
        if (ml_stream_connect(u->o->loop, &addrs[u->server->next_addr++ % count], &stream) != ML_OK)
            continue;
        u->addrs_tried++;
        u->link = ml_pool_adopt(&u->server->pool, &stream);
        ml_stream_listen_to(u->link->stream, on_ready, u);
        arm(u, connect_s(u));
        u->blocked = true;
        u->state = CONNECT;
        return WAIT;
    }
    return failed(u, ML_UP_CONNECT);
}

static void on_body(void *ctx)
{
    run(ctx);
}

/* The connection is there: makes the head, asks for the body. */
static void begin_request(struct ml_upstream *u)
{
    const struct ml_group_conf *c = &u->group->conf;
    struct ml_request *req = &u->ex->req;
    const struct ml_server_url *url = &u->server->url;
    struct ml_head_conf head = {.prefix = url->prefix,
                                .host = url->authority,
                                .via = !c->via_off,
                                .close = c->keepalive == 0 || u->f.once,
                                .client = c->client,
                                .upgrade = u->upgrade};

    if (u->f.host.len > 0)
        head.host = u->f.host;
    else if (c->preserve_host && req->authority.len > 0)
        head.host = req->authority;
    ml_upstream_head_write(&u->out, u->ex, &head);
    u->head_len = ml_buf_len(&u->out);
    ml_body_out_init(&u->send, req->body, req->has_length, req->length);
    u->state = RUN;
    if (req->body != NULL) {
        req->body->on_data = on_body;
        req->body->data_ctx = u;
        ml_exchange_ask_body(u->ex);
    }
}

static enum next step_connect(struct ml_upstream *u)
{
    enum ml_err err = u->link->served > 0 ? ML_OK : ml_stream_connected(u->link->stream);

    if (err == ML_AGAIN) {
        ml_stream_want_write(u->link->stream);
        return WAIT;
    }
    if (err != ML_OK) { /* the next address, if there is one: step_resolve knows */
        drop_link(u);
        u->state = RESOLVE;
        return MORE;
    }
    u->blocked = u->readable = false;
    begin_request(u);
    return MORE;
}

/* ---- RUN: the request ---- */

/* The client's body broke off: the server did nothing wrong, and sees the request as incomplete. */
static enum next client_broke(struct ml_upstream *u, enum ml_err why)
{
    return give_up(u, why);
}

static enum next sent(struct ml_upstream *u)
{
    double first_s = u->f.timeout > 0 ? u->f.timeout : u->group->conf.first_byte_timeout;

    u->sent = true;
    u->head_due_s = now_s(u) + first_s;
    ml_buf_release(&u->out);
    return WAIT;
}

static enum next step_send(struct ml_upstream *u)
{
    enum ml_err err = ml_body_out_send(&u->send, u->link->stream, &u->out, &u->blocked);

    bool broken = u->send.pipe != NULL && u->send.pipe->state == ML_PIPE_ABORTED;

    if (u->state != RUN)
        return MORE; /* cancelled by the client's side */
    if (err == ML_AGAIN)
        return WAIT;
    if (err == ML_OK)
        return sent(u);
    if (err == ML_BAD_FRAMING && u->tunnel && !broken) { /* the client has said all */
        ml_stream_shutdown(u->link->stream);
        return sent(u);
    }
    if (err != ML_RESET || broken)
        return client_broke(u, broken ? u->send.pipe->why : err);
    if (may_refresh(u))
        return failed(u, ML_UP_CLOSED);
    u->lost = u->readable = true; /* it may have answered before it closed */
    u->head_due_s = now_s(u) + 1;
    return WAIT;
}

/* ---- RUN: the answer ---- */

/* All was read: the connection becomes idle if nothing speaks against it. */
static void release_link(struct ml_upstream *u)
{
    struct ml_link *link = u->link;
    bool keep = u->keep_alive && !u->f.once && u->sent && ml_buf_len(&link->in) == 0 && !u->tunnel;

    if (keep && u->readable) /* the last read was filled: is there more that nobody asked for? */
        keep = ml_stream_read(link->stream, &link->in, 1, NULL) == ML_AGAIN;
    if (keep)
        ml_pool_give(&u->link, u->keep_s);
}

/* The answer is complete. */
static enum next finish(struct ml_upstream *u)
{
    struct ml_pipe *up = u->send.pipe, *down = u->recv.pipe;
    struct ml_forward f = u->f;
    bool told = u->told, unsent = !u->sent;

    release_link(u);
    ml_body_in_tell(&u->recv);
    end(u);
    if (down != NULL)
        ml_pipe_eof(down);
    if (!told)
        f.head(f.ctx, ML_OK);
    if (unsent && up != NULL && up->on_data == NULL)
        ml_pipe_abort(up, ML_CANCELLED); /* nobody wants the rest of the client's body */
    return WAIT;
}

static void on_room(void *ctx)
{
    run(ctx);
}

static struct ml_pipe *new_pipe(struct ml_upstream *u)
{
    struct ml_pipe *p = ml_arena_zalloc(u->ex->arena, sizeof *p);

    p->on_room = on_room;
    p->room_ctx = u;
    return p;
}

/* 101: from now on both pipes carry raw bytes. */
static void begin_tunnel(struct ml_upstream *u)
{
    struct ml_pipe *up = ml_arena_zalloc(u->ex->arena, sizeof *up);

    u->tunnel = true;
    u->ex->res.tunnel = u;
    u->ex->res.no_body = false;
    u->ex->res.has_length = false;
    u->ex->req.body = up;
    up->on_data = on_body;
    up->data_ctx = u;
    ml_body_out_init(&u->send, up, true, UINT64_MAX);
    u->sent = false;
    u->total_due_s = 0;
}

/* res is to have the answer.  bytes: head and what came with it, head_len of them the head. */
static enum next begin_answer(struct ml_upstream *u, struct ml_http1_response *r,
                              struct ml_str bytes, size_t head_len)
{
    struct ml_exchange *ex = u->ex;
    struct ml_buf *in = &u->link->in;
    bool whole = r->framing == ML_BODY_LENGTH && r->length <= bytes.len - head_len;

    u->answered = true;
    u->keep_alive = r->keep_alive && r->framing != ML_BODY_CLOSE;
    u->keep_s = ml_upstream_head_keep_s(r);
    ex->notes.upstream_s = now_s(u) - u->begin_s;
    if (u->pick.was_down)
        ml_health_recovered(u->server->state);
    u->recv = (struct ml_body_in){.framing = r->framing, .left = r->length};
    ml_upstream_head_take(ex, r);
    ml_buf_consume(in, head_len);
    if (r->status == 101)
        begin_tunnel(u);
    if (whole) {
        ex->res.bytes = (struct ml_str){bytes.p + head_len, (size_t)r->length};
        ml_buf_consume(in, (size_t)r->length);
        return finish(u);
    }
    if (u->tunnel)
        u->recv.framing = ML_BODY_CLOSE;
    if (u->recv.framing == ML_BODY_NONE)
        return finish(u);
    ex->res.body = u->recv.pipe = new_pipe(u);
    return MORE;
}

/* The first part of the body, which came with the head, then the news of the head. */
static enum next tell_head(struct ml_upstream *u)
{
    struct ml_forward f = u->f;
    enum ml_err err = ml_body_in_take(&u->recv, &u->link->in);

    if (err == ML_OK)
        return finish(u);
    if (err != ML_AGAIN)
        return failed(u, err);
    ml_body_in_tell(&u->recv);
    u->told = true;
    f.head(f.ctx, ML_OK);
    return MORE;
}

/* What an unusable head means to the client. */
static enum ml_err head_error(enum ml_err err)
{
    return err == ML_HEADERS_TOO_LARGE || err == ML_URI_TOO_LONG || err == ML_UP_TOO_LARGE
               ? ML_UP_TOO_LARGE
               : ML_UP_PROTOCOL;
}

/* One whole head is at the front of the buffer. */
static enum next take_head(struct ml_upstream *u, size_t head_len)
{
    struct ml_buf *in = &u->link->in;
    struct ml_http1_response r;
    size_t len = ml_buf_len(in);
    struct ml_str copy; /* a small body comes along: then this is its only copy */
    enum ml_err err;

    if (len > head_len + SMALL_BODY)
        len = head_len + SMALL_BODY;
    copy = ml_arena_dup(u->ex->arena, (struct ml_str){in->p + in->start, len});
    err = ml_http1_parse_response(copy.p, head_len, u->ex->req.method, u->ex->arena,
                                  &u->group->conf.limits, &r);
    if (err != ML_OK)
        return failed(u, head_error(err));
    if (r.status == 101 && (!u->upgrade || !ml_upstream_head_switched(&r)))
        return failed(u, ML_UP_PROTOCOL);
    if (r.status >= 200 || r.status == 101)
        return begin_answer(u, &r, copy, head_len);
    if (++u->interims > INTERIM_MAX)
        return failed(u, ML_UP_PROTOCOL);
    ml_buf_consume(in, head_len); /* interim: not passed on */
    u->scan = (struct ml_http1_scan){0};
    return MORE;
}

static enum next step_head(struct ml_upstream *u)
{
    struct ml_buf *in = &u->link->in;
    bool more = false;
    enum ml_err err = ml_stream_read(u->link->stream, in, ML_BUF_BLOCK, &more);
    size_t head_len;

    u->readable = more;
    if (err == ML_AGAIN)
        return WAIT;
    if (err != ML_OK)
        return failed(u, ML_UP_CLOSED);
    u->got_bytes = true;
    while (u->state == RUN && !u->answered && ml_buf_len(in) > 0) {
        err = ml_http1_scan(&u->scan, &u->group->conf.limits, in->p + in->start, ml_buf_len(in),
                            &head_len);
        if (err == ML_AGAIN)
            return WAIT;
        if (err != ML_OK)
            return failed(u, head_error(err));
        if (take_head(u, head_len) == WAIT)
            return WAIT;
        if (u->state != RUN)
            return MORE;
    }
    return u->answered ? tell_head(u) : WAIT;
}

static enum next step_body(struct ml_upstream *u)
{
    bool more = false;
    enum ml_err err = ml_body_in_read(&u->recv, u->link->stream, &u->link->in, &more);

    u->readable = more;
    if (err == ML_OK)
        return finish(u);
    if (err != ML_AGAIN && u->tunnel)
        return finish(u); /* whoever ends a tunnel ends it for both */
    ml_body_in_tell(&u->recv);
    if (err != ML_AGAIN && u->state == RUN)
        return failed(u, err);
    return MORE;
}

/* Reads no more than the consumer takes. */
static bool has_room(struct ml_upstream *u)
{
    bool full = u->answered && ml_pipe_full(u->recv.pipe);

    if (full != u->paused) {
        u->paused = full;
        ml_stream_want_read(u->link->stream, !full);
    }
    return !full;
}

static void step_run(struct ml_upstream *u)
{
    int reads = READS_PER_RUN;

    if (!u->sent && !u->lost && (!u->blocked || u->send.pipe != NULL))
        if (u->blocked ? u->send.pipe->state == ML_PIPE_ABORTED : true)
            if (step_send(u) == MORE)
                return;
    while (u->state == RUN && has_room(u) && u->readable) {
        if (reads-- == 0) {
            u->readable = false; /* others first; the socket stays readable, so an event comes */
            break;
        }
        if (u->answered && u->recv.pipe->state == ML_PIPE_ABORTED)
            break;
        if (u->answered)
            step_body(u);
        else
            step_head(u);
    }
    if (u->state == RUN && u->told && u->recv.pipe->state == ML_PIPE_ABORTED)
        end(u); /* the client went away */
    if (u->state == RUN)
        arm_run(u);
}

/* ---- the engine ---- */

static void step(struct ml_upstream *u)
{
    enum next next = MORE;

    while (next == MORE) {
        switch (u->state) {
        case PICK:
            next = step_pick(u);
            break;
        case RESOLVE:
            next = step_resolve(u);
            break;
        case CONNECT:
            next = u->blocked ? WAIT : step_connect(u);
            break;
        case RUN:
            step_run(u);
            next = u->state == RUN ? WAIT : MORE;
            break;
        case FAILED:
            next = u->forwarding ? WAIT : give_up(u, u->why);
            break;
        case ENDED:
            next = WAIT;
            break;
        }
    }
}

static void run(struct ml_upstream *u)
{
    if (u->running) {
        u->again = true;
        return;
    }
    u->running = true;
    do {
        u->again = false;
        step(u);
    } while (u->again && u->state != ENDED);
    u->running = false;
    if (u->state == ENDED)
        recycle(u);
}

static void timed_out(struct ml_upstream *u)
{
    switch (u->state) {
    case RESOLVE:
        failed(u, ML_UP_RESOLVE);
        break;
    case CONNECT:
        drop_link(u);
        failed(u, ML_UP_CONNECT_TIMEOUT);
        break;
    case RUN:
        if (u->tunnel)
            finish(u);
        else
            failed(u, ML_UP_TIMEOUT);
        break;
    default:
        break;
    }
}

static void on_timer(void *ctx)
{
    struct ml_upstream *u = ctx;

    assert(!u->running);
    u->running = true;
    timed_out(u);
    u->running = false;
    run(u);
}

/* ---- the public side ---- */

static struct ml_upstream *upstream_new(struct ml_outbound *o)
{
    struct ml_upstream *u = o->spare;

    if (u != NULL) {
        o->spare = u->next;
        o->spare_count--;
        memset(&u->group, 0, sizeof *u - offsetof(struct ml_upstream, group));
        return u;
    }
    u = calloc(1, sizeof *u);
    if (u == NULL)
        abort();
    u->o = o;
    ml_timer_init(&u->timer, o->loop, on_timer, u);
    u->waiter.done = name_known;
    u->waiter.ctx = u;
    u->later.fire = fail_later;
    u->later.ctx = u;
    return u;
}

void ml_upstream_forward(struct ml_group *g, struct ml_exchange *ex, const struct ml_forward *f)
{
    struct ml_upstream *u = upstream_new(g->o);

    assert(ex->upstream == NULL);
    ml_group_hold(g);
    u->group = g;
    u->ex = ex;
    u->f = *f;
    u->fresh = f->once;
    u->begin_s = now_s(u);
    if (g->conf.total_timeout > 0)
        u->total_due_s = u->begin_s + g->conf.total_timeout;
    u->upgrade = f->allow_upgrade && ml_upstream_head_upgrade(&ex->req);
    ex->upstream = u;
    ex->notes.upstream = ml_arena_dup(ex->arena, g->conf.name);
    ex->notes.why = ML_OK;
    u->forwarding = true;
    run(u);
    if (u->state != FAILED)
        u->forwarding = false;
}

void ml_upstream_cancel(struct ml_exchange *ex)
{
    struct ml_upstream *u = ex->upstream;

    if (u == NULL)
        return;
    end(u);
    run(u); /* recycles it, at once or when the outer run() ends */
}

void ml_outbound_free(struct ml_outbound **outbound)
{
    struct ml_outbound *o = *outbound;

    *outbound = NULL;
    if (o == NULL)
        return;
    assert(o->servers == NULL);
    while (o->spare != NULL) {
        struct ml_upstream *u = o->spare;

        o->spare = u->next;
        ml_timer_drop(&u->timer);
        free(u);
    }
    free(o);
}
