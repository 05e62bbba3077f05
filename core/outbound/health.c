/* health.c - the words of a server's shared slot that say whether it can be used. */
#include "outbound/health.h"

#include "base/clock.h"

/* Relaxed order is enough everywhere: each word stands for itself, and a stale view for a moment
 * costs at most one more failed try. */
#define LOAD(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define STORE(word, value) atomic_store_explicit(&(word), (value), memory_order_relaxed)
#define ADD(word, by) atomic_fetch_add_explicit(&(word), (by), memory_order_relaxed)

enum { VERDICT = 3, STREAK_SHIFT = 2 }; /* of the word check */

/* ---- from requests ---- */

enum ml_health ml_health_state(const struct ml_shm_server *s, uint64_t now_ms)
{
    uint64_t until_ms = LOAD(s->down_until_ms);

    if ((LOAD(s->check) & VERDICT) == ML_CHECK_DOWN)
        return ML_HEALTH_DOWN;
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

void ml_health_recovered(struct ml_shm_server *s, uint64_t now_ms)
{
    STORE(s->fails, 0);
    STORE(s->recovered_ms, now_ms);
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

static void note_error(struct ml_shm_server *s, uint32_t error)
{
    STORE(s->last_error, error);
    STORE(s->last_error_ms, (uint64_t)(ml_clock_wall_s() * 1000));
}

bool ml_health_failed(struct ml_shm_server *s, const struct ml_health_conf *conf, uint64_t now_ms,
                      enum ml_err why)
{
    bool was_up = LOAD(s->down_until_ms) == 0;
    uint32_t fails;

    ADD(s->errors, 1);
    note_error(s, (uint32_t)why);
    if (conf->max_fails == ~0u)
        return false;
    fails = count_fail(s, conf, now_ms);
    if (was_up && fails < conf->max_fails)
        return false;
    STORE(s->down_until_ms, now_ms + conf->fail_timeout_ms);
    return was_up;
}

/* ---- from checks: written by the one worker that checks ---- */

enum ml_check ml_health_check_state(const struct ml_shm_server *s)
{
    return (enum ml_check)(LOAD(s->check) & VERDICT);
}

static void come_back(struct ml_shm_server *s, uint64_t now_ms)
{
    STORE(s->fails, 0);
    STORE(s->down_until_ms, 0);
    STORE(s->recovered_ms, now_ms);
}

/* A first check that is good is believed at once: nobody thought otherwise. */
bool ml_health_checked(struct ml_shm_server *s, unsigned rise, unsigned fall, uint32_t result,
                       uint64_t now_ms)
{
    uint32_t word = LOAD(s->check), streak = (word >> STREAK_SHIFT) + 1;
    enum ml_check was = (enum ml_check)(word & VERDICT);
    enum ml_check now = result == 0 ? ML_CHECK_UP : ML_CHECK_DOWN;

    ADD(s->checks, 1);
    STORE(s->check_result, result);
    if (result != 0) {
        ADD(s->checks_failed, 1);
        note_error(s, result);
    }
    if (now == was || (was == ML_CHECK_UNKNOWN && now == ML_CHECK_UP)) {
        STORE(s->check, (uint32_t)now);
        return was == ML_CHECK_UNKNOWN;
    }
    if (streak < (now == ML_CHECK_UP ? rise : fall)) {
        STORE(s->check, (uint32_t)was | streak << STREAK_SHIFT);
        return false;
    }
    if (now == ML_CHECK_UP)
        come_back(s, now_ms);
    STORE(s->check, (uint32_t)now);
    return true;
}

void ml_health_doubt(struct ml_shm_server *s, unsigned rise)
{
    uint32_t unknown = 0;

    atomic_compare_exchange_strong(&s->check, &unknown,
                                   (uint32_t)ML_CHECK_DOWN | (rise - 1) << STREAK_SHIFT);
}

void ml_health_unchecked(struct ml_shm_server *s)
{
    if (LOAD(s->check) == 0)
        return;
    STORE(s->check, 0);
    STORE(s->checked_ms, 0);
    STORE(s->check_result, 0);
}

/* ---- from operators ---- */

bool ml_health_drained(const struct ml_shm_server *s)
{
    return LOAD(s->drained) != 0;
}

bool ml_health_drain(struct ml_shm_server *s, bool drained, uint64_t now_ms)
{
    bool changed = (atomic_exchange(&s->drained, drained) != 0) != drained;

    if (changed && !drained)
        STORE(s->recovered_ms, now_ms);
    return changed;
}

/* ---- what follows ---- */

double ml_health_share(const struct ml_shm_server *s, uint64_t slow_start_ms, uint64_t now_ms)
{
    uint64_t since_ms = LOAD(s->recovered_ms);
    uint64_t age_ms = now_ms > since_ms ? now_ms - since_ms : 0;

    if (since_ms == 0 || age_ms >= slow_start_ms)
        return 1;
    return age_ms * 100 < slow_start_ms ? 0.01 : (double)age_ms / (double)slow_start_ms;
}

const char *ml_health_word(const struct ml_shm_server *s, uint64_t now_ms)
{
    if (ml_health_drained(s))
        return LOAD(s->in_flight) > 0 ? "draining" : "drained";
    switch (ml_health_state(s, now_ms)) {
    case ML_HEALTH_DOWN:
        return "down";
    case ML_HEALTH_PROBE:
        return "probing";
    default:
        return "up";
    }
}

void ml_health_error_text(uint32_t error, struct ml_buf *out)
{
    if (error == ML_SHM_CHECK_BODY)
        ml_buf_append(out, ML_STR("body_mismatch"));
    else if (error >= ML_SHM_CHECK_STATUS && error < ML_SHM_CHECK_BODY)
        ml_buf_printf(out, "status_%u", (unsigned)(error - ML_SHM_CHECK_STATUS));
    else
        ml_buf_append(out,
                      ml_str_of(ml_err_word(error < ML_ERR_COUNT ? (enum ml_err)error : ML_OK)));
}
