/* roster.h - the servers of a group at one moment.
 *
 * A list is never changed: when DNS or a script says otherwise, the group gets another one.  A
 * request keeps the one that it began with, so nothing is pulled away from under it, and its tries
 * are numbers in it. */
#ifndef ML_OUTBOUND_ROSTER_H
#define ML_OUTBOUND_ROSTER_H

#include "outbound/balance.h"
#include "outbound/server.h"

enum { ML_ROSTER_MAX = 1024, ML_ROSTER_TIERS_MAX = 8 };

struct ml_member {
    struct ml_server *server; /* held */
    unsigned weight, max_conns;
    unsigned tier; /* 0: used first */
};

struct ml_roster {
    unsigned refs, count, tiers;
    struct ml_member *members;       /* owned, count of them, like the candidates */
    struct ml_candidate *candidates; /* what balance.h needs of each */
    bool listed;
};

struct ml_roster *ml_roster_new(unsigned room);
/* Adds a server, which is taken over; one that is there already is let go. */
void ml_roster_add(struct ml_roster *r, const struct ml_member *member);
/* The turns of the servers that were in the old list too go on. */
void ml_roster_follow(struct ml_roster *r, const struct ml_roster *old);
struct ml_roster *ml_roster_hold(struct ml_roster *r);
void ml_roster_release(struct ml_roster **r);
/* Its servers count as those of a group that serves, for status; until unlisted. */
void ml_roster_list(struct ml_roster *r);
void ml_roster_unlist(struct ml_roster *r);
bool ml_roster_same(const struct ml_roster *a, const struct ml_roster *b);

#endif
