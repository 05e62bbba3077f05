/* group.h - a named group of servers as one generation knows it: options, and the choice. */
#ifndef ML_OUTBOUND_GROUP_H
#define ML_OUTBOUND_GROUP_H

#include "base/metrics.h"
#include "outbound/balance.h"
#include "outbound/health.h"
#include "outbound/roster.h"
#include "outbound/source.h"
#include "outbound/upstream.h"

struct ml_group {
    struct ml_outbound *o;     /* borrowed */
    struct ml_group_conf conf; /* defaults filled in; its name is owned, servers is NULL */
    struct ml_health_conf health;
    struct ml_roster *roster;   /* held: the servers as they are now; never NULL */
    struct ml_sources *sources; /* owned: where they come from */
    struct ml_client_tls *tls;  /* held; NULL until it is needed */
    struct ml_client_tls *tls_h2; /* the same for servers of HTTP/2 */
    unsigned refs;              /* the generation's, and one per request */
    /* In o->groups while its generation serves: */
    struct ml_group *next, **link;
    void (*retired)(struct ml_group *g); /* who has to know; NULL: nobody */
    struct ml_server_conf
        *given; /* owned: the list of its conf, for when a script's is withdrawn */
    unsigned given_count;
    uint64_t given_hash, list_version; /* see lists.h */
    bool listed;                       /* the list is a script's */
    struct ml_str texts;               /* owned: those of the conf */
    struct {                           /* NULL: nothing is counted */
        const struct ml_metric *head;
        struct ml_slot *head_slot, *retries;
    } metrics;
};

void ml_group_hold(struct ml_group *g);
/* How TLS is spoken with its servers that have https URLs. */
const struct ml_client_tls *ml_group_tls(struct ml_group *g);
/* And with those that have h2 URLs. */
const struct ml_client_tls *ml_group_tls_h2(struct ml_group *g);
/* In the place of what its conf says; holds it. */
void ml_group_set_tls(struct ml_group *g, struct ml_client_tls *tls);
void ml_group_count(struct ml_group *g); /* its metrics; count.c */

/* Other servers from now on; requests in flight go on with those they have. */
void ml_group_set_servers(struct ml_group *g, const struct ml_server_conf *list, unsigned count);

struct ml_pick {
    unsigned index; /* of the roster; its count: no server is left */
    bool was_down;  /* a success says that it has recovered */
};
/* Chooses a server that is not marked in tried (NULL: none is): one that is up, or may be probed,
 * or, when all that are left are down, any of these.  Never one that is drained, or that has as
 * many requests as it may. */
struct ml_pick ml_group_pick(struct ml_group *g, struct ml_roster *r, struct ml_str hash_key,
                             const bool *tried);

#endif
