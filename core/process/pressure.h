/* pressure.h - memory that is about to run out: a worker's own limit, and that of its cgroup.
 *
 * Above it new clients and requests get 503 and idle connections are closed, so that what is in
 * hand can be finished and the kernel kills nobody. */
#ifndef ML_PROCESS_PRESSURE_H
#define ML_PROCESS_PRESSURE_H

#include "inbound/listener.h"
#include "script/generation.h"

struct ml_pressure {
    int statm;        /* owned descriptors; -1: none */
    int current, max; /* of the cgroup */
    char stat_path[300];
    unsigned ticks; /* with too little memory */
    bool on;
};

void ml_pressure_open(struct ml_pressure *p);
void ml_pressure_close(struct ml_pressure *p);
/* Five times a second: sets in->pressed. */
void ml_pressure_tick(struct ml_pressure *p, struct ml_inbound *in, struct ml_generation *g);

#endif
