/* redis_queue.h - who waits for the next replies of a connection: a bounded ring.
 *
 * Places are counted up for ever, so a place names its entry as long as that is in the queue. */
#ifndef ML_OUTBOUND_REDIS_QUEUE_H
#define ML_OUTBOUND_REDIS_QUEUE_H

#include "outbound/redis_conn.h"

enum { ML_REDIS_QUEUE_MAX = 16384 };

struct ml_redis_entry {
    struct ml_redis_part *part; /* NULL: nobody waits any more */
    unsigned skip;              /* replies to come before its own */
    size_t len;                 /* of its command */
    double due_s;
    struct ml_redis_reply *error; /* owned; the first of the skipped ones that was one */
};

struct ml_redis_queue { /* zero-initialised is empty */
    struct ml_redis_entry *v;
    unsigned cap; /* a power of 2 */
    uint64_t begin, end;
};

static inline unsigned ml_redis_queue_count(const struct ml_redis_queue *q)
{
    return (unsigned)(q->end - q->begin);
}
static inline struct ml_redis_entry *ml_redis_queue_at(const struct ml_redis_queue *q, uint64_t at)
{
    return &q->v[at & (q->cap - 1)];
}
static inline struct ml_redis_entry *ml_redis_queue_first(const struct ml_redis_queue *q)
{
    return q->begin < q->end ? ml_redis_queue_at(q, q->begin) : NULL;
}
/* Not when it is full: that is the caller's to check.  Sets the place of its part. */
void ml_redis_queue_push(struct ml_redis_queue *q, struct ml_redis_entry entry);
struct ml_redis_entry ml_redis_queue_pop(struct ml_redis_queue *q);
void ml_redis_queue_free(struct ml_redis_queue *q);

#endif
