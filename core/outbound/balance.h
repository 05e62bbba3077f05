/* balance.h - which of several servers gets the next request: pure choice, no I/O, no clock.
 *
 * The caller describes the servers as candidates (one array per group and worker, kept between
 * calls: round robin has its state in it) and marks those that may be chosen now.  Every function
 * returns an index, or count when no candidate is usable. */
#ifndef ML_OUTBOUND_BALANCE_H
#define ML_OUTBOUND_BALANCE_H

#include "base/str.h"

#include <stdint.h>

struct ml_candidate {
    uint64_t hash;      /* of the server's name: its place for ML_HASH, the same in all workers */
    int64_t credit;     /* state of the smooth weighted round robin */
    unsigned weight;    /* >= 1 */
    uint32_t in_flight; /* requests under way in all workers; for least_conn and p2c */
    bool usable;
};

/* Smooth weighted round robin, as nginx's: a server of weight 5 is not called 5 times in a row. */
unsigned ml_balance_round_robin(struct ml_candidate *c, unsigned count);
/* The fewest requests in flight per weight; among equals round robin decides. */
unsigned ml_balance_least_conn(struct ml_candidate *c, unsigned count);
/* Weighted rendezvous hashing: a server that comes or goes moves only its own share of the keys. */
unsigned ml_balance_hash(const struct ml_candidate *c, unsigned count, uint64_t key);
/* The less loaded of two that random (any 64 random bits) picks. */
unsigned ml_balance_p2c(const struct ml_candidate *c, unsigned count, uint64_t random);

/* A 64-bit hash of any bytes: stable between processes and versions. */
uint64_t ml_balance_hash_of(struct ml_str bytes);

#endif
