/* greeting.h - clients behind a balancer that says who they are: the PROXY protocol, before the
 * first byte of TLS or HTTP.
 *
 * Exactly the header is taken from the socket; what follows it is for whoever gets the socket then.
 * A client counts as a connection meanwhile, and has as long as for a request's head. */
#ifndef ML_INBOUND_GREETING_H
#define ML_INBOUND_GREETING_H

#include "inbound/conn.h"

struct ml_greeting_handler {
    /* The header is there: fd is the callee's now, and peer is whom it tells of. */
    void (*done)(struct ml_port *port, int fd, const struct ml_address *peer);
    /* The client was dropped, for this reason. */
    void (*refused)(struct ml_port *port, const char *why);
};

/* Takes over fd, of a peer that is to be believed.  handler must stay; it may be called at once. */
void ml_greeting_new(struct ml_port *port, int fd, const struct ml_address *peer,
                     const struct ml_greeting_handler *handler);
/* Drops all that are still greeting on this port. */
void ml_greeting_close_all(struct ml_port *port);

#endif
