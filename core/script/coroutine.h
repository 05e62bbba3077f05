/* coroutine.h - the coroutines of a VM, kept for reuse: resuming a used one costs 24 ns, a new one
 * 140 ns and garbage.  One that failed or was left in the middle can not be used again. */
#ifndef ML_SCRIPT_COROUTINE_H
#define ML_SCRIPT_COROUTINE_H

#include <lua.h>

struct ml_coroutine {
    lua_State *L; /* NULL: none */
    int ref;      /* keeps it alive, in the registry */
};

struct ml_coroutines { /* zero-initialised is an empty pool */
    struct ml_coroutine *spare;
    unsigned count, cap;
};

/* May raise a memory error: call it protected.  Its stack is empty. */
struct ml_coroutine ml_coroutine_take(struct ml_coroutines *pool, lua_State *L);
/* One whose function has returned; c becomes none. */
void ml_coroutine_give(struct ml_coroutines *pool, struct ml_coroutine *c);
/* One that failed or waits; the collector takes it.  c becomes none. */
void ml_coroutine_drop(lua_State *L, struct ml_coroutine *c);
void ml_coroutines_free(struct ml_coroutines *pool, lua_State *L);

#endif
