/* recycle.h - when a VM has to make room for a fresh one of the same generation: its heap stays
 * full, or it is old.
 *
 * A script that keeps everything it sees in a table of its module would else answer 500 for ever.
 */
#ifndef ML_SCRIPT_RECYCLE_H
#define ML_SCRIPT_RECYCLE_H

#include "script/generation.h"

struct ml_recycle { /* zero at first */
    const struct ml_generation *seen;
    double since_s;         /* when the VM in use began */
    double next_s, pause_s; /* not before; the pause doubles while VMs live for a short time */
};

/* Why the VM of g, in use by this worker at that monotonic time, is to be replaced: "heap", "age";
 * NULL: it is not. */
const char *ml_recycle_due(struct ml_recycle *r, struct ml_generation *g, unsigned worker,
                           double now_s);
/* It was tried. */
void ml_recycle_done(struct ml_recycle *r, double now_s);

#endif
