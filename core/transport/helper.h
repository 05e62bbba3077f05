/* helper.h - one thread beside the loop, for work that would hold it up: slow password hashes.
 *
 * A job runs with nothing of the program in its hands: it may call the C library and no ml_
 * function.  Jobs run one after another, in order; their number is bounded. */
#ifndef ML_TRANSPORT_HELPER_H
#define ML_TRANSPORT_HELPER_H

#include "transport/loop.h"

enum { ML_HELPER_JOBS_MAX = 64 };

struct ml_job { /* embed it; it belongs to the helper from ml_helper_start until finish */
    struct ml_job *next;
    void (*run)(struct ml_job *job);    /* on the helper's thread */
    void (*finish)(struct ml_job *job); /* on the loop's thread, always; may free it */
};

/* False when there are too many jobs already, or no thread can be had: finish is not called. */
bool ml_helper_start(struct ml_loop *loop, struct ml_job *job);
/* For a loop whose turns do not wait: sleeps until one of its jobs has run, so that the next turn
 * finishes it.  False when it has none. */
bool ml_helper_wait(struct ml_loop *loop);

#endif
