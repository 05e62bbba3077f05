/* handle_change.c - the methods by which a script changes what is sent to an upstream, and on_done.
 */
#include "script/handle.h"

#include "inbound/listener.h"

#include <limits.h>

static struct ml_handle *self(lua_State *L, struct ml_exchange **ex)
{
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_REQUEST);

    *ex = ml_handle_writable(L, h);
    return h;
}

/* What the listener allows to clients is allowed to scripts too. */
static struct ml_url_policy policy_of(const struct ml_exchange *ex)
{
    const struct ml_listener_conf *conf = ex->server_conf;

    return conf != NULL ? conf->url : (struct ml_url_policy){0};
}

static int set_path(lua_State *L)
{
    struct ml_exchange *ex;
    struct ml_url_policy policy;
    struct ml_str path;

    self(L, &ex);
    policy = policy_of(ex);
    path = ml_check_str(L, 2);
    ml_handle_reserve(L, ex->arena, path.len);
    if (ml_url_path(path, &policy, ex->arena, &path) != ML_OK)
        return luaL_error(L, "set_path: \"%s\" is no valid path", lua_tostring(L, 2));
    ex->req.path = path;
    return 0;
}

/* ---- set_query ---- */

static void add_escaped(lua_State *L, struct ml_buf *out, int index)
{
    static const char hex[] = "0123456789ABCDEF";
    struct ml_str s;

    if (lua_type(L, index) == LUA_TBOOLEAN)
        s = ml_str_of(lua_toboolean(L, index) ? "true" : "false");
    else
        s = ml_check_str(L, index);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        char text[3] = {'%', hex[c >> 4], hex[c & 15]};

        ml_buf_append(out, plain ? (struct ml_str){s.p + i, 1} : (struct ml_str){text, 3});
    }
}

/* name=value; of copies, for a number that becomes a string would confuse lua_next. */
static void add_pair(lua_State *L, struct ml_buf *out, int name, int value)
{
    if (ml_buf_len(out) > 0)
        ml_buf_append(out, ML_STR("&"));
    lua_pushvalue(L, name);
    add_escaped(L, out, lua_gettop(L));
    ml_buf_append(out, ML_STR("="));
    lua_pushvalue(L, value);
    add_escaped(L, out, lua_gettop(L));
    lua_pop(L, 2);
}

/* A table of names and values, or lists of values, as a query string. */
static struct ml_str encode_table(lua_State *L, int index)
{
    struct ml_buf *out = ml_handle_scratch();

    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        int value = lua_gettop(L), count = lua_istable(L, value) ? (int)lua_objlen(L, value) : 0;

        if (!lua_istable(L, value))
            add_pair(L, out, value - 1, value);
        for (int i = 1; i <= count; i++) {
            lua_rawgeti(L, value, i);
            add_pair(L, out, value - 1, value + 1);
            lua_pop(L, 1);
        }
    }
    return ml_buf_str(out);
}

/* A query that a client could not send must not reach an upstream either. */
static bool query_ok(struct ml_exchange *ex, struct ml_str query)
{
    struct ml_url_policy policy = {0};
    struct ml_target t;
    struct ml_str target = ml_arena_printf(ex->arena, "/?%.*s", (int)query.len, query.p);

    return target.len == query.len + 2 &&
           ml_url_target(ML_STR("GET"), target, &policy, ex->arena, &t) == ML_OK;
}

static int set_query(lua_State *L)
{
    struct ml_exchange *ex;
    struct ml_handle *h = self(L, &ex);
    struct ml_str query = ML_STR_NONE;

    lua_settop(L, 2);
    if (lua_istable(L, 2)) {
        query = encode_table(L, 2);
    } else if (!lua_isnil(L, 2)) {
        query = ml_check_str(L, 2);
        ml_handle_reserve(L, ex->arena, query.len);
        if (query.len > INT_MAX / 2 || !query_ok(ex, query))
            return luaL_error(L, "set_query: this is no valid query string");
    }
    query = ml_handle_dup(L, ex->arena, query);
    ml_handle_forget(L, 1, h, "args");
    ex->req.query = query;
    ex->req.has_query = query.len > 0;
    return 0;
}

/* ---- where it goes, and how long that may take ---- */

static int set_host(lua_State *L)
{
    struct ml_exchange *ex;
    struct ml_str host;

    self(L, &ex);
    host = ml_check_str(L, 2);
    if (!ml_url_authority_ok(host))
        return luaL_error(L, "set_host: this is no host with an optional port");
    ml_handle_plan(L, ex)->host = ml_handle_dup(L, ex->arena, host);
    return 0;
}

static int set_upstream(lua_State *L)
{
    const struct ml_bridge_conf *c = &ml_bridge_of(L)->conf;
    struct ml_exchange *ex;
    struct ml_str name;

    self(L, &ex);
    name = ml_check_str(L, 2);
    if (c->group(c->ctx, name) == NULL)
        return luaL_error(L, "there is no upstream \"%s\"", lua_tostring(L, 2));
    ml_handle_plan(L, ex)->upstream = ml_handle_dup(L, ex->arena, name);
    return 0;
}

static int set_timeout(lua_State *L)
{
    struct ml_exchange *ex;
    double seconds;

    self(L, &ex);
    seconds = lua_tonumber(L, 2);
    if (lua_type(L, 2) != LUA_TNUMBER || !(seconds >= 0.001 && seconds <= 86400))
        return luaL_error(L, "set_timeout: seconds must be a number from 0.001 to 86400");
    ml_handle_plan(L, ex)->timeout = seconds;
    return 0;
}

/* limit_body(bytes) -> true, or false when the body is known to be larger.  One that comes in chunks
 * is counted from now on: over the limit it breaks off, and who reads or forwards it fails with
 * body_too_large (413). */
static int limit_body(lua_State *L)
{
    struct ml_exchange *ex;
    double bytes;

    self(L, &ex);
    bytes = lua_tonumber(L, 2);
    if (lua_type(L, 2) != LUA_TNUMBER || !(bytes >= 0 && bytes <= 9e15))
        return luaL_error(L, "limit_body: a number of bytes is expected");
    if (!ex->body_limited || (uint64_t)bytes < ex->body_max)
        ex->body_max = (uint64_t)bytes;
    ex->body_limited = true;
    lua_pushboolean(L, ex->notes.bytes_in <= ex->body_max &&
                           !(ex->req.has_length && ex->req.length > ex->body_max));
    return 1;
}

/* ---- on_done ---- */

/* The functions are a list, in the slot of the task; they run when the exchange is over. */
static int on_done(lua_State *L)
{
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_REQUEST);
    int ref;

    ml_handle_exchange(L, h);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    ref = ml_task_ref(h->task, ML_SLOT_DONE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    if (!lua_istable(L, -1)) {
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, -1);
        lua_rawseti(L, LUA_REGISTRYINDEX, ref);
    }
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    return 0;
}

const luaL_Reg ml_request_methods[] = {
    {"set_path", set_path},
    {"set_query", set_query},
    {"set_host", set_host},
    {"set_upstream", set_upstream},
    {"set_timeout", set_timeout},
    {"limit_body", limit_body},
    {"on_done", on_done},
    {"log_field", ml_request_log_field},
    {NULL, NULL},
};
