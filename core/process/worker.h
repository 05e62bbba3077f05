/* worker.h - a process that serves: a loop, listeners, one generation of scripts, upstreams. */
#ifndef ML_PROCESS_WORKER_H
#define ML_PROCESS_WORKER_H

#include "base/shm.h"
#include "process/user.h"
#include "script/site.h"

struct ml_worker_boot { /* what a worker begins with */
    struct ml_shm *shm;
    struct ml_crash *crash;
    unsigned index;
    int channel;         /* to the supervisor; process/message.h */
    int snapshot;        /* memory file of the generation to serve */
    uint32_t generation; /* its number */
    struct ml_user user; /* to run as */
    bool closing;        /* the gateway is about to stop */
    struct ml_buf names; /* of the sockets; ml_sockets_of */
    int sockets[ML_SITE_LISTENERS_MAX];
    unsigned socket_count;
};

/* Lives in a process that was just forked from parent, of which all but boot is forgotten; the exit
 * code.  Takes over the descriptors. */
int ml_worker_run(const struct ml_worker_boot *boot, pid_t parent);

#endif
