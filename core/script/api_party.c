/* api_party.c - core.all and core.race: functions that run side by side.
 *
 * Each function is a branch of the task that called.  The party (a userdata in the registry, so
 * that no error leaks it) counts who has ended.  Its environment table has a slot for the outcome
 * and one for the key of each branch, made beforehand: an outcome is stored without a need for
 * memory.
 *
 *   all:  the last result, or the first error, ends it     race: the first end of any kind ends it
 *
 * Whoever still runs then is cancelled.  C functions that yielded can not raise when they are
 * woken, so a few lines of Lua around them do. */
#include "script/api.h"
#include "script/report.h"

#include <assert.h>

enum { BRANCHES_MAX = 1000 };

struct branch {
    struct party *party;
    struct ml_task *task; /* NULL: it ended */
    bool failed;
};

struct party {
    struct ml_wait wait;
    struct ml_tasks *tasks;
    lua_State *L; /* the main state */
    int ref;      /* keeps it */
    bool race, settle, keyed;
    unsigned count, left;
    struct branch *decisive; /* who ended a race, or failed */
    struct branch branches[];
};

/* ---- its end ---- */

static void release_all(struct party *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->branches[i].task != NULL)
            ml_task_release(&p->branches[i].task);
}

/* The environment is on top: pushes the outcome or the key of a branch. */
static void push_outcome(lua_State *L, const struct party *p, unsigned i)
{
    lua_rawgeti(L, -1, (int)i + 1);
    if (p->branches[i].failed && lua_isnil(L, -1)) { /* there was no memory for a message */
        lua_pop(L, 1);
        lua_pushliteral(L, "not enough memory");
    }
}

static void push_key(lua_State *L, const struct party *p, unsigned i)
{
    if (p->keyed)
        lua_rawgeti(L, -1, (int)(p->count + i) + 1);
    else
        lua_pushinteger(L, (int)i + 1);
}

/* Wraps the value on top: {ok = true, value = } or {ok = false, error = }. */
static void settle_value(lua_State *L, bool failed)
{
    lua_createtable(L, 0, 2);
    lua_pushboolean(L, !failed);
    lua_setfield(L, -2, "ok");
    lua_insert(L, -2);
    lua_setfield(L, -2, failed ? "error" : "value");
}

/* The environment is on top: pushes the table of all results. */
static void push_results(lua_State *L, const struct party *p)
{
    int env = lua_gettop(L);

    lua_createtable(L, p->keyed ? 0 : (int)p->count, p->keyed ? (int)p->count : 0);
    for (unsigned i = 0; i < p->count; i++) {
        lua_pushvalue(L, env);
        push_key(L, p, i);
        lua_insert(L, -2);
        push_outcome(L, p, i);
        lua_remove(L, -2);
        if (p->settle)
            settle_value(L, p->branches[i].failed);
        lua_rawset(L, env + 1);
    }
}

static int party_push(lua_State *L, void *ctx)
{
    struct party *p = ctx;
    unsigned i = p->decisive != NULL ? (unsigned)(p->decisive - p->branches) : 0;

    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref); /* the stack keeps it from here on */
    ml_api_unanchor(L, &p->ref);
    lua_pushboolean(L, p->decisive == NULL || !p->decisive->failed);
    lua_getfenv(L, -2);
    if (p->decisive == NULL) {
        push_results(L, p);
        lua_remove(L, -2);
        return 2;
    }
    push_outcome(L, p, i);
    lua_insert(L, -2);
    push_key(L, p, i);
    lua_remove(L, -2);
    return 3;
}

/* The task goes away, and with it its branches. */
static void party_cancel(void *ctx)
{
    struct party *p = ctx;

    ml_api_unanchor(p->L, &p->ref);
}

/* The value on top of the branch's stack becomes its outcome. */
static void store(struct party *p, struct branch *b, lua_State *co)
{
    lua_State *L = p->L;

    lua_rawgeti(L, LUA_REGISTRYINDEX, p->ref);
    lua_getfenv(L, -1);
    lua_xmove(co, L, 1);
    lua_rawseti(L, -2, (int)(b - p->branches) + 1);
    lua_pop(L, 2);
}

/* The caller gets the error without its traceback; that of a mistake in a script is wanted. */
static void report(struct party *p, struct branch *b)
{
    lua_State *co = ml_task_stack(b->task);

    if (!p->settle && ml_task_why(b->task) == ML_SCRIPT_ERROR && lua_type(co, -1) == LUA_TSTRING)
        ml_report_failure(p->L, co, ML_SCRIPT_ERROR, ML_STR("branch"),
                          ml_task_exchange(p->wait.task), ml_tasks_generation(p->tasks));
}

static void branch_ended(void *ctx, struct ml_task *task, int status)
{
    struct branch *b = ctx;
    struct party *p = b->party;
    lua_State *co = ml_task_stack(task);

    b->failed = status != 0;
    if (b->failed)
        report(p, b);
    else
        lua_settop(co, 1); /* the first result, or nil */
    store(p, b, co);
    ml_task_release(&b->task);
    p->left--;
    if (p->race || (b->failed && !p->settle))
        p->decisive = b;
    else if (p->left > 0)
        return;
    release_all(p);
    ml_task_wake(&p->wait);
}

/* ---- its beginning ---- */

/* Counts the functions of the table at index 1; *keyed: it is no list. */
static const char *count_functions(lua_State *L, unsigned *count, bool *keyed)
{
    *count = 0;
    *keyed = false;
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -1) != LUA_TFUNCTION)
            return "each branch must be a function";
        if (++*count > BRANCHES_MAX)
            return "there are more than 1000 branches";
    }
    for (unsigned i = 1; i <= *count && !*keyed; i++) {
        lua_rawgeti(L, 1, (int)i);
        *keyed = lua_isnil(L, -1);
        lua_pop(L, 1);
    }
    return NULL;
}

/* Pushes the environment: outcomes, then keys. */
static void push_env(lua_State *L, const struct party *p)
{
    int i = 0, env;

    lua_createtable(L, (int)p->count * 2, 0);
    env = lua_gettop(L);
    for (unsigned slot = 1; slot <= p->count * 2; slot++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, env, (int)slot);
    }
    if (!p->keyed)
        return;
    for (lua_pushnil(L); lua_next(L, 1) != 0; lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_rawseti(L, env, (int)p->count + ++i);
    }
}

/* Pushes the function of a branch; the environment is at index env. */
static void push_function(lua_State *L, const struct party *p, int env, unsigned i)
{
    lua_pushvalue(L, env);
    push_key(L, p, i);
    lua_rawget(L, 1);
    lua_remove(L, -2);
}

static void start_all(lua_State *L, struct party *p, int env)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct branch *b = &p->branches[i];
        struct ml_task_join join = {branch_ended, b};

        b->party = p;
        push_function(L, p, env, i);
        b->task = ml_task_fork(p->wait.task, L, 0, &join);
        if (b->task != NULL)
            continue;
        release_all(p);
        ml_api_unanchor(L, &p->ref);
        luaL_error(L, "not enough memory");
    }
}

/* A mistake of the caller is nil and a message, which the Lua around this raises in his name. */
static int refuse(lua_State *L, const char *why)
{
    lua_settop(L, 0);
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* Of list and settle: true and the results; true, a result and its key; false and an error. */
static int run_party(lua_State *L, bool race)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_task *task;
    const char *wrong;
    struct party *p;
    unsigned count;
    bool keyed;
    int ref;

    if (ml_task_running(L) == NULL)
        return refuse(L, "this function waits: it can not be called while the site is loaded");
    task = ml_task_waiter(L);
    lua_settop(L, 2);
    wrong = count_functions(L, &count, &keyed);
    if (wrong == NULL && race && count == 0)
        wrong = "a race needs a branch";
    if (wrong != NULL)
        return refuse(L, wrong);
    p = ml_api_anchored(L, sizeof *p + count * sizeof *p->branches, &ref);
    *p = (struct party){.tasks = b->conf.tasks,
                        .L = ml_tasks_state(b->conf.tasks),
                        .ref = ref,
                        .race = race,
                        .settle = lua_toboolean(L, 2),
                        .keyed = keyed,
                        .count = count,
                        .left = count};
    p->wait = (struct ml_wait){task, party_push, party_cancel, p};
    push_env(L, p);
    lua_pushvalue(L, -1);
    lua_setfenv(L, -3);
    if (count == 0) {
        ml_api_unanchor(L, &p->ref);
        lua_pushboolean(L, 1);
        lua_newtable(L);
        return 2;
    }
    start_all(L, p, 4);
    return ml_task_wait(L, &p->wait);
}

static int api_all(lua_State *L)
{
    return run_party(L, false);
}

static int api_race(lua_State *L)
{
    return run_party(L, true);
}

static const char around[] =
    "local all, race, error, type, pairs = ...\n"
    "local function make(name, run)\n"
    "  return function(list, opts)\n"
    "    if type(list) ~= 'table' then error(name .. ': a list of functions is expected', 2) end\n"
    "    if opts ~= nil and type(opts) ~= 'table' then error(name .. ': bad options', 2) end\n"
    "    for key, value in pairs(opts or {}) do\n"
    "      if name ~= 'all' or key ~= 'settle' or type(value) ~= 'boolean' then\n"
    "        error(name .. ': unknown or bad option', 2)\n"
    "      end\n"
    "    end\n"
    "    local ok, value, key = run(list, opts and opts.settle)\n"
    "    if ok then return value, key end\n"
    "    if ok == nil then error(name .. ': ' .. value, 2) end\n"
    "    error(value, 0)\n"
    "  end\n"
    "end\n"
    "return make('all', all), make('race', race)\n";

static void push_function_of(lua_State *L, struct ml_bridge *b, lua_CFunction f)
{
    lua_pushlightuserdata(L, b);
    lua_pushcclosure(L, f, 1);
}

void ml_api_party_open(lua_State *L, struct ml_bridge *b)
{
    static const char *const needed[] = {"error", "type", "pairs"};

    if (luaL_loadbuffer(L, around, sizeof around - 1, "=gw.all") != 0)
        lua_error(L);
    push_function_of(L, b, api_all);
    push_function_of(L, b, api_race);
    for (unsigned i = 0; i < sizeof needed / sizeof *needed; i++)
        lua_getglobal(L, needed[i]);
    lua_call(L, 5, 2);
    lua_setfield(L, -3, "race");
    lua_setfield(L, -2, "all");
}
