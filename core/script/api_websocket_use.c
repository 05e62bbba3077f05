/* api_websocket_use.c - what a script does with a WebSocket: the methods of `ws`.
 *
 * Messages come and go in whole.  Whoever must wait is woken by api_websocket.c. */
#include "script/api_websocket.h"

#include <stdlib.h>

static struct socket *check_socket(lua_State *L)
{
    struct socket *s = lua_touserdata(L, 1);
    bool is = s != NULL && lua_getmetatable(L, 1) != 0;

    if (is) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->websocket_metatable);
        is = lua_rawequal(L, -1, -2) != 0;
        lua_pop(L, 2);
    }
    if (!is)
        luaL_typerror(L, 1, "WebSocket");
    return s;
}

bool ml_api_websocket_news(const struct socket *s)
{
    struct ml_str bytes;
    bool binary;

    return s->late || s->ws == NULL || ml_ws_message(s->ws, &bytes, &binary) != ML_AGAIN;
}

/* ---- ws:receive(seconds) -> message, kind | nil, code, reason ---- */

static int push_end(lua_State *L, const struct socket *s)
{
    struct ml_str reason = {s->reason, s->reason_len};

    lua_pushnil(L);
    if (s->ws != NULL) {
        lua_pushinteger(L, ml_ws_code(s->ws));
        reason = ml_ws_reason(s->ws);
    } else {
        lua_pushinteger(L, s->code);
    }
    ml_push_str(L, reason);
    return 3;
}

static int push_news(lua_State *L, void *ctx)
{
    struct socket *s = ctx;
    struct ml_str bytes;
    bool binary;

    switch (s->ws != NULL ? ml_ws_message(s->ws, &bytes, &binary) : ML_EOF) {
    case ML_OK:
        ml_push_str(L, bytes);
        ml_ws_took(s->ws);
        lua_pushstring(L, binary ? "binary" : "text");
        return 2;
    case ML_AGAIN:
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    default:
        ml_api_websocket_unwaited(s);
        return push_end(L, s);
    }
}

static void stop_receiving(void *ctx)
{
    struct socket *s = ctx;

    s->receiving = false;
    ml_timer_stop(&s->patience);
    ml_api_websocket_unwaited(s);
}

static void check_begun(lua_State *L, const struct socket *s)
{
    if (!s->opened)
        luaL_error(L, "the WebSocket is not open yet: use it in the function it is given to");
}

static int socket_receive(lua_State *L)
{
    struct socket *s = check_socket(L);
    double wait_s = lua_isnoneornil(L, 2) ? 0 : ml_api_seconds(L, 2, 0);
    bool forever = lua_isnoneornil(L, 2);
    struct ml_task *task = ml_task_waiter(L);

    check_begun(L, s);
    if (s->receiving)
        return luaL_error(L, "another coroutine waits for a message of this WebSocket already");
    s->late = false;
    if (ml_api_websocket_news(s) || (!forever && wait_s == 0))
        return push_news(L, s);
    s->receiver = (struct ml_wait){task, push_news, stop_receiving, s};
    s->receiving = true;
    if (!forever)
        ml_timer_set(&s->patience, wait_s);
    return ml_task_wait(L, &s->receiver);
}

/* The iterator of messages(): gets the last message too, which means nothing to it. */
static int next_message(lua_State *L)
{
    lua_settop(L, 1);
    return socket_receive(L);
}

/* for message, kind in ws:messages() do */
static int socket_messages(lua_State *L)
{
    check_socket(L);
    lua_settop(L, 1);
    lua_pushlightuserdata(L, ml_bridge_of(L));
    lua_pushcclosure(L, next_message, 1);
    lua_insert(L, 1);
    return 2;
}

/* ---- ws:send(text), ws:send_binary(bytes) -> true | nil, "closed" ---- */

static int push_closed(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "closed");
    return 2;
}

static int send_now(lua_State *L, struct socket *s, bool binary, struct ml_str text)
{
    if (!websocket_is_open(s))
        return push_closed(L);
    ml_ws_send(s->ws, binary ? ML_WEBSOCKET_BINARY : ML_WEBSOCKET_TEXT, text);
    lua_pushboolean(L, 1);
    return 1;
}

static void sender_free(struct sender *w)
{
    luaL_unref(ml_tasks_state(w->socket->bridge->conf.tasks), LUA_REGISTRYINDEX, w->text);
    free(w);
}

static int sender_push(lua_State *L, void *ctx)
{
    struct sender *w = ctx;
    struct socket *s = w->socket;
    bool binary = w->binary;
    struct ml_str text;
    int results;

    lua_rawgeti(L, LUA_REGISTRYINDEX, w->text);
    text.p = lua_tolstring(L, -1, &text.len);
    sender_free(w);
    s->woken--;
    results = send_now(L, s, binary, text);
    lua_remove(L, -1 - results);
    if (s->first != NULL)
        ml_api_websocket_wake(s);
    ml_api_websocket_unwaited(s);
    return results;
}

static void sender_cancel(void *ctx)
{
    struct sender *w = ctx;
    struct socket *s = w->socket;
    struct sender **at = &s->first;

    if (!w->queued) {
        s->woken--;
        ml_api_websocket_wake(s);
    } else {
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
        if (w->next == NULL)
            s->last = at;
    }
    sender_free(w);
    ml_api_websocket_unwaited(s);
}

static int wait_to_send(lua_State *L, struct socket *s, struct ml_task *task, bool binary)
{
    struct sender *w;

    lua_settop(L, 2);
    int text = luaL_ref(L, LUA_REGISTRYINDEX);

    w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->socket = s;
    w->text = text;
    w->binary = binary;
    w->queued = true;
    *s->last = w;
    s->last = &w->next;
    w->wait = (struct ml_wait){task, sender_push, sender_cancel, w};
    return ml_task_wait(L, &w->wait);
}

static int send_message(lua_State *L, bool binary)
{
    struct socket *s = check_socket(L);
    struct ml_str text = ml_check_str(L, 2);
    struct ml_utf8 u = {0};

    check_begun(L, s);
    if (!binary && (!ml_utf8_feed(&u, text) || !ml_utf8_whole(&u)))
        return luaL_argerror(L, 2, "the text is not UTF-8: send_binary takes any bytes");
    if (!websocket_is_open(s) || (!ml_ws_full(s->ws) && s->first == NULL && s->woken == 0))
        return send_now(L, s, binary, text);
    return wait_to_send(L, s, ml_task_waiter(L), binary);
}

static int socket_send(lua_State *L)
{
    return send_message(L, false);
}

static int socket_send_binary(lua_State *L)
{
    return send_message(L, true);
}

/* ---- the rest ---- */

/* ws:ping(data) */
static int socket_ping(lua_State *L)
{
    struct socket *s = check_socket(L);
    struct ml_str data = lua_isnoneornil(L, 2) ? ML_STR("") : ml_check_str(L, 2);

    check_begun(L, s);
    if (data.len > ML_WEBSOCKET_CONTROL_MAX)
        return luaL_argerror(L, 2, "a ping can have 125 bytes");
    if (!websocket_is_open(s))
        return push_closed(L);
    if (!ml_ws_full(s->ws)) /* a client that is behind has more to answer than this */
        ml_ws_send(s->ws, ML_WEBSOCKET_PING, data);
    lua_pushboolean(L, 1);
    return 1;
}

/* ws:close(code, reason) */
static int socket_close(lua_State *L)
{
    struct socket *s = check_socket(L);
    double code = lua_isnoneornil(L, 2) ? ML_WEBSOCKET_NORMAL : luaL_checknumber(L, 2);
    struct ml_str reason = lua_isnoneornil(L, 3) ? ML_STR("") : ml_check_str(L, 3);
    struct ml_utf8 u = {0};

    check_begun(L, s);
    if (code != (int)code || !ml_websocket_code_ok((int)code))
        return luaL_argerror(L, 2, "the code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999");
    if (reason.len > ML_WEBSOCKET_CONTROL_MAX - 2 || !ml_utf8_feed(&u, reason) ||
        !ml_utf8_whole(&u))
        return luaL_argerror(L, 3, "the reason must be UTF-8 text of at most 123 bytes");
    if (s->ws != NULL)
        ml_ws_close(s->ws, (int)code, reason);
    return 0;
}

/* Methods, then ws.open and ws.protocol. */
int ml_api_websocket_index(lua_State *L)
{
    const char *name = luaL_checkstring(L, 2);
    struct socket *s = lua_touserdata(L, 1);

    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    if (!lua_isnil(L, 3))
        return 1;
    if (strcmp(name, "open") == 0) {
        lua_pushboolean(L, websocket_is_open(s));
    } else if (strcmp(name, "protocol") == 0) {
        lua_getfenv(L, 1);
        lua_getfield(L, -1, "protocol");
    } else if (strcmp(name, "compressed") == 0) {
        lua_pushboolean(L, s->conf.pack);
    } else {
        return luaL_error(L, "a WebSocket has no member \"%s\"", name);
    }
    return 1;
}

const luaL_Reg ml_api_websocket_methods[] = {
    {"receive", socket_receive},
    {"messages", socket_messages},
    {"send", socket_send},
    {"send_binary", socket_send_binary},
    {"ping", socket_ping},
    {"close", socket_close},
    {NULL, NULL},
};
