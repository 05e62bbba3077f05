/* waiters.h - the clients of the control socket that wait for the outcome of a reload. */
#ifndef ML_PROCESS_WAITERS_H
#define ML_PROCESS_WAITERS_H

#include "process/control.h"

enum { ML_WAITERS_MAX = 64 };

struct ml_waiters { /* zero-initialised: nobody waits */
    struct ml_control_waiter *list[ML_WAITERS_MAX];
    unsigned count;
};

/* waiter may be NULL: nothing to add.  One too many is told so. */
void ml_waiters_add(struct ml_waiters *w, struct ml_control_waiter *waiter);
/* Answers all; nobody waits afterwards. */
void ml_waiters_answer(struct ml_waiters *w, bool ok, struct ml_str json);
/* Answers waiter, which was added last, with {"error": sentence}; the others go on waiting. */
void ml_waiters_drop(struct ml_waiters *w, struct ml_control_waiter *waiter,
                     struct ml_str sentence);
/* Answers all with {"error": sentence}. */
void ml_waiters_fail(struct ml_waiters *w, struct ml_str sentence);

#endif
