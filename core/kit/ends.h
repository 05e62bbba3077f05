/* ends.h - connections in the hands of a test: the userdata of a struct ml_sim_end.
 *
 *   end:send(bytes)   end:response(method) -> response | nil, word    end:record() -> table
 *   end:take() -> bytes    end:close()    end:ended() -> boolean */
#ifndef ML_KIT_ENDS_H
#define ML_KIT_ENDS_H

#include "kit/sim.h"

#include <lauxlib.h>

void ml_ends_open(lua_State *L); /* makes the class */
/* Pushes the one handle that an end has for as long as it lives.  The simulation's userdata, a
 * struct ml_sim *, is at index 1; the handle keeps it. */
void ml_ends_push(lua_State *L, struct ml_sim_end *end);
/* The end is about to go: a handle raises an error from here on. */
void ml_ends_forget(lua_State *L, struct ml_sim_end *end);
void ml_ends_close(lua_State *L, struct ml_sim_end *end); /* and goes */
/* A metatable with these methods; on the stack. */
void ml_ends_push_class(lua_State *L, const char *name, const luaL_Reg *methods);

#endif
