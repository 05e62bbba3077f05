/* api.c - checks of arguments and options. */
#include "script/api.h"

double ml_api_seconds(lua_State *L, int index, double min)
{
    double s = lua_tonumber(L, index);

    if (lua_type(L, index) != LUA_TNUMBER)
        luaL_typerror(L, index, "number");
    if (!(s >= min && s <= ML_API_SECONDS_MAX))
        luaL_argerror(L, index,
                      lua_pushfstring(L, "seconds must be from %f to %d", min, ML_API_SECONDS_MAX));
    return s;
}

static bool is_among(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcmp(name, *names) == 0)
            return true;
    return false;
}

bool ml_api_options(lua_State *L, int index, const char *const *names)
{
    if (lua_isnoneornil(L, index))
        return false;
    luaL_checktype(L, index, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_argerror(L, index, "the name of an option is a string");
        if (!is_among(lua_tostring(L, -2), names))
            luaL_argerror(L, index, lua_pushfstring(L, "unknown option '%s'", lua_tostring(L, -2)));
    }
    return true;
}

double ml_api_option_number(lua_State *L, int index, const char *name, double min, double max,
                            double otherwise)
{
    double n = otherwise;

    lua_getfield(L, index, name);
    if (!lua_isnil(L, -1)) {
        n = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(n >= min && n <= max))
            luaL_argerror(L, index,
                          lua_pushfstring(L, "%s must be a number from %f to %f", name, min, max));
    }
    lua_pop(L, 1);
    return n;
}

double ml_api_option_seconds(lua_State *L, int index, const char *name, double min,
                             double otherwise)
{
    return ml_api_option_number(L, index, name, min, ML_API_SECONDS_MAX, otherwise);
}

bool ml_api_option_flag(lua_State *L, int index, const char *name, bool otherwise)
{
    bool flag = otherwise;

    lua_getfield(L, index, name);
    if (!lua_isnil(L, -1)) {
        if (lua_type(L, -1) != LUA_TBOOLEAN)
            luaL_argerror(L, index, lua_pushfstring(L, "%s must be true or false", name));
        flag = lua_toboolean(L, -1);
    }
    lua_pop(L, 1);
    return flag;
}

struct ml_str ml_api_option_string(lua_State *L, int index, const char *name,
                                   struct ml_str otherwise)
{
    struct ml_str s = otherwise;

    lua_getfield(L, index, name);
    if (lua_isnil(L, -1))
        return s;
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_argerror(L, index, lua_pushfstring(L, "%s must be a string", name));
    s.p = lua_tolstring(L, -1, &s.len);
    return s;
}

void *ml_api_anchored(lua_State *L, size_t size, int *ref)
{
    void *p = lua_newuserdata(L, size);

    memset(p, 0, size);
    lua_pushvalue(L, -1);
    *ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return p;
}

/* luaL_unref sets fields that the registry has already: no memory is needed. */
void ml_api_unanchor(lua_State *L, int *ref)
{
    luaL_unref(L, LUA_REGISTRYINDEX, *ref);
    *ref = LUA_NOREF;
}

void ml_api_push_class(lua_State *L, struct ml_bridge *b, const luaL_Reg *methods)
{
    lua_newtable(L);
    lua_newtable(L);
    ml_bridge_register(L, b, methods);
    lua_setfield(L, -2, "__index");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
}
