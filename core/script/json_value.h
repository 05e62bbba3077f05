/* json_value.h - Lua values as JSON text (RFC 8259) and back.
 *
 * lua-cjson 2.1 is not used here: it has no way to say "[]" and turns "[]" into "{}" on the way
 * through, cuts numbers to 14 digits, and loses its buffers when a VM is out of memory. */
#ifndef ML_SCRIPT_JSON_VALUE_H
#define ML_SCRIPT_JSON_VALUE_H

#include "script/handle.h"

enum { ML_JSON_DEPTH_MAX = 128, ML_JSON_TEXT_MAX = 64 << 20 };

/* Appends the text of the value at index.  NULL, or what is wrong with it (a text that is good
 * until the next call).  Raises only for want of memory, so out must be ml_handle_scratch() or the
 * like.
 *   - null is a light userdata of NULL; an empty table is {} unless it is marked as a list
 *   - a table is a list (keys 1 to n without holes) or an object (all keys strings), else an error
 *   - a number is written with the digits that give the same number again; not NaN, not infinite
 *   - strings are taken as they are, whatever their encoding; only what JSON demands is escaped */
const char *ml_json_write(lua_State *L, int index, struct ml_buf *out, bool pretty);
/* Pushes the value of a text, or pushes nothing and says what is wrong.  Raises only for want of
 * memory.  Lists are marked, so that an empty one is a list when it is written again. */
const char *ml_json_push(lua_State *L, struct ml_str text);

/* Pushes the metatable that marks lists; made by ml_json_open once per VM. */
void ml_json_open(lua_State *L);
void ml_json_push_mark(lua_State *L);

#endif
