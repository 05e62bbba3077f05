/* tools.h - what the Lua side of the kit borrows from the product: its JSON, its HTTP parser. */
#ifndef ML_KIT_TOOLS_H
#define ML_KIT_TOOLS_H

#include <lua.h>

/* Adds to the table on top of L:
 *   json_encode(value) -> text or nil, why         json_decode(text) -> value or nil, why
 *   parse(text, eof, method) -> message, bytes used | nil, word
 * and lets `require` find moonlatch.test and its parts inside this module. */
void ml_tools_open(lua_State *L);

#endif
