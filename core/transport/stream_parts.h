/* stream_parts.h - what stream.c and stream_tls.c share.  Nobody else includes it. */
#ifndef ML_TRANSPORT_STREAM_PARTS_H
#define ML_TRANSPORT_STREAM_PARTS_H

#include "transport/stream.h"
#include "transport/tls_link.h"

struct stream_tls {
    struct ml_tls_link *link; /* owned */
    struct ml_deferred again; /* READ, for bytes that wait in OpenSSL */
    struct ml_stream *stream;
    bool read_off;    /* the owner does not want to read */
    bool wants_write; /* the owner waits for WRITE */
    bool needs_read;  /* its write must wait for bytes of the peer: the handshake goes on */
    bool refused;     /* reading rests until what waits for the kernel has left */
};

struct ml_stream { /* small, for there is one for each idle connection */
    ev_io rd, wr;  /* rd.fd is the socket */
    struct ml_loop *loop;
    ml_stream_ready *ready;
    void *ctx;
    struct stream_tls *tls; /* owned; NULL: plain */
    bool connecting;
    bool hard_half; /* ML_HARD: the last write was cut short */
    bool poisoned;
};

/* stream_tls.c: the calls of a stream, and its events, with TLS */
void stream_tls_begin(struct ml_stream *s, struct ml_tls *tls, const char *name);
enum ml_err stream_tls_read(struct ml_stream *s, struct ml_buf *in, char *to, size_t len,
                            bool *more);
enum ml_err stream_tls_write(struct ml_stream *s, struct ml_buf *out, struct ml_buf *body);
void stream_tls_want_read(struct ml_stream *s, bool on);
void stream_tls_readable(struct ml_stream *s);
void stream_tls_writable(struct ml_stream *s);
void stream_tls_end(struct ml_stream *s); /* says goodbye and frees; a no-op when plain */

#endif
