/* upstream_body.h - the body of a request on its way to the server, and that of the answer back:
 * framing only.  Each moves what it can without blocking and then says what it waits for. */
#ifndef ML_OUTBOUND_UPSTREAM_BODY_H
#define ML_OUTBOUND_UPSTREAM_BODY_H

#include "inbound/pipe.h"
#include "protocol/http1.h"

/* ---- to the server ---- */

struct ml_body_out {
    struct ml_pipe *pipe; /* borrowed; NULL: no body */
    bool chunked;
    uint64_t length, left; /* of a body with a length: whole, and still to be sent */
    bool taken;            /* bytes have left the pipe */
    bool closed;           /* the end is in out, or there is none to write */
};

void ml_body_out_init(struct ml_body_out *b, struct ml_pipe *pipe, bool has_length,
                      uint64_t length);

/* Have bytes left the pipe?  Then the request cannot be sent again. */
bool ml_body_out_taken(const struct ml_body_out *b);
/* Writes out (a head, or what is left of it) and as much of the body as is there, in one write.
 * ML_OK: all of the request is with the kernel.  ML_AGAIN: WRITE readiness will follow when
 * *blocked, else more of the body must come.  ML_RESET: the server is gone.  Any other: the body
 * broke off for that reason; the connection must be closed so that the server sees it incomplete.
 */
enum ml_err ml_body_out_send(struct ml_body_out *b, struct ml_stream *stream, struct ml_buf *out,
                             bool *blocked);

/* ---- from the server ---- */

struct ml_body_in {
    struct ml_pipe *pipe; /* borrowed; where the body goes */
    enum ml_framing framing;
    uint64_t left; /* with a length */
    struct ml_http1_chunks chunks;
    size_t added; /* bytes put into the pipe since the consumer was told */
};

/* Takes what in holds.  ML_OK: the body is complete; what is left in `in` does not belong to it.
 * ML_AGAIN: more must be read.  ML_UP_PROTOCOL: bad chunks.  The consumer is not told yet. */
enum ml_err ml_body_in_take(struct ml_body_in *b, struct ml_buf *in);
/* Reads once from the stream and takes it: straight into the pipe where the framing allows it, else
 * by way of in.  Results as above; ML_UP_CLOSED: the server ended the body too early.
 * *more: another read may succeed without an event. */
enum ml_err ml_body_in_read(struct ml_body_in *b, struct ml_stream *stream, struct ml_buf *in,
                            bool *more);
/* Tells the consumer of what was put into the pipe. */
void ml_body_in_tell(struct ml_body_in *b);

#endif
