/* body.h - reads a streamed body into memory on behalf of a script, and puts it back.
 *
 * Whoever comes after the script still gets the whole body: what was read stays in the pipe's
 * buffer, also when it was larger than the script wanted. */
#ifndef ML_SCRIPT_BODY_H
#define ML_SCRIPT_BODY_H

#include "inbound/pipe.h"

struct ml_gather { /* zero-initialised, then begin */
    struct ml_pipe *pipe;
    struct ml_buf bytes; /* owned; what was read so far */
    size_t max;
    void (*done)(void *ctx, enum ml_err err); /* once, later */
    void *ctx;
};

/* ML_OK: bytes holds the whole body, the pipe is empty at its end; ML_LIMIT: more than max came,
 * the pipe has all of it again; the pipe's reason when it broke; ML_AGAIN: done will be called. */
enum ml_err ml_gather_begin(struct ml_gather *g, struct ml_pipe *pipe, size_t max,
                            void (*done)(void *ctx, enum ml_err err), void *ctx);
/* Gives up: the pipe has all of it again, if it is still read by nobody else. */
void ml_gather_cancel(struct ml_gather *g);

/* The pipe's content becomes bytes, complete; whatever its producer still sends is dropped. */
void ml_body_refill(struct ml_pipe *pipe, struct ml_str bytes);

#endif
