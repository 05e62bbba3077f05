/* ports.h - the listeners of one worker: sockets that it was given, and what accepts on them. */
#ifndef ML_PROCESS_PORTS_H
#define ML_PROCESS_PORTS_H

#include "script/site.h"

struct ml_ports;

/* inbound must outlive it. */
struct ml_ports *ml_ports_new(struct ml_inbound *inbound);
/* Stops and closes all. */
void ml_ports_free(struct ml_ports **ports);

/* Takes over count sockets, whose names were packed by ml_sockets_of.  They are not accepted on
 * yet.  False: the names make no sense; the sockets are closed. */
bool ml_ports_add(struct ml_ports *ports, struct ml_str names, const int *fds, unsigned count);
/* Closes the sockets that are not accepted on. */
void ml_ports_discard(struct ml_ports *ports);
/* From now on the listeners of site, and no others, accept.  site must live until the next call.
 * What has no socket is logged. */
void ml_ports_apply(struct ml_ports *ports, const struct ml_site *site);
/* Stops accepting and closes the sockets; connections go on. */
void ml_ports_close(struct ml_ports *ports);

#endif
