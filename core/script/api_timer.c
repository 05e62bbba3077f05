/* api_timer.c - core.timer: functions that run again and again, beside all requests.
 *
 *   MADE --generation serves, or made while it does--> ACTIVE --cancel, last firing, stop--> OVER
 *
 * A timer is a userdata, kept in the registry while it is active or its function runs.  Each firing
 * is a background task of its own; the next one is skipped while it runs.  The times of firings are
 * counted from the first one, so that they do not drift; those that were missed are left out.
 *
 * once_per_machine: the workers count periods of the monotonic clock, which they share, and the
 * first to add a period to the shared dict has that firing.  While its function runs it holds a
 * lease, so that no other worker begins meanwhile; the lease of a worker that died runs out by
 * itself. */
#include "script/api.h"
#include "script/report.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "base/shdict.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define INTERVAL_MIN_S 0.01
enum { TIMERS_MAX = 1000, GRACE_S = 30, LEASE_S = 10, LEASE_RENEW_S = 3, WHERE_CAP = 200 };

struct timer {
    struct ml_timers *all;
    struct timer *next, **link; /* list of those that are kept */
    int self, function;         /* registry indexes */
    struct ml_timer clock, lease_clock;
    double interval_s, due_s;
    bool repeating, immediately, once_per_machine;
    bool listed, active, leased;
    struct ml_task *firing;
    char where[WHERE_CAP]; /* "file:line" */
};

struct ml_timers { /* a userdata, kept by the registry for the life of the VM */
    struct ml_bridge *bridge;
    lua_State *L; /* the main state */
    struct timer *first;
    unsigned count;
    int metatable;
    bool started;
    double stopped_s; /* 0: it goes on */
};

static double now_s(const struct ml_timers *all)
{
    return ml_loop_now_s(all->bridge->conf.host->loop);
}

/* ---- one worker of all: claims and leases ---- */

static struct ml_shdict_region *dicts(const struct timer *t)
{
    struct ml_shm *shm = t->all->bridge->conf.host->shm;

    return shm != NULL ? ml_shm_dicts(shm) : NULL;
}

/* No script can have this dict: names of theirs have no control characters. */
static struct ml_str reserved(void)
{
    return ML_STR("\1timers");
}

/* Sets a key that nobody has; false when somebody has. */
static bool claim(const struct timer *t, const char *key, double ttl_s)
{
    struct ml_shdict_value mine = {.type = ML_SHDICT_NUMBER,
                                   .number = (double)t->all->bridge->conf.host->worker};
    bool done = false;
    enum ml_err err =
        ml_shdict_add(dicts(t), reserved(), ml_str_of(key), &mine, ttl_s, ml_clock_wall_s(), &done);

    if (err != ML_OK)
        ml_log_event(ML_LOG_ERROR, "timer can not be claimed", ML_KV("timer", t->where),
                     ML_KV("reason", ml_err_word(err)));
    return done;
}

enum { KEY_CAP = WHERE_CAP + 64 };

static void lease_key(const struct timer *t, char key[KEY_CAP])
{
    snprintf(key, KEY_CAP, "%s %.17g lease", t->where, t->interval_s);
}

static void set_lease(const struct timer *t, enum ml_shdict_type type)
{
    struct ml_shdict_value value = {.type = type,
                                    .number = (double)t->all->bridge->conf.host->worker};
    char key[KEY_CAP];

    lease_key(t, key);
    ml_shdict_set(dicts(t), reserved(), ml_str_of(key), &value, LEASE_S, ml_clock_wall_s());
}

static void renew_lease(void *ctx)
{
    struct timer *t = ctx;

    set_lease(t, ML_SHDICT_NUMBER);
    ml_timer_set(&t->lease_clock, LEASE_RENEW_S);
}

static void give_lease_back(struct timer *t)
{
    if (!t->leased)
        return;
    t->leased = false;
    ml_timer_drop(&t->lease_clock);
    set_lease(t, ML_SHDICT_NIL);
}

/* Counted from the begin of the clock.  Timers may wake a millisecond early: that is the period to
 * come. */
static double period_of(const struct timer *t)
{
    return floor((now_s(t->all) + 0.5 * INTERVAL_MIN_S) / t->interval_s);
}

/* The firing of the current period is ours, and no other worker is still at an earlier one. */
static bool claim_firing(struct timer *t)
{
    char key[KEY_CAP];

    if (!t->once_per_machine || dicts(t) == NULL)
        return true;
    if (t->repeating)
        snprintf(key, sizeof key, "%s %.17g %.17g", t->where, t->interval_s, period_of(t));
    else
        snprintf(key, sizeof key, "%s %.17g generation %u", t->where, t->interval_s,
                 ml_tasks_generation(t->all->bridge->conf.tasks));
    if (!claim(t, key, t->repeating ? 2 * t->interval_s + 60 : 0))
        return false;
    lease_key(t, key);
    if (!claim(t, key, LEASE_S))
        return false;
    t->leased = true;
    ml_timer_set(&t->lease_clock, LEASE_RENEW_S);
    return true;
}

/* ---- the end ---- */

/* Nothing keeps the timer but the handles of scripts. */
static void unlist(struct timer *t)
{
    if (!t->listed)
        return;
    t->listed = false;
    *t->link = t->next;
    if (t->next != NULL)
        t->next->link = t->link;
    t->all->count--;
    ml_api_unanchor(t->all->L, &t->self);
}

/* No firing will begin any more; one that runs goes on. */
static void deactivate(struct timer *t)
{
    if (!t->active)
        return;
    t->active = false;
    ml_timer_drop(&t->clock);
    ml_api_unanchor(t->all->L, &t->function);
    if (t->firing == NULL)
        unlist(t);
}

static void stop(struct timer *t)
{
    if (t->firing != NULL)
        ml_task_release(&t->firing);
    give_lease_back(t);
    t->active ? deactivate(t) : unlist(t);
}

void ml_api_timer_close(struct ml_bridge *b)
{
    struct ml_timers *all = b->timers;

    if (all == NULL)
        return;
    if (all->stopped_s == 0 && b->conf.host->loop != NULL)
        all->stopped_s = now_s(all);
    while (all->first != NULL)
        stop(all->first);
}

double ml_api_timers_grace_s(const struct ml_bridge *b)
{
    const struct ml_timers *all = b->timers;

    if (all == NULL || all->stopped_s == 0)
        return INFINITY;
    return all->stopped_s + GRACE_S - now_s(all);
}

/* ---- a firing ---- */

static void report(struct timer *t, struct ml_task *task)
{
    char label[WHERE_CAP + 8];

    snprintf(label, sizeof label, "timer %s", t->where);
    ml_report_failure(t->all->L, ml_task_stack(task), ml_task_why(task), ml_str_of(label), NULL,
                      ml_tasks_generation(t->all->bridge->conf.tasks));
}

static void firing_ended(void *ctx, struct ml_task *task, int status)
{
    struct timer *t = ctx;

    if (status != 0 && ml_task_why(task) == ML_SCRIPT_ERROR) /* else it is in the log already */
        report(t, task);
    ml_task_release(&t->firing);
    give_lease_back(t);
    if (t->active && !t->repeating)
        deactivate(t);
    else if (!t->active)
        unlist(t);
}

static void begin_firing(struct timer *t)
{
    struct ml_tasks *tasks = t->all->bridge->conf.tasks;
    struct ml_task_join join = {firing_ended, t};
    lua_State *L = t->all->L;

    lua_rawgeti(L, LUA_REGISTRYINDEX, t->function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, t->self);
    t->firing = ml_task_start(tasks, L, 1, &join);
    if (t->firing != NULL)
        return;
    ml_report_message("not enough memory", ML_SCRIPT_MEMORY, ml_str_of(t->where), NULL,
                      ml_tasks_generation(tasks));
    give_lease_back(t);
}

/* The begin of the next period, or the next time that is a whole number of intervals after the
 * first firing. */
static void set_clock(struct timer *t)
{
    double now = now_s(t->all);

    if (t->once_per_machine)
        t->due_s = (period_of(t) + 1) * t->interval_s;
    else
        t->due_s += t->interval_s;
    if (t->due_s <= now)
        t->due_s += (floor((now - t->due_s) / t->interval_s) + 1) * t->interval_s;
    ml_timer_set(&t->clock, t->due_s > now ? t->due_s - now : 0);
}

static void fire(void *ctx)
{
    struct timer *t = ctx;
    bool mine = t->firing == NULL && claim_firing(t);

    if (mine)
        begin_firing(t);
    if (t->repeating)
        set_clock(t);
    else if (t->firing == NULL) /* another worker has it */
        deactivate(t);
}

/* ---- the beginning ---- */

static void start(struct timer *t)
{
    struct ml_loop *loop = t->all->bridge->conf.host->loop;
    double now = now_s(t->all);

    ml_timer_init(&t->clock, loop, fire, t);
    ml_timer_init(&t->lease_clock, loop, renew_lease, t);
    t->due_s = now + (t->immediately ? 0 : t->interval_s);
    if (t->once_per_machine && t->repeating && !t->immediately)
        set_clock(t);
    else
        ml_timer_set(&t->clock, t->due_s - now);
}

void ml_api_timers_start(struct ml_bridge *b)
{
    struct ml_timers *all = b->timers;

    if (all->started || all->stopped_s != 0)
        return;
    all->started = true;
    for (struct timer *t = all->first; t != NULL; t = t->next)
        start(t);
}

/* Where the site asked for the timer: the nearest line that is not the library's. */
static void find_where(lua_State *L, char out[WHERE_CAP])
{
    lua_Debug ar;

    snprintf(out, WHERE_CAP, "?");
    for (int level = 1; level < 16 && lua_getstack(L, level, &ar) != 0; level++) {
        if (lua_getinfo(L, "Sl", &ar) == 0 || ar.currentline <= 0)
            continue;
        snprintf(out, WHERE_CAP, "%s:%d", ar.short_src, ar.currentline);
        if (strncmp(ar.short_src, "lua/moonlatch/", 14) != 0)
            return;
    }
}

static void read_options(lua_State *L, struct timer *t)
{
    static const char *const names[] = {"repeating", "immediately", "once_per_machine", NULL};

    t->repeating = true;
    if (!ml_api_options(L, 3, names))
        return;
    t->repeating = ml_api_option_flag(L, 3, "repeating", true);
    t->immediately = ml_api_option_flag(L, 3, "immediately", false);
    t->once_per_machine = ml_api_option_flag(L, 3, "once_per_machine", false);
    if (t->once_per_machine && ml_task_running(L) != NULL)
        luaL_argerror(L, 3,
                      "once_per_machine is for timers that are made while the site is loaded");
}

/* Keeps the timer, which is on top of the stack, and its function. */
static void list(lua_State *L, struct timer *t)
{
    struct ml_timers *all = t->all;

    lua_pushvalue(L, 2);
    t->function = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushvalue(L, -1);
    t->self = luaL_ref(L, LUA_REGISTRYINDEX);
    t->active = t->listed = true;
    t->next = all->first;
    t->link = &all->first;
    if (t->next != NULL)
        t->next->link = &t->next;
    all->first = t;
    all->count++;
}

/* core.timer(seconds, fn, opts) -> handle */
static int api_timer(lua_State *L)
{
    struct ml_timers *all = ml_bridge_of(L)->timers;
    double seconds = ml_api_seconds(L, 1, INTERVAL_MIN_S);
    struct timer *t;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_settop(L, 3);
    t = lua_newuserdata(L, sizeof *t);
    *t =
        (struct timer){.all = all, .interval_s = seconds, .self = LUA_NOREF, .function = LUA_NOREF};
    lua_rawgeti(L, LUA_REGISTRYINDEX, all->metatable);
    lua_setmetatable(L, -2);
    read_options(L, t);
    find_where(L, t->where);
    if (all->count >= TIMERS_MAX)
        return luaL_error(L, "there are %d timers already", TIMERS_MAX);
    if (all->stopped_s != 0) /* the generation was replaced: no timer of it fires any more */
        return 1;
    list(L, t);
    if (all->started)
        start(t);
    return 1;
}

/* handle:cancel() -> was it active?  A firing that runs goes on to its end. */
static int timer_cancel(lua_State *L)
{
    struct ml_timers *all = ml_bridge_of(L)->timers;
    struct timer *t = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, all->metatable);
    if (t == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, 1, "timer");
    lua_pushboolean(L, t->active);
    deactivate(t);
    return 1;
}

/* Kept timers are collected only with the VM, after ml_api_timer_close. */
void ml_api_timer_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"timer", api_timer}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"cancel", timer_cancel}, {NULL, NULL}};
    int ref;

    b->timers = ml_api_anchored(L, sizeof *b->timers, &ref);
    lua_pop(L, 1);
    *b->timers = (struct ml_timers){.bridge = b, .L = ml_tasks_state(b->conf.tasks)};
    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, methods);
    b->timers->metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
