/* limiter_rules.h - what a limiter makes of the state of one key: pure, no memory, no clock.
 *
 *   state of gcra          64  time in ns when the bucket is full again
 *            fixed         40  end of the window in ms | 24  used
 *            sliding       28  end of the next window in s | 18  used in the last | 18  in this
 *            concurrency   the same, with windows of ML_LIMITER_LEASE_S and renewals */
#ifndef ML_BASE_LIMITER_RULES_H
#define ML_BASE_LIMITER_RULES_H

#include "base/limiter.h"

enum { ML_LIMITER_FIXED_BITS = 24, ML_LIMITER_PAIR_BITS = 18, ML_LIMITER_LEASE_S = 5 };
#define ML_LIMITER_NS UINT64_C(1000000000)
#define ML_LIMITER_MS UINT64_C(1000000)

struct ml_limiter_pair { /* of sliding and concurrency */
    uint64_t window;     /* number of the current one */
    uint64_t last, now;
};

struct ml_limiter_pair ml_limiter_pair_unpack(uint64_t state, uint64_t window_s);
uint64_t ml_limiter_pair_pack(struct ml_limiter_pair p, uint64_t window_s);
/* Moves on to the window of now; one that is later than that stays. */
void ml_limiter_pair_turn(struct ml_limiter_pair *p, uint64_t window);

struct ml_limiter_step {
    uint64_t cost, now_ns, state; /* before, then after */
};

/* The next state, and what to say; the cost was checked. */
void ml_limiter_decide(const struct ml_limiter *l, struct ml_limiter_step *s,
                       struct ml_limiter_result *r);

#endif
