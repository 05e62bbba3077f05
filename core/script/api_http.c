/* api_http.c - core.http_request: requests of scripts to other servers, and the groups they go to.
 *
 *   READ options -> ASK --head--> a redirect to follow? -> ASK again
 *                    |    \-----> COLLECT the body -> woken: the result is pushed
 *                    \-- timeout, failure, cancelled task: ended at once
 *
 * A call is a userdata: while its options are read the stack keeps it, then the registry does; its
 * __gc ends what an error left.  Each hop is an exchange without a client, in which outbound/ finds
 * all it needs.  What the call owns outside of Lua is gone before the result is made. */
#include "script/api_http.h"

#include "outbound/client_tls.h"
#include "outbound/group.h"
#include "script/api_client_tls.h"

#include <stdlib.h>

enum { CLIENTS_MAX = 64, CALLS_MAX = 1024, IDLE_MAX = 32, IDLE_S = 30, BYTES_MAX = 256 << 20 };

struct client {                /* a server that was asked lately */
    char *origin;              /* owned */
    struct ml_client_tls *tls; /* held; NULL: the defaults */
    struct ml_group *group;
    uint64_t used;
};

struct ml_clients { /* a userdata, kept by the registry for the life of the VM */
    struct ml_bridge *bridge;
    lua_State *L; /* the main state */
    struct client v[CLIENTS_MAX];
    unsigned count, calls;
    size_t bytes;          /* bodies of all calls: memory that the VM's cap does not see */
    struct ml_buf scratch; /* the body of the latest result */
    uint64_t clock;        /* counts uses */
    int call_metatable;
    struct ml_http_result_class result;
};

struct call {
    struct ml_clients *all; /* NULL: it ended */
    int ref;                /* keeps it while its task waits; then it counts as one of all */
    struct ml_wait wait;
    struct ml_timer timer;
    struct ml_http_spec spec;
    struct ml_exchange *ex; /* owned; the hop in hand */
    const char *code;       /* of a failure */
    const char *message;
    size_t bytes;       /* of all->bytes */
    struct ml_buf body; /* owned; of the answer */
};

/* ---- the servers ---- */

static void forget(struct ml_clients *all, struct client *c)
{
    free(c->origin);
    ml_client_tls_release(&c->tls);
    ml_group_release(&c->group);
    *c = all->v[--all->count];
}

static struct client *oldest(struct ml_clients *all)
{
    struct client *c = all->v;

    for (unsigned i = 1; i < all->count; i++)
        if (all->v[i].used < c->used)
            c = &all->v[i];
    return c;
}

/* Not ejected, not retried elsewhere: it is the only one of its name. */
static struct ml_group *group_new(struct ml_clients *all, struct ml_str origin)
{
    struct ml_server_conf server = {.url = origin, .weight = 1};
    struct ml_group_conf conf = {.name = ML_STR("http client"),
                                 .servers = &server,
                                 .server_count = 1,
                                 .keepalive = IDLE_MAX,
                                 .keepalive_timeout = IDLE_S,
                                 .max_fails = ~0u,
                                 .retries = ~0u,
                                 .client = true,
                                 .via_off = true};

    return ml_group_new(all->bridge->conf.host->outbound, &conf);
}

static struct ml_group *group_of(struct ml_clients *all, struct ml_str origin,
                                 struct ml_client_tls *tls)
{
    struct client *c;

    for (c = all->v; c < all->v + all->count; c++)
        if (c->tls == tls && ml_str_eq(ml_str_of(c->origin), origin)) {
            c->used = ++all->clock;
            return c->group;
        }
    if (all->count == CLIENTS_MAX)
        forget(all, oldest(all));
    c = &all->v[all->count++];
    c->origin = strndup(origin.p, origin.len);
    if (c->origin == NULL)
        abort();
    c->group = group_new(all, origin);
    c->tls = NULL;
    if (tls != NULL) {
        c->tls = ml_client_tls_ref(tls);
        ml_group_set_tls(c->group, tls);
    }
    c->used = ++all->clock;
    return c->group;
}

/* ---- the end of a call ---- */

static void arena_free(void *p)
{
    struct ml_arena *arena = p;

    ml_arena_free(&arena);
}

/* The memory stays until the turn ends: a result may be made of it meanwhile. */
static void end_exchange(struct call *c)
{
    if (c->ex == NULL)
        return;
    ml_upstream_cancel(c->ex);
    ml_exchange_cancel(&c->ex, ML_CANCELLED);
}

static void call_end(struct call *c)
{
    struct ml_clients *all = c->all;

    if (all == NULL)
        return;
    c->all = NULL;
    all->calls -= c->ref != LUA_NOREF;
    all->bytes -= c->bytes;
    ml_timer_drop(&c->timer);
    end_exchange(c);
    ml_buf_release(&c->body);
    ml_client_tls_release(&c->spec.tls);
    ml_client_tls_release(&c->spec.tls_elsewhere);
    if (c->spec.memory != NULL)
        ml_loop_bury(all->bridge->conf.host->loop, arena_free, c->spec.memory);
    ml_api_unanchor(all->L, &c->ref);
}

static int call_gc(lua_State *L)
{
    call_end(lua_touserdata(L, 1));
    return 0;
}

static int push_failure(lua_State *L, const char *code, const char *message)
{
    lua_pushnil(L);
    lua_pushstring(L, code);
    lua_pushstring(L, message);
    return 3;
}

static int call_push(lua_State *L, void *ctx)
{
    struct call *c = ctx;
    struct ml_clients *all = c->all;
    const struct ml_response *res = &c->ex->res;

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref); /* the stack keeps it from here on */
    ml_buf_release(&all->scratch);             /* of a result that there was no memory for */
    all->scratch = c->body;
    c->body = (struct ml_buf){0};
    call_end(c);
    if (c->code != NULL)
        return push_failure(L, c->code, c->message);
    ml_http_result_push(L, &all->result, res,
                        res->body != NULL ? ml_buf_str(&all->scratch) : res->bytes);
    ml_buf_release(&all->scratch);
    return 1;
}

static void call_cancel(void *ctx)
{
    call_end(ctx);
}

/* ---- its steps ---- */

static void finish(struct call *c, const char *code, const char *message)
{
    c->code = code;
    c->message = message;
    if (c->ex->res.body != NULL)
        c->ex->res.body->on_data = NULL;
    ml_timer_stop(&c->timer);
    ml_upstream_cancel(c->ex);
    ml_task_wake(&c->wait);
}

static void finish_err(struct call *c, enum ml_err err)
{
    finish(c, ml_err_word(err), ml_err_text(err));
}

static void too_large(struct call *c)
{
    finish(c, "too_large", "the body of the answer is larger than max_body");
}

static void timed_out(void *ctx)
{
    finish_err(ctx, ML_UP_TIMEOUT);
}

/* All calls together may hold so much. */
static bool reserve(struct call *c, size_t len)
{
    if (len > BYTES_MAX - c->all->bytes)
        return false;
    c->bytes += len;
    c->all->bytes += len;
    return true;
}

static void on_data(void *ctx)
{
    struct call *c = ctx;
    struct ml_pipe *pipe = c->ex->res.body;
    size_t len = ml_buf_len(&pipe->buf);

    if (pipe->state == ML_PIPE_ABORTED) {
        finish_err(c, pipe->why);
    } else if (len > c->spec.body_max - ml_buf_len(&c->body)) {
        too_large(c);
    } else if (!reserve(c, len)) {
        finish_err(c, ML_OVERLOAD);
    } else {
        ml_buf_append(&c->body, ml_buf_str(&pipe->buf));
        ml_buf_consume(&pipe->buf, len);
        if (pipe->state == ML_PIPE_EOF)
            finish(c, NULL, NULL);
        else if (len > 0)
            ml_pipe_took(pipe, len); /* last: it may bring the end */
    }
}

static void collect(struct call *c)
{
    struct ml_response *res = &c->ex->res;

    if (!res->no_body && res->has_length && res->length > c->spec.body_max) {
        too_large(c);
    } else if (res->body == NULL) { /* none, or it came whole: its length was announced */
        finish(c, NULL, NULL);
    } else {
        res->body->on_data = on_data;
        res->body->data_ctx = c;
        on_data(c);
    }
}

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void ask(struct call *c);

static void on_head(void *ctx, enum ml_err err)
{
    struct call *c = ctx;
    const struct ml_field *location;
    const char *wrong;

    if (err != ML_OK) {
        finish_err(c, err);
        return;
    }
    location = ml_headers_find(&c->ex->res.headers, ML_STR("location"));
    if (c->spec.redirects == 0 || !is_redirect(c->ex->res.status) || location == NULL) {
        collect(c);
        return;
    }
    wrong = ml_http_spec_redirect(&c->spec, c->ex->res.status, location->value);
    if (wrong != NULL) {
        finish(c, wrong, "the answer redirects to a URL that can not be followed");
        return;
    }
    end_exchange(c); /* whatever body it has */
    ask(c);
}

static void ignore(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
}

static void fill_request(struct call *c)
{
    const struct ml_http_spec *spec = &c->spec;
    struct ml_exchange *ex = c->ex;
    struct ml_request *req = &ex->req;

    req->method = spec->method;
    req->path = spec->path;
    req->query = spec->query;
    req->has_query = spec->has_query;
    req->major = req->minor = 1;
    req->headers = spec->headers;
    if (!spec->has_body)
        return;
    req->body = ml_arena_zalloc(ex->arena, sizeof *req->body);
    req->has_length = true;
    req->length = spec->body.len;
    ml_pipe_put(req->body, spec->body);
    ml_pipe_eof(req->body);
}

/* The next hop.  outbound/ calls back later, never from inside. */
static void ask(struct call *c)
{
    const struct ml_http_spec *spec = &c->spec;
    struct ml_wire wire = {.ask_body = ignore, .ctx = c};
    struct ml_forward forward = {.timeout = spec->timeout_s,
                                 .connect_timeout = spec->connect_timeout_s,
                                 .once = !spec->keepalive,
                                 .host = spec->host,
                                 .head = on_head,
                                 .ctx = c};

    c->ex = ml_exchange_new(c->all->bridge->conf.host->loop, NULL, wire);
    fill_request(c);
    ml_upstream_forward(group_of(c->all, spec->origin, spec->tls), c->ex, &forward);
}

/* ---- core.http_request(opts) -> response | nil, code, message ---- */

/* A new call on top of the stack. */
static struct call *call_new(lua_State *L, struct ml_clients *all)
{
    struct call *c = lua_newuserdata(L, sizeof *c);

    memset(c, 0, sizeof *c);
    c->ref = LUA_NOREF;
    lua_rawgeti(L, LUA_REGISTRYINDEX, all->call_metatable);
    lua_setmetatable(L, -2);
    c->all = all;
    return c;
}

static int api_http_request(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_task *task = ml_task_waiter(L);
    const char *wrong;
    struct call *c;

    lua_settop(L, 1);
    if (b->conf.host->outbound == NULL)
        return luaL_error(L, "this process makes no requests");
    if (b->clients->calls >= CALLS_MAX)
        return push_failure(L, ml_err_word(ML_OVERLOAD), "there are too many calls at a time");
    c = call_new(L, b->clients);
    wrong = ml_http_spec_read(L, b, &c->spec);
    if (wrong != NULL) {
        call_end(c);
        return push_failure(L, wrong, "the URL is malformed, or has more than 8192 bytes");
    }
    if (!reserve(c, 2 * c->spec.body.len)) { /* it is copied once more for each hop */
        call_end(c);
        return push_failure(L, ml_err_word(ML_OVERLOAD), "the bodies of all calls are too large");
    }
    lua_settop(L, 2);
    c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    b->clients->calls++;
    c->wait = (struct ml_wait){task, call_push, call_cancel, c};
    ml_timer_init(&c->timer, b->conf.host->loop, timed_out, c);
    ml_timer_set(&c->timer, c->spec.timeout_s);
    ask(c);
    return ml_task_wait(L, &c->wait);
}

void ml_api_http_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"http_request", api_http_request}, {NULL, NULL}};
    struct ml_clients *all;
    int ref;

    all = b->clients = ml_api_anchored(L, sizeof *all, &ref);
    lua_pop(L, 1);
    all->bridge = b;
    all->L = ml_tasks_state(b->conf.tasks);
    ml_bridge_register(L, b, functions);
    ml_api_client_tls_open(L, b);
    ml_http_result_open(L, b, &all->result);
    lua_newtable(L);
    lua_pushcfunction(L, call_gc);
    lua_setfield(L, -2, "__gc");
    all->call_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}

void ml_api_http_close(struct ml_bridge *b)
{
    struct ml_clients *all = b->clients;

    while (all != NULL && all->count > 0)
        forget(all, &all->v[0]);
    if (all != NULL)
        ml_buf_release(&all->scratch);
}
