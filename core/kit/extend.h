/* extend.h - what a simulation changes in the VM of a site, before its first file runs. */
#ifndef ML_KIT_EXTEND_H
#define ML_KIT_EXTEND_H

#include "kit/sim.h"

#include <lua.h>

struct ml_extension {
    lua_State *outer;    /* the test's VM */
    int env;             /* index of a table of texts in outer: the environment */
    struct ml_sim **sim; /* where the simulation will be; lives as long as the VM */
    const char *dir;     /* of the site, or NULL */
    int files;           /* index of a table of other files in outer, or 0 */
    const struct ml_snapshot *snapshot;
};

/* For ml_sim_new: ctx is a struct ml_extension.  `core` is on top of the stack.  core.getenv knows
 * the table alone, core.trace keeps what chains do, and core.redis tells the simulation where a
 * Redis is. */
void ml_extend(lua_State *L, void *ctx);

#endif
