/* explain.h - `moonlatch explain`: what would become of a request, told by the site's own tables.
 */
#ifndef ML_SCRIPT_EXPLAIN_H
#define ML_SCRIPT_EXPLAIN_H

#include "script/generation.h"
#include "script/load.h"

/* Adds its functions to the table `core` on top of L when it is on. */
void ml_explain_open(lua_State *L, struct ml_load *load, bool on);
/* See ml_generation_explain. */
bool ml_explain_run(lua_State *L, const struct ml_explain *request, struct ml_buf *json,
                    struct ml_buf *why);

#endif
