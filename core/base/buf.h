/* buf.h - a queue of bytes: written at the end, consumed at the start.
 *
 * An empty buffer holds no memory after ml_buf_release, so idle connections cost none.  Blocks of
 * ML_BUF_BLOCK bytes come from a free list.  Out of memory aborts; whoever fills a buffer from a
 * peer caps it. */
#ifndef ML_BASE_BUF_H
#define ML_BASE_BUF_H

#include "base/str.h"

#include <stdint.h>

enum { ML_BUF_BLOCK = 16384 };

struct ml_buf { /* zero-initialised is an empty buffer */
    char *p;
    size_t start, end, cap; /* the bytes are p[start..end) */
};

static inline size_t ml_buf_len(const struct ml_buf *b)
{
    return b->end - b->start;
}

static inline struct ml_str ml_buf_str(const struct ml_buf *b)
{
    return (struct ml_str){b->p + b->start, b->end - b->start};
}

/* ml_buf_reserve where there is no room yet. */
char *ml_buf_grow(struct ml_buf *b, size_t len);
/* Room for at least len bytes at the end: where to write them.  Pointers into the buffer die. */
static inline char *ml_buf_reserve(struct ml_buf *b, size_t len)
{
    return b->p != NULL && b->cap - b->end >= len ? b->p + b->end : ml_buf_grow(b, len);
}
/* Bytes that fit at the end without moving anything. */
static inline size_t ml_buf_room(const struct ml_buf *b)
{
    return b->cap - b->end;
}
static inline void ml_buf_commit(struct ml_buf *b, size_t len)
{
    b->end += len;
}
/* Forgets len bytes at the start. */
void ml_buf_consume(struct ml_buf *b, size_t len);
static inline void ml_buf_append(struct ml_buf *b, struct ml_str s)
{
    if (s.len == 0)
        return;
    memcpy(ml_buf_reserve(b, s.len), s.p, s.len);
    b->end += s.len;
}
void ml_buf_printf(struct ml_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Gives the memory back; the buffer is empty and usable. */
void ml_buf_release(struct ml_buf *b);
/* Gives the blocks on the free list back to malloc. */
void ml_buf_trim(void);

#endif
