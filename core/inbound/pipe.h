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
#include "transport/splice.h"
#include "transport/stream.h"

enum {
    ML_PIPE_CAP = 65536,          /* bytes in flight before the producer must wait */
    ML_PIPE_SPLICE_MIN = 256 << 10, /* length of a body from which splice pays */
    ML_PIPE_SENDFILE_MAX = 1 << 20
};

enum ml_pipe_state { ML_PIPE_OPEN, ML_PIPE_EOF, ML_PIPE_ABORTED };

struct ml_pipe {
    struct ml_buf buf;          /* producer appends, consumer consumes */
    struct ml_buf trailers;     /* "name: value\r\n" lines, complete at EOF */
    bool trailers_h2;           /* they are for HTTP/2 only: the listener passes them to nobody else */
    enum ml_pipe_state state;
    enum ml_err why;            /* with ABORTED */
    uint64_t passed;            /* bytes that went through */
    bool metered;               /* the producer counts what is taken, also when it has room */
    void (*on_data)(void *ctx); /* consumer: bytes, eof or abort came */
    void *data_ctx;
    void (*on_room)(void *ctx); /* producer: bytes were taken, or the consumer aborted */
    void *room_ctx;
    /* Splice, see below; only ml_pipe_* change these. */
    struct ml_stream *splice_to;        /* borrowed: the consumer's, while it offers that */
    struct ml_splice *splice;           /* owned; from the first use on */
    uint64_t splice_given;              /* bytes the consumer has not asked about yet */
    bool splice_blocked, splice_broken; /* the consumer's stream takes no more; it failed */
    bool splice_off;                    /* the kernel gave no pipe */
    bool from_file;                     /* the producer has a file: ml_pipe_sendfile */
};

void ml_pipe_free(struct ml_pipe *p); /* releases the buffers, not the struct */
static inline bool ml_pipe_full(const struct ml_pipe *p)
{
    return ml_buf_len(&p->buf) >= ML_PIPE_CAP || p->splice_blocked || p->splice_broken;
}
/* Producer: */
void ml_pipe_put(struct ml_pipe *p, struct ml_str bytes);     /* copies, then tells the consumer */
void ml_pipe_filled(struct ml_pipe *p, size_t len);           /* bytes were committed to buf directly */
void ml_pipe_eof(struct ml_pipe *p);
/* Either end: no more will come / be taken.  The other end is told once. */
void ml_pipe_abort(struct ml_pipe *p, enum ml_err why);
/* Consumer: */
void ml_pipe_took(struct ml_pipe *p, size_t len);             /* after consuming from buf itself */

/* ---- splice: a large body of known length goes from socket to socket inside the kernel ----
 *
 * The consumer offers its stream when all that came before is written.  From then on the producer
 * moves bytes by ml_pipe_splice where it would have read them into buf, and nothing else writes to
 * that stream.  on_data tells the consumer that something was given, or that its stream is full: it
 * says ml_pipe_writable when that is over. */

/* Consumer: length is that of the whole body, left what is still to come.  No effect when splice
 * can not be had or does not pay. */
void ml_pipe_offer(struct ml_pipe *p, struct ml_stream *to, uint64_t length, uint64_t left);
/* Consumer: its stream goes away.  Bytes that are on their way are lost, which aborts the pipe. */
void ml_pipe_withdraw(struct ml_pipe *p);
uint64_t ml_pipe_given(struct ml_pipe *p);   /* consumer: bytes given since it last asked */
void ml_pipe_writable(struct ml_pipe *p);    /* consumer: its stream takes bytes again */
/* Producer: to be moved rather than read? */
static inline bool ml_pipe_splices(const struct ml_pipe *p)
{
    return p->splice_to != NULL && ml_buf_len(&p->buf) == 0;
}
/* Producer: have bytes left its stream that the consumer's has not taken yet? */
bool ml_pipe_pending(const struct ml_pipe *p);
/* Producer: moves once, at most *left bytes, of which what was taken from the stream is subtracted.
 * ML_OK: *left is 0 and all was given.  ML_AGAIN: one of the streams must get ready first.
 * ML_EOF, ML_RESET: the producer's stream ended.  ML_LIMIT: the kernel has no pipe to give; the
 * offer is withdrawn. */
enum ml_err ml_pipe_splice(struct ml_pipe *p, struct ml_stream *from, uint64_t *left);
/* Producer: likewise from an open file, at *offset, which moves on; at most 1 MiB, so that others
 * have their turn.  ML_OK: *left is 0.  ML_AGAIN: on_room will say when to go on.  ML_EOF: the file
 * ends before.  ML_LIMIT: it can not be sent like this; the offer is withdrawn. */
enum ml_err ml_pipe_sendfile(struct ml_pipe *p, int fd, uint64_t *offset, uint64_t *left);

#endif
