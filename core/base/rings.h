/* rings.h - records of the last exchanges, in shared memory: several rings for each worker.
 *
 * A ring has one writer, the worker with its number, and readers anywhere.  The writer may be
 * killed at any instruction: its successor goes on where it was, and a reader passes over what is
 * not whole.  What a record holds is the writer's business. */
#ifndef ML_BASE_RINGS_H
#define ML_BASE_RINGS_H

#include "base/str.h"

#include <stdint.h>

/* Records of one kind push out only records of that kind: whoever sends requests that are refused
 * can not make an error be forgotten. */
enum ml_ring {
    ML_RING_RECENT,   /* all exchanges, short */
    ML_RING_TRACED,   /* some of those that went well, at length */
    ML_RING_REFUSALS, /* answers of 400 to 499, at length */
    ML_RING_ERRORS,   /* those of 500 and more, failures, and what was slow, at length */
    ML_RING_COUNT
};
enum { ML_RING_SHORT_MAX = 496, ML_RING_LONG_MAX = 4080 }; /* bytes of a record */

struct ml_rings;

size_t ml_rings_bytes(unsigned workers);
/* Makes them of memory that holds zeroes only. */
struct ml_rings *ml_rings_init(void *memory, unsigned workers);
unsigned ml_rings_workers(const struct ml_rings *r);
/* How many records such a ring holds, and bytes one of them. */
unsigned ml_rings_slots(enum ml_ring ring);
size_t ml_rings_record_max(enum ml_ring ring);

/* The writer fills ml_rings_record_max(ring) bytes or fewer, then says how many.  NULL: there is no
 * such worker. */
char *ml_rings_begin(struct ml_rings *r, unsigned worker, enum ml_ring ring);
void ml_rings_end(struct ml_rings *r, unsigned worker, enum ml_ring ring, size_t len);
/* A copy of the record that was written back records before the last (0: the last); its length, 0:
 * it is not there, or was replaced meanwhile. */
size_t ml_rings_read(const struct ml_rings *r, unsigned worker, enum ml_ring ring, unsigned back,
                     char *out);

#endif
