/* check.h - active health checks: one worker of the machine asks every server, for all workers.
 *
 * Who checks is decided by a lease in shared memory (base/shm.h): the worker that has it says so at
 * each tick.  When it dies, hangs or drains another one takes the lease at its next tick, and goes
 * on where the first one stopped, for what is known of a server and when it was asked last is in
 * shared memory too.  A reload changes nothing of that.
 *
 * A check is an ordinary request on a connection of its own, or, without a path, only a connection.
 */
#ifndef ML_OUTBOUND_CHECK_H
#define ML_OUTBOUND_CHECK_H

#include "outbound/group.h"

/* Takes or keeps the lease when something is to be checked; begins and ends checks. */
void ml_checks_tick(struct ml_outbound *o);
/* This process checks nothing any more, and leaves the lease to others.  For good. */
void ml_checks_stop(struct ml_outbound *o);

#endif
