/* api_detach.c - core.detach(fn): work for a request that goes on after its client was answered.
 *
 *   fn(req) -> res runs with a copy of the running request, without body and client.  Inside,
 * next() of the chain that calls it goes through the same inner part again.  What fn returns is
 * dropped.
 *
 * A run is an exchange like any other, whose wire sends nothing.  It ends when fn has returned or
 * failed, with its generation at the latest.
 *
 *   detach -> RUN --responded--> ends after this turn of the loop (its task is still on the way
 * out)
 *              \___ stop ______/ */
#include "script/api.h"
#include "transport/tls_info.h"

#include <stdlib.h>

enum { RUNS_MAX = 256 };

struct run {
    struct ml_detached *all;
    struct ml_exchange *ex;
    struct ml_deferred over;
    struct run *next, **link;
    int function; /* in the registry */
};

struct ml_detached {
    struct ml_bridge *bridge;
    struct ml_handler handler;
    struct run *first;
    unsigned count;
    bool stopped;
};

/* ---- the end ---- */

static void run_free(struct run *r)
{
    struct ml_detached *all = r->all;

    ml_loop_undefer(all->bridge->conf.host->loop, &r->over);
    luaL_unref(ml_tasks_state(all->bridge->conf.tasks), LUA_REGISTRYINDEX, r->function);
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    all->count--;
    free(r);
}

static void run_over(void *ctx)
{
    struct run *r = ctx;

    ml_exchange_finish(&r->ex);
    run_free(r);
}

static void respond(void *ctx, struct ml_exchange *ex)
{
    struct run *r = ctx;

    ml_loop_defer(ex->loop, &r->over);
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

static void ask_body(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex; /* there is none */
}

static void interim(void *ctx, struct ml_exchange *ex, int status, const struct ml_headers *h)
{
    (void)ctx;
    (void)ex;
    (void)status;
    (void)h;
}

/* ---- the copy ---- */

static struct ml_request copy_request(const struct ml_request *from, struct ml_arena *arena)
{
    struct ml_request req = *from;
    struct ml_str *const strings[] = {&req.method, &req.raw_target, &req.path,      &req.query,
                                      &req.scheme, &req.host,       &req.authority, &req.peer_ip,
                                      &req.ip,     &req.id};

    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        *strings[i] = ml_arena_dup(arena, *strings[i]);
    req.headers = (struct ml_headers){0};
    for (uint32_t i = 0; i < from->headers.count; i++) {
        const struct ml_field *f = &from->headers.v[i];

        if (ml_str_ieq(f->name, ML_STR("content-length")) ||
            ml_str_ieq(f->name, ML_STR("transfer-encoding")) ||
            ml_str_ieq(f->name, ML_STR("expect")))
            continue;
        ml_headers_add(&req.headers, arena, ml_arena_dup(arena, f->name),
                       ml_arena_dup(arena, f->value));
    }
    if (req.tls != NULL)
        ml_tls_session_ref(req.tls);
    req.upgrade = ML_STR_NONE;
    req.body = NULL;
    req.has_length = false;
    req.length = 0;
    return req;
}

static struct ml_route_match copy_match(const struct ml_route_match *from, struct ml_arena *arena)
{
    struct ml_route_match match = *from;

    match.allow = ml_arena_dup(arena, from->allow);
    for (unsigned i = 0; i < match.param_count; i++)
        match.values[i] = ml_arena_dup(arena, from->values[i]);
    return match; /* the rest is the router's */
}

static size_t size_of(const struct ml_request *req)
{
    size_t size = 4096 + req->raw_target.len + req->path.len + req->query.len;

    for (uint32_t i = 0; i < req->headers.count; i++)
        size += req->headers.v[i].name.len + req->headers.v[i].value.len + sizeof(struct ml_field);
    return size;
}

/* Where the script wants the request to go. */
static void copy_plan(const struct ml_plan *from, struct ml_plan *to, struct ml_arena *arena)
{
    to->upstream = ml_arena_dup(arena, from->upstream);
    to->host = ml_arena_dup(arena, from->host);
    to->timeout = from->timeout;
}

/* ---- core.detach(fn) -> true | nil, code ---- */

/* Everything that may raise has happened. */
static struct run *run_new(struct ml_detached *all, const struct ml_exchange *from, int function)
{
    struct run *r = calloc(1, sizeof *r);
    struct ml_wire wire = {respond, ask_body, interim, r};

    if (r == NULL)
        abort();
    r->all = all;
    r->function = function;
    r->over = (struct ml_deferred){.fire = run_over, .ctx = r};
    r->ex = ml_exchange_new(from->loop, &all->handler, wire);
    r->ex->req = copy_request(&from->req, r->ex->arena);
    r->ex->server_conf = from->server_conf;
    r->ex->notes.route = from->notes.route;
    r->ex->notes.generation = from->notes.generation;
    r->next = all->first;
    r->link = &all->first;
    if (r->next != NULL)
        r->next->link = &r->next;
    all->first = r;
    all->count++;
    return r;
}

static int refuse(lua_State *L, enum ml_err err)
{
    lua_pushnil(L);
    lua_pushstring(L, ml_err_word(err));
    return 2;
}

static int api_detach(lua_State *L)
{
    struct ml_detached *all = ml_bridge_of(L)->detached;
    struct ml_task *task;
    struct ml_exchange *ex = ml_handle_running(L, &task);
    struct ml_plan *plan = ml_handle_plan(L, ex);
    struct ml_route_match match;
    struct run *r;

    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    if (all->stopped)
        return refuse(L, ML_CANCELLED);
    if (all->count >= RUNS_MAX)
        return refuse(L, ML_OVERLOAD);
    ml_handle_reserve(L, ex->arena, size_of(&ex->req));
    r = run_new(all, ex, luaL_ref(L, LUA_REGISTRYINDEX));
    match = copy_match(ml_task_match(task), r->ex->arena);
    ml_task_serve(all->bridge->conf.tasks, r->ex, r->function, &match); /* starts after this turn */
    if (r->ex->responded)
        return refuse(L, ML_SCRIPT_MEMORY);
    copy_plan(plan, ml_handle_plan(L, r->ex), r->ex->arena);
    lua_pushboolean(L, 1);
    return 1;
}

void ml_api_detach_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"detach", api_detach}, {NULL, NULL}};
    int ref;

    b->detached = ml_api_anchored(L, sizeof *b->detached, &ref);
    lua_pop(L, 1);
    b->detached->bridge = b;
    b->detached->handler = (struct ml_handler){.cancel = cancel, .done = done};
    ml_bridge_register(L, b, functions);
}

void ml_api_detach_stop(struct ml_bridge *b)
{
    struct ml_detached *all = b->detached;

    all->stopped = true;
    while (all->first != NULL) {
        struct run *r = all->first;

        ml_exchange_cancel(&r->ex, ML_CANCELLED);
        run_free(r);
    }
}
