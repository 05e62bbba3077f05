/* limiter.h - how often something may happen: counters that all workers share and count exactly.
 *
 * A key that is known is counted by one compare-and-swap of 16 bytes that hold the key's hash and
 * its whole state: no lock, and nothing to repair when a worker is killed at any instruction.  N
 * workers never admit more than the limit.  Counters survive reloads; when the table is full, the
 * one that says least is forgotten. */
#ifndef ML_BASE_LIMITER_H
#define ML_BASE_LIMITER_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

enum ml_limiter_kind {
    ML_LIMITER_GCRA,       /* a bucket of `burst` that fills evenly, `limit` per window */
    ML_LIMITER_FIXED,      /* `limit` in a window that begins with the first request of a key */
    ML_LIMITER_SLIDING,    /* this window's and, fading, the last one's: windows of whole seconds */
    ML_LIMITER_CONCURRENCY /* `limit` at a time; see ml_limiter_renew */
};

struct ml_limiter {
    enum ml_limiter_kind kind;
    uint64_t identity; /* of its counters; ml_limiter_identity */
    uint64_t limit, burst;
    uint64_t window_ns, interval_ns; /* gcra: time that one request uses up */
};

/* What a gcra bucket, a sliding window and a fixed window can count. */
enum { ML_LIMITER_FIXED_MAX = (1 << 24) - 1, ML_LIMITER_SLIDING_MAX = (1 << 18) - 1 };

/* Fills in the rest from kind and identity; NULL, or what is wrong with the numbers.  burst 0: as
 * large as the limit. */
const char *ml_limiter_setup(struct ml_limiter *l, uint64_t limit, uint64_t burst, double window_s);

struct ml_limiter_result {
    bool allowed;
    uint64_t remaining; /* what would be admitted at once, after this */
    uint64_t reset_ns;  /* until nothing of it is left: the bucket is full, the window over */
    uint64_t retry_ns;  /* not allowed: when to come again */
    uint64_t delay_ns;  /* gcra: how much too early the request is for an even flow */
    uint64_t lease;     /* concurrency: for renew and release */
};

struct ml_limiter_region;

enum { ML_LIMITER_BYTES_MIN = 1 << 16 };
/* Prepares len bytes at memory (shared, zeroed, aligned to a page), which it borrows. */
struct ml_limiter_region *ml_limiter_init(void *memory, size_t len);
/* The identity of the counters with this name; the same for all workers of this gateway. */
uint64_t ml_limiter_identity(const struct ml_limiter_region *r, struct ml_str name);

/* Counts cost for a key when the limit allows it; cost 0 only looks.  now_ns: monotonic.
 * ML_AGAIN: too many others change the same counter; nothing was counted. */
enum ml_err ml_limiter_take(struct ml_limiter_region *r, const struct ml_limiter *l,
                            struct ml_str key, uint64_t cost, uint64_t now_ns,
                            struct ml_limiter_result *result);

/* What is in flight counts for 5 to 10 seconds after it was last renewed, so that a worker that is
 * killed leaks nothing for longer.  Renews cost units of a lease and says which one they have now:
 * to be called each ML_LIMITER_RENEW_S for all that is held. */
enum { ML_LIMITER_RENEW_S = 1 };
uint64_t ml_limiter_renew(struct ml_limiter_region *r, const struct ml_limiter *l,
                          struct ml_str key, uint64_t cost, uint64_t lease, uint64_t now_ns);
void ml_limiter_release(struct ml_limiter_region *r, const struct ml_limiter *l, struct ml_str key,
                        uint64_t cost, uint64_t lease, uint64_t now_ns);

#endif
