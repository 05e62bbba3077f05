/* task.c - the life of tasks; the only file that resumes a coroutine.
 *
 *   serve, spawn, fork -> READY --start--> RUNNING --ml_task_wait--> WAITING --ml_task_wake--\
 *                                          |  ^______________________________________________/
 *                                          v returned or failed
 *                                        ENDED -> freed: at once (background), by the exchange's
 *                                                 end (root), by whoever forked it (branch)
 *
 * One script runs at a time in a process (`running`); what is to be resumed while one runs is
 * deferred to the end of the loop's turn. */
#include "script/task_parts.h"

#include "base/clock.h"
#include "base/shm.h"
#include "outbound/upstream.h"
#include "script/budget.h"
#include "script/report.h"
#include "script/steps.h"

#include <assert.h>
#include <lauxlib.h>

static struct ml_task *running;

static void on_ready(void *ctx);

struct start { /* how a task gets its coroutine, inside ml_tasks_protect */
    struct ml_task *task;
    int nargs;
    int chain_ref; /* this function gets the request handle; LUA_NOREF: the caller moves values */
};

static void prepare(lua_State *L, void *arg)
{
    struct start *s = arg;
    struct ml_task *task = s->task;

    for (unsigned i = 0; i < ML_SLOT_COUNT; i++)
        if (task->slots[i] == LUA_NOREF) {
            lua_pushboolean(L, 0);
            task->slots[i] = luaL_ref(L, LUA_REGISTRYINDEX);
        }
    task->co = ml_coroutine_take(&task->owner->pool, L);
    task->nargs = s->nargs;
    luaL_checkstack(task->co.L, s->nargs + 1, "too many arguments");
    if (s->chain_ref == LUA_NOREF)
        return;
    task->owner->hooks.push_request(L, task);
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, task->slots[ML_SLOT_REQUEST]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, s->chain_ref);
    lua_insert(L, -2);
    lua_xmove(L, task->co.L, 2);
}

/* ---- resuming ---- */

static void beat_begin(struct ml_task *task)
{
    struct ml_shm_worker *stats = task->owner->conf.stats;
    struct ml_str label;

    if (stats == NULL)
        return;
    label = ml_task_label(task);
    if (label.len >= sizeof stats->script)
        label.len = sizeof stats->script - 1;
    memcpy(stats->script, label.p, label.len);
    stats->script[label.len] = '\0';
    atomic_store_explicit(&stats->script_since_ms,
                          (uint64_t)(ml_loop_now_s(task->owner->conf.loop) * 1e3),
                          memory_order_release);
}

static void beat_end(struct ml_task *task)
{
    struct ml_shm_worker *stats = task->owner->conf.stats;

    if (stats != NULL)
        atomic_store_explicit(&stats->script_since_ms, 0, memory_order_release);
}

static void after_resume(struct ml_task *task, int status, bool over_budget)
{
    if (status == LUA_YIELD) {
        task->state = TASK_WAITING;
#ifdef ML_HARD
        lua_gc(task->owner->L, LUA_GCCOLLECT, 0);
#endif
    }
    if (task->doomed) {
        task->state = TASK_WAITING;
        ml_task_drop_doomed(task);
    } else if (status != LUA_YIELD) {
        ml_task_ended(task, status, ml_task_failure(status, over_budget));
    } else if (task->wait == NULL) {
        lua_settop(task->co.L, 0);
        lua_pushliteral(task->co.L, "coroutine.yield outside of a coroutine of the script's own");
        ml_task_ended(task, LUA_ERRRUN, ML_SCRIPT_ERROR);
    }
}

static void resume(struct ml_task *task, int nargs)
{
    struct ml_exchange *ex = ml_task_root(task)->ex;
    struct ml_timing *timing = ex != NULL ? ex->timing : NULL;
    bool over_budget;
    int status;

    assert(running == NULL);
    running = task;
    task->state = TASK_RUNNING;
    beat_begin(task);
    if (timing != NULL)
        ml_timing_resume(timing);
    ml_budget_enter(task->co.L, task->owner->conf.budget_ms);
    status = lua_resume(task->co.L, nargs);
    over_budget = ml_budget_leave();
    if (timing != NULL)
        ml_timing_yield(timing);
    beat_end(task);
    running = NULL;
    after_resume(task, status, over_budget);
}

struct delivery {
    struct ml_task *task;
    struct ml_wait *wait;
    int count;
};

static void deliver(lua_State *L, void *arg)
{
    struct delivery *d = arg;

    if (d->wait->push != NULL)
        d->count = d->wait->push(L, d->wait->ctx);
    lua_xmove(L, d->task->co.L, d->count);
}

static void on_ready(void *ctx)
{
    struct ml_task *task = ctx;
    struct delivery d = {task, task->woken, 0};

    if (task->state == TASK_READY) {
        resume(task, task->nargs);
        return;
    }
    assert(task->state == TASK_WAITING && d.wait != NULL && d.wait == task->wait);
    task->wait = task->woken = NULL;
    if (ml_tasks_protect(task->owner, deliver, &d) == 0) {
        resume(task, d.count);
        return;
    }
    lua_settop(task->co.L, 0);
    lua_pushnil(task->co.L); /* a message would need memory */
    ml_task_ended(task, LUA_ERRMEM, ML_SCRIPT_MEMORY);
}

static void make_ready(struct ml_task *task, bool now)
{
    if (now && running == NULL)
        on_ready(task);
    else
        ml_loop_defer(task->owner->conf.loop, &task->ready);
}

/* ---- waiting ---- */

struct ml_task *ml_task_running(lua_State *L)
{
    (void)L;
    return running;
}

struct ml_exchange *ml_task_exchange(struct ml_task *task)
{
    return task != NULL ? ml_task_root(task)->ex : NULL;
}

const struct ml_route_match *ml_task_match(struct ml_task *task)
{
    return ml_task_root(task)->match;
}

struct ml_tasks *ml_task_owner(struct ml_task *task)
{
    return task->owner;
}

int ml_task_ref(struct ml_task *task, enum ml_task_slot slot)
{
    return task->slots[slot];
}

lua_State *ml_task_stack(struct ml_task *branch)
{
    return branch->co.L;
}

enum ml_err ml_task_why(const struct ml_task *branch)
{
    return branch->why;
}

struct ml_task *ml_task_waiter(lua_State *L)
{
    if (running == NULL)
        luaL_error(L, "this function waits: it can not be called while the site is loaded");
    if (running->co.L != L)
        luaL_error(L, "this function waits: it can not be called in a coroutine of your own");
    if (!lua_isyieldable(L))
        luaL_error(L, "this function waits: it can not be called inside a callback of a builtin");
    return running;
}

int ml_task_wait(lua_State *L, struct ml_wait *w)
{
    if (running == NULL || running->co.L != L || !lua_isyieldable(L)) {
        if (w->cancel != NULL)
            w->cancel(w->ctx);
        ml_task_waiter(L); /* raises */
    }
    assert(w->task == NULL || w->task == running);
    w->task = running;
    running->wait = w;
    return lua_yield(L, 0);
}

void ml_task_wake(struct ml_wait *w)
{
    assert(w->task != NULL && w->task->woken == NULL);
    w->task->woken = w;
    make_ready(w->task, true);
}

/* ---- starting ---- */

void ml_task_serve(struct ml_tasks *t, struct ml_exchange *ex, int chain_ref,
                   const struct ml_route_match *match)
{
    struct ml_task *task = ml_task_new(t, NULL, on_ready);
    struct start s = {.task = task, .nargs = 1, .chain_ref = chain_ref};

    task->ex = ex;
    ex->task = task;
    task->match = ml_arena_alloc(ex->arena, sizeof *task->match);
    *task->match = *match;
    if (ml_tasks_protect(t, prepare, &s) == 0) {
        make_ready(task, true);
        return;
    }
    task->state = TASK_ENDED;
    ml_coroutine_drop(t->L, &task->co);
    ml_tasks_collect(t);
    ml_report_message("not enough memory", ML_SCRIPT_MEMORY, match->pattern, ex,
                      t->conf.generation);
    ml_exchange_fail(ex, ML_SCRIPT_MEMORY);
}

/* NULL when there is no memory; the values are off L in any case. */
static struct ml_task *task_begin(struct ml_tasks *t, struct ml_task *parent, lua_State *L,
                                  int nargs)
{
    struct ml_task *task = ml_task_new(t, parent, on_ready);
    struct start s = {.task = task, .nargs = nargs, .chain_ref = LUA_NOREF};

    if (ml_tasks_protect(t, prepare, &s) == 0) {
        lua_xmove(L, task->co.L, nargs + 1);
        return task;
    }
    lua_pop(L, nargs + 1);
    task->state = TASK_ENDED;
    ml_coroutine_drop(t->L, &task->co);
    ml_task_free(task);
    return NULL;
}

void ml_task_spawn(struct ml_tasks *t, lua_State *L, int nargs)
{
    struct ml_task *task = task_begin(t, NULL, L, nargs);

    if (task != NULL)
        make_ready(task, false);
    else
        ml_report_message("not enough memory", ML_SCRIPT_MEMORY, ML_STR("background"), NULL,
                          t->conf.generation);
}

static struct ml_task *start_joined(struct ml_tasks *t, struct ml_task *parent, lua_State *L,
                                    int nargs, const struct ml_task_join *join)
{
    struct ml_task *task = task_begin(t, parent, L, nargs);

    if (task == NULL)
        return NULL;
    task->join = *join;
    make_ready(task, false);
    return task;
}

struct ml_task *ml_task_fork(struct ml_task *parent, lua_State *L, int nargs,
                             const struct ml_task_join *join)
{
    return start_joined(parent->owner, parent, L, nargs, join);
}

struct ml_task *ml_task_start(struct ml_tasks *t, lua_State *L, int nargs,
                              const struct ml_task_join *join)
{
    return start_joined(t, NULL, L, nargs, join);
}
/* ---- the end of the exchange, and of the generation ---- */

static void spawn_done(lua_State *L, void *arg)
{
    struct ml_task *task = arg;
    int count;

    lua_rawgeti(L, LUA_REGISTRYINDEX, task->slots[ML_SLOT_DONE]);
    if (!lua_istable(L, -1))
        return;
    count = (int)lua_objlen(L, -1);
    task->owner->hooks.push_outcome(L, task->ex);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        lua_pushvalue(L, 2);
        ml_task_spawn(task->owner, L, 1);
    }
}

/* Most have none, and a protected call costs more than this look. */
static bool has_done(struct ml_task *task)
{
    lua_State *L = task->owner->L;
    bool has = false;

    if (task->slots[ML_SLOT_DONE] == LUA_NOREF)
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->slots[ML_SLOT_DONE]);
    has = lua_istable(L, -1);
    lua_pop(L, 1);
    return has;
}

static void exchange_ended(struct ml_exchange *ex)
{
    struct ml_task *task = ex->task;

    if (task == NULL)
        return;
    ex->task = NULL;
    if (ex->upstream != NULL)
        ml_upstream_cancel(ex);
    task->owner->hooks.over(ex);
    if (has_done(task))
        ml_tasks_protect(task->owner, spawn_done, task);
    task->ex = NULL;
    task->match = NULL;
    ml_task_release(&task);
}

void ml_task_cancel_exchange(struct ml_exchange *ex)
{
    exchange_ended(ex);
}

void ml_task_finish_exchange(struct ml_exchange *ex)
{
    exchange_ended(ex);
}

void ml_tasks_stop_background(struct ml_tasks *t)
{
    struct ml_task *task;

    if (t->hooks.stop_background != NULL)
        t->hooks.stop_background(t->hooks.ctx); /* which ends tasks itself */
    task = t->live;
    while (task != NULL) {
        struct ml_task *next = task->next;

        if (task->parent == NULL && task->ex == NULL && task->state == TASK_WAITING) {
            ml_task_release(&task);
            next = t->live; /* its branches went too */
        }
        task = next;
    }
    if (t->live_count == 0 && t->conf.loop != NULL)
        ml_loop_defer(t->conf.loop, &t->idle);
}
