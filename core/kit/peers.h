/* peers.h - the parts of a simulation that are its network; for sim.c. */
#ifndef ML_KIT_PEERS_H
#define ML_KIT_PEERS_H

#include "kit/sim.h"

/* For ml_resolver_set_source and ml_stream_set_source; ctx is the simulation. */
void ml_peers_find(void *ctx, struct ml_str host, int port, struct ml_addr *out);
int ml_peers_connect(void *ctx, const struct ml_addr *addr);

bool ml_peers_read(struct ml_sim_end *end);  /* did anything come? */
bool ml_peers_write(struct ml_sim_end *end); /* did anything go? */

#endif
