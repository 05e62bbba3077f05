/* h2_memory.c - the memory of nghttp2: small pieces come from lists of free ones.
 *
 * A request costs nghttp2 half a dozen pieces of a few sizes, which live as long as its stream.
 * They come in classes of 64 bytes; what is larger comes from malloc.  The
 * lists belong to the worker, which has one thread, and keep what its busiest moment has needed, up
 * to a limit. */
#include "inbound/h2_parts.h"

#include <assert.h>
#include <stdlib.h>

enum {
    STEP = 64,
    CLASSES = 17,          /* the last one: 1024 bytes with the head */
    KEEP_BYTES = 512 << 10 /* of free pieces, all classes together */
};

union head {
    union head *next; /* while it is free */
    size_t class;     /* CLASSES: from malloc; while it is used */
    max_align_t aligned;
};

static union head *spare[CLASSES];
static size_t kept;

static size_t class_of(size_t len)
{
    size_t class = (len + sizeof(union head) + STEP - 1) / STEP;

    return len < CLASSES * STEP && class < CLASSES ? class : CLASSES;
}

static void *pool_alloc(size_t len, void *user)
{
    size_t class = class_of(len);
    union head *head;

    (void)user;
    if (class < CLASSES && spare[class] != NULL) {
        head = spare[class];
        spare[class] = head->next;
        kept -= class * STEP;
    } else {
        head = malloc(class < CLASSES ? class * STEP : sizeof *head + len);
        if (head == NULL)
            abort();
    }
    head->class = class;
    return head + 1;
}

static void pool_free(void *p, void *user)
{
    union head *head = p;
    size_t class;

    (void)user;
    if (p == NULL)
        return;
    class = (--head)->class;
    if (class == CLASSES || kept >= KEEP_BYTES) {
        free(head);
        return;
    }
    head->next = spare[class];
    spare[class] = head;
    kept += class * STEP;
}

static void *pool_zalloc(size_t count, size_t len, void *user)
{
    void *p;

    if (len > 0 && count > SIZE_MAX / 2 / len)
        abort();
    p = pool_alloc(count * len, user);
    memset(p, 0, count * len);
    return p;
}

/* Buffers that nghttp2 lets grow: rare, and most of them larger than a piece. */
static void *pool_realloc(void *p, size_t len, void *user)
{
    union head *head = p;
    size_t had;
    void *to;

    if (p == NULL)
        return pool_alloc(len, user);
    head--;
    if (head->class == CLASSES && class_of(len) == CLASSES) {
        head = realloc(head, sizeof *head + len);
        if (head == NULL)
            abort();
        return head + 1;
    }
    if (head->class == class_of(len))
        return p;
    to = pool_alloc(len, user);
    had = head->class == CLASSES ? len : head->class * STEP - sizeof *head;
    memcpy(to, p, had < len ? had : len);
    pool_free(p, user);
    return to;
}

#if defined ML_HARD || defined __SANITIZE_ADDRESS__
enum { POOLED = false }; /* mistakes shall be seen */
#else
enum { POOLED = true };
#endif

nghttp2_mem *ml_h2_memory(void)
{
    static nghttp2_mem memory = {NULL, pool_alloc, pool_free, pool_zalloc, pool_realloc};

    return POOLED ? &memory : NULL;
}
