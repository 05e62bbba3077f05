/* inherit.h - listening sockets that this process was started with: by a service manager (socket
 * activation, sd_listen_fds(3)) or by the gateway that it replaces (upgrade.h).
 *
 * They come as descriptors from 3 on, their number in LISTEN_FDS, their owner in LISTEN_PID. */
#ifndef ML_PROCESS_INHERIT_H
#define ML_PROCESS_INHERIT_H

#include "base/buf.h"

#include <stdbool.h>

struct ml_addr;

/* Takes them over, once, before anything else opens descriptors.  What is no listening TCP socket
 * is logged and closed. */
void ml_inherit_take(void);
/* Those that listen there, at most max: duplicates that are the caller's.  A socket of all IPv6 and
 * IPv4 addresses counts for all IPv4 addresses too. */
unsigned ml_inherit_claim(const struct ml_addr *addr, int *fds, unsigned max);
/* All that will be claimed at the start were: logs those that nobody wants.  They are kept if keep:
 * a service manager keeps the port anyhow, and a later reload may name it.  Else they are closed.
 */
void ml_inherit_settle(bool keep);

#endif
