/* api_networks.c - core.networks(list) -> set; set:has(ip): thousands of networks, asked in one
 * binary search.  A network that is none is an error; an address that is none is in no network. */
#include "script/api.h"

#include "inbound/address.h"

enum { NETWORKS_MAX = 1000000 };

struct networks {
    unsigned count;
    struct ml_cidr v[];
};

static int networks_new(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct networks *n;
    size_t count;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    count = lua_objlen(L, 1);
    if (count > NETWORKS_MAX)
        return luaL_argerror(L, 1, "there are more than 1000000 networks");
    n = lua_newuserdata(L, sizeof *n + count * sizeof *n->v);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING || !ml_cidr_parse(ml_check_str(L, -1), &n->v[i]))
            return luaL_error(L, "entry %d is no address or network", (int)i + 1);
        lua_pop(L, 1);
    }
    n->count = ml_cidr_set_make(n->v, (unsigned)count);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->networks_metatable);
    lua_setmetatable(L, 2);
    return 1;
}

static int networks_has(lua_State *L)
{
    struct networks *n = lua_touserdata(L, 1);
    struct ml_address address;

    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->networks_metatable);
    if (n == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, 1, "set of networks");
    lua_pushboolean(L, ml_address_parse(ml_check_str(L, 2), &address) &&
                           ml_cidr_set_has(n->v, n->count, &address));
    return 1;
}

void ml_api_networks_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"networks", networks_new}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"has", networks_has}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, methods);
    b->networks_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
