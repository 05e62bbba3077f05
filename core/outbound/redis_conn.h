/* redis_conn.h - one pipelined connection to one Redis server, and what waits for its replies.
 *
 * It connects when the first command is sent, signs in, asks PING, and then carries everything.
 * Replies come in the order of the commands; one that nobody waits for any more is dropped, so the
 * order holds.  A server that is gone, refuses or does not answer is *down*: from then on commands
 * are refused at once, while attempts go on in the background with growing, random delays. */
#ifndef ML_OUTBOUND_REDIS_CONN_H
#define ML_OUTBOUND_REDIS_CONN_H

#include "outbound/redis_conf.h"
#include "outbound/redis_reply.h"
#include "transport/resolver.h"

struct ml_outbound;
struct ml_redis_conn;

enum ml_redis_state {
    ML_REDIS_IDLE,       /* not connected, because nobody asked for it */
    ML_REDIS_CONNECTING, /* commands wait */
    ML_REDIS_READY,
    ML_REDIS_DOWN /* commands are refused */
};

struct ml_redis_part {          /* embed: waits for one reply */
    struct ml_redis_conn *conn; /* NULL: it waits for nothing */
    struct ml_redis_conn *from; /* in done: the connection it waited on */
    uint64_t at;                /* its place in the queue of conn */
    /* Called once, never from inside of ml_redis_conn_send.  ML_OK: reply is the callee's.  Else
     * reply is NULL, and why a sentence that lives until the call returns: UP_TIMEOUT, UP_CONNECT,
     * UP_CLOSED, UP_PROTOCOL, LIMIT. */
    void (*done)(struct ml_redis_part *part, enum ml_err err, struct ml_redis_reply *reply,
                 const char *why);
};

/* The connection, not connected.  conf and place are borrowed and copied. */
struct ml_redis_conn *ml_redis_conn_new(struct ml_outbound *o, const struct ml_redis_conf *conf,
                                        const struct ml_redis_place *place);
/* Nothing may wait for a reply, but for parts that are forgotten. */
void ml_redis_conn_free(struct ml_redis_conn **conn);

/* Sends one command, or several in one piece: before the reply that part gets, skip replies are
 * looked at only for errors, the first of which takes the place of an error that part would get.
 * UP_CONNECT (the server is down) or OVERLOAD (too much waits): nothing was sent; see
 * ml_redis_conn_why. */
enum ml_err ml_redis_conn_send(struct ml_redis_conn *c, struct ml_redis_part *part,
                               struct ml_str bytes, unsigned skip);
/* Nobody waits for the part's reply any more; what was sent stays sent. */
void ml_redis_conn_cancel(struct ml_redis_part *part);

enum ml_redis_state ml_redis_conn_state(const struct ml_redis_conn *c);
unsigned ml_redis_conn_waiting(const struct ml_redis_conn *c); /* replies to come */
/* "host:port: what happened last"; without secrets. */
const char *ml_redis_conn_why(const struct ml_redis_conn *c);
const struct ml_redis_place *ml_redis_conn_place(const struct ml_redis_conn *c);

#endif
