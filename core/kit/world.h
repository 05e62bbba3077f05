/* world.h - the test's side of a world that it shares with the real program; see shim/world.h.
 *
 *   native.world(path, seed) -> w makes the file
 *   w:clock() -> wall clock, seconds since begin    w:begin(wall)    w:move(seconds)
 *   w:ask()                       every process shall look again
 *   w:idle() -> boolean, sum      did all look, and wait now?  sum changes when one of them was
 * busy w:next() -> seconds to the next timer, or nil w:place(ip, port, leads_to)   w:client(port,
 * ip) */
#ifndef ML_KIT_TEST_WORLD_H
#define ML_KIT_TEST_WORLD_H

#include <lua.h>

void ml_world_open(lua_State *L); /* adds the function to the table on top */

#endif
