/* report.h - what the log says of a script that failed: message, file:line, traceback, request. */
#ifndef ML_SCRIPT_REPORT_H
#define ML_SCRIPT_REPORT_H

#include "inbound/exchange.h"

#include <lua.h>

/* The error is on top of co, a dead coroutine whose stack the traceback shows; L is a state of the
 * same VM that can run.  route: what the script was there for.  ex may be NULL.  When Lua has no
 * memory for a traceback, the message goes alone. */
void ml_report_failure(lua_State *L, lua_State *co, enum ml_err why, struct ml_str route,
                       struct ml_exchange *ex, uint32_t generation);
/* A failure with no coroutine to show, such as a handler that returned no response. */
void ml_report_message(const char *message, enum ml_err why, struct ml_str route,
                       struct ml_exchange *ex, uint32_t generation);

#endif
