/* redis_call.h - the inside of a call; for redis.c and redis_call.c only. */
#ifndef ML_OUTBOUND_REDIS_CALL_H
#define ML_OUTBOUND_REDIS_CALL_H

#include "base/buf.h"
#include "outbound/redis.h"
#include "outbound/redis_cluster.h"

struct ml_redis_request {      /* one command of a call, or all of a transaction */
    struct ml_redis_part part; /* first */
    struct ml_redis_call *call;
    char *bytes; /* owned; as hiredis formats it */
    size_t len;
    int slot;
    unsigned skip;                /* replies before the one that counts */
    unsigned redirects;           /* followed so far */
    struct ml_redis_reply *reply; /* owned */
};

struct ml_redis_waiter { /* embed */
    struct ml_redis_waiter *next;
    bool queued;
    void (*go)(struct ml_redis_waiter *w); /* may free w and others, and make new ones */
};

struct ml_redis_call {
    struct ml_redis *r; /* held */
    void (*done)(void *ctx);
    void *ctx;
    struct ml_redis_request *v, one; /* v: &one, or owned */
    unsigned count, cap;
    unsigned pending; /* replies to come */
    bool atomic;
    struct ml_buf transaction;      /* owned; atomic: the commands, not sent yet */
    struct ml_redis_script *script; /* held; NULL: none */
    size_t held;                    /* bytes of its replies */
    enum ml_err err;                /* the first failure */
    char why[ML_REDIS_HOST_CAP + 200];
    struct ml_redis_waiter waiter; /* for the map of the cluster */
};

struct ml_redis {
    struct ml_outbound *o; /* borrowed */
    struct ml_redis *next;
    unsigned refs;
    struct ml_redis_conf conf;
    struct ml_redis_conn *conn;                     /* owned; single */
    struct ml_redis_cluster *cluster;               /* owned; or this one */
    struct ml_redis_waiter *waiting, **waiting_end; /* for the map; borrowed */
    unsigned waiting_count;
};

/* Calls go once the map is there, or can not be had; false when too many wait. */
bool ml_redis_wait(struct ml_redis *r, struct ml_redis_waiter *w);
void ml_redis_unwait(struct ml_redis *r, struct ml_redis_waiter *w);

#endif
