/* tools.c - functions of the product for the Lua side of the kit, and that Lua side itself. */
#include "kit/tools.h"

#include "base/err.h"
#include "kit/keys.h"
#include "kit/message.h"
#include "kit/world.h"
#include "outbound/redis.h"
#include "script/json_value.h"
#include "script/load.h"

#include <lauxlib.h>
#include <stdio.h>

/* ---- JSON, by the product's reader and writer ---- */

static int json_result(lua_State *L, const char *wrong)
{
    if (wrong == NULL)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, wrong);
    return 2;
}

static int json_encode(lua_State *L)
{
    struct ml_buf *out = ml_handle_scratch();
    const char *wrong;

    luaL_checkany(L, 1);
    wrong = ml_json_write(L, 1, out, false);
    if (wrong == NULL)
        ml_push_str(L, ml_buf_str(out));
    return json_result(L, wrong);
}

static int json_decode(lua_State *L)
{
    struct ml_str text;

    text.p = luaL_checklstring(L, 1, &text.len);
    return json_result(L, ml_json_push(L, text));
}

/* ---- hashes ---- */

/* sha1(text): as EVALSHA wants it. */
static int sha1(lua_State *L)
{
    struct ml_redis_script *script;
    struct ml_str text;

    text.p = luaL_checklstring(L, 1, &text.len);
    script = ml_redis_script_new(text);
    lua_pushlstring(L, script->sha, 40);
    ml_redis_script_release(&script);
    return 1;
}

/* ---- messages that came by real connections ---- */

/* parse(text, eof, method) -> message, bytes used; or nil, word.  Without a method: a request. */
static int parse(lua_State *L)
{
    struct ml_sim_end end = {.eof = lua_toboolean(L, 2)};
    struct ml_str text, method = {0};
    enum ml_err err;

    text.p = luaL_checklstring(L, 1, &text.len);
    method.p = luaL_optlstring(L, 3, NULL, &method.len);
    ml_buf_append(&end.in, text);
    err = method.p != NULL ? ml_message_take_response(L, &end, method)
                           : ml_message_take_request(L, &end);
    if (err == ML_OK) {
        lua_pushnumber(L, (double)(text.len - ml_buf_len(&end.in)));
    } else {
        lua_pushnil(L);
        lua_pushstring(L, err == ML_AGAIN ? "again" : ml_err_word(err));
    }
    ml_buf_release(&end.in);
    return 2;
}

/* package.loaders: moonlatch.test and its parts are in this module, for when no path leads to them.
 */
static int find_embedded(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    struct ml_str text;
    char file[128];

    lua_pushstring(L, "");
    if (strncmp(name, "moonlatch.test", 14) != 0)
        return 1;
    snprintf(file, sizeof file, "moonlatch/%s.lua", name + 10);
    if (!ml_load_embedded(file, &text))
        return 1;
    lua_pushfstring(L, "@lua/%s", file);
    if (luaL_loadbuffer(L, text.p, text.len, lua_tostring(L, -1)) != 0)
        return lua_error(L);
    return 1;
}

static void add_loader(lua_State *L)
{
    static char added; /* its address is a key in the registry */

    lua_pushlightuserdata(L, &added);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (lua_isnil(L, -1)) {
        lua_getglobal(L, "package");
        lua_getfield(L, -1, "loaders");
        lua_pushcfunction(L, find_embedded);
        lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
        lua_pop(L, 2);
        lua_pushlightuserdata(L, &added);
        lua_pushboolean(L, 1);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
    lua_pop(L, 1);
}

void ml_tools_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"parse", parse},
                                         {"sha1", sha1},
                                         {"json_encode", json_encode},
                                         {"json_decode", json_decode},
                                         {NULL, NULL}};

    luaL_register(L, NULL, functions);
    ml_keys_open(L);
    ml_world_open(L);
    ml_json_open(L);
    add_loader(L);
}
