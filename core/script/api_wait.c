/* api_wait.c - core.sleep and core.spawn. */
#include "script/api.h"

#include <stdlib.h>

enum { TASKS_MAX = 50000 };

/* ---- core.sleep(seconds) ---- */

struct sleeper { /* malloc'ed; buried when it woke up or was cancelled */
    struct ml_wait wait;
    struct ml_timer timer;
};

static void sleeper_end(struct sleeper *s)
{
    ml_timer_drop(&s->timer);
    ml_loop_bury(s->timer.loop, free, s); /* it may be its timer that calls */
}

static int sleeper_push(lua_State *L, void *ctx)
{
    (void)L;
    sleeper_end(ctx);
    return 0;
}

static void sleeper_cancel(void *ctx)
{
    sleeper_end(ctx);
}

static void sleeper_woke(void *ctx)
{
    struct sleeper *s = ctx;

    ml_task_wake(&s->wait);
}

/* A background task of a generation that was replaced keeps a whole VM: not for ever. */
static void check_grace(lua_State *L, struct ml_bridge *b, struct ml_task *task, double seconds)
{
    if (ml_task_exchange(task) == NULL && seconds > ml_api_timers_grace_s(b))
        luaL_error(L, "this generation of scripts was replaced: its background tasks end");
}

/* A sleep of 0 lets everything else have one turn. */
static int api_sleep(lua_State *L)
{
    double seconds = ml_api_seconds(L, 1, 0);
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_task *task = ml_task_waiter(L);
    struct sleeper *s;

    check_grace(L, b, task, seconds);
    s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->wait = (struct ml_wait){task, sleeper_push, sleeper_cancel, s};
    ml_timer_init(&s->timer, ml_tasks_loop(ml_task_owner(task)), sleeper_woke, s);
    ml_timer_set(&s->timer, seconds);
    return ml_task_wait(L, &s->wait);
}

/* ---- core.spawn(fn, ...) ---- */

static int api_spawn(lua_State *L)
{
    struct ml_tasks *tasks = ml_bridge_of(L)->conf.tasks;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    if (ml_task_running(L) == NULL)
        return luaL_error(L, "spawn can not be called while the site is loaded");
    if (ml_tasks_live(tasks) >= TASKS_MAX)
        return luaL_error(L, "spawn: there are %d tasks already", TASKS_MAX);
    ml_task_spawn(tasks, L, lua_gettop(L) - 1);
    return 0;
}

void ml_api_wait_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"sleep", api_sleep}, {"spawn", api_spawn}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_party_open(L, b);
}
