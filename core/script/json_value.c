/* json_value.c - the mark that makes a table a list: a metatable of its own, one per VM. */
#include "script/json_value.h"

static const char mark_key;

void ml_json_push_mark(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&mark_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
}

void ml_json_open(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&mark_key);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "list");
    lua_setfield(L, -2, "__metatable");
    lua_rawset(L, LUA_REGISTRYINDEX);
}
