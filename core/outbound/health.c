/* health.c - the words fails, window_ms and down_until_ms of a server's shared slot. */
#include "outbound/health.h"

/* Relaxed order is enough everywhere: each word stands for itself, and a stale view for a moment
 * costs at most one more failed try. */
#define LOAD(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define STORE(word, value) atomic_store_explicit(&(word), (value), memory_order_relaxed)
#define ADD(word, by) atomic_fetch_add_explicit(&(word), (by), memory_order_relaxed)

enum ml_health ml_health_state(const struct ml_shm_server *s, uint64_t now_ms)
{
    uint64_t until_ms = LOAD(s->down_until_ms);

    if (until_ms == 0)
        return ML_HEALTH_UP;
    return now_ms < until_ms ? ML_HEALTH_DOWN : ML_HEALTH_PROBE;
}

bool ml_health_claim(struct ml_shm_server *s, const struct ml_health_conf *conf, uint64_t now_ms)
{
    uint64_t until_ms = LOAD(s->down_until_ms);

    if (until_ms == 0)
        return true; /* another worker's probe has succeeded meanwhile */
    if (now_ms < until_ms)
        return false;
    return atomic_compare_exchange_strong(&s->down_until_ms, &until_ms,
                                          now_ms + conf->fail_timeout_ms);
}

void ml_health_recovered(struct ml_shm_server *s)
{
    STORE(s->fails, 0);
    STORE(s->down_until_ms, 0);
}

/* Counts a failure in the current window, or in a new one when that is over. */
static uint32_t count_fail(struct ml_shm_server *s, const struct ml_health_conf *conf,
                           uint64_t now_ms)
{
    uint64_t begin_ms = LOAD(s->window_ms);

    if (now_ms - begin_ms >= conf->fail_timeout_ms &&
        atomic_compare_exchange_strong(&s->window_ms, &begin_ms, now_ms))
        STORE(s->fails, 0);
    return ADD(s->fails, 1) + 1;
}

bool ml_health_failed(struct ml_shm_server *s, const struct ml_health_conf *conf, uint64_t now_ms,
                      enum ml_err why)
{
    bool was_up = LOAD(s->down_until_ms) == 0;
    uint32_t fails;

    ADD(s->errors, 1);
    STORE(s->last_error, (uint32_t)why);
    if (conf->max_fails == ~0u)
        return false;
    fails = count_fail(s, conf, now_ms);
    if (was_up && fails < conf->max_fails)
        return false;
    STORE(s->down_until_ms, now_ms + conf->fail_timeout_ms);
    return was_up;
}
