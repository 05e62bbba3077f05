/* stream.h - bytes to and from one peer, whatever carries them: TCP, a unix socket, TLS on either.
 *
 * Non-blocking.  Reading interest is kept constant and writing is tried before it is waited for,
 * because each change of interest costs a system call.  The owner gets one callback with what
 * became possible.  Never calls back from inside one of its own functions. */
#ifndef ML_TRANSPORT_STREAM_H
#define ML_TRANSPORT_STREAM_H

#include "base/buf.h"
#include "base/err.h"
#include "transport/loop.h"
#include "transport/tls.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct ml_addr { /* where to connect to, or who connected */
    uint64_t key; /* of resolved ones: the same for equal addresses */
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
        struct sockaddr_storage storage;
    };
};

struct ml_stream;

enum { ML_STREAM_READ = 1, ML_STREAM_WRITE = 2 };
typedef void ml_stream_ready(void *ctx, int what); /* READ: read will progress; WRITE: likewise */

/* Wraps a connected, non-blocking socket and owns it from now on.  Read interest is on. */
struct ml_stream *ml_stream_new(struct ml_loop *loop, int fd);
/* Begins to connect.  ML_OK: *out is set; WRITE readiness says that it is connected or failed: ask
 * ml_stream_connected.  ML_UP_CONNECT: refused at once. */
enum ml_err ml_stream_connect(struct ml_loop *loop, const struct ml_addr *addr,
                              struct ml_stream **out);
enum ml_err ml_stream_connected(struct ml_stream *s); /* OK, AGAIN, UP_CONNECT */
/* For tests: a socket that stands for a connection to addr, or -1 with "refused at once", instead of
 * the kernel's; TLS is left out then, on every stream.  Borrowed; NULL: none.  For this process. */
struct ml_stream_source {
    int (*connect)(void *ctx, const struct ml_addr *addr);
    void *ctx;
};
void ml_stream_set_source(const struct ml_stream_source *source);
bool ml_stream_has_source(void);
void ml_stream_listen_to(struct ml_stream *s, ml_stream_ready *ready, void *ctx);

/* Speaks TLS from now on, as the server or as the client of `name` (SNI; its certificate is checked
 * for it; ignored by a server).  Before the first byte, and before or after ml_stream_connected.
 * The handshake hides behind AGAIN of the calls below; READ and WRITE come as if it were not there.
 * Its time limit is the owner's. */
void ml_stream_start_tls(struct ml_stream *s, struct ml_tls *tls, const char *name);
/* Drives the handshake alone, for an owner who wants to know its end.  OK: over, or not TLS.  AGAIN:
 * WRITE readiness will follow.  RESET: it failed; ml_stream_tls_failure says why. */
enum ml_err ml_stream_handshake(struct ml_stream *s);
/* Why the handshake failed, in one line; NULL: it did not. */
const char *ml_stream_tls_failure(const struct ml_stream *s);
/* The same in one word, a label for metrics. */
const char *ml_stream_tls_failed(const struct ml_stream *s);
bool ml_stream_is_tls(const struct ml_stream *s);
/* The agreed session, borrowed (transport/tls_info.h); NULL: plain, or the handshake is not over. */
struct ssl_st *ml_stream_tls_session(const struct ml_stream *s);
bool ml_stream_shaking_hands(const struct ml_stream *s);

/* Reads once, up to max bytes, into the end of in.  ML_OK: at least one byte; AGAIN, EOF, RESET.
 * *more (may be NULL): the read was filled, so more may wait without another event.
 * TLS: EOF is the peer's word; a connection that ends without it may be cut short: RESET. */
enum ml_err ml_stream_read(struct ml_stream *s, struct ml_buf *in, size_t max, bool *more);
/* Writes and consumes what the peer takes.  OK: out is empty.  AGAIN: WRITE readiness will follow
 * (out may be empty all the same: TLS keeps what it has encrypted).  RESET: the peer is gone. */
enum ml_err ml_stream_write(struct ml_stream *s, struct ml_buf *out);
/* The same for out followed by body, in one system call; both are consumed. */
enum ml_err ml_stream_write2(struct ml_stream *s, struct ml_buf *out, struct ml_buf *body);
/* Turns read interest off and on again (when a buffer is full); a no-op when it is so already. */
void ml_stream_want_read(struct ml_stream *s, bool on);
/* Asks for WRITE readiness once. */
void ml_stream_want_write(struct ml_stream *s);

/* The kernel's socket for splice, or -1 when bytes must pass through this process (TLS). */
int ml_stream_splice_fd(const struct ml_stream *s);
/* Has the peer answered with a reset what was sent after its end? */
bool ml_stream_is_reset(const struct ml_stream *s);
bool ml_stream_peer(const struct ml_stream *s, struct ml_addr *out); /* false for unix sockets */
/* No more bytes from us. */
void ml_stream_shutdown(struct ml_stream *s);
/* The next close sends RST: the peer must not take what it got for complete. */
void ml_stream_poison(struct ml_stream *s);
void ml_stream_close(struct ml_stream **s); /* buried: safe inside a callback */

#endif
