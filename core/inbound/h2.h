/* h2.h - one client connection that speaks HTTP/2 (RFC 9113): many exchanges at once.
 *
 * Owns:   its stream, its session of nghttp2, its buffers and the exchanges in hand.
 * Frees:  itself, at the end of the loop turn in which it closed. */
#ifndef ML_INBOUND_H2_H
#define ML_INBOUND_H2_H

#include "inbound/conn.h"

struct ml_h2;

/* Takes the stream over and NULLs it; in is what was read from it already, and is emptied.  Not to
 * be called from inside a callback of that stream's owner that still uses it.  Never fails. */
void ml_h2_new(struct ml_port *port, struct ml_stream **stream, const struct ml_address *peer,
               struct ml_buf *in);
/* Tells the clients of a port that it goes away: those that wait for nothing leave soon. */
void ml_h2_leave_all(struct ml_port *port);
/* Closes all connections of a port at once; what they work at is cancelled. */
void ml_h2_close_all(struct ml_port *port);

#endif
