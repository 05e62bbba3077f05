/* bridge.c - puts everything that scripts get from C into a fresh VM, and ties it to its tasks. */
#include "script/bridge.h"

#include "script/api.h"
#include "script/handle.h"
#include "script/steps.h"

/* ---- what task.c asks for ---- */

static void push_request(lua_State *L, struct ml_task *task)
{
    struct ml_exchange *ex = ml_task_exchange(task);
    struct ml_handle *h =
        ml_handle_push(L, ml_tasks_bridge(ml_task_owner(task)), ML_HANDLE_REQUEST);

    h->task = task;
    h->serial = ex->serial;
}

struct adoption {
    lua_State *co;
    int index;
    struct ml_exchange *ex;
    struct ml_bridge *bridge;
    char wrong[128]; /* stays "" when the response was adopted */
};

static int adopt_caught(lua_State *L)
{
    struct adoption *a = lua_touserdata(L, 2);

    ml_response_adopt(L, a->bridge, 1, a->ex);
    return 0;
}

/* Protected.  The message of an error is copied here: outside, its string may be collected. */
static void adopt_value(lua_State *L, void *arg)
{
    struct adoption *a = arg;
    const char *message;

    lua_pushcfunction(L, adopt_caught);
    lua_pushvalue(a->co, a->index);
    lua_xmove(a->co, L, 1);
    lua_pushlightuserdata(L, a);
    if (lua_pcall(L, 2, 0, 0) == 0)
        return;
    message = lua_tostring(L, -1);
    snprintf(a->wrong, sizeof a->wrong, "%s", message != NULL ? message : "not enough memory");
}

/* The usual case first: the chain returned the response that the exchange has already. */
static const char *adopt(lua_State *co, int index, struct ml_exchange *ex)
{
    static struct adoption a;
    struct ml_task *task = ex->task;
    struct ml_handle *h;

    if (lua_gettop(co) < index)
        return "the chain returned no response";
    h = ml_handle_of(co, index, ML_HANDLE_RESPONSE);
    if (h != NULL && h->res == &ex->res && ml_handle_alive(h) && ex->res.status != 0)
        return NULL;
    a = (struct adoption){co, index, ex, ml_tasks_bridge(ml_task_owner(task)), ""};
    lua_settop(co, index); /* what else was returned leaves its room */
    if (ml_tasks_protect(ml_task_owner(task), adopt_value, &a) != 0)
        return "not enough memory";
    return a.wrong[0] != '\0' ? a.wrong : NULL;
}

static void set_text(lua_State *L, const char *name, struct ml_str s)
{
    if (s.len == 0)
        return;
    ml_push_str(L, s);
    lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, double n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, name);
}

/* What on_done functions get. */
static void push_outcome(lua_State *L, struct ml_exchange *ex)
{
    const struct ml_exchange_notes *n = &ex->notes;

    lua_createtable(L, 0, 16);
    set_number(L, "status", ex->res.status);
    set_number(L, "duration", ml_loop_now_s(ex->loop) - n->start_s);
    set_number(L, "bytes_in", (double)n->bytes_in);
    set_number(L, "bytes_out", (double)n->bytes_out);
    set_number(L, "tries", n->tries);
    if (n->upstream_s >= 0)
        set_number(L, "upstream_duration", n->upstream_s);
    set_text(L, "method", ex->req.method);
    set_text(L, "path", ex->req.path);
    set_text(L, "id", ex->req.id);
    set_text(L, "ip", ex->req.ip);
    set_text(L, "route", n->route);
    set_text(L, "upstream", n->upstream);
    set_text(L, "server", n->server);
    set_text(L, "user_id", n->user_id);
    if (n->why != ML_OK)
        set_text(L, "err", ml_str_of(ml_err_word(n->why)));
}

static void over(struct ml_exchange *ex)
{
    ml_api_websocket_over(ex);
    ml_body_map_end(ex);
}

static void blame(void *ctx, unsigned step)
{
    struct ml_bridge *b = ctx;

    ml_steps_blame(b->conf.steps, step);
}

static void stop_background(void *ctx)
{
    ml_api_websocket_stop(ctx);
    ml_api_timer_close(ctx);
    ml_api_detach_stop(ctx);
}

/* ---- opening ---- */

static struct ml_bridge *bridge_new(lua_State *L, const struct ml_bridge_conf *conf)
{
    struct ml_bridge *b = lua_newuserdata(L, sizeof *b);

    memset(b, 0, sizeof *b);
    b->conf = *conf;
    luaL_ref(L, LUA_REGISTRYINDEX);
    return b;
}

struct ml_bridge *ml_bridge_open(lua_State *L, const struct ml_bridge_conf *conf)
{
    struct ml_bridge *b = bridge_new(L, conf);
    const struct ml_task_hooks hooks = {
        .push_request = push_request,
        .adopt = adopt,
        .push_outcome = push_outcome,
        .over = over,
        .step_of = ml_steps_running,
        .blame = blame,
        .stop_background = stop_background,
        .ctx = b,
    };

    ml_headers_open(L, b);
    ml_request_open(L, b);
    ml_response_open(L, b);
    lua_createtable(L, 0, 64);
    ml_api_response_open(L, b);
    ml_api_json_open(L, b);
    ml_api_log_open(L, b);
    ml_api_text_open(L, b);
    ml_api_forward_open(L, b);
    ml_api_wait_open(L, b);
    ml_api_timer_open(L, b);
    ml_api_detach_open(L, b);
    ml_api_shared_open(L, b);
    ml_api_http_open(L, b);
    ml_api_redis_open(L, b);
    ml_api_ratelimit_open(L, b);
    ml_api_jwt_open(L, b);
    ml_api_crypto_open(L, b);
    ml_api_encode_open(L, b);
    ml_api_fields_open(L, b);
    ml_api_networks_open(L, b);
    ml_api_websocket_open(L, b);
    ml_api_upstream_open(L, b);
    ml_api_static_open(L, b);
    ml_api_metrics_open(L, b);
    ml_tasks_set_hooks(conf->tasks, &hooks);
    return b;
}

void ml_bridge_start(struct ml_bridge *b)
{
    ml_api_metrics_start(b);
    ml_api_timers_start(b);
}

void ml_bridge_close(struct ml_bridge *b)
{
    ml_api_timer_close(b);
    ml_api_websocket_close(b);
    ml_api_http_close(b);
    ml_api_ratelimit_close(b);
}
