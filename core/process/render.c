/* render.c - a Lua state for one call of the library. */
#include "process/render.h"

#include "script/load.h"

#include <lauxlib.h>
#include <lualib.h>

int luaopen_cjson(lua_State *L); /* liblua5.1-cjson.a */

struct call {
    const char *function;
    struct ml_str json;
    struct ml_buf *out;
};

/* The table of functions is on top. */
static void add_more(lua_State *L)
{
    struct ml_str source;

    if (!ml_load_embedded("moonlatch/cli_admin.lua", &source))
        luaL_error(L, "moonlatch/cli_admin.lua is not in the program");
    if (luaL_loadbuffer(L, source.p, source.len, "=moonlatch/cli_admin.lua") != 0)
        lua_error(L);
    lua_pushvalue(L, -2);
    lua_call(L, 1, 0);
}

/* In a protected call: cli[function](cjson.decode(json), cjson.encode). */
static int render(lua_State *L)
{
    struct call *call = lua_touserdata(L, 1);
    struct ml_str source, text;

    luaL_openlibs(L);
    if (!ml_load_embedded("moonlatch/cli.lua", &source))
        return luaL_error(L, "moonlatch/cli.lua is not in the program");
    if (luaL_loadbuffer(L, source.p, source.len, "=moonlatch/cli.lua") != 0)
        return lua_error(L);
    lua_call(L, 0, 1);
    add_more(L);
    lua_getfield(L, -1, call->function);
    lua_pushcfunction(L, luaopen_cjson);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "decode");
    lua_pushlstring(L, call->json.p, call->json.len);
    lua_call(L, 1, 1);
    lua_getfield(L, -2, "encode");
    lua_remove(L, -3); /* cjson */
    lua_call(L, 2, 1);
    text.p = luaL_checklstring(L, -1, &text.len);
    ml_buf_append(call->out, text);
    return 0;
}

bool ml_render(const char *function, struct ml_str json, struct ml_buf *out, struct ml_buf *why)
{
    struct call call = {function, json, out};
    lua_State *L = luaL_newstate();
    bool ok;

    if (L == NULL) {
        ml_buf_append(why, ML_STR("no memory for a Lua state"));
        return false;
    }
    ok = lua_cpcall(L, render, &call) == 0;
    if (!ok)
        ml_buf_printf(why, "cannot show the answer: %s", lua_tostring(L, -1));
    lua_close(L);
    return ok;
}
