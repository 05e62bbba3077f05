/* record.h - what `moonlatch why` knows of an exchange: written at its end, read by anybody.
 *
 * All exchanges leave a short record; those that were refused, failed, were slow or were timed a
 * long one, which has the steps of the chain, the changes of headers and the tries of servers.
 * Values that are secrets never get into a record. */
#ifndef ML_SCRIPT_RECORD_H
#define ML_SCRIPT_RECORD_H

#include "base/buf.h"
#include "base/rings.h"
#include "inbound/exchange.h"

struct ml_recorder {
    struct ml_rings *rings; /* borrowed */
    unsigned worker;
};

/* Once per exchange, before its script forgets it; as ml_inbound.record. */
void ml_record_exchange(void *recorder, struct ml_exchange *ex, int status);

struct ml_record_filter { /* empty: any */
    struct ml_str id;     /* or the beginning of one */
    bool refused;         /* only what was refused, failed or was slow */
};
/* Appends a JSON array of at most max records that pass the filter, the last one first; how many
 * there were. */
unsigned ml_record_list(const struct ml_rings *rings, const struct ml_record_filter *filter,
                        unsigned max, struct ml_buf *json);

#endif
