/* handle_response.c - `res`: what a script reads and changes of a response.
 *
 * The same handle type serves the response of the exchange and those that scripts made but did not
 * return yet; adopt.c turns the latter into the former. */
#include "script/handle.h"

#define MEMBERS(X) X(status) X(headers) X(from) X(timing)

enum member {
#define X(name) MEMBER_##name,
    MEMBERS(X)
#undef X
};

static const char *const names[] = {
#define X(name) #name,
    MEMBERS(X)
#undef X
        NULL,
};

/* ---- the handle of ex->res ---- */

int ml_response_push(lua_State *L, struct ml_bridge *b, struct ml_exchange *ex)
{
    struct ml_handle *h;
    int ref = ml_task_ref(ex->task, ML_SLOT_RESPONSE);

    if (ex->res.status == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    h = lua_touserdata(L, -1);
    if (h != NULL &&
        h->res != NULL) /* NULL: the core answered in the meantime, or it was dropped */
        return 1;
    lua_pop(L, 1);
    h = ml_handle_push(L, b, ML_HANDLE_RESPONSE);
    h->task = ex->task;
    h->serial = ex->serial;
    h->res = &ex->res;
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, ref);
    return 1;
}

void ml_response_forget(lua_State *L, struct ml_exchange *ex)
{
    const struct ml_plan *plan = ml_handle_plan(L, ex);
    int ref = ml_task_ref(ex->task, ML_SLOT_RESPONSE);
    struct ml_handle *h;

    if (plan->forwarding)
        luaL_error(L, "the response can not be replaced: the request is being forwarded");
    if (plan->reading_response)
        luaL_error(L, "the response can not be replaced: its body is being read");
    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    h = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (h == NULL)
        return;
    h->res = NULL;
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, ref);
}

/* ---- members ---- */

static const char *origin(enum ml_origin from)
{
    switch (from) {
    case ML_FROM_UPSTREAM:
        return "upstream";
    case ML_FROM_CORE:
        return "gateway";
    case ML_FROM_NONE:
    case ML_FROM_SCRIPT:
        break;
    }
    return "script";
}

static void set_seconds(lua_State *L, const char *name, double s)
{
    lua_pushnumber(L, s);
    lua_setfield(L, -2, name);
}

static int push_timing(lua_State *L, struct ml_exchange *ex)
{
    lua_createtable(L, 0, 4);
    if (ex == NULL)
        return 1;
    if (ex->notes.upstream_s >= 0)
        set_seconds(L, "upstream", ex->notes.upstream_s);
    set_seconds(L, "total", ml_loop_now_s(ex->loop) - ex->notes.start_s);
    lua_pushinteger(L, (lua_Integer)ex->notes.tries);
    lua_setfield(L, -2, "tries");
    return 1;
}

static int response_index(lua_State *L)
{
    struct ml_handle *h = ml_handle_self(L);
    struct ml_exchange *ex;
    int type;

    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    type = lua_type(L, 3);
    if (type == LUA_TFUNCTION)
        return 1;
    if (type != LUA_TNUMBER)
        return luaL_error(L, "a response has no member \"%s\"", luaL_checkstring(L, 2));
    ex = ml_handle_exchange(L, h);
    switch ((enum member)lua_tointeger(L, -1)) {
    case MEMBER_status:
        lua_pushinteger(L, h->res->status);
        return 1;
    case MEMBER_headers:
        return ml_headers_push_view(L);
    case MEMBER_from:
        lua_pushstring(L, origin(h->res->from));
        return 1;
    case MEMBER_timing:
        return push_timing(L, ex);
    }
    return 0;
}

/* What had no body may have one with the new status: nothing is announced that does not come. */
static void set_status(struct ml_response *res, int status, const struct ml_exchange *ex)
{
    bool head = ex != NULL && ml_str_eq(ex->req.method, ML_STR("HEAD"));

    res->status = status;
    if (!res->no_body || res->body != NULL || head)
        return;
    res->no_body = false;
    res->has_length = true;
    res->length = res->bytes.len;
}

static int response_newindex(lua_State *L)
{
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_RESPONSE);
    struct ml_exchange *ex = ml_handle_writable(L, h);
    const char *name = luaL_checkstring(L, 2);
    double status;

    if (strcmp(name, "status") != 0)
        return luaL_error(L, "res.%s can not be assigned; there may be a method res:set_%s", name,
                          name);
    status = lua_tonumber(L, 3);
    if (lua_type(L, 3) != LUA_TNUMBER || !(status >= 200 && status <= 599) || status != (int)status)
        return luaL_error(L, "the status of a response is an integer from 200 to 599");
    if (h->res->status == 101)
        return luaL_error(L, "the connection was upgraded: its status can not be changed");
    set_status(h->res, (int)status, ex);
    return 0;
}

/* ---- opening ---- */

static int response_gc(lua_State *L)
{
    struct ml_handle *h = ml_handle_of(L, 1, ML_HANDLE_RESPONSE);

    if (h == NULL || h->arena == NULL)
        return 0;
    if (h->res != NULL)
        ml_bridge_of(L)->free_used -= ((struct ml_made *)h->res)->counted;
    h->res = NULL;
    ml_arena_free(&h->arena);
    return 0;
}

/* Responses with memory of their own have a finalizer, which would be a cost to all others. */
static void open_free(lua_State *L, struct ml_bridge *b)
{
    lua_createtable(L, 0, 4);
    for (lua_pushnil(L); lua_next(L, -3) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, -4);
    }
    lua_pushlightuserdata(L, b);
    lua_pushcclosure(L, response_gc, 1);
    lua_setfield(L, -2, "__gc");
    b->free_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}

void ml_response_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg map[] = {{"map_body", ml_body_map}, {NULL, NULL}};
    const luaL_Reg *const methods[] = {ml_header_methods, ml_body_methods, ml_encode_methods, map,
                                       NULL};

    ml_handle_methods(L, b, ML_HANDLE_RESPONSE, methods, names, response_index, response_newindex);
    open_free(L, b);
    lua_pop(L, 1);
}
