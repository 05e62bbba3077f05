/* health.h - passive ejection of servers that fail, shared by all workers.
 *
 *   UP --max_fails failures within fail_timeout--> DOWN for fail_timeout --> one probe --> UP or DOWN
 *
 * As nginx's max_fails and fail_timeout, but the state is in shared memory: each word is changed by
 * one atomic operation, so a worker may die between any two of them.  When every server of a group
 * is down the caller tries them all: a wrong verdict must not become an outage. */
#ifndef ML_OUTBOUND_HEALTH_H
#define ML_OUTBOUND_HEALTH_H

#include "base/err.h"
#include "base/shm.h"

struct ml_health_conf {
    unsigned max_fails;       /* >= 1; ~0u: never eject */
    uint64_t fail_timeout_ms; /* length of the window of failures and of an ejection */
};

enum ml_health {
    ML_HEALTH_UP,
    ML_HEALTH_DOWN,
    ML_HEALTH_PROBE, /* its time is over: one request may find out; claim it first */
};

enum ml_health ml_health_state(const struct ml_shm_server *s, uint64_t now_ms);
/* Becomes the one request that probes; false when another worker was quicker.  Until the probe has
 * an outcome, at most for fail_timeout, the server counts as down for all others. */
bool ml_health_claim(struct ml_shm_server *s, const struct ml_health_conf *conf, uint64_t now_ms);
/* A request that was sent while the server was not up has succeeded: it is up. */
void ml_health_recovered(struct ml_shm_server *s);
/* A request failed.  True: this failure ejected a server that was up. */
bool ml_health_failed(struct ml_shm_server *s, const struct ml_health_conf *conf, uint64_t now_ms,
                      enum ml_err why);

#endif
