/* upgrade.h - another binary takes the place of this one, with its sockets, while both run.
 *
 *   old                              new
 *   starts it, with the sockets -->  loads the site, starts its workers, which accept
 *                               <--  "ready"
 *   "go"                        -->  opens the control socket
 *                               <--  "taken"
 *   its workers drain
 *
 * Until "taken" the old one can go on alone: when the new one ends, is late or says "failed: why",
 * nothing has changed.  The words are text, since the two may be of different versions. */
#ifndef ML_PROCESS_UPGRADE_H
#define ML_PROCESS_UPGRADE_H

#include "base/buf.h"
#include "transport/loop.h"

#include <sys/types.h>

/* ---- in the old one ---- */

struct ml_upgrade;

struct ml_upgrade_handler {
    void (*handing)(void *ctx, pid_t pid); /* it is ready, and is about to be told to go */
    /* It has taken over, or why is a sentence; the last call.  u may be freed from it. */
    void (*done)(void *ctx, bool ok, pid_t pid, struct ml_str why);
    void *ctx;
};

/* Runs this process's command line anew, with count listening sockets, which stay the caller's.
 * handler is copied, and called from the loop. */
struct ml_upgrade *ml_upgrade_new(struct ml_loop *loop, const int *sockets, unsigned count,
                                  const struct ml_upgrade_handler *handler);
/* After SIGCHLD. */
void ml_upgrade_reap(struct ml_upgrade *u);
/* Ends the new one unless it has taken over. */
void ml_upgrade_free(struct ml_upgrade **u);

/* ---- in the new one ---- */

/* Looks whether this process is to take the place of another; at the start. */
bool ml_upgrade_inherit(void);
/* All is ready: go is called when the old one says so, lost when it is gone before. */
void ml_upgrade_announce(struct ml_loop *loop, void (*go)(void *ctx), void (*lost)(void *ctx),
                         void *ctx);
void ml_upgrade_taken(void);
void ml_upgrade_failed(struct ml_str why);

#endif
