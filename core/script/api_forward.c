/* api_forward.c - core.forward(req, group, opts) -> res: sends the request to an upstream and waits
 * for the head of its answer.
 *
 *   group: the index or the name of an upstream; req:set_upstream has the last word
 *   opts: timeout= hash_key= websocket= websocket_idle_timeout= host=
 *
 * An upstream that fails gives a response too: the gateway's own, from == "gateway".  A second call
 * drops the response of the first and sends the request again; a streamed body of which something
 * is gone can not be sent again: nil, "body_consumed". */
#include "script/api.h"
#include "script/body.h"

#include "outbound/upstream.h"

struct forwarder { /* in the arena of the exchange */
    struct ml_wait wait;
    struct ml_exchange *ex;
    struct ml_bridge *bridge;
    struct ml_plan *plan;
    enum ml_err err;
};

static int forwarder_push(lua_State *L, void *ctx)
{
    struct forwarder *f = ctx;

    return ml_response_push(L, f->bridge, f->ex);
}

/* The branch that waits goes away; its exchange may go on. */
static void forwarder_cancel(void *ctx)
{
    struct forwarder *f = ctx;

    f->plan->forwarding = false;
    if (f->ex->upstream != NULL)
        ml_upstream_cancel(f->ex);
}

static void on_head(void *ctx, enum ml_err err)
{
    struct forwarder *f = ctx;

    f->plan->forwarding = false;
    if (err != ML_OK && !f->ex->responded)
        ml_exchange_error_response(f->ex, err);
    ml_task_wake(&f->wait);
}

/* ---- what to send, and where ---- */

static struct ml_group *group_of(lua_State *L, struct ml_bridge *b, const struct ml_plan *plan)
{
    const struct ml_bridge_conf *c = &b->conf;
    struct ml_group *g;
    double index;

    if (plan->upstream.len > 0) {
        g = c->group(c->ctx, plan->upstream);
    } else if (lua_type(L, 2) == LUA_TNUMBER) {
        index = lua_tonumber(L, 2);
        g = index >= 0 && index < 1e6 ? c->group_at(c->ctx, (unsigned)index) : NULL;
    } else {
        g = c->group(c->ctx, ml_check_str(L, 2));
    }
    if (g == NULL)
        luaL_error(L, "there is no upstream \"%s\"",
                   plan->upstream.len > 0 ? plan->upstream.p : lua_tostring(L, 2));
    return g;
}

static struct ml_str option_dup(lua_State *L, struct ml_exchange *ex, const char *name)
{
    struct ml_str s = ml_api_option_string(L, 3, name, ML_STR_NONE);

    if (s.p != NULL)
        s = ml_handle_dup(L, ex->arena, s);
    lua_pop(L, 1);
    return s;
}

static void read_options(lua_State *L, struct ml_exchange *ex, struct ml_forward *f)
{
    static const char *const names[] = {"timeout", "hash_key", "websocket", "websocket_idle_timeout",
                                        "host", NULL};

    if (!ml_api_options(L, 3, names))
        return;
    f->timeout = ml_api_option_seconds(L, 3, "timeout", 0.001, 0);
    f->hash_key = option_dup(L, ex, "hash_key");
    f->allow_upgrade = ml_api_option_flag(L, 3, "websocket", false);
    f->tunnel_idle = ml_api_option_seconds(L, 3, "websocket_idle_timeout", 0.001, 0);
    f->host = option_dup(L, ex, "host");
    if (f->host.len > 0 && !ml_url_authority_ok(f->host))
        luaL_argerror(L, 3, "host must be a name or an address with an optional port");
}

/* Something of the body went to a server, or nobody will get the rest. */
static bool is_consumed(const struct ml_plan *plan, const struct ml_pipe *body)
{
    if (!plan->forwarded || plan->has_bytes || body == NULL)
        return false;
    return body->state == ML_PIPE_ABORTED || ml_buf_len(&body->buf) < body->passed;
}

static void drop_former(lua_State *L, struct ml_exchange *ex)
{
    if (ex->res.status != 0)
        ml_response_forget(L, ex);
    if (ex->upstream != NULL)
        ml_upstream_cancel(ex);
    if (ex->res.status != 0)
        ml_exchange_reset_response(ex);
}

static void check_state(lua_State *L, const struct ml_plan *plan)
{
    if (plan->forwarding)
        luaL_error(L, "this request is being forwarded already, by another branch");
    if (plan->reading_request)
        luaL_error(L, "the request can not be forwarded: its body is being read");
}

static int forward(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_task *task = ml_task_waiter(L);
    struct ml_exchange *ex = ml_handle_writable(L, ml_handle_check(L, 1, ML_HANDLE_REQUEST));
    struct ml_forward f = {.head = on_head};
    struct forwarder *w;
    struct ml_plan *plan;
    struct ml_group *g;

    if (ml_task_exchange(task) != ex)
        return luaL_error(L, "a request can be forwarded only by its own script");
    plan = ml_handle_plan(L, ex);
    check_state(L, plan);
    lua_settop(L, 3);
    g = group_of(L, b, plan);
    read_options(L, ex, &f);
    if (is_consumed(plan, ex->req.body)) {
        lua_pushnil(L);
        lua_pushliteral(L, "body_consumed");
        return 2;
    }
    ml_handle_reserve(L, ex->arena, sizeof *w);
    drop_former(L, ex); /* raises first; from here on nothing does */
    w = ml_arena_zalloc(ex->arena, sizeof *w);
    *w = (struct forwarder){.ex = ex, .bridge = b, .plan = plan};
    w->wait = (struct ml_wait){task, forwarder_push, forwarder_cancel, w};
    f.ctx = w;
    f.host = plan->host.len > 0 ? plan->host : f.host;
    f.timeout = plan->timeout > 0 ? plan->timeout : f.timeout;
    if (plan->has_bytes)
        ml_body_refill(ex->req.body, plan->bytes);
    plan->forwarded = plan->forwarding = true;
    ml_upstream_forward(g, ex, &f);
    return ml_task_wait(L, &w->wait);
}

void ml_api_forward_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"forward", forward}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
}
