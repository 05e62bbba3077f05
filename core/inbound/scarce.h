/* scarce.h - when descriptors or memory run out: what a worker takes back, and whom it turns away.
 *
 * Descriptors are numbered from the lowest free one, so the number of a new client tells how many
 * are in use.  The last few are not for clients: upstreams, logs and reloads need some. */
#ifndef ML_INBOUND_SCARCE_H
#define ML_INBOUND_SCARCE_H

#include "inbound/listener.h"

/* Looks at the limit of descriptors and keeps one in reserve. */
void ml_scarce_open(struct ml_inbound *in);
void ml_scarce_close(struct ml_inbound *in);
/* Closes idle connections of clients, those that were idle for longest, not more than a few dozen:
 * how many. */
unsigned ml_scarce_reclaim(struct ml_inbound *in);
/* May the client on fd stay?  NULL: yes, perhaps because others that were idle have left; else why
 * not. */
const char *ml_scarce_objection(struct ml_inbound *in, int fd);
/* accept failed for want of descriptors: accepts one client with the reserve, so that it can be
 * told and does not stay in the queue; -1: there is none. */
int ml_scarce_accept(struct ml_inbound *in, int listener);
/* The client on fd, which is no longer needed, was turned away: the reserve is taken again. */
void ml_scarce_restore(struct ml_inbound *in);

#endif
