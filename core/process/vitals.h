/* vitals.h - what a process says of itself twice a second: CPU, memory, descriptors, and, of a
 * worker, how late its loop is, its Lua heap and the log lines that it lost.
 *
 * The names are those of Prometheus' client libraries; the values are sums over the supervisor and
 * its workers, so also process_max_fds is one. */
#ifndef ML_PROCESS_VITALS_H
#define ML_PROCESS_VITALS_H

#include "base/metrics.h"

struct ml_vitals;

/* m is borrowed.  worker: its number, or < 0: the supervisor. */
struct ml_vitals *ml_vitals_new(struct ml_metrics *m, int worker);
void ml_vitals_free(struct ml_vitals **v);
/* Reads CPU, memory and, as that may be slow, the descriptors not more often than every second. */
void ml_vitals_update(struct ml_vitals *v);
/* A timer fired so late. */
void ml_vitals_lag(struct ml_vitals *v, double late_s);
void ml_vitals_heap(struct ml_vitals *v, size_t bytes);
/* Lines that this process has lost so far. */
void ml_vitals_dropped(struct ml_vitals *v, uint64_t access, uint64_t events);

#endif
