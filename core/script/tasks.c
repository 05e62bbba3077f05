/* tasks.c - all tasks of one VM: protected calls, the memory of tasks, what they have in common.
 *
 * Task structs are never given back to malloc while the VM lives, so a handle may look at its task
 * after the end and see by the serial that it is over. */
#include "script/task_parts.h"

#include "script/budget.h"

#include <assert.h>
#include <lauxlib.h>
#include <luajit.h>
#include <stdlib.h>

/* ---- the VM's side ---- */

struct job {
    void (*run)(lua_State *L, void *arg);
    void *arg;
};

static int run_protected(lua_State *L)
{
    struct job *job = lua_touserdata(L, 1);

    lua_settop(L, 0);
    job->run(L, job->arg);
    return 0;
}

int ml_tasks_protect(struct ml_tasks *t, void (*run)(lua_State *L, void *arg), void *arg)
{
    struct job job = {run, arg};
    int status;

    lua_rawgeti(t->L, LUA_REGISTRYINDEX, t->protect_ref);
    lua_pushlightuserdata(t->L, &job);
    status = lua_pcall(t->L, 1, 0, 0);
    if (status != 0)
        lua_pop(t->L, 1);
    return status;
}

static void on_idle(void *ctx)
{
    struct ml_tasks *t = ctx;

    if (t->live_count == 0 && t->conf.idle != NULL)
        t->conf.idle(t->conf.ctx);
}

struct ml_tasks *ml_tasks_new(lua_State *L, const struct ml_tasks_conf *conf)
{
    struct ml_tasks *t = calloc(1, sizeof *t);

    if (t == NULL)
        abort();
    t->L = L;
    t->conf = *conf;
    t->idle = (struct ml_deferred){.fire = on_idle, .ctx = t};
    lua_pushcfunction(L, run_protected);
    t->protect_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF); /* until it is activated */
    ml_budget_arm();
    return t;
}

void ml_tasks_free(struct ml_tasks **tasks)
{
    struct ml_tasks *t = *tasks;

    *tasks = NULL;
    assert(t->live_count == 0);
    if (t->conf.loop != NULL)
        ml_loop_undefer(t->conf.loop, &t->idle);
    ml_budget_disown(t->L);
    while (t->spare != NULL) {
        struct ml_task *task = t->spare;

        t->spare = task->next;
        free(task);
    }
    ml_coroutines_free(&t->pool, t->L);
    free(t);
}

void ml_tasks_trim(struct ml_tasks *t)
{
    ml_coroutines_free(&t->pool, t->L);
}

unsigned ml_tasks_live(const struct ml_tasks *t)
{
    return t->live_count;
}

void ml_tasks_activate(struct ml_tasks *t)
{
    ml_budget_own(t->L);
}

void ml_tasks_set_budget(struct ml_tasks *t, double budget_ms)
{
    t->conf.budget_ms = budget_ms;
}

void ml_tasks_set_hooks(struct ml_tasks *t, const struct ml_task_hooks *hooks)
{
    t->hooks = *hooks;
}

lua_State *ml_tasks_state(const struct ml_tasks *t)
{
    return t->L;
}

uint32_t ml_tasks_generation(const struct ml_tasks *t)
{
    return t->conf.generation;
}

void *ml_tasks_bridge(struct ml_tasks *t)
{
    return t->hooks.ctx;
}

struct ml_loop *ml_tasks_loop(struct ml_tasks *t)
{
    return t->conf.loop;
}

int ml_task_call(struct ml_tasks *t, lua_State *L, int nargs, int nresults)
{
    int status;

    ml_budget_enter(L, t->conf.budget_ms);
    status = lua_pcall(L, nargs, nresults, 0);
    ml_budget_leave();
    return status;
}

void ml_tasks_collect(struct ml_tasks *t)
{
    ml_coroutines_free(&t->pool, t->L);
    lua_gc(t->L, LUA_GCCOLLECT, 0);
}

/* ---- making and freeing tasks ---- */

static void link_task(struct ml_task **list, struct ml_task *task)
{
    task->next = *list;
    task->link = list;
    if (task->next != NULL)
        task->next->link = &task->next;
    *list = task;
}

static void unlink_task(struct ml_task *task)
{
    *task->link = task->next;
    if (task->next != NULL)
        task->next->link = task->link;
}

struct ml_task *ml_task_new(struct ml_tasks *t, struct ml_task *parent, void (*on_ready)(void *))
{
    struct ml_task *task = t->spare;

    if (task != NULL) {
        unlink_task(task);
    } else {
        task = calloc(1, sizeof *task);
        if (task == NULL)
            abort();
        task->owner = t;
        task->ready = (struct ml_deferred){.fire = on_ready, .ctx = task};
        for (unsigned i = 0; i < ML_SLOT_COUNT; i++)
            task->slots[i] = LUA_NOREF;
    }
    task->parent = parent;
    if (parent != NULL)
        parent->branches++;
    task->state = TASK_READY;
    link_task(&t->live, task);
    t->live_count++;
    return task;
}

void ml_task_leave_parent(struct ml_task *task)
{
    if (task->parent != NULL)
        task->parent->branches--;
    task->parent = NULL;
}

/* The slots hold false and not nil while they are unset, so setting one needs no memory. */
void ml_task_free(struct ml_task *task)
{
    struct ml_tasks *t = task->owner;

    assert(task->state == TASK_ENDED && task->co.L == NULL);
    for (unsigned i = 0; i < ML_SLOT_COUNT; i++)
        if (task->slots[i] != LUA_NOREF) {
            lua_pushboolean(t->L, 0);
            lua_rawseti(t->L, LUA_REGISTRYINDEX, task->slots[i]);
        }
    unlink_task(task);
    ml_task_leave_parent(task);
    task->state = TASK_FREE;
    task->ex = NULL;
    task->match = NULL;
    task->join = (struct ml_task_join){0};
    task->doomed = false;
    task->why = ML_OK;
    link_task(&t->spare, task);
    if (--t->live_count == 0 && t->conf.loop != NULL)
        ml_loop_defer(t->conf.loop, &t->idle);
}
