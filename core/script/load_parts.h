/* load_parts.h - what load.c and load_group.c share: the fields of an options table at index 1.
 * Nobody else includes it. */
#ifndef ML_SCRIPT_LOAD_PARTS_H
#define ML_SCRIPT_LOAD_PARTS_H

#include "script/handle.h"
#include "script/load.h"

#include <lauxlib.h>

static inline struct ml_load *load_of(lua_State *L)
{
    struct ml_load *load = lua_touserdata(L, lua_upvalueindex(1));

    if (load->done)
        luaL_error(L, "this function is for loading a site: it can not be called any more");
    return load;
}

static inline int refuse(lua_State *L, const char *why)
{
    lua_pushstring(L, why);
    return 1;
}

static inline struct ml_str text_field(lua_State *L, struct ml_arena *arena, const char *name,
                                       struct ml_str def)
{
    struct ml_str s = def;

    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1))
        s = ml_arena_dup(arena, ml_check_str(L, -1));
    lua_pop(L, 1);
    return s;
}

static inline double number_field(lua_State *L, const char *name, double def)
{
    double n = def;

    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1))
        n = luaL_checknumber(L, -1);
    lua_pop(L, 1);
    return n;
}

static inline bool flag_field(lua_State *L, const char *name, bool def)
{
    bool b = def;

    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1))
        b = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return b;
}

/* 0 in a configuration means the default, and ~0u "none at all". */
static inline unsigned count_field(lua_State *L, const char *name)
{
    double n = number_field(L, name, -1);

    if (n < 0)
        return 0;
    return n == 0 ? ~0u : (unsigned)n;
}

/* Pushes the list in a field and says how long it is; 0 and nothing pushed without it. */
static inline unsigned list_field(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    if (lua_istable(L, -1))
        return (unsigned)lua_objlen(L, -1);
    lua_pop(L, 1);
    return 0;
}

/* The TLS context of the listener whose options are at index 1, if they want one.  A refusal, on the
 * stack, or NULL. */
const char *ml_load_tls(lua_State *L, struct ml_load *load, struct ml_listener_conf *c);
/* Where it sends its clients to, if it does. */
void ml_load_redirect(lua_State *L, struct ml_load *load, struct ml_listener_conf *c);
void ml_load_open_tls(lua_State *L, struct ml_load *load); /* its functions, into core on top */

/* The settings of logs; load_log.c.  Its functions, into core on top. */
void ml_load_logs(lua_State *L, struct ml_site *site);
void ml_load_open_logs(lua_State *L);

/* core.group(t), with the load as its upvalue */
int ml_load_group(lua_State *L);

/* load.c: the field `conditions` of the table at 1; how many, in arena. */
unsigned ml_load_conditions(lua_State *L, struct ml_arena *arena, struct ml_route_condition **out);

#endif
