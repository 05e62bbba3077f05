/* coroutine.c - a stack of spare coroutines. */
#include "script/coroutine.h"

#include <lauxlib.h>
#include <stdlib.h>

enum { SPARE_MAX = 256 };

struct ml_coroutine ml_coroutine_take(struct ml_coroutines *pool, lua_State *L)
{
    struct ml_coroutine c;

    if (pool->count > 0)
        return pool->spare[--pool->count];
    c.L = lua_newthread(L);
    c.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return c;
}

static void grow(struct ml_coroutines *pool)
{
    pool->cap = pool->cap > 0 ? pool->cap * 2 : 16;
    pool->spare = realloc(pool->spare, pool->cap * sizeof *pool->spare);
    if (pool->spare == NULL)
        abort();
}

void ml_coroutine_give(struct ml_coroutines *pool, struct ml_coroutine *c)
{
    lua_settop(c->L, 0);
    if (pool->count >= SPARE_MAX) {
        ml_coroutine_drop(c->L, c);
        return;
    }
    if (pool->count == pool->cap)
        grow(pool);
    pool->spare[pool->count++] = *c;
    c->L = NULL;
}

void ml_coroutine_drop(lua_State *L, struct ml_coroutine *c)
{
    if (c->L != NULL)
        luaL_unref(L, LUA_REGISTRYINDEX, c->ref);
    c->L = NULL;
}

void ml_coroutines_free(struct ml_coroutines *pool, lua_State *L)
{
    while (pool->count > 0)
        ml_coroutine_drop(L, &pool->spare[--pool->count]);
    free(pool->spare);
    *pool = (struct ml_coroutines){0};
}
