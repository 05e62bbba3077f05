/* upstream_try.c - the end of a try, and what may follow it.
 *
 *   a kept connection was dead      -> the same server, once, on a fresh one     (refresh)
 *   nothing was sent                -> another server, as long as there is one
 *   it failed or was late           -> another server, `retries` times, idempotent without a body
 *   its answer was malformed        -> 502
 *
 * RFC 9110 section 9.2.2: what is not idempotent is sent again only when the server can not have
 * seen any of it. */
#include "outbound/upstream_parts.h"

#include "base/log_event.h"

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

void ml_upstream_try_arm(struct ml_upstream *u, double after_s)
{
    if (u->total_due_s > 0) {
        double left_s = u->total_due_s - upstream_now_s(u);

        if (after_s <= 0 || left_s < after_s)
            after_s = left_s > 0 ? left_s : 0.001;
    }
    if (after_s > 0)
        ml_timer_set(&u->timer, after_s);
    else
        ml_timer_stop(&u->timer);
}

/* ---- ends ---- */

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

void ml_upstream_try_drop_link(struct ml_upstream *u)
{
    if (u->link == NULL)
        return;
    if (u->send.pipe != NULL)
        ml_pipe_withdraw(u->send.pipe);
    if (u->state == RUN && !u->sent && !u->tunnel)
        ml_stream_poison(u->link->stream);
    ml_pool_close(&u->link);
}

static void leave_server(struct ml_upstream *u)
{
    if (u->server != NULL)
        ml_upstream_call_leave(u, ML_OK);
    ml_upstream_try_drop_link(u);
    ml_name_unwait(&u->waiter);
    if (u->server != NULL)
        ml_server_end(u->server);
    u->server = NULL;
}

void ml_upstream_try_end(struct ml_upstream *u)
{
    ml_upstream_tunnel_end(u);
    detach(u);
    leave_server(u);
    ml_timer_stop(&u->timer);
    ml_loop_undefer(u->o->loop, &u->later);
    ml_buf_release(&u->out);
    u->ex->upstream = NULL;
    u->state = ENDED;
}

/* Inside ml_upstream_forward the caller does not expect to be called back yet. */
static enum next give_up_later(struct ml_upstream *u, enum ml_err why)
{
    detach(u);
    leave_server(u);
    ml_timer_stop(&u->timer);
    u->why = why;
    u->state = FAILED;
    ml_loop_defer(u->o->loop, &u->later);
    return WAIT;
}

enum next ml_upstream_try_give_up(struct ml_upstream *u, enum ml_err why)
{
    struct ml_exchange *ex = u->ex;
    struct ml_forward f = u->f;
    bool told = u->told;

    ex->notes.why = why;
    if (u->forwarding)
        return give_up_later(u, why);
    ml_upstream_try_end(u);
    if (told) {
        ml_pipe_abort(u->recv.pipe, why);
        return WAIT;
    }
    if (u->answered)
        ml_exchange_reset_response(ex);
    f.head(f.ctx, why);
    return WAIT;
}

/* ---- the server's health ---- */

static void blame(struct ml_upstream *u, enum ml_err why)
{
    struct ml_server *s = u->server;

    if (!ml_health_failed(s->state, &u->group->health, (uint64_t)(upstream_now_s(u) * 1000), why))
        return;
    ml_log_event(ML_LOG_WARN, "upstream server is down", ML_KV("upstream", u->group->conf.name),
                 ML_KV("server", s->text), ML_KV("error", ml_err_word(why)));
}

void ml_upstream_try_good(struct ml_upstream *u)
{
    struct ml_server *s = u->server;
    uint64_t now_ms = (uint64_t)(upstream_now_s(u) * 1000);

    if (!u->pick.was_down || ml_health_state(s->state, now_ms) == ML_HEALTH_UP ||
        ml_health_check_state(s->state) == ML_CHECK_DOWN) /* its checks have the last word */
        return;
    ml_health_recovered(s->state, now_ms);
    ml_log_event(ML_LOG_INFO, "upstream server is up", ML_KV("upstream", u->group->conf.name),
                 ML_KV("server", s->text));
}

/* ---- what is noted of it ---- */

/* Of tries that are too many nobody asks. */
struct ml_try *ml_upstream_try_note(const struct ml_upstream *u)
{
    static struct ml_try too_many;
    const struct ml_trail *t = &u->ex->trail;

    return t->last_try != NULL && t->try_count <= ML_TRAIL_TRIES_MAX ? t->last_try : &too_many;
}

static void note_failure(const struct ml_upstream *u, enum ml_err why)
{
    struct ml_try *note = ml_upstream_try_note(u);

    note->why = why;
    note->end_s = upstream_now_s(u);
}

/* ---- another try ---- */

static void mark_tried(struct ml_upstream *u)
{
    if (u->tried == NULL)
        u->tried = ml_arena_zalloc(u->ex->arena, u->roster->count * sizeof *u->tried);
    u->tried[u->pick.index] = true;
}

bool ml_upstream_try_took_nothing(const struct ml_upstream *u)
{
    return ml_buf_len(&u->out) == u->head_len && !ml_body_out_taken(&u->send);
}

/* A kept connection may have been closed by the server just when we wrote to it.  Once, and only
 * when the kernel took nothing, or the server may act on the request twice. */
static bool may_refresh(struct ml_upstream *u, enum ml_err why)
{
    if (u->state == CALL)
        return ml_upstream_call_may_refresh(u, idempotent(u->ex->req.method));
    if (u->state != RUN || u->link->served == 0 || u->fresh || u->got_bytes || why == ML_UP_TIMEOUT)
        return false;
    if (ml_body_out_taken(&u->send))
        return false;
    return ml_upstream_try_took_nothing(u) || idempotent(u->ex->req.method);
}

static bool may_try_other(struct ml_upstream *u, enum ml_err why)
{
    if (u->answered || (u->total_due_s > 0 && upstream_now_s(u) >= u->total_due_s))
        return false;
    if (u->state == JOIN || u->state == RESOLVE || u->state == CONNECT)
        return true; /* nothing was sent */
    if (u->state == CALL && u->call.refused && !u->call.taken)
        return true; /* nor looked at */
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

static void count_retry(struct ml_upstream *u)
{
    if (u->group->metrics.retries != NULL)
        ml_metric_add(u->group->metrics.retries, 1);
}

enum next ml_upstream_try_failed(struct ml_upstream *u, enum ml_err why)
{
    bool other;

    if (u->told) {
        note_failure(u, why);
        return ml_upstream_try_give_up(u, why);
    }
    if (may_refresh(u, why)) {
        ml_upstream_call_leave(u, ML_OK);
        ml_upstream_try_drop_link(u);
        count_retry(u);
        u->fresh = true;
        ml_upstream_try_note(u)->refreshed = true;
        begin_try(u, u->server->url.h2 ? JOIN : RESOLVE);
        return MORE;
    }
    if (u->state == RESOLVE || u->state == CONNECT)
        ml_upstream_call_leave(u, why);
    blame(u, why);
    note_failure(u, why);
    mark_tried(u);
    other = may_try_other(u, why);
    u->why = why;
    if (!other)
        return ml_upstream_try_give_up(u, why);
    leave_server(u);
    count_retry(u);
    u->refusals = 0;
    begin_try(u, PICK);
    return MORE;
}
