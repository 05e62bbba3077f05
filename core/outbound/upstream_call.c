/* upstream_call.c - a request to a server that speaks HTTP/2: on a connection that it shares with
 * others (h2_link.h).
 *
 *   PICK -> JOIN --a connection has room--> CALL --answered--> ENDED
 *            |  ^ wait: one makes a connection for all, or all are full
 *            \--> RESOLVE -> CONNECT --^
 *
 * A call that the server has certainly not looked at (REFUSED_STREAM, or above the last stream of
 * its GOAWAY) begins anew, whatever its method.
 * gRPC (content-type application/grpc) is a conversation: silence is no failure.  It may last as
 * long as that of a tunnel, in both directions, once the server has begun to answer. */
#include "outbound/upstream_parts.h"

#include "inbound/grpc.h"
#include "outbound/client_tls.h"

enum { REFUSALS_MAX = 3, SMALL_BODY = 4096 };

/* ---- a connection ---- */

static bool is_ours(void *ctx, uint64_t peer)
{
    return ml_upstream_connect_leads_to(ctx, peer);
}

/* A connection for this request alone. */
static bool alone(const struct ml_upstream *u)
{
    return u->f.once || u->group->conf.keepalive == 0;
}

static void release_waiters(struct ml_upstream *u, enum ml_err why)
{
    struct ml_h2_set *set = &u->server->h2;

    if (set->connecting != u)
        return;
    set->connecting = NULL;
    ml_h2_set_news(set, why);
}

static void wait_for_room(struct ml_upstream *u)
{
    if (u->room.set != NULL)
        return;
    u->room.wake = u->wake;
    u->room.ctx = u;
    if (u->join_due_s == 0)
        u->join_due_s = upstream_now_s(u) + ml_upstream_connect_timeout_s(u);
    ml_h2_set_wait(&u->server->h2, &u->room);
    ml_upstream_try_arm(u, u->join_due_s - upstream_now_s(u));
}

static enum next begin(struct ml_upstream *u, struct ml_h2_link *link);

enum next ml_upstream_call_join(struct ml_upstream *u)
{
    struct ml_h2_set *set = &u->server->h2;
    struct ml_h2_link *link = alone(u) ? NULL : ml_h2_set_find(set, is_ours, u);
    enum ml_err why = u->room.why;

    u->room.why = ML_OK;
    if (link != NULL)
        return begin(u, link);
    if (why != ML_OK) {
        ml_h2_set_unwait(&u->room);
        return ml_upstream_try_failed(u, why);
    }
    if (!alone(u) && (set->connecting != NULL || set->count >= ML_H2_LINKS_MAX)) {
        wait_for_room(u);
        return WAIT;
    }
    ml_h2_set_unwait(&u->room);
    if (!alone(u))
        set->connecting = u;
    ml_upstream_connect_anew(u);
    return MORE;
}

void ml_upstream_call_join_late(struct ml_upstream *u)
{
    ml_h2_set_unwait(&u->room);
    ml_upstream_try_failed(u, ML_UP_CONNECT_TIMEOUT);
}

enum next ml_upstream_call_connected(struct ml_upstream *u)
{
    struct ml_stream *stream = u->link->stream;
    uint64_t peer = u->link->peer;
    struct ml_h2_link *link;

    u->link->stream = NULL;
    ml_pool_close(&u->link);
    link = ml_h2_link_new(&u->server->h2, &stream, peer, u->server->text, alone(u));
    release_waiters(u, ML_OK);
    return begin(u, link);
}

/* ---- the request ---- */

/* The client's own time for the call counts too, but is no fault of the server. */
static void heed_deadline(struct ml_upstream *u)
{
    double s = ml_grpc_timeout_s(&u->ex->req);
    double due_s = u->begin_s + s;

    if (s <= 0 || (u->total_due_s > 0 && u->total_due_s <= due_s))
        return;
    u->total_due_s = due_s;
    u->due_is_clients = true;
}

static enum next begin(struct ml_upstream *u, struct ml_h2_link *link)
{
    struct ml_request *req = &u->ex->req;
    struct ml_h2_call *c = &u->call;
    bool body = req->body != NULL && !(req->has_length && req->length == 0);
    bool te = req->major >= 2 && ml_upstream_head_te(req);

    ml_h2_set_unwait(&u->room);
    u->join_due_s = 0;
    *c = (struct ml_h2_call){.wake = u->wake,
                             .ctx = u,
                             .arena = u->ex->arena,
                             .limits = &u->group->conf.limits,
                             .method = req->method,
                             .up = body ? req->body : NULL,
                             .known = req->has_length,
                             .left = req->length};
    ml_upstream_run_head(u);
    u->state = CALL;
    u->grpc = ml_grpc_is(req);
    if (!ml_h2_link_begin(link, c, &u->out, u->server->url.tls, te)) {
        c->closed = c->refused = true; /* its numbers are used up */
        c->why = ML_UP_CONNECT;
    }
    ml_buf_release(&u->out);
    if (u->grpc) {
        u->ex->conversation = true;
        heed_deadline(u);
    }
    if (req->body != NULL) {
        req->body->on_data = u->wake;
        req->body->data_ctx = u;
        ml_exchange_ask_body(u->ex);
    }
    return MORE;
}

/* The client's side of the request: what can go on, or why it can not. */
static enum next step_send(struct ml_upstream *u)
{
    struct ml_h2_call *c = &u->call;
    struct ml_pipe *p = c->up;
    size_t took = c->took;

    c->took = 0;
    if (took > 0)
        ml_pipe_took(p, took); /* may end everything */
    if (u->state != CALL)
        return MORE;
    if (!u->sent && c->sent) {
        double first_s = u->f.timeout > 0 ? u->f.timeout : u->group->conf.first_byte_timeout;

        u->sent = true;
        ml_upstream_try_note(u)->sent_s = upstream_now_s(u);
        u->head_due_s = upstream_now_s(u) + first_s;
    }
    if (p == NULL || c->sent || c->closed)
        return WAIT;
    if (p->state == ML_PIPE_ABORTED)
        return ml_upstream_try_give_up(u, p->why);
    if (p->state == ML_PIPE_EOF && c->known && ml_buf_len(&p->buf) < c->left)
        return ml_upstream_try_give_up(u, ML_BAD_FRAMING); /* shorter than announced */
    ml_h2_call_resume(c);
    return WAIT;
}

/* ---- the answer ---- */

static enum next finish(struct ml_upstream *u)
{
    struct ml_request *req = &u->ex->req;
    struct ml_pipe *up = req->body, *down = u->told ? u->recv.pipe : NULL;
    struct ml_forward f = u->f;
    bool told = u->told, unsent = !u->call.sent;

    ml_upstream_try_end(u);
    if (down != NULL)
        ml_pipe_eof(down);
    if (!told)
        f.head(f.ctx, ML_OK);
    if (unsent && up != NULL && up->on_data == NULL)
        ml_pipe_abort(up, ML_CANCELLED); /* nobody wants the rest of the client's body */
    return WAIT;
}

static bool is_whole(const struct ml_h2_call *c)
{
    return c->ended && (c->down == NULL || (ml_buf_len(&c->down->trailers) == 0 &&
                                            ml_buf_len(&c->down->buf) <= SMALL_BODY));
}

static enum next begin_answer(struct ml_upstream *u)
{
    struct ml_exchange *ex = u->ex;
    struct ml_h2_call *c = &u->call;
    struct ml_forward f = u->f;

    u->answered = true;
    ml_upstream_run_answered(u, c->head.status);
    ml_upstream_head_take(ex, &c->head);
    ex->res.trailers_pass = true;
    if (is_whole(c)) {
        if (c->down != NULL) {
            ex->res.bytes = ml_arena_dup(ex->arena, ml_buf_str(&c->down->buf));
            ml_pipe_free(c->down);
        }
        return finish(u);
    }
    c->added = 0; /* nobody has looked yet */
    ex->res.body = u->recv.pipe = c->down;
    c->down->passed = ml_buf_len(&c->down->buf);
    c->down->on_room = u->wake;
    c->down->room_ctx = u;
    if (c->ended)
        ml_pipe_eof(c->down);
    u->told = true;
    f.head(f.ctx, ML_OK);
    return MORE;
}

static void pass_interims(struct ml_upstream *u)
{
    struct ml_h2_call *c = &u->call;

    while (u->state == CALL && c->interims_seen < c->interim_count)
        ml_upstream_head_interim(u->ex, &c->interims[c->interims_seen++]);
}

static enum next step_receive(struct ml_upstream *u)
{
    struct ml_h2_call *c = &u->call;
    size_t added;

    u->got_bytes |= c->got_bytes;
    if (!u->answered) {
        pass_interims(u);
        if (u->state == CALL && c->head_done && c->wrong == ML_OK)
            begin_answer(u);
    }
    if (u->state != CALL)
        return MORE;
    if (u->told && u->recv.pipe->state == ML_PIPE_ABORTED) {
        ml_upstream_try_end(u); /* the client went away */
        return MORE;
    }
    added = c->added;
    c->added = 0;
    if (added > 0)
        ml_pipe_filled(c->down, added);
    if (u->state != CALL)
        return MORE;
    if (u->answered && c->ended)
        return finish(u);
    if (c->closed)
        return ml_upstream_try_failed(u, c->why);
    ml_h2_call_credit(c);
    return WAIT;
}

/* ---- time ---- */

static void sooner(double *due_s, double at_s)
{
    if (at_s > 0 && (*due_s == 0 || at_s < *due_s))
        *due_s = at_s;
}

static double tunnel_idle_s(const struct ml_upstream *u)
{
    return u->f.tunnel_idle > 0 ? u->f.tunnel_idle : u->group->conf.tunnel_idle;
}

static bool is_sending(const struct ml_h2_call *c)
{
    return !c->begun || (!c->sent && !c->waiting);
}

static void arm(struct ml_upstream *u)
{
    const struct ml_group_conf *conf = &u->group->conf;
    const struct ml_h2_call *c = &u->call;
    double due_s = 0, last_s = c->heard_s > c->sent_s ? c->heard_s : c->sent_s;

    if (is_sending(c))
        sooner(&due_s, c->sent_s + conf->send_timeout);
    if (u->grpc && (u->answered || !c->sent))
        sooner(&due_s, last_s + tunnel_idle_s(u));
    else if (u->answered && !ml_pipe_full(u->recv.pipe))
        sooner(&due_s, c->heard_s + conf->read_timeout);
    else if (!u->answered && c->sent)
        sooner(&due_s, u->head_due_s);
    if (due_s > 0)
        due_s -= upstream_now_s(u);
    ml_upstream_try_arm(u, due_s < 0 ? 0.001 : due_s);
}

void ml_upstream_call_late(struct ml_upstream *u)
{
    bool over = u->total_due_s > 0 && upstream_now_s(u) >= u->total_due_s;
    bool clients_turn = !u->answered && u->call.waiting;

    if (clients_turn || (over && u->due_is_clients))
        ml_upstream_try_give_up(u, ML_UP_TIMEOUT);
    else
        ml_upstream_try_failed(u, ML_UP_TIMEOUT);
}

void ml_upstream_call_step(struct ml_upstream *u)
{
    if (step_send(u) == MORE || u->state != CALL)
        return;
    if (step_receive(u) == MORE || u->state != CALL)
        return;
    arm(u);
}

/* ---- ends ---- */

bool ml_upstream_call_may_refresh(struct ml_upstream *u, bool idempotent)
{
    const struct ml_h2_call *c = &u->call;

    if (c->got_bytes || c->taken)
        return false;
    if (c->refused || (c->lost && !c->begun))
        return u->refusals++ < REFUSALS_MAX;
    return c->lost && c->reused && idempotent && u->refusals++ == 0;
}

void ml_upstream_call_leave(struct ml_upstream *u, enum ml_err why)
{
    ml_h2_set_unwait(&u->room);
    release_waiters(u, why);
    ml_h2_call_end(&u->call);
    u->ex->conversation = false;
    u->join_due_s = 0;
}
