/* tls_link.h - TLS on one connected socket: the bytes, without events.  Used by stream.c only.
 *
 * What OpenSSL wants to send is collected and leaves in one system call per operation; what the
 * kernel does not take waits here.  OpenSSL therefore never waits for a write. */
#ifndef ML_TRANSPORT_TLS_LINK_H
#define ML_TRANSPORT_TLS_LINK_H

#include "base/buf.h"
#include "base/err.h"
#include "transport/tls.h"

#include <openssl/types.h>

struct ml_tls_link;

/* name: of the server, for SNI and for the check of its certificate; a host name or an address. */
struct ml_tls_link *ml_tls_link_new(struct ml_tls *tls, int fd, const char *name);
/* OK: done.  AGAIN: bytes of the peer must come, or what waits must leave.  RESET: it failed. */
enum ml_err ml_tls_link_handshake(struct ml_tls_link *l);
/* OK: *got > 0.  EOF: the peer said that it has no more.  RESET: it failed, or the connection ended
 * without that word. */
enum ml_err ml_tls_link_read(struct ml_tls_link *l, char *to, size_t len, size_t *got);
/* *took of a and then of b are taken.  AGAIN: see ml_tls_link_waits. */
enum ml_err ml_tls_link_write(struct ml_tls_link *l, struct ml_str a, struct ml_str b,
                              size_t *took);
/* Sends what waits.  OK: nothing is left. */
enum ml_err ml_tls_link_flush(struct ml_tls_link *l);
bool ml_tls_link_waits(const struct ml_tls_link *l);   /* for the kernel to take bytes */
bool ml_tls_link_full(const struct ml_tls_link *l);    /* too many of them: no reads */
bool ml_tls_link_pending(const struct ml_tls_link *l); /* a read will progress without an event */
bool ml_tls_link_open(const struct ml_tls_link *l);    /* the handshake is over */
void ml_tls_link_bye(struct ml_tls_link *l);           /* we will write no more */
const char *ml_tls_link_failure(const struct ml_tls_link *l); /* of the handshake; or NULL */
/* The kind of that failure in one word, a label for metrics; NULL: there was none. */
const char *ml_tls_link_failed(const struct ml_tls_link *l);
SSL *ml_tls_link_ssl(const struct ml_tls_link *l);
void ml_tls_link_free(struct ml_tls_link **l);

#endif
