/* buf.c - one contiguous run of bytes that slides back to the front when it has been read. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEEP_MAX = 256 };

static void *spare[KEEP_MAX];
static unsigned spare_count;

static char *block_new(size_t cap)
{
    char *p;

    if (cap == ML_BUF_BLOCK && spare_count > 0)
        return spare[--spare_count];
    p = malloc(cap);
    if (p == NULL)
        abort();
    return p;
}

static void block_free(char *p, size_t cap)
{
#ifndef ML_HARD
    if (cap == ML_BUF_BLOCK && spare_count < KEEP_MAX) {
        spare[spare_count++] = p;
        return;
    }
#endif
    (void)cap;
    free(p);
}

static void grow(struct ml_buf *b, size_t cap)
{
    size_t len = ml_buf_len(b);
    char *p = block_new(cap);

    if (len > 0)
        memcpy(p, b->p + b->start, len);
    if (b->p != NULL)
        block_free(b->p, b->cap);
    *b = (struct ml_buf){p, 0, len, cap};
}

char *ml_buf_grow(struct ml_buf *b, size_t len)
{
    size_t have = ml_buf_len(b), cap = b->cap > 0 ? b->cap : ML_BUF_BLOCK;

    if (b->p != NULL && b->cap - have >= len) {
        memmove(b->p, b->p + b->start, have);
        b->start = 0;
        b->end = have;
        return b->p + b->end;
    }
    if (len > SIZE_MAX / 4 || have > SIZE_MAX / 4)
        abort();
    while (cap - have < len || cap < have)
        cap *= 2;
    grow(b, cap);
    return b->p + b->end;
}

void ml_buf_consume(struct ml_buf *b, size_t len)
{
    assert(len <= ml_buf_len(b));
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void ml_buf_printf(struct ml_buf *b, const char *format, ...)
{
    char *p = ml_buf_reserve(b, 128); /* mostly enough, then it is formatted but once */
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(p, ml_buf_room(b), format, args);
    va_end(args);
    if (len < 0)
        abort();
    if ((size_t)len < ml_buf_room(b)) {
        b->end += (size_t)len;
        return;
    }
    ml_buf_reserve(b, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(b->p + b->end, (size_t)len + 1, format, args);
    va_end(args);
    b->end += (size_t)len;
}

void ml_buf_release(struct ml_buf *b)
{
    if (b->p != NULL)
        block_free(b->p, b->cap);
    *b = (struct ml_buf){0};
}

void ml_buf_trim(void)
{
    while (spare_count > 0)
        free(spare[--spare_count]);
}
