/* redis_queue.c - a ring that doubles. */
#include "outbound/redis_queue.h"

#include <assert.h>
#include <stdlib.h>

static void grow(struct ml_redis_queue *q)
{
    struct ml_redis_queue more = {.cap = q->cap > 0 ? 2 * q->cap : 16, .begin = q->begin};

    more.v = calloc(more.cap, sizeof *more.v);
    if (more.v == NULL)
        abort();
    for (more.end = q->begin; more.end < q->end; more.end++)
        *ml_redis_queue_at(&more, more.end) = *ml_redis_queue_at(q, more.end);
    free(q->v);
    *q = more;
}

void ml_redis_queue_push(struct ml_redis_queue *q, struct ml_redis_entry entry)
{
    assert(ml_redis_queue_count(q) < ML_REDIS_QUEUE_MAX);
    if (ml_redis_queue_count(q) == q->cap)
        grow(q);
    if (entry.part != NULL)
        entry.part->at = q->end;
    *ml_redis_queue_at(q, q->end++) = entry;
}

struct ml_redis_entry ml_redis_queue_pop(struct ml_redis_queue *q)
{
    assert(q->begin < q->end);
    return *ml_redis_queue_at(q, q->begin++);
}

void ml_redis_queue_free(struct ml_redis_queue *q)
{
    while (q->begin < q->end) {
        struct ml_redis_entry entry = ml_redis_queue_pop(q);

        ml_redis_reply_free(&entry.error);
    }
    free(q->v);
    *q = (struct ml_redis_queue){0};
}
