/* message.h - whole HTTP messages at the test's end of a connection, read by the product's parser.
 */
#ifndef ML_KIT_MESSAGE_H
#define ML_KIT_MESSAGE_H

#include "kit/sim.h"

#include <lua.h>

/* Takes the first message from what end has read, and pushes a table: a request { method, target,
 * headers, body }, or the answer { status, headers, body } to a request of that method.  headers is
 * a list of names and values by turns.  Interim answers (1xx but 101) are skipped.
 * ML_AGAIN: it is not complete, and nothing is pushed; ML_EOF: it never will be; else it is wrong.
 */
enum ml_err ml_message_take_request(lua_State *L, struct ml_sim_end *end);
enum ml_err ml_message_take_response(lua_State *L, struct ml_sim_end *end, struct ml_str method);

#endif
