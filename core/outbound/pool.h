/* pool.h - the connections of one worker to one server, and above all the idle ones.
 *
 * The newest idle connection is taken first, so the others can grow old and go.  An idle connection
 * that becomes readable is closed at once: the peer has closed it, or has sent bytes nobody asked
 * for, which must never be taken for the answer to a later request.
 * A connection is known by the address it goes to: one to an address that its name has no more is
 * never taken, and grows old.
 * Reading interest stays on all the time: taking and giving a connection costs no system call. */
#ifndef ML_OUTBOUND_POOL_H
#define ML_OUTBOUND_POOL_H

#include "base/buf.h"
#include "transport/loop.h"
#include "transport/stream.h"

struct ml_pool;

struct ml_link {              /* one connection: busy with one request, or idle in its pool */
    struct ml_stream *stream; /* owned */
    struct ml_buf in;         /* owned: bytes read that nobody has taken yet */
    unsigned served;          /* requests answered; 0: fresh */
    uint64_t peer;            /* key of the address */
    struct ml_pool *pool;     /* borrowed */
    struct ml_link *newer, *older;
    double expire_s;
};

struct ml_pool { /* embed; borrows the loop */
    struct ml_loop *loop;
    struct ml_link *newest, *oldest;
    unsigned idle, idle_max;
    double timeout_s;
    struct ml_timer timer;
};

void ml_pool_init(struct ml_pool *pool, struct ml_loop *loop);
/* How many may be idle and for how long; connections that are too many now are closed. */
void ml_pool_configure(struct ml_pool *pool, unsigned idle_max, double timeout_s);
/* Closes the idle connections.  There must be no busy ones. */
void ml_pool_drop(struct ml_pool *pool);

/* An idle connection to that address, now busy and the caller's, or NULL.  The caller listens to
 * its stream. */
struct ml_link *ml_pool_take(struct ml_pool *pool, uint64_t peer);
/* A new busy connection around *stream, which is taken over. */
struct ml_link *ml_pool_adopt(struct ml_pool *pool, struct ml_stream **stream, uint64_t peer);
/* Makes *link idle, for at most max_s seconds (0: as the pool says), and the newest; when there are
 * too many the oldest goes.  Nothing may be left unread in it. */
void ml_pool_give(struct ml_link **link, double max_s);
/* Closes a busy connection; safe inside a callback of its stream.  Its stream may have been taken
 * away (NULL). */
void ml_pool_close(struct ml_link **link);

#endif
