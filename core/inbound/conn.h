/* conn.h - one HTTP/1.1 client connection: reads requests, writes answers, in order.
 *
 * Owns:   its stream, its buffers and the exchange in hand.  Borrows: the port, which outlives it.
 * Frees:  itself, at the end of the loop turn in which it closed. */
#ifndef ML_INBOUND_CONN_H
#define ML_INBOUND_CONN_H

#include "inbound/address.h"

struct ml_conn;
struct ml_h2; /* inbound/h2.h */

/* What a listener is for its connections. */
struct ml_port {
    struct ml_port *next, **link; /* in inbound->ports */
    struct ml_inbound *in;
    const struct ml_listener_conf *conf; /* for requests that begin now */
    struct ml_conn *conns;               /* the open ones */
    struct ml_h2 *h2s;                   /* and those that speak HTTP/2 */
    struct ml_greeting *greetings;       /* clients of whom a balancer tells first; greeting.c */
    bool closing;                        /* after the answer in hand a connection closes */
    void (*empty)(struct ml_port *p);    /* the last connection ended; may be NULL */
};

/* Takes the stream over and NULLs it.  Never fails. */
struct ml_conn *ml_conn_new(struct ml_port *port, struct ml_stream **stream,
                            const struct ml_address *peer);
/* Closes the connections of a port that wait for a request. */
void ml_conn_close_idle(struct ml_port *port);
/* Closes all connections of a port at once; what they work at is cancelled. */
void ml_conn_close_all(struct ml_port *port);

/* What the connection whose events are handled right now is at; NULL: none.  For crash reports. */
struct ml_exchange *ml_conn_in_hand(void);

#endif
