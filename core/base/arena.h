/* arena.h - memory of one exchange: allocated piece by piece, dropped in one call.
 *
 * Owns:  every byte it hands out.  Pointers live until reset or free.  Never returns NULL: out of
 * memory aborts.  Arenas come from a free list, so an exchange costs no malloc in the usual case. */
#ifndef ML_BASE_ARENA_H
#define ML_BASE_ARENA_H

#include "base/str.h"

struct ml_arena;

struct ml_arena *ml_arena_new(void);
void ml_arena_free(struct ml_arena **arena);

/* len bytes, aligned for any type, not initialised. */
void *ml_arena_alloc(struct ml_arena *arena, size_t len);
/* The same, zeroed. */
void *ml_arena_zalloc(struct ml_arena *arena, size_t len);
/* A copy of s, followed by a NUL that is not counted. */
struct ml_str ml_arena_dup(struct ml_arena *arena, struct ml_str s);
/* A formatted string. */
struct ml_str ml_arena_printf(struct ml_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Gives the arenas on the free list back to malloc. */
void ml_arena_trim(void);
/* Bytes handed out so far. */
size_t ml_arena_used(const struct ml_arena *arena);

#endif
