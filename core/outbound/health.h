/* health.h - what is known of a server's health, shared by all workers.
 *
 * Passive, from the requests themselves, as nginx's max_fails and fail_timeout:
 *   UP --max_fails failures within fail_timeout--> DOWN for fail_timeout --> one probe --> UP or
 * DOWN Active, from checks that one worker makes for all (outbound/check.h): unknown, UP --fall
 * failed checks in a row--> DOWN --rise good ones in a row--> UP and what an operator says: a
 * drained server gets no new request, whatever its health.
 *
 * A server that is down for one of them is down.  Only checks undo what checks said; a server that
 * they find up again begins without failures.  The state is in shared memory: each word is changed
 * by one atomic operation, so a worker may die between any two of them. */
#ifndef ML_OUTBOUND_HEALTH_H
#define ML_OUTBOUND_HEALTH_H

#include "base/buf.h"
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
/* A request that was sent while the server was not up has succeeded: it is up, as far as requests
 * can tell. */
void ml_health_recovered(struct ml_shm_server *s, uint64_t now_ms);
/* A request failed.  True: this failure ejected a server that was up. */
bool ml_health_failed(struct ml_shm_server *s, const struct ml_health_conf *conf, uint64_t now_ms,
                      enum ml_err why);

enum ml_check { ML_CHECK_UNKNOWN, ML_CHECK_UP, ML_CHECK_DOWN };

enum ml_check ml_health_check_state(const struct ml_shm_server *s);
/* One check more.  result: 0 it was good; else as in ml_shm_server.last_error.  True: the verdict
 * changed, or is the first. */
bool ml_health_checked(struct ml_shm_server *s, unsigned rise, unsigned fall, uint32_t result,
                       uint64_t now_ms);
/* A server of which no check has told anything is down until one is good. */
void ml_health_doubt(struct ml_shm_server *s, unsigned rise);
/* No checks are wanted any more: what they said does not count. */
void ml_health_unchecked(struct ml_shm_server *s);

bool ml_health_drained(const struct ml_shm_server *s);
/* True: that was new. */
bool ml_health_drain(struct ml_shm_server *s, bool drained, uint64_t now_ms);

/* The share of its weight that a server has so long after its recovery: above 0, at most 1. */
double ml_health_share(const struct ml_shm_server *s, uint64_t slow_start_ms, uint64_t now_ms);

/* "up", "down" (by requests or checks), "probing", "draining", "drained" */
const char *ml_health_word(const struct ml_shm_server *s, uint64_t now_ms);
/* Appends a word for last_error or check_result: "upstream_refused", "status_503", "body_mismatch".
 */
void ml_health_error_text(uint32_t error, struct ml_buf *out);

#endif
