/* upstream.c - the life of one request to a server.
 *
 *   PICK --idle connection--> RUN --response complete--> ENDED
 *    |  \--> RESOLVE -> CONNECT --^ \--101--> RUN as a tunnel
 *    |  \--> JOIN -> CALL in the place of RUN, with servers of HTTP/2: upstream_call.c
 *    ^_____ another server or a fresh connection, while that is safe _____|
 *
 * In RUN both directions go on at the same time: the request is written from the client's pipe, the
 * answer is read into the response's pipe.  Events and pipes only note what happened and call
 * run(), which no callback can enter twice; whatever a callback does, this struct stays until run()
 * ends. The steps are in the files that upstream_parts.h names. */
#include "outbound/upstream_parts.h"

#include <assert.h>
#include <stdlib.h>

enum { SPARE_MAX = 64 };

static void upstream_free(void *p)
{
    free(p);
}

/* Kept for the next request: its timer may stay armed, so most requests touch no timer heap. */
static void recycle(struct ml_upstream *u)
{
    struct ml_outbound *o = u->o;

    ml_roster_release(&u->roster);
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

/* ---- the engine ---- */

static void step(struct ml_upstream *u)
{
    enum next next = MORE;

    while (next == MORE) {
        switch (u->state) {
        case PICK:
            next = ml_upstream_connect_pick(u);
            break;
        case JOIN:
            next = ml_upstream_call_join(u);
            break;
        case RESOLVE:
            next = ml_upstream_connect_resolve(u);
            break;
        case CONNECT:
            next = ml_upstream_connect_step(u);
            break;
        case RUN:
            ml_upstream_run_step(u);
            next = u->state == RUN ? WAIT : MORE;
            break;
        case CALL:
            ml_upstream_call_step(u);
            next = u->state == CALL ? WAIT : MORE;
            break;
        case FAILED:
            next = u->forwarding ? WAIT : ml_upstream_try_give_up(u, u->why);
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

static void wake(void *u)
{
    run(u);
}

static void on_ready(void *ctx, int what)
{
    struct ml_upstream *u = ctx;

    if (what & ML_STREAM_READ)
        u->readable = true;
    if (what & ML_STREAM_WRITE) {
        u->blocked = false;
        if (u->send.pipe != NULL)
            ml_pipe_writable(u->send.pipe);
    }
    run(u);
}

static void fail_later(void *ctx)
{
    struct ml_upstream *u = ctx;

    u->forwarding = false;
    run(u);
}

static void on_timer(void *ctx)
{
    struct ml_upstream *u = ctx;

    assert(!u->running);
    u->running = true;
    if (u->state == PICK)
        ml_upstream_try_give_up(u, ML_UP_RESOLVE);
    else if (u->state == JOIN)
        ml_upstream_call_join_late(u);
    else if (u->state == RESOLVE || u->state == CONNECT)
        ml_upstream_connect_late(u);
    else if (u->state == CALL)
        ml_upstream_call_late(u);
    else if (u->state == RUN)
        ml_upstream_run_late(u);
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
    u->ready = on_ready;
    u->wake = wake;
    u->waiter.done = wake;
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
    u->begin_s = upstream_now_s(u);
    if (g->conf.total_timeout > 0)
        u->total_due_s = u->begin_s + g->conf.total_timeout;
    u->upgrade = f->allow_upgrade && ml_upstream_head_upgrade(&ex->req);
    ex->upstream = u;
    ex->notes.upstream = ml_arena_dup(ex->arena, g->conf.name);
    ex->notes.why = ML_OK;
    u->forwarding = true;
    if (ex->req.major == 2 && ex->req.upgrade.len > 0 && !u->upgrade)
        ml_upstream_try_give_up(u, ML_NOT_IMPLEMENTED); /* only a tunnel would do (RFC 8441) */
    run(u);
    if (u->state != FAILED)
        u->forwarding = false;
}

void ml_upstream_cancel(struct ml_exchange *ex)
{
    struct ml_upstream *u = ex->upstream;

    if (u == NULL)
        return;
    ml_upstream_try_end(u);
    run(u); /* recycles it, at once or when the outer run() ends */
}

void ml_outbound_free(struct ml_outbound **outbound)
{
    struct ml_outbound *o = *outbound;

    *outbound = NULL;
    if (o == NULL)
        return;
    assert(o->checks == NULL); /* ml_outbound_stop */
    assert(o->servers == NULL && o->redis == NULL);
    while (o->spare != NULL) {
        struct ml_upstream *u = o->spare;

        o->spare = u->next;
        ml_timer_drop(&u->timer);
        free(u);
    }
    free(o);
}
