/* upstreams.h - what status tells of the upstream servers, and their drain by an operator.  All of
 * it is in shared memory: the same in every process. */
#ifndef ML_PROCESS_UPSTREAMS_H
#define ML_PROCESS_UPSTREAMS_H

#include "base/buf.h"
#include "base/shm.h"

/* Appends a JSON array of those that are in a list, or still have requests in flight. */
void ml_upstreams_json(struct ml_shm *shm, struct ml_buf *out);
/* Drains a server, or ends that: server is its URL as status shows it, or that without "http://".
 * Appends a JSON object that says what came of it; false when there is no such server. */
bool ml_upstreams_drain(struct ml_shm *shm, struct ml_str group, struct ml_str server, bool on,
                        struct ml_buf *json);

#endif
