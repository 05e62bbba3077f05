/* reload.h - which generation is live, and the way to the next: staged, loaded by all, switched. */
#ifndef ML_PROCESS_RELOAD_H
#define ML_PROCESS_RELOAD_H

#include "process/control.h"
#include "process/fleet.h"
#include "process/logs.h"
#include "process/sockets.h"
#include "process/stage.h"

struct ml_reload;

struct ml_reload_conf {
    struct ml_loop *loop; /* borrowed, like all pointers here */
    const char *dir;
    struct ml_sockets *sockets;
    const struct ml_user *user;
    struct ml_metrics_region *metrics;
    void (*changed)(void *ctx);   /* what ml_reload_describe tells is another thing now */
    void (*committed)(void *ctx); /* a new generation is live in all workers */
    void *ctx;
};

/* Begins with what was staged first as generation 1, which it takes over with its sockets; first
 * and *logs are emptied. */
struct ml_reload *ml_reload_new(const struct ml_reload_conf *conf, struct ml_stage_result *first,
                                struct ml_logs **logs);
void ml_reload_free(struct ml_reload **r);
/* Whom to tell; before anything else is called. */
void ml_reload_set_fleet(struct ml_reload *r, struct ml_fleet *fleet);

/* Loads the directory again; when that is being done already, once more afterwards.  waiter may be
 * NULL; it is answered when the outcome is known. */
void ml_reload_ask(struct ml_reload *r, struct ml_control_waiter *waiter);
/* Makes a former generation (0: the last one) live again, as a new one with the same content.  The
 * directory is not looked at. */
void ml_reload_rollback(struct ml_reload *r, uint32_t number, struct ml_control_waiter *waiter);
/* Is what is live there by a rollback? */
bool ml_reload_is_rollback(const struct ml_reload *r);
/* Appends the JSON array of history.h. */
void ml_reload_history(const struct ml_reload *r,
                       unsigned (*exchanges)(void *ctx, uint32_t number), void *ctx,
                       struct ml_buf *json);
/* The gateway ends: gives up what is being done, and answers all who wait. */
void ml_reload_stop(struct ml_reload *r);
/* What a worker said, and that one ended. */
void ml_reload_heard(struct ml_reload *r, unsigned worker, const struct ml_message *m);
void ml_reload_lost(struct ml_reload *r, unsigned worker);

/* Of what is committed. */
bool ml_reload_busy(const struct ml_reload *r); /* is another one on its way? */
uint32_t ml_reload_number(const struct ml_reload *r);
int ml_reload_snapshot(const struct ml_reload *r);
const struct ml_summary *ml_reload_summary(const struct ml_reload *r);
struct ml_logs *ml_reload_logs(const struct ml_reload *r);
void ml_reload_describe(const struct ml_reload *r, struct ml_shm_gateway *g);

#endif
