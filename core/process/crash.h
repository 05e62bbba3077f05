/* crash.h - the last words of a worker that dies of SIGSEGV and the like: what it was at.
 *
 * A handler writes them to stderr and into memory that the supervisor shares, which makes one event
 * of the log of them; then the signal does what it always does, core dumps too. */
#ifndef ML_PROCESS_CRASH_H
#define ML_PROCESS_CRASH_H

#include "base/shm.h"

struct ml_crash;

/* In the supervisor, before the fork: room for the words of so many workers. */
struct ml_crash *ml_crash_new(unsigned workers);
void ml_crash_free(struct ml_crash **c);
/* In a worker; stats is its own and borrowed.  Sanitizers keep their own handlers. */
void ml_crash_install(struct ml_crash *c, unsigned worker, struct ml_shm_worker *stats);
/* In the supervisor, when a worker has ended: logs its last words, if there are any. */
void ml_crash_log(struct ml_crash *c, unsigned worker, pid_t pid);

#endif
