/* task.c - the life of tasks; the only file that resumes a coroutine.
 *
 *   serve, spawn, fork -> READY --start--> RUNNING --ml_task_wait--> WAITING --ml_task_wake--\
 *                                          |  ^______________________________________________/
 *                                          v returned or failed
 *                                        ENDED -> freed: at once (background), by the exchange's
 *                                                 end (root), by whoever forked it (branch)
 *
 * One script runs at a time in a process (`running`); what is to be resumed while one runs is
 * deferred to the end of the loop's turn.  Task structs are never given back to malloc while the VM
 * lives, so a handle may look at its task after the end and see by the serial that it is over. */
#include "script/task.h"

#include "base/clock.h"
#include "base/shm.h"
#include "outbound/upstream.h"
#include "script/budget.h"
#include "script/coroutine.h"
#include "script/report.h"

#include <assert.h>
#include <lauxlib.h>
#include <luajit.h>
#include <stdlib.h>

enum state { FREE, READY, RUNNING, WAITING, ENDED };

struct ml_task {
    struct ml_tasks *owner;
    struct ml_task *next, **link; /* list of live ones, or of spare ones */
    struct ml_task *parent;       /* of a branch */
    unsigned branches;            /* live tasks whose parent this is */
    struct ml_exchange *ex;       /* of a root, until the exchange ends */
    struct ml_route_match *match; /* in the arena of ex */
    struct ml_coroutine co;
    int nargs; /* READY: arguments above the function */
    struct ml_wait *wait, *woken;
    struct ml_deferred ready;
    struct ml_task_join join;
    int slots[ML_SLOT_COUNT]; /* registry indexes, kept while the struct is spare */
    enum state state;
    enum ml_err why; /* ENDED: it failed; it was logged when it was no ordinary error */
    bool doomed;     /* cancelled while its coroutine runs: dropped as soon as that yields */
};

struct ml_tasks {
    lua_State *L;
    struct ml_tasks_conf conf;
    struct ml_task_hooks hooks;
    struct ml_coroutines pool;
    struct ml_task *live, *spare;
    unsigned live_count;
    int protect_ref; /* run_protected, ready to be called without an allocation */
    struct ml_deferred idle;
};

static struct ml_task *running;
static const char tasks_key;

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
    lua_pushlightuserdata(L, (void *)&tasks_key);
    lua_pushlightuserdata(L, t);
    lua_rawset(L, LUA_REGISTRYINDEX);
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

struct ml_tasks *ml_tasks_of(lua_State *L)
{
    struct ml_tasks *t;

    lua_pushlightuserdata(L, (void *)&tasks_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    t = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return t;
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

/* ---- making and freeing tasks ---- */

static void on_ready(void *ctx);

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

static struct ml_task *task_new(struct ml_tasks *t, struct ml_task *parent)
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
    task->state = READY;
    link_task(&t->live, task);
    t->live_count++;
    return task;
}

static void leave_parent(struct ml_task *task)
{
    if (task->parent != NULL)
        task->parent->branches--;
    task->parent = NULL;
}

/* The slots hold false and not nil while they are unset, so setting one needs no memory. */
static void task_free(struct ml_task *task)
{
    struct ml_tasks *t = task->owner;

    assert(task->state == ENDED && task->co.L == NULL);
    for (unsigned i = 0; i < ML_SLOT_COUNT; i++)
        if (task->slots[i] != LUA_NOREF) {
            lua_pushboolean(t->L, 0);
            lua_rawseti(t->L, LUA_REGISTRYINDEX, task->slots[i]);
        }
    unlink_task(task);
    leave_parent(task);
    task->state = FREE;
    task->ex = NULL;
    task->match = NULL;
    task->join = (struct ml_task_join){0};
    task->doomed = false;
    task->why = ML_OK;
    link_task(&t->spare, task);
    if (--t->live_count == 0 && t->conf.loop != NULL)
        ml_loop_defer(t->conf.loop, &t->idle);
}

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

/* ---- the end of a task ---- */

struct ml_task *ml_task_root(struct ml_task *task)
{
    while (task->parent != NULL)
        task = task->parent;
    return task;
}

static struct ml_str task_label(struct ml_task *task)
{
    const struct ml_route_match *m = ml_task_root(task)->match;

    if (m == NULL)
        return ML_STR("background");
    return m->pattern.p != NULL ? m->pattern : ML_STR("no route");
}

static void collect_all(struct ml_tasks *t)
{
    ml_coroutines_free(&t->pool, t->L);
    lua_gc(t->L, LUA_GCCOLLECT, 0);
}

static void cancel_branches(struct ml_task *parent);

/* Stops whatever the task does.  Its coroutine can not go on from where it is: dropped, now or when
 * it yields. */
static void task_stop(struct ml_task *task)
{
    struct ml_wait *w = task->wait != NULL ? task->wait : task->woken;

    assert(task->state != RUNNING);
    if (task->owner->conf.loop != NULL)
        ml_loop_undefer(task->owner->conf.loop, &task->ready);
    task->wait = task->woken = NULL;
    task->state = ENDED;
    if (w != NULL && w->cancel != NULL)
        w->cancel(w->ctx);
    cancel_branches(task);
    ml_coroutine_drop(task->owner->L, &task->co);
}

static void cancel_branches(struct ml_task *parent)
{
    struct ml_task *task = parent->owner->live;

    while (parent->branches > 0) {
        if (task->parent != parent) {
            task = task->next;
            continue;
        }
        ml_task_release(&task);
        task = parent->owner->live; /* the list has changed */
    }
}

static void report_status(struct ml_task *task, enum ml_err why)
{
    struct ml_task *root = ml_task_root(task);

    ml_report_failure(task->owner->L, task->co.L, why, task_label(task), root->ex,
                      task->owner->conf.generation);
}

static enum ml_err failure_of(int status, bool over_budget)
{
    if (over_budget)
        return ML_SCRIPT_BUDGET;
    return status == LUA_ERRMEM ? ML_SCRIPT_MEMORY : ML_SCRIPT_ERROR;
}

/* The root's function returned: what it returned goes to the client. */
static void answer(struct ml_task *task)
{
    struct ml_exchange *ex = task->ex;
    const char *wrong = NULL;

    if (ex->responded) { /* the core gave up waiting: a timeout, a broken body */
        ml_coroutine_give(&task->owner->pool, &task->co);
        return;
    }
    wrong = task->owner->hooks.adopt(task->co.L, 1, ex);
    ml_coroutine_give(&task->owner->pool, &task->co);
    if (wrong == NULL) {
        ml_exchange_respond(ex);
        return;
    }
    ml_report_message(wrong, ML_SCRIPT_ERROR, task_label(task), ex, task->owner->conf.generation);
    ml_exchange_fail(ex, ML_SCRIPT_ERROR);
}

static void fail(struct ml_task *task, enum ml_err why)
{
    struct ml_tasks *t = task->owner;
    struct ml_exchange *ex = task->ex;

    report_status(task, why);
    ml_coroutine_drop(t->L, &task->co);
    if (why == ML_SCRIPT_MEMORY)
        collect_all(t);
    if (ex == NULL)
        task_free(task);
    else
        ml_exchange_fail(ex, why);
}

/* The coroutine returned (status 0) or died.  May free the task. */
static void task_ended(struct ml_task *task, int status, enum ml_err why)
{
    task->state = ENDED;
    if (status != 0 ||
        task->ex == NULL) /* else they may work on the body until the exchange ends */
        cancel_branches(task);
    if (task->join.ended != NULL) {
        task->why = status != 0 ? why : ML_OK;
        if (why == ML_SCRIPT_BUDGET || why == ML_SCRIPT_MEMORY)
            report_status(task, why);
        task->join.ended(task->join.ctx, task, status);
    } else if (status != 0) {
        fail(task, why);
    } else if (task->ex != NULL) {
        answer(task);
    } else {
        ml_coroutine_give(&task->owner->pool, &task->co);
        task_free(task);
    }
}

/* ---- resuming ---- */

static void beat_begin(struct ml_task *task)
{
    struct ml_shm_worker *stats = task->owner->conf.stats;
    struct ml_str label;

    if (stats == NULL)
        return;
    label = task_label(task);
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

/* A script that was cancelled while it ran: nobody waits for it, whatever it did. */
static void drop_doomed(struct ml_task *task)
{
    task_stop(task);
    task_free(task);
}

static void after_resume(struct ml_task *task, int status, bool over_budget)
{
    if (status == LUA_YIELD) {
        task->state = WAITING;
#ifdef ML_HARD
        lua_gc(task->owner->L, LUA_GCCOLLECT, 0);
#endif
    }
    if (task->doomed) {
        task->state = WAITING;
        drop_doomed(task);
    } else if (status != LUA_YIELD) {
        task_ended(task, status, failure_of(status, over_budget));
    } else if (task->wait == NULL) {
        lua_settop(task->co.L, 0);
        lua_pushliteral(task->co.L, "coroutine.yield outside of a coroutine of the script's own");
        task_ended(task, LUA_ERRRUN, ML_SCRIPT_ERROR);
    }
}

static void resume(struct ml_task *task, int nargs)
{
    bool over_budget;
    int status;

    assert(running == NULL);
    running = task;
    task->state = RUNNING;
    beat_begin(task);
    ml_budget_enter(task->co.L, task->owner->conf.budget_ms);
    status = lua_resume(task->co.L, nargs);
    over_budget = ml_budget_leave();
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

    if (task->state == READY) {
        resume(task, task->nargs);
        return;
    }
    assert(task->state == WAITING && d.wait != NULL && d.wait == task->wait);
    task->wait = task->woken = NULL;
    if (ml_tasks_protect(task->owner, deliver, &d) == 0) {
        resume(task, d.count);
        return;
    }
    lua_settop(task->co.L, 0);
    lua_pushnil(task->co.L); /* a message would need memory */
    task_ended(task, LUA_ERRMEM, ML_SCRIPT_MEMORY);
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
    struct ml_task *task = task_new(t, NULL);
    struct start s = {.task = task, .nargs = 1, .chain_ref = chain_ref};

    task->ex = ex;
    ex->task = task;
    task->match = ml_arena_alloc(ex->arena, sizeof *task->match);
    *task->match = *match;
    if (ml_tasks_protect(t, prepare, &s) == 0) {
        make_ready(task, true);
        return;
    }
    task->state = ENDED;
    ml_coroutine_drop(t->L, &task->co);
    collect_all(t);
    ml_report_message("not enough memory", ML_SCRIPT_MEMORY, match->pattern, ex,
                      t->conf.generation);
    ml_exchange_fail(ex, ML_SCRIPT_MEMORY);
}

/* NULL when there is no memory; the values are off L in any case. */
static struct ml_task *task_begin(struct ml_tasks *t, struct ml_task *parent, lua_State *L,
                                  int nargs)
{
    struct ml_task *task = task_new(t, parent);
    struct start s = {.task = task, .nargs = nargs, .chain_ref = LUA_NOREF};

    if (ml_tasks_protect(t, prepare, &s) == 0) {
        lua_xmove(L, task->co.L, nargs + 1);
        return task;
    }
    lua_pop(L, nargs + 1);
    task->state = ENDED;
    ml_coroutine_drop(t->L, &task->co);
    task_free(task);
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

void ml_task_release(struct ml_task **branch)
{
    struct ml_task *task = *branch;

    *branch = NULL;
    if (task->state == RUNNING) { /* freed when it yields; until then it belongs to nobody */
        leave_parent(task);
        task->doomed = true;
        return;
    }
    task_stop(task);
    task_free(task);
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

        if (task->parent == NULL && task->ex == NULL && task->state == WAITING) {
            ml_task_release(&task);
            next = t->live; /* its branches went too */
        }
        task = next;
    }
    if (t->live_count == 0 && t->conf.loop != NULL)
        ml_loop_defer(t->conf.loop, &t->idle);
}
