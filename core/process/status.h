/* status.h - what the gateway says of itself, from shared memory: the same in every process. */
#ifndef ML_PROCESS_STATUS_H
#define ML_PROCESS_STATUS_H

#include "base/buf.h"
#include "base/shm.h"

/* Appends one JSON object. */
void ml_status_json(struct ml_shm *shm, struct ml_buf *out);

#endif
