/* api_chain.c - what the linked chains ask of the core, and facts about the running gateway.
 *
 *   core.again() -> req           of the running task; the response of a former pass is dropped
 *   core.unmatched() -> outcome, allow     "none", "method" or "options", and the value for Allow
 *   core.draining() -> boolean            the gateway ends, but still accepts
 *   core.step(label) -> number            of a middleware
 *   core.enter(number)                    from here on the time is its own (0: nobody's)
 *   core.uptime() -> seconds      core.status() -> JSON text */
#include "script/handle.h"

#include "base/clock.h"
#include "outbound/upstream.h"
#include "script/steps.h"

#include <stdlib.h>

static struct ml_exchange *running_exchange(lua_State *L, struct ml_task **task)
{
    *task = ml_task_running(L);
    if (*task == NULL || ml_task_exchange(*task) == NULL)
        luaL_error(L, "this function works only while a request is handled");
    *task = ml_task_root(*task);
    return ml_task_exchange(*task);
}

void ml_response_drop(lua_State *L, struct ml_exchange *ex)
{
    if (ex->res.status == 0 || ex->responded)
        return;
    ml_response_forget(L, ex);
    if (ex->upstream != NULL)
        ml_upstream_cancel(ex);
    ml_exchange_reset_response(ex);
}

static int again(lua_State *L)
{
    struct ml_task *task;
    struct ml_exchange *ex = running_exchange(L, &task);

    /* a middleware calls next() for a second time: whatever the first call left must not be
     * mistaken for what this one gives */
    ml_response_drop(L, ex);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_task_ref(task, ML_SLOT_REQUEST));
    return 1;
}

static int unmatched(lua_State *L)
{
    static const char *const words[] = {[ML_ROUTE_FOUND] = "found",
                                        [ML_ROUTE_NONE] = "none",
                                        [ML_ROUTE_METHOD] = "method",
                                        [ML_ROUTE_OPTIONS] = "options"};
    struct ml_task *task;
    const struct ml_route_match *match;

    running_exchange(L, &task);
    match = ml_task_match(task);
    lua_pushstring(L, words[match->outcome]);
    if (match->allow.len == 0)
        return 1;
    ml_push_str(L, match->allow);
    return 2;
}

static int uptime(lua_State *L)
{
    const struct ml_script_host *host = ml_bridge_of(L)->conf.host;

    if (host->loop == NULL)
        return luaL_error(L, "gw.uptime can not be called while the site is loaded");
    lua_pushnumber(L, ml_clock_wall_s() - host->started_s);
    return 1;
}

/* The text is kept until the next call: pushing it may raise. */
static int status(lua_State *L)
{
    const struct ml_script_host *host = ml_bridge_of(L)->conf.host;
    static char *text;

    if (host->status_json == NULL)
        return luaL_error(L, "gw.status can not be called while the site is loaded");
    free(text);
    text = host->status_json(host->status_ctx);
    lua_pushstring(L, text);
    return 1;
}

static int draining(lua_State *L)
{
    static struct ml_shm_gateway facts; /* large */
    const struct ml_script_host *host = ml_bridge_of(L)->conf.host;

    if (host->shm == NULL)
        return luaL_error(L, "it can not be asked while the site is loaded");
    ml_shm_gateway_read(host->shm, &facts);
    lua_pushboolean(L, facts.closing);
    return 1;
}

static int step(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);

    lua_pushinteger(L, (lua_Integer)ml_steps_add(b->conf.steps, ml_check_str(L, 1)));
    return 1;
}

static int enter(lua_State *L)
{
    struct ml_task *task = ml_task_running(L);
    struct ml_exchange *ex = task != NULL ? ml_task_exchange(task) : NULL;

    if (ex != NULL && ex->timing != NULL)
        ml_timing_enter(ex->timing, (unsigned)lua_tointeger(L, 1));
    return 0;
}

static const luaL_Reg functions[] = {
    {"again", again},   {"unmatched", unmatched}, {"step", step}, {"enter", enter},
    {"uptime", uptime}, {"status", status},       {"draining", draining}, {NULL, NULL},
};

void ml_api_chain_open(lua_State *L, struct ml_bridge *b)
{
    ml_bridge_register(L, b, functions);
}
