/* api.h - what the api_*.c files share: arguments and options of scripts, checked.
 *
 * Everything here raises a Lua error that names the argument; numbers that are no numbers (NaN,
 * strings) are refused, so what comes back can be used as it is. */
#ifndef ML_SCRIPT_API_H
#define ML_SCRIPT_API_H

#include "script/handle.h"

enum { ML_API_SECONDS_MAX = 366 * 86400 };

/* The argument at index as a time in seconds. */
double ml_api_seconds(lua_State *L, int index, double min);
/* The argument at index as an options table, or nil; it may have no other fields than names. */
bool ml_api_options(lua_State *L, int index, const char *const *names);
/* Fields of that table; otherwise when absent. */
double ml_api_option_seconds(lua_State *L, int index, const char *name, double min,
                             double otherwise);
double ml_api_option_number(lua_State *L, int index, const char *name, double min, double max,
                            double otherwise);
bool ml_api_option_flag(lua_State *L, int index, const char *name, bool otherwise);
/* Leaves the string on the stack, where it must stay as long as it is used. */
struct ml_str ml_api_option_string(lua_State *L, int index, const char *name,
                                   struct ml_str otherwise);

/* A userdata with fields of zero that lives until ml_api_unanchor(ref), on top of the stack. */
void *ml_api_anchored(lua_State *L, size_t size, int *ref);
/* Raises nothing, so it may be called anywhere; ref becomes LUA_NOREF. */
void ml_api_unanchor(lua_State *L, int *ref);

/* Pushes a metatable with these methods (the bridge is their upvalue) that scripts can not change.
 */
void ml_api_push_class(lua_State *L, struct ml_bridge *b, const luaL_Reg *methods);

/* Seconds that a background task may still wait for, once its generation was replaced: then it has
 * to end, for it keeps the whole VM. */
double ml_api_timers_grace_s(const struct ml_bridge *b);
/* core.all and core.race; called by ml_api_wait_open. */
void ml_api_party_open(lua_State *L, struct ml_bridge *b);

#endif
