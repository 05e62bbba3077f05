/* arena.c - a chain of blocks; the first is kept on a free list with the arena itself.
 *
 * Under ML_HARD every allocation is a malloc of its own, so that the address sanitizer sees a byte
 * written past any of them. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIRST_CAP = 8000 /* an exchange with a script fits */, KEEP_MAX = 512 };

struct block {
    struct block *next;
    size_t used, cap;
    _Alignas(16) char bytes[];
};

struct ml_arena {
    struct block *head;    /* the block that is being filled */
    struct ml_arena *next; /* in the free list */
    size_t used;
};

static struct ml_arena *spare;
static unsigned spare_count;

static void *must_alloc(size_t len)
{
    void *p = malloc(len);

    if (p == NULL)
        abort();
    return p;
}

static struct block *block_new(size_t cap, struct block *next)
{
    struct block *b = must_alloc(sizeof *b + cap);

    b->next = next;
    b->used = 0;
    b->cap = cap;
    return b;
}

struct ml_arena *ml_arena_new(void)
{
    struct ml_arena *a = spare;

    if (a != NULL) {
        spare = a->next;
        spare_count--;
        return a;
    }
    a = must_alloc(sizeof *a);
    a->head = block_new(FIRST_CAP, NULL);
    a->next = NULL;
    a->used = 0;
    return a;
}

static void drop_extra_blocks(struct ml_arena *a)
{
    while (a->head->next != NULL) {
        struct block *b = a->head;

        a->head = b->next;
        free(b);
    }
    a->head->used = 0;
    a->used = 0;
}

void ml_arena_trim(void)
{
    while (spare != NULL) {
        struct ml_arena *a = spare;

        spare = a->next;
        free(a->head);
        free(a);
    }
    spare_count = 0;
}

void ml_arena_free(struct ml_arena **arena)
{
    struct ml_arena *a = *arena;

    if (a == NULL)
        return;
    *arena = NULL;
    drop_extra_blocks(a);
#ifndef ML_HARD
    if (spare_count < KEEP_MAX) {
        a->next = spare;
        spare = a;
        spare_count++;
        return;
    }
#endif
    free(a->head);
    free(a);
}

void *ml_arena_alloc(struct ml_arena *arena, size_t len)
{
    struct block *b = arena->head;
    size_t need = (len + 15) & ~(size_t)15;

    if (need < len)
        abort();
    arena->used += need;
#ifdef ML_HARD
    arena->head = block_new(len, b); /* the first block stays last in the chain, empty */
    arena->head->used = len;
    return arena->head->bytes;
#endif
    if (b->cap - b->used < need) {
        size_t cap = b->cap * 2 < 65536 ? b->cap * 2 : 65536;

        b = arena->head = block_new(need > cap ? need : cap, b);
    }
    b->used += need;
    return b->bytes + b->used - need;
}

void *ml_arena_zalloc(struct ml_arena *arena, size_t len)
{
    return memset(ml_arena_alloc(arena, len), 0, len);
}

struct ml_str ml_arena_dup(struct ml_arena *arena, struct ml_str s)
{
    char *p = ml_arena_alloc(arena, s.len + 1);

    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return (struct ml_str){p, s.len};
}

struct ml_str ml_arena_printf(struct ml_arena *arena, const char *format, ...)
{
    va_list args;
    int len;
    char *p;

    va_start(args, format);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len < 0)
        abort();
    p = ml_arena_alloc(arena, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(p, (size_t)len + 1, format, args);
    va_end(args);
    return (struct ml_str){p, (size_t)len};
}

size_t ml_arena_used(const struct ml_arena *arena)
{
    return arena->used;
}
