/* pipe.h - the body of a message on its way from whoever receives it to whoever sends it on.
 *
 * The producer puts bytes in until ml_pipe_full; the consumer takes them out and wakes the
 * producer.  Neither knows the other: a client connection, an upstream connection, a script.  Each
 * end learns of the other's end: eof (clean, with trailers), or abort (with a reason).
 * Callbacks may come from inside ml_pipe_* calls of the other end, so receivers must tolerate
 * re-entry (set a flag, run a state machine guarded by `running`). */
#ifndef ML_INBOUND_PIPE_H
#define ML_INBOUND_PIPE_H

#include "base/buf.h"
#include "base/err.h"
#include "transport/stream.h"

enum { ML_PIPE_CAP = 65536 }; /* bytes in flight before the producer must wait */

enum ml_pipe_state { ML_PIPE_OPEN, ML_PIPE_EOF, ML_PIPE_ABORTED };

struct ml_pipe {
    struct ml_buf buf;          /* producer appends, consumer consumes */
    struct ml_buf trailers;     /* "name: value\r\n" lines, complete at EOF */
    enum ml_pipe_state state;
    enum ml_err why;            /* with ABORTED */
    uint64_t passed;            /* bytes that went through */
    void (*on_data)(void *ctx); /* consumer: bytes, eof or abort came */
    void *data_ctx;
    void (*on_room)(void *ctx); /* producer: bytes were taken, or the consumer aborted */
    void *room_ctx;
    /* For splice: while splice_left > 0 the next splice_left body bytes are raw on that stream,
     * nothing of them is in buf, and the consumer may take them itself (ml_pipe_spliced). */
    struct ml_stream *splice_from;
    uint64_t splice_left;
};

void ml_pipe_free(struct ml_pipe *p); /* releases the buffers, not the struct */
static inline bool ml_pipe_full(const struct ml_pipe *p)
{
    return ml_buf_len(&p->buf) >= ML_PIPE_CAP;
}
/* Producer: */
void ml_pipe_put(struct ml_pipe *p, struct ml_str bytes);     /* copies, then tells the consumer */
void ml_pipe_filled(struct ml_pipe *p, size_t len);           /* bytes were committed to buf directly */
void ml_pipe_eof(struct ml_pipe *p);
/* Either end: no more will come / be taken.  The other end is told once. */
void ml_pipe_abort(struct ml_pipe *p, enum ml_err why);
/* Consumer: */
void ml_pipe_took(struct ml_pipe *p, size_t len);             /* after consuming from buf itself */

#endif
