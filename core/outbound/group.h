/* group.h - a named group of servers as one generation knows it: options, and the choice. */
#ifndef ML_OUTBOUND_GROUP_H
#define ML_OUTBOUND_GROUP_H

#include "outbound/balance.h"
#include "outbound/health.h"
#include "outbound/server.h"
#include "outbound/upstream.h"

struct ml_group {
    struct ml_outbound *o;     /* borrowed */
    struct ml_group_conf conf; /* defaults filled in; its name is owned, servers is NULL */
    struct ml_health_conf health;
    struct ml_server **servers; /* owned, conf.server_count of them, each held */
    struct ml_candidate *candidates;
    unsigned refs; /* the generation's, and one per request */
};

void ml_group_hold(struct ml_group *g);

struct ml_pick {
    unsigned index; /* conf.server_count: no server is left */
    bool was_down;  /* a success says that it has recovered */
};
/* Chooses a server that is not marked in tried (NULL: none is): one that is up, or may be probed,
 * or, when all that are left are down, any of these. */
struct ml_pick ml_group_pick(struct ml_group *g, struct ml_str hash_key, const bool *tried);

#endif
