/* rest.h - a worker's memory in a pause: what only a burst of requests needed goes back. */
#ifndef ML_PROCESS_REST_H
#define ML_PROCESS_REST_H

#include "script/generation.h"

struct ml_rest {   /* zero at first */
    uint64_t seen; /* requests at the last tick */
    bool rested;   /* since the last request */
};

/* At each tick; generation may be NULL. */
void ml_rest_tick(struct ml_rest *r, uint64_t requests, struct ml_generation *generation);

#endif
