/* api_json.c - JSON for scripts.
 *
 *   core.json_encode(value) -> text or nil, message     core.json_encode_pretty(value) -> the same
 *   core.json_decode(text) -> value or nil, message     core.json_null
 *   core.json_array(t or nil) -> t      marks a table as a list, so that it is [] when it is empty
 */
#include "script/json_value.h"

static int fail(lua_State *L, const char *message)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

static int encode_as(lua_State *L, bool pretty)
{
    struct ml_buf *out = ml_handle_scratch();
    const char *wrong;

    luaL_checkany(L, 1);
    wrong = ml_json_write(L, 1, out, pretty);
    if (wrong != NULL)
        return fail(L, wrong);
    if (pretty)
        ml_buf_append(out, ML_STR("\n"));
    ml_push_str(L, ml_buf_str(out));
    return 1;
}

static int encode(lua_State *L)
{
    return encode_as(L, false);
}

static int encode_pretty(lua_State *L)
{
    return encode_as(L, true);
}

static int decode(lua_State *L)
{
    const char *wrong;

    if (lua_type(L, 1) != LUA_TSTRING)
        return luaL_typerror(L, 1, "string");
    wrong = ml_json_push(L, ml_check_str(L, 1));
    return wrong == NULL ? 1 : fail(L, wrong);
}

static int array(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    ml_json_push_mark(L);
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, -2))
        return luaL_error(L, "json_array: the table has a metatable already");
    lua_settop(L, 1);
    ml_json_push_mark(L);
    lua_setmetatable(L, 1);
    return 1;
}

void ml_api_json_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {
        {"json_encode", encode},
        {"json_encode_pretty", encode_pretty},
        {"json_decode", decode},
        {"json_array", array},
        {NULL, NULL},
    };

    ml_json_open(L);
    ml_bridge_register(L, b, functions);
    lua_getfield(L, -1, "json_encode");
    b->json_encode = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getfield(L, -1, "json_decode");
    b->json_decode = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "json_null");
}
