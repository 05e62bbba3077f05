/* counts.h - everything that a process counts, opened and closed with it, and a worker's page for
 * scrapers. */
#ifndef ML_PROCESS_COUNTS_H
#define ML_PROCESS_COUNTS_H

#include "base/shm.h"
#include "script/generation.h"

struct ml_counts;

/* All pointers are borrowed; inbound and outbound count from now on, host gets what scripts need.
 */
struct ml_counts *ml_counts_open(struct ml_shm *shm, unsigned worker, struct ml_inbound *inbound,
                                 struct ml_outbound *outbound, struct ml_script_host *host);
/* Of the supervisor, whose number is the one behind the last worker's: only its own CPU, memory and
 * descriptors, looked at every few seconds. */
struct ml_counts *ml_counts_open_alone(struct ml_loop *loop, struct ml_shm *shm, unsigned number);
void ml_counts_close(struct ml_counts **c); /* may be NULL */
/* The site that serves from now on. */
void ml_counts_site(struct ml_counts *c, const struct ml_site *site);
/* The worker has replaced a VM. */
void ml_counts_recycled(struct ml_counts *c, const char *reason);
/* Every period_s: how late this is, and what else is looked at from time to time. */
void ml_counts_tick(struct ml_counts *c, const struct ml_generation *current, double period_s);
void ml_counts_page(struct ml_counts *c, enum ml_exposition format, struct ml_buf *out);

#endif
