/* api_http_result.c - a response as scripts see it: {status=, headers=, body=} and :json().
 *
 * headers has lower-case names, and finds other spellings by its metatable; a field that came more
 * than once is a list. */
#include "script/api_http.h"

/* Pushes name in lower case. */
static void push_lower(lua_State *L, struct ml_str name)
{
    luaL_Buffer b;

    luaL_buffinit(L, &b);
    for (size_t i = 0; i < name.len; i++)
        luaL_addchar(&b, ml_lower(name.p[i]));
    luaL_pushresult(&b);
}

/* headers[name] of a name that is not there as it is. */
static int headers_index(lua_State *L)
{
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    push_lower(L, ml_check_str(L, 2));
    lua_rawget(L, 1);
    return 1;
}

/* res:json() -> value, or nil, "malformed_json" */
static int result_json(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->json_decode);
    lua_getfield(L, 1, "body");
    luaL_checktype(L, -1, LUA_TSTRING);
    lua_call(L, 1, 1);
    if (!lua_isnil(L, -1))
        return 1;
    lua_pushliteral(L, "malformed_json");
    return 2;
}

void ml_http_result_open(lua_State *L, struct ml_bridge *b, struct ml_http_result_class *class)
{
    static const luaL_Reg methods[] = {{"json", result_json}, {NULL, NULL}};

    ml_api_push_class(L, b, methods);
    class->response = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    lua_pushcfunction(L, headers_index);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    class->headers = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The table of headers is on top. */
static void add_field(lua_State *L, const struct ml_field *f)
{
    push_lower(L, f->name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        ml_push_str(L, f->value);
        lua_rawset(L, -3);
        return;
    }
    if (!lua_istable(L, -1)) { /* it becomes a list */
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
    }
    ml_push_str(L, f->value);
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_rawset(L, -3);
}

void ml_http_result_push(lua_State *L, const struct ml_http_result_class *class,
                         const struct ml_response *res, struct ml_str body)
{
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, res->status);
    lua_setfield(L, -2, "status");
    lua_createtable(L, 0, (int)res->headers.count);
    for (uint32_t i = 0; i < res->headers.count; i++)
        add_field(L, &res->headers.v[i]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, class->headers);
    lua_setmetatable(L, -2);
    lua_setfield(L, -2, "headers");
    ml_push_str(L, body);
    lua_setfield(L, -2, "body");
    lua_rawgeti(L, LUA_REGISTRYINDEX, class->response);
    lua_setmetatable(L, -2);
}
