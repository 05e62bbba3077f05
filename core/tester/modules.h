/* modules.h - the Lua modules that `moonlatch test` brings along: busted's and the kit. */
#ifndef ML_TESTER_MODULES_H
#define ML_TESTER_MODULES_H

#include <lua.h>

/* Makes them known to `require`, before all files. */
void ml_tester_open(lua_State *L);

#endif
