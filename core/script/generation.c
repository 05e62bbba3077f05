/* generation.c - loads a snapshot in a fresh VM, and hands exchanges to its chains.
 *
 *   load -> LOADED --switch--> CURRENT --switch to the next, retire--> DRAINING --idle--> freed
 *
 * Loading runs lua/moonlatch/boot.lua, which runs the site's files and leaves what they said in
 * struct ml_load.  It makes no connection and starts no timer: that is what the switch does. */
#include "script/generation.h"

#include "outbound/lists.h"
#include "script/bridge.h"
#include "script/explain.h"
#include "script/handle.h"
#include "script/load.h"
#include "script/steps.h"
#include "script/task.h"
#include "script/vm.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A worker answers nobody while it loads.  Staging decides, so a worker, which may be slower at
 * that moment, has more. */
enum { STAGE_BUDGET_MS = 1000, WORKER_BUDGET_MS = 3000, SLOW_LOAD_MS = 200 };

struct ml_generation {
    struct ml_generation *next, **link; /* of all of this process */
    struct ml_vm vm;
    struct ml_load load;
    struct ml_script_host host;
    struct ml_tasks *tasks;
    struct ml_bridge *bridge;
    struct ml_steps *steps;
    struct ml_group **groups; /* as in the site; NULL before the switch */
    uint32_t number;
    bool retired;
    bool small; /* what it holds after loading leaves room */
};

static struct ml_generation *all;
static unsigned alive;

bool ml_generation_at(unsigned index, uint32_t *number, unsigned *tasks)
{
    const struct ml_generation *g = all;

    while (g != NULL && index-- > 0)
        g = g->next;
    if (g == NULL)
        return false;
    *number = g->number;
    *tasks = ml_tasks_live(g->tasks);
    return true;
}

unsigned ml_generation_alive(void)
{
    return alive;
}

const struct ml_site *ml_generation_site(const struct ml_generation *g)
{
    return g->load.site;
}

uint32_t ml_generation_number(const struct ml_generation *g)
{
    return g->number;
}

struct ml_str ml_generation_warnings(const struct ml_generation *g)
{
    return ml_buf_str(&g->load.warnings);
}

static void generation_free(struct ml_generation *g)
{
    for (unsigned i = 0; g->groups != NULL && i < g->load.site->group_count; i++)
        ml_group_release(&g->groups[i]);
    free(g->groups);
    if (g->bridge != NULL)
        ml_bridge_close(g->bridge);
    if (g->tasks != NULL)
        ml_tasks_free(&g->tasks);
    ml_vm_close(&g->vm);
    ml_load_free(&g->load);
    ml_steps_free(&g->steps);
    *g->link = g->next;
    if (g->next != NULL)
        g->next->link = g->link;
    free(g);
    alive--;
}

/* ---- loading ---- */

static struct ml_group *group_at(void *ctx, unsigned index)
{
    struct ml_generation *g = ctx;

    return g->groups != NULL && index < g->load.site->group_count ? g->groups[index] : NULL;
}

static struct ml_group *group_named(void *ctx, struct ml_str name)
{
    struct ml_generation *g = ctx;

    for (unsigned i = 0; i < g->load.site->group_count; i++)
        if (ml_str_eq(g->load.site->groups[i].name, name))
            return group_at(g, i);
    return NULL;
}

static void on_idle(void *ctx)
{
    struct ml_generation *g = ctx;

    if (g->retired)
        generation_free(g);
}

/* Protected: opens the bridge and leaves boot.lua and its argument on the stack of its caller. */
static int open_bridge(lua_State *L)
{
    struct ml_generation *g = lua_touserdata(L, 1);
    struct ml_bridge_conf conf = {
        .host = &g->host,     .tasks = g->tasks,    .steps = g->steps, .group = group_named,
        .group_at = group_at, .ctx = g};
    struct ml_str boot;

    lua_settop(L, 0);
    if (!ml_load_embedded("moonlatch/boot.lua", &boot))
        return luaL_error(L, "the program has no boot.lua");
    if (luaL_loadbuffer(L, boot.p, boot.len, "@lua/moonlatch/boot.lua") != 0)
        return lua_error(L);
    g->bridge = ml_bridge_open(L, &conf); /* pushes core */
    ml_api_chain_open(L, g->bridge);
    ml_load_open(L, &g->load);
    ml_explain_open(L, &g->load, g->host.explain);
    lua_pushboolean(L, g->host.extend != NULL);
    lua_setfield(L, -2, "for_tests"); /* there are no listeners */
    if (g->host.extend != NULL)
        g->host.extend(L, g->host.extend_ctx);
    return 2;
}

static struct ml_str failure(lua_State *L)
{
    struct ml_str s = ML_STR("the site could not be loaded");

    if (lua_type(L, -1) == LUA_TSTRING)
        s.p = lua_tolstring(L, -1, &s.len);
    return s;
}

static double cpu_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void warn_of_slow_load(struct ml_generation *g, double took_ms)
{
    char text[120];

    if (took_ms < SLOW_LOAD_MS)
        return;
    snprintf(text, sizeof text,
             "loading the site takes %.0f ms of CPU time, in which a worker answers nobody\n",
             took_ms);
    ml_buf_append(&g->load.warnings, ml_str_of(text));
}

static bool boot(struct ml_generation *g, struct ml_buf *why)
{
    lua_State *L = g->vm.L;
    double begin_ms = cpu_ms();
    int status;

    lua_pushcfunction(L, open_bridge);
    lua_pushlightuserdata(L, g);
    status = lua_pcall(L, 1, 2, 0);
    if (status == 0)
        status = ml_task_call(g->tasks, L, 1, 0);
    if (status == 0) {
        warn_of_slow_load(g, cpu_ms() - begin_ms);
        return true;
    }
    ml_buf_append(why, failure(L));
    return false;
}

static struct ml_generation *generation_new(struct ml_snapshot *snapshot, uint32_t number,
                                            const struct ml_script_host *host)
{
    struct ml_generation *g = calloc(1, sizeof *g);
    struct ml_tasks_conf conf = {.budget_ms =
                                     host->loop != NULL ? WORKER_BUDGET_MS : STAGE_BUDGET_MS,
                                 .generation = number,
                                 .loop = host->loop,
                                 .idle = on_idle,
                                 .ctx = g};

    if (g == NULL)
        abort();
    alive++;
    g->next = all;
    g->link = &all;
    if (g->next != NULL)
        g->next->link = &g->next;
    all = g;
    g->number = number;
    g->host = *host;
    g->load.snapshot = snapshot;
    g->load.files = host->files;
    g->load.files_later = host->files_later;
    g->load.site = ml_site_new();
    g->load.router = ml_router_new();
    g->steps = ml_steps_new();
    ml_vm_open(&g->vm, g->load.site->settings.script_memory);
    if (host->shm != NULL)
        conf.stats = ml_shm_worker(host->shm, host->worker);
    g->tasks = ml_tasks_new(g->vm.L, &conf);
    return g;
}

/* Where collecting begins: no later than where a heap counts as full. */
static size_t near_of(size_t cap, double share)
{
    return (size_t)((double)cap * (share > 0 && share < 0.75 ? share : 0.75));
}

struct ml_generation *ml_generation_load(struct ml_snapshot *snapshot, uint32_t number,
                                         const struct ml_script_host *host, struct ml_buf *why)
{
    struct ml_generation *g = generation_new(snapshot, number, host);
    const struct ml_settings *settings = &g->load.site->settings;

    if (!boot(g, why)) {
        generation_free(g);
        return NULL;
    }
    g->load.done = true;
    g->load.snapshot = NULL;
    lua_settop(g->vm.L, 0);
    lua_gc(g->vm.L, LUA_GCCOLLECT, 0);
    g->vm.cap = settings->script_memory > g->vm.used ? settings->script_memory : g->vm.used;
    g->vm.near = near_of(g->vm.cap, settings->script_recycle);
    g->small = g->vm.used < g->vm.near / 10 * 9;
    ml_tasks_set_budget(g->tasks, settings->script_budget_ms);
    return g;
}

bool ml_generation_explain(struct ml_generation *g, const struct ml_explain *request,
                           struct ml_buf *json, struct ml_buf *why)
{
    return ml_explain_run(g->vm.L, request, json, why);
}

/* ---- serving ---- */

void ml_generation_switch(struct ml_generation **current, struct ml_generation *next)
{
    struct ml_generation *old = *current;
    const struct ml_site *site = next->load.site;

    next->groups = calloc(site->group_count + 1, sizeof(struct ml_group *));
    if (next->groups == NULL)
        abort();
    for (unsigned i = 0; i < site->group_count; i++) {
        next->groups[i] = ml_group_new(next->host.outbound, &site->groups[i]);
        ml_group_follow(next->groups[i]); /* maybe a script's list counts */
    }
    ml_tasks_activate(next->tasks);
    *current = next;
    ml_steps_start(next->steps, next->host.metrics);
    if (site->settings.why_all || site->settings.development)
        ml_steps_time_all(next->steps);
    ml_bridge_start(next->bridge);
    if (old != NULL)
        ml_generation_retire(&old);
}

/* Stopping the background makes the tasks idle when nothing else lives, at the end of the turn. */
void ml_generation_retire(struct ml_generation **gp)
{
    struct ml_generation *g = *gp;

    *gp = NULL;
    g->retired = true;
    for (unsigned i = 0; g->groups != NULL && i < g->load.site->group_count; i++)
        ml_group_retire(g->groups[i]);
    if (g->host.loop == NULL) {
        generation_free(g);
        return;
    }
    ml_tasks_stop_background(g->tasks);
}

void ml_generation_rest(struct ml_generation *g)
{
    ml_tasks_trim(g->tasks);
    ml_vm_rest(&g->vm);
}

void ml_generation_collect(struct ml_generation *g)
{
    ml_tasks_trim(g->tasks);
    lua_gc(g->vm.L, LUA_GCCOLLECT, 0);
}

struct ml_steps *ml_generation_steps(const struct ml_generation *g)
{
    return g->steps;
}

bool ml_generation_stays_full(struct ml_generation *g)
{
    double full = g->load.site->settings.script_recycle * (double)g->vm.cap;

    ml_vm_relieve(&g->vm);
    return g->small && (double)g->vm.used >= full && (double)g->vm.relieved >= full;
}

size_t ml_generation_heap(const struct ml_generation *g)
{
    return g->vm.used;
}

/* A browser asks whether a page may send a request; that is none of the route's requests yet. */
static bool is_preflight(const struct ml_request *req)
{
    static const struct ml_str method = {"access-control-request-method", 29};

    return ml_str_eq(req->method, ML_STR("OPTIONS")) &&
           ml_headers_find(&req->headers, method) != NULL;
}

static void start(void *ctx, struct ml_exchange *ex)
{
    struct ml_generation *g = *(struct ml_generation **)ctx;
    const struct ml_request *req = &ex->req;
    struct ml_route_match match;
    const struct ml_chain *chain = &g->load.fallback;
    bool timed = false;

    ml_vm_relieve(&g->vm);
    if (g->host.tracing != NULL && g->host.tracing->on)
        ml_trace_begin(g->host.tracing, ex);
    ml_router_match(g->load.router, req->method, req->host, req->path, req->query, &req->headers,
                    ex->arena, &match);
    if (match.outcome == ML_ROUTE_FOUND) {
        chain = &g->load.chains[match.route];
        if (!is_preflight(req))
            ex->notes.label = chain->label.len > 0 ? chain->label : match.pattern;
    }
    ex->notes.route = match.pattern;
    ex->notes.generation = g->number;
    ex->trail.generation = g;
    ex->trail.chain = chain;
    ex->development = g->load.site->settings.development;
    if (chain->timed != LUA_NOREF)
        timed = ml_steps_sample(g->steps, ex) || ml_steps_watch(g->steps, ex);
    ml_task_serve(g->tasks, ex, timed ? chain->timed : chain->fn, &match);
}

static void cancel(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_task_cancel_exchange(ex);
}

static void done(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_task_finish_exchange(ex);
}

struct ml_handler ml_generation_handler(struct ml_generation **current)
{
    return (struct ml_handler){.start = start, .cancel = cancel, .done = done, .ctx = current};
}
