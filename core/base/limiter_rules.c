/* limiter_rules.c - one function per algorithm. */
#include "base/limiter_rules.h"

__extension__ typedef unsigned __int128 wide;

struct ml_limiter_pair ml_limiter_pair_unpack(uint64_t state, uint64_t window_s)
{
    const uint64_t mask = (1 << ML_LIMITER_PAIR_BITS) - 1;
    uint64_t end_s = state >> (2 * ML_LIMITER_PAIR_BITS);

    if (end_s < 2 * window_s)
        return (struct ml_limiter_pair){0, 0, 0};
    return (struct ml_limiter_pair){end_s / window_s - 2, state >> ML_LIMITER_PAIR_BITS & mask,
                                    state & mask};
}

uint64_t ml_limiter_pair_pack(struct ml_limiter_pair p, uint64_t window_s)
{
    return (p.window + 2) * window_s << (2 * ML_LIMITER_PAIR_BITS) |
           p.last << ML_LIMITER_PAIR_BITS | p.now;
}

void ml_limiter_pair_turn(struct ml_limiter_pair *p, uint64_t window)
{
    if (p->window >= window)
        return;
    p->last = p->window + 1 == window ? p->now : 0;
    p->now = 0;
    p->window = window;
}

static void gcra(const struct ml_limiter *l, struct ml_limiter_step *s, struct ml_limiter_result *r)
{
    uint64_t full_ns = l->burst * l->interval_ns;
    uint64_t used_ns = s->state > s->now_ns ? s->state - s->now_ns : 0;
    uint64_t wanted_ns = s->cost * l->interval_ns; /* cost was checked */

    r->allowed = used_ns + wanted_ns <= full_ns;
    if (r->allowed) {
        r->delay_ns = used_ns;
        used_ns += wanted_ns;
        s->state = s->now_ns + used_ns;
    } else {
        r->retry_ns = used_ns + wanted_ns - full_ns;
    }
    r->remaining = used_ns < full_ns ? (full_ns - used_ns) / l->interval_ns : 0;
    r->reset_ns = used_ns;
}

static void fixed(const struct ml_limiter *l, struct ml_limiter_step *s,
                  struct ml_limiter_result *r)
{
    uint64_t now_ms = s->now_ns / ML_LIMITER_MS, end_ms = s->state >> ML_LIMITER_FIXED_BITS;
    uint64_t used = s->state & ((1 << ML_LIMITER_FIXED_BITS) - 1);

    if (end_ms <= now_ms) {
        end_ms = (s->now_ns + l->window_ns + ML_LIMITER_MS - 1) / ML_LIMITER_MS;
        used = 0;
    }
    r->allowed = used + s->cost <= l->limit;
    if (r->allowed)
        used += s->cost;
    s->state = end_ms << ML_LIMITER_FIXED_BITS | used;
    r->remaining = used < l->limit ? l->limit - used : 0;
    r->reset_ns = end_ms * ML_LIMITER_MS - s->now_ns;
    if (r->reset_ns > l->window_ns) /* rounded up, or the window was longer before a reload */
        r->reset_ns = l->window_ns;
    r->retry_ns = r->allowed ? 0 : r->reset_ns;
}

/* The last window's share of the limit, rounded up: what is admitted is never too much. */
static uint64_t faded(uint64_t last, uint64_t left_ns, uint64_t window_ns)
{
    return (uint64_t)(((wide)last * left_ns + window_ns - 1) / window_ns);
}

/* Time until `excess` of what is counted now has faded away. */
static uint64_t fade_ns(const struct ml_limiter_pair *p, uint64_t allowed, uint64_t left_ns,
                        uint64_t window_ns)
{
    uint64_t keep_ns, wait_ns = 0;

    if (p->now > allowed) { /* only in the next window, as its last */
        keep_ns = (uint64_t)((wide)allowed * window_ns / p->now);
        return left_ns + window_ns - keep_ns;
    }
    keep_ns = p->last > 0 ? (uint64_t)((wide)(allowed - p->now) * window_ns / p->last) : left_ns;
    if (keep_ns < left_ns)
        wait_ns = left_ns - keep_ns;
    return wait_ns;
}

static void sliding(const struct ml_limiter *l, struct ml_limiter_step *s,
                    struct ml_limiter_result *r)
{
    uint64_t window_s = l->window_ns / ML_LIMITER_NS, window = s->now_ns / l->window_ns, left_ns,
             used;
    struct ml_limiter_pair p = ml_limiter_pair_unpack(s->state, window_s);

    ml_limiter_pair_turn(&p, window);
    left_ns = p.window > window ? l->window_ns : l->window_ns - s->now_ns % l->window_ns;
    used = p.now + faded(p.last, left_ns, l->window_ns);
    r->allowed = used + s->cost <= l->limit;
    if (r->allowed) {
        p.now += s->cost;
        used += s->cost;
    } else {
        r->retry_ns = s->cost <= l->limit ? fade_ns(&p, l->limit - s->cost, left_ns, l->window_ns)
                                          : left_ns + l->window_ns;
    }
    s->state = ml_limiter_pair_pack(p, window_s);
    r->remaining = used < l->limit ? l->limit - used : 0;
    r->reset_ns = left_ns + (p.now > 0 ? l->window_ns : 0);
}

static void concurrency(const struct ml_limiter *l, struct ml_limiter_step *s,
                        struct ml_limiter_result *r)
{
    struct ml_limiter_pair p = ml_limiter_pair_unpack(s->state, ML_LIMITER_LEASE_S);
    uint64_t used;

    ml_limiter_pair_turn(&p, s->now_ns / (ML_LIMITER_LEASE_S * ML_LIMITER_NS));
    used = p.last + p.now;
    r->allowed = used + s->cost <= l->limit;
    if (r->allowed) {
        p.now += s->cost;
        used += s->cost;
    }
    s->state = ml_limiter_pair_pack(p, ML_LIMITER_LEASE_S);
    r->lease = p.window;
    r->remaining = used < l->limit ? l->limit - used : 0;
    r->retry_ns = r->allowed ? 0 : ML_LIMITER_NS; /* nobody knows */
}

void ml_limiter_decide(const struct ml_limiter *l, struct ml_limiter_step *s,
                       struct ml_limiter_result *r)
{
    static void (*const rules[])(const struct ml_limiter *, struct ml_limiter_step *,
                                 struct ml_limiter_result *) = {
        [ML_LIMITER_GCRA] = gcra,
        [ML_LIMITER_FIXED] = fixed,
        [ML_LIMITER_SLIDING] = sliding,
        [ML_LIMITER_CONCURRENCY] = concurrency,
    };

    *r = (struct ml_limiter_result){0};
    rules[l->kind](l, s, r);
}
