/* fleet.h - the worker processes as the supervisor sees them: started, watched, started again. */
#ifndef ML_PROCESS_FLEET_H
#define ML_PROCESS_FLEET_H

#include "process/message.h"
#include "process/worker.h"
#include "transport/loop.h"

struct ml_fleet;

struct ml_fleet_conf {
    struct ml_loop *loop; /* borrowed, like shm */
    struct ml_shm *shm;
    unsigned count;
    /* Fills in what worker index begins with: generation, snapshot, sockets, user, closing.  The
     * descriptors stay the callee's. */
    void (*boot)(void *ctx, unsigned index, struct ml_worker_boot *boot);
    /* m has no descriptors. */
    void (*message)(void *ctx, unsigned index, const struct ml_message *m);
    /* A process has ended; its successor may not have begun. */
    void (*ended)(void *ctx, unsigned index);
    void (*changed)(void *ctx); /* what ml_fleet_describe tells is another thing now */
    void *ctx;
};

struct ml_fleet *ml_fleet_new(const struct ml_fleet_conf *conf);
/* Kills what still runs. */
void ml_fleet_free(struct ml_fleet **fleet);

/* Starts all workers. */
void ml_fleet_start(struct ml_fleet *f);
/* Asks the kernel which have ended; after each SIGCHLD. */
void ml_fleet_reap(struct ml_fleet *f);
/* A worker whose loop has not turned for so long is killed. */
void ml_fleet_set_heartbeat(struct ml_fleet *f, double timeout_s);
/* While held, no process begins: those that end are started again at the release. */
void ml_fleet_hold(struct ml_fleet *f, bool on);
/* The gateway ends: nobody is started again. */
void ml_fleet_retire(struct ml_fleet *f);

/* Tells one worker; false when it has no process.  One that cannot be told is killed. */
bool ml_fleet_send(struct ml_fleet *f, unsigned index, const struct ml_message *m);
void ml_fleet_send_all(struct ml_fleet *f, const struct ml_message *m);
void ml_fleet_kill(struct ml_fleet *f, unsigned index);
void ml_fleet_kill_all(struct ml_fleet *f);

unsigned ml_fleet_count(const struct ml_fleet *f);
bool ml_fleet_serves(const struct ml_fleet *f, unsigned index);
unsigned ml_fleet_running(const struct ml_fleet *f);
unsigned ml_fleet_serving(const struct ml_fleet *f);
/* At least one worker's loop has turned within the heartbeat's timeout, and none that is silent
 * for longer is still there: those are killed. */
bool ml_fleet_alive(const struct ml_fleet *f);
void ml_fleet_describe(const struct ml_fleet *f, struct ml_shm_gateway *g);

#endif
