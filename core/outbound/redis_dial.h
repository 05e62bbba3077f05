/* redis_dial.h - from a name to a connected stream: resolves, then tries one address after another.
 *
 * The caller limits the time, and calls stop when it is over. */
#ifndef ML_OUTBOUND_REDIS_DIAL_H
#define ML_OUTBOUND_REDIS_DIAL_H

#include "outbound/redis_conf.h"
#include "transport/resolver.h"

struct ml_outbound;

struct ml_redis_dial {     /* embed */
    struct ml_outbound *o; /* borrowed */
    const struct ml_redis_place *place;
    struct ml_name *name; /* owned; watched from the first start on */
    struct ml_name_waiter waiter;
    struct ml_stream *stream; /* owned; of the attempt in hand */
    unsigned tried;           /* addresses */
    /* ML_OK: *stream is connected, and the callee's.  UP_RESOLVE, UP_CONNECT.  May be called from
     * inside of start. */
    void (*done)(void *ctx, enum ml_err err, struct ml_stream **stream);
    void *ctx;
};

void ml_redis_dial_init(struct ml_redis_dial *d, struct ml_outbound *o,
                        const struct ml_redis_place *place,
                        void (*done)(void *ctx, enum ml_err err, struct ml_stream **stream),
                        void *ctx);
void ml_redis_dial_start(struct ml_redis_dial *d);
void ml_redis_dial_stop(struct ml_redis_dial *d); /* done is not called any more */
void ml_redis_dial_drop(struct ml_redis_dial *d); /* before its memory goes away */

#endif
