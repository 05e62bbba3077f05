/* api_websocket.c - WebSockets that end in a script.
 *
 *   core.websocket_options{...} -> options      core.websocket_accept(req, options, fn, protocol)
 * -> res | nil, "no_websocket" | "version" | "key"
 *
 *   MADE --its 101 is on the way--> OPEN --closed by either side--> SHUT --exchange ends--> OVER
 *
 * fn(ws, req) runs in a branch of the exchange's task; when it returns or fails, the socket is
 * closed with 1000 or 1011.  When the exchange ends first, the branch goes on by itself for a
 * while, so that it can clean up: whatever it asks the socket for says that it is closed.
 *
 * Any coroutine of the generation may send.  While the client is behind, senders wait, and are
 * woken in the order they came in. */
#include "script/api_websocket.h"
#include "script/report.h"

static const double GRACE_S = 10;

static lua_State *state_of(const struct socket *s)
{
    return ml_tasks_state(s->bridge->conf.tasks);
}

static void count(const struct socket *s, int by)
{
    const struct ml_script_host *host = s->bridge->conf.host;

    if (host->shm != NULL)
        atomic_fetch_add_explicit(&ml_shm_worker(host->shm, host->worker)->websockets, (uint32_t)by,
                                  memory_order_relaxed);
}

/* ---- waking who waits ---- */

/* Wakes senders while there is room, one after the other: each fills it up again. */
static void wake_senders(struct socket *s)
{
    while (s->first != NULL && s->woken == 0 && (!websocket_is_open(s) || !ml_ws_full(s->ws))) {
        struct sender *first = s->first;

        s->first = first->next;
        if (s->first == NULL)
            s->last = &s->first;
        first->queued = false;
        s->woken++;
        ml_task_wake(&first->wait);
    }
}

static void wake_receiver(struct socket *s)
{
    if (!s->receiving || !ml_api_websocket_news(s))
        return;
    s->receiving = false;
    ml_timer_stop(&s->patience);
    ml_task_wake(&s->receiver);
}

/* Scripts are resumed from the loop, never in the middle of what the socket or the exchange does.
 */
static void on_wake(void *ctx)
{
    struct socket *s = ctx;

    wake_receiver(s);
    wake_senders(s);
}

void ml_api_websocket_wake(struct socket *s)
{
    if (s->receiving || s->first != NULL)
        ml_loop_defer(s->bridge->conf.host->loop, &s->wake);
}

static void wake(void *ctx)
{
    ml_api_websocket_wake(ctx);
}

static void on_patience(void *ctx)
{
    struct socket *s = ctx;

    s->late = true;
    wake_receiver(s);
}

/* ---- the end ---- */

/* Nothing keeps it but the handles of scripts. */
static void unlist(struct socket *s)
{
    s->listed = false;
    *s->link = s->next;
    if (s->next != NULL)
        s->next->link = s->link;
    ml_loop_undefer(s->bridge->conf.host->loop, &s->wake);
    ml_timer_drop(&s->patience);
    ml_timer_drop(&s->grace);
    ml_api_unanchor(state_of(s), &s->self);
}

void ml_api_websocket_unwaited(struct socket *s)
{
    bool idle = s->task == NULL && !s->receiving && s->first == NULL && s->woken == 0;

    if (s->listed && s->ex == NULL && idle)
        unlist(s);
}

void ml_api_websocket_close(struct ml_bridge *b)
{
    while (b->websockets != NULL)
        unlist(b->websockets);
}

static void on_grace(void *ctx)
{
    struct socket *s = ctx;

    if (s->task != NULL) {
        ml_report_message("a WebSocket's function still runs long after its end, and is stopped",
                          ML_SCRIPT_ERROR, ML_STR("background"), NULL,
                          ml_tasks_generation(s->bridge->conf.tasks));
        ml_task_release(&s->task);
    }
    ml_api_websocket_unwaited(s);
}

/* The exchange is over; the function is told, and may go on for a moment. */
static void end(struct socket *s)
{
    struct ml_str reason = ml_ws_reason(s->ws);

    s->code = ml_ws_open(s->ws) ? ML_WEBSOCKET_LOST : ml_ws_code(s->ws);
    s->reason_len = (unsigned char)reason.len;
    memcpy(s->reason, reason.p, reason.len);
    ml_ws_free(&s->ws);
    s->ex = NULL;
    count(s, -1);
    if (s->task != NULL) {
        ml_task_orphan(s->task);
        ml_timer_set(&s->grace, GRACE_S);
    }
    ml_api_websocket_wake(s);
    ml_api_websocket_unwaited(s);
}

static void leave(void *ctx)
{
    struct socket *s = ctx;

    if (s->ws != NULL)
        ml_ws_close(s->ws, ML_WEBSOCKET_AWAY, ML_STR(""));
}

void ml_api_websocket_over(struct ml_exchange *ex)
{
    struct ml_tunnel *t = &ex->res.tunnel;
    struct socket *s = t->ctx;

    if (t->leave != leave)
        return;
    *t = (struct ml_tunnel){0};
    if (s->ws != NULL)
        end(s);
}

void ml_api_websocket_stop(struct ml_bridge *b)
{
    struct socket *s = b->websockets, *next;

    for (; s != NULL; s = next) {
        next = s->next;
        if (s->ex != NULL)
            continue; /* its exchange holds the generation until the client goes */
        if (s->task != NULL)
            ml_task_release(&s->task);
        ml_api_websocket_unwaited(s);
    }
}

static struct ml_str route_of(const struct socket *s)
{
    const struct ml_route_match *m = s->ex != NULL ? ml_task_match(s->ex->task) : NULL;

    return m != NULL && m->pattern.p != NULL ? m->pattern : ML_STR("background");
}

/* fn returned or failed. */
static void task_ended(void *ctx, struct ml_task *task, int status)
{
    struct socket *s = ctx;

    if (status != 0 && ml_task_why(task) == ML_SCRIPT_ERROR) /* else it is in the log already */
        ml_report_failure(state_of(s), ml_task_stack(task), ml_task_why(task), route_of(s), s->ex,
                          ml_tasks_generation(s->bridge->conf.tasks));
    ml_task_release(&s->task);
    ml_timer_stop(&s->grace);
    if (s->ws != NULL)
        ml_ws_close(s->ws, status != 0 ? ML_WEBSOCKET_INTERNAL : ML_WEBSOCKET_NORMAL, ML_STR(""));
    ml_api_websocket_unwaited(s);
}

/* ---- its beginning ---- */

/* Protected.  The handle of the response keeps the userdata until it is anchored here. */
static void start(lua_State *L, void *arg)
{
    struct socket *s = arg;
    struct ml_task_join join = {task_ended, s};

    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_task_ref(s->ex->task, ML_SLOT_RESPONSE));
    lua_getfenv(L, -1);
    lua_getfield(L, -1, "websocket");
    lua_getfenv(L, -1);
    lua_getfield(L, -1, "fn");
    lua_pushvalue(L, -3);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_task_ref(s->ex->task, ML_SLOT_REQUEST));
    lua_pushvalue(L, -2);
    s->self = luaL_ref(L, LUA_REGISTRYINDEX);
    s->task = ml_task_fork(s->ex->task, L, 2, &join);
}

/* Not enough memory: the client is told at once. */
static void begin(void *ctx, struct ml_exchange *ex)
{
    struct socket *s = ctx;
    struct ml_loop *loop = s->bridge->conf.host->loop;
    struct ml_ws_owner owner = {wake, wake, s};

    ex->res.tunnel.begin = NULL;
    s->opened = true;
    s->ws = ml_ws_new(ex, &s->conf, owner);
    s->wake.fire = on_wake;
    s->wake.ctx = s;
    ml_timer_init(&s->patience, loop, on_patience, s);
    ml_timer_init(&s->grace, loop, on_grace, s);
    s->next = s->bridge->websockets;
    s->link = &s->bridge->websockets;
    if (s->next != NULL)
        s->next->link = &s->next;
    s->bridge->websockets = s;
    s->listed = true;
    count(s, 1);
    ml_tasks_protect(s->bridge->conf.tasks, start, s);
    if (s->task == NULL)
        ml_ws_close(s->ws, ML_WEBSOCKET_INTERNAL, ML_STR(""));
}

static double option_number(lua_State *L, const char *name)
{
    double n;

    lua_getfield(L, 1, name);
    n = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return n;
}

static bool option_flag(lua_State *L, const char *name)
{
    bool on;

    lua_getfield(L, 1, name);
    on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

/* core.websocket_options(conf): what websocket.lua has checked, in the form that is used. */
static int websocket_options(lua_State *L)
{
    struct ml_ws_conf *c = lua_newuserdata(L, sizeof *c);
    bool forgets;

    *c = (struct ml_ws_conf){.message_max = (size_t)option_number(L, "max_message"),
                             .idle = option_number(L, "idle_timeout"),
                             .ping = option_number(L, "ping_interval"),
                             .pack = option_flag(L, "compress"),
                             .level = (int)option_number(L, "level"),
                             .pack_min = (size_t)option_number(L, "min_length")};
    forgets = !option_flag(L, "context_takeover");
    c->agreed = (struct ml_websocket_pack){.server_bits = (int)option_number(L, "window_bits"),
                                           .client_bits = (int)option_number(L, "window_bits"),
                                           .server_forgets = forgets,
                                           .client_forgets = forgets};
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->websocket_options);
    lua_setmetatable(L, -2);
    return 1;
}

static const struct ml_ws_conf *check_options(lua_State *L, int index)
{
    const struct ml_ws_conf *c = lua_touserdata(L, index);
    bool is = c != NULL && lua_getmetatable(L, index) != 0;

    if (is) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->websocket_options);
        is = lua_rawequal(L, -1, -2) != 0;
        lua_pop(L, 2);
    }
    if (!is)
        luaL_typerror(L, index, "options of a WebSocket");
    return c;
}

static const char *wrong_with(const struct ml_request *req, struct ml_str *key)
{
    if (!ml_str_ieq(req->upgrade, ML_STR("websocket")) || !ml_str_eq(req->method, ML_STR("GET")) ||
        req->body != NULL)
        return "no_websocket";
    switch (ml_websocket_check(&req->headers, req->major < 2, key)) {
    case ML_WEBSOCKET_BAD_VERSION:
        return "version";
    case ML_WEBSOCKET_BAD_KEY:
        return "key";
    case ML_WEBSOCKET_ASKED:
        break;
    }
    return NULL;
}

static void add_field(lua_State *L, struct ml_response *res, struct ml_arena *arena,
                      struct ml_str name, struct ml_str value)
{
    ml_headers_add(&res->headers, arena, name, ml_handle_dup(L, arena, value));
}

static void add_fields(lua_State *L, struct ml_response *res, struct ml_arena *arena,
                       struct socket *s, struct ml_str key)
{
    struct ml_buf *text = ml_handle_scratch();
    char accept[ML_WEBSOCKET_ACCEPT_LEN];

    if (key.len > 0) { /* RFC 8441 has neither */
        ml_websocket_accept(key, accept);
        ml_headers_add(&res->headers, arena, ML_STR("Upgrade"), ML_STR("websocket"));
        add_field(L, res, arena, ML_STR("Sec-WebSocket-Accept"),
                  (struct ml_str){accept, sizeof accept});
    }
    if (!lua_isnil(L, 4))
        add_field(L, res, arena, ML_STR("Sec-WebSocket-Protocol"), ml_check_str(L, 4));
    if (!s->conf.pack)
        return;
    ml_websocket_put_agreed(text, &s->conf.agreed);
    add_field(L, res, arena, ML_STR("Sec-WebSocket-Extensions"), ml_buf_str(text));
}

/* The socket on top of the stack, with fn and protocol in its environment. */
static struct socket *socket_new(lua_State *L, struct ml_bridge *b, struct ml_exchange *ex)
{
    struct socket *s = lua_newuserdata(L, sizeof *s);

    memset(s, 0, sizeof *s);
    s->bridge = b;
    s->ex = ex;
    s->conf = *check_options(L, 2);
    s->conf.pack = s->conf.pack && ml_websocket_agree(&ex->req.headers, &s->conf.agreed);
    s->last = &s->first;
    s->self = LUA_NOREF;
    s->code = ML_WEBSOCKET_LOST;
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->websocket_metatable);
    lua_setmetatable(L, -2);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, 3);
    lua_setfield(L, -2, "fn");
    lua_pushvalue(L, 4);
    lua_setfield(L, -2, "protocol");
    lua_setfenv(L, -2);
    return s;
}

static int websocket_accept(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_exchange *ex = ml_handle_writable(L, ml_handle_check(L, 1, ML_HANDLE_REQUEST));
    struct ml_response *res;
    struct ml_handle *h;
    struct ml_str key;
    struct socket *s;
    const char *wrong;

    lua_settop(L, 4);
    luaL_checktype(L, 3, LUA_TFUNCTION);
    wrong = wrong_with(&ex->req, &key);
    if (wrong != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, wrong);
        return 2;
    }
    h = ml_response_new(L, b, 101);
    if (ml_handle_exchange(L, h) != ex)
        return luaL_error(L, "a WebSocket can be opened only by the script of its own request");
    res = h->res;
    res->has_length = false;
    ml_handle_push_env(L, -1, h);
    s = socket_new(L, b, ex);
    lua_setfield(L, -2, "websocket");
    lua_pop(L, 1);
    add_fields(L, res, ex->arena, s, key);
    res->tunnel = (struct ml_tunnel){.begin = begin, .leave = leave, .ctx = s};
    return 1;
}

void ml_api_websocket_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"websocket_options", websocket_options},
                                         {"websocket_accept", websocket_accept},
                                         {NULL, NULL}};
    static const luaL_Reg none[] = {{NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, none);
    b->websocket_options = luaL_ref(L, LUA_REGISTRYINDEX);
    ml_api_push_class(L, b, none);
    lua_pushlightuserdata(L, b);
    lua_newtable(L);
    ml_bridge_register(L, b, ml_api_websocket_methods);
    lua_pushcclosure(L, ml_api_websocket_index, 2);
    lua_setfield(L, -2, "__index");
    b->websocket_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
