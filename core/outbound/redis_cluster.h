/* redis_cluster.h - which node of a Redis Cluster has which slot, and the connections to them.
 *
 * The map comes from CLUSTER SLOTS of any node that answers, is corrected by MOVED, and is asked
 * for again (at most once a second) after a MOVED or the failure of a node. */
#ifndef ML_OUTBOUND_REDIS_CLUSTER_H
#define ML_OUTBOUND_REDIS_CLUSTER_H

#include "outbound/redis_conn.h"

struct ml_redis_cluster;

/* conf is borrowed.  settled(ctx): the first map is there, or can not be had: route again; also
 * called for later maps, never from inside of a function here. */
struct ml_redis_cluster *ml_redis_cluster_new(struct ml_outbound *o,
                                              const struct ml_redis_conf *conf,
                                              void (*settled)(void *ctx), void *ctx);
void ml_redis_cluster_free(struct ml_redis_cluster **cluster);

/* The connection to the owner of the slot (< 0: to any node).  AGAIN: there is no map yet, settled
 * will be called.  UP_CONNECT: there is none, nor will be soon; see ml_redis_cluster_why. */
enum ml_err ml_redis_cluster_route(struct ml_redis_cluster *cl, int slot,
                                   struct ml_redis_conn **conn);
/* Where an error reply of `from` sends its command: "MOVED 7 host:port" or "ASK 7 host:port"; NULL
 * when it does not. */
struct ml_redis_conn *ml_redis_cluster_redirect(struct ml_redis_cluster *cl,
                                                const struct ml_redis_reply *reply,
                                                const struct ml_redis_conn *from, bool *ask);
/* A node failed, or does not know: ask for the map soon. */
void ml_redis_cluster_doubt(struct ml_redis_cluster *cl);
enum ml_redis_state ml_redis_cluster_state(const struct ml_redis_cluster *cl);
const char *ml_redis_cluster_why(const struct ml_redis_cluster *cl);

#endif
