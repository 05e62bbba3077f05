/* limiter.c - what one key has used, in one word beside the hash of the key.
 *
 *   region: seed, base, locks | bucket 0: 16 slots | bucket 1 | ...
 *   slot:   hash 62, kind 2 | state 64        changed as a whole, by one instruction
 *
 * Each state (limiter_rules.h) says by itself until when it matters: then its slot is free, without
 * any sweeping.
 *
 * A key has a slot in one bucket, or none.  Changes compare hash and state, so whoever was slow and
 * finds his slot with another key in it, or another state, begins again.  New keys are put into a
 * bucket under a robust mutex, or two workers might give one key two slots; it is never held longer
 * than a scan, and whoever dies with it leaves nothing half done: the slot is one instruction, too.
 *
 * A full bucket forgets the state that says least: used, times how long it still matters.  What is
 * in flight is forgotten last. */
#include "base/limiter.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/limiter_rules.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SLOTS = 16, LOCKS = 256, KIND_BITS = 2, TRIES = 1000 };

__extension__ typedef unsigned __int128 wide;

struct slot {
    _Alignas(16) _Atomic uint64_t hash; /* with the kind; 0: never used */
    _Atomic uint64_t state;
};

struct image { /* of a slot */
    uint64_t hash, state;
};

struct bucket {
    _Alignas(64) struct slot slots[SLOTS];
};

struct ml_limiter_region {
    struct ml_hash_seed seed;
    uint64_t base_ns; /* states count from here */
    uint64_t mask;    /* number of buckets - 1 */
    pthread_mutex_t locks[LOCKS];
    struct bucket buckets[];
};

/* ---- one slot ---- */

/* Only the first 64-bit processors of all had no instruction for this. */
#if defined(__x86_64__)
__attribute__((target("cx16")))
#endif
static bool
swap(struct slot *slot, struct image old, struct image new)
{
    union {
        struct image image;
        wide word;
    } a = {.image = old}, b = {.image = new};

    return __sync_bool_compare_and_swap((wide *)(void *)slot, a.word, b.word);
}

/* False when the hash changed meanwhile. */
static bool slot_read(struct slot *slot, struct image *out)
{
    out->hash = atomic_load(&slot->hash);
    out->state = atomic_load(&slot->state);
    return atomic_load(&slot->hash) == out->hash;
}

/* ---- what a slot is worth ---- */

/* Until when a slot matters, in ns after base. */
static uint64_t image_end_ns(struct image i)
{
    switch ((enum ml_limiter_kind)(i.hash & ((1 << KIND_BITS) - 1))) {
    case ML_LIMITER_GCRA:
        return i.state;
    case ML_LIMITER_FIXED:
        return (i.state >> ML_LIMITER_FIXED_BITS) * ML_LIMITER_MS;
    default:
        return (i.state >> (2 * ML_LIMITER_PAIR_BITS)) * ML_LIMITER_NS;
    }
}

static uint64_t image_used(struct image i)
{
    const uint64_t mask = (1 << ML_LIMITER_PAIR_BITS) - 1;

    switch ((enum ml_limiter_kind)(i.hash & ((1 << KIND_BITS) - 1))) {
    case ML_LIMITER_GCRA:
        return 1; /* its time grows with what was used */
    case ML_LIMITER_FIXED:
        return i.state & ((1 << ML_LIMITER_FIXED_BITS) - 1);
    case ML_LIMITER_SLIDING:
        return (i.state >> ML_LIMITER_PAIR_BITS & mask) + (i.state & mask);
    case ML_LIMITER_CONCURRENCY:
        return (i.state & ((UINT64_C(1) << (2 * ML_LIMITER_PAIR_BITS)) - 1)) != 0 ? 1 << 30 : 0;
    }
    return 0;
}

/* What is lost when a slot is forgotten; 0: nothing. */
static uint64_t image_worth(struct image i, uint64_t now_ns)
{
    uint64_t end_ns = image_end_ns(i);

    return end_ns > now_ns ? ((end_ns - now_ns) / ML_LIMITER_MS + 1) * image_used(i) : 0;
}

/* ---- the table ---- */

static uint64_t key_hash(const struct ml_limiter_region *r, const struct ml_limiter *l,
                         struct ml_str key)
{
    struct ml_hash_seed seed = r->seed;
    uint64_t hash;

    seed.word[0] ^= l->identity;
    hash = ml_hash_bytes(seed, key) << KIND_BITS | (uint64_t)l->kind;
    return hash != 0 ? hash : 1 << KIND_BITS;
}

/* The top bits; which of the low ones are lost does not matter then. */
static struct bucket *bucket_of(struct ml_limiter_region *r, uint64_t hash)
{
    return &r->buckets[hash >> 20 & r->mask];
}

/* Buckets are filled from the front and a slot is never given back, so the search ends at the
 * first that was never used. */
static struct slot *find(struct bucket *b, uint64_t hash)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t there = atomic_load_explicit(&b->slots[i].hash, memory_order_relaxed);

        if (there == hash)
            return &b->slots[i];
        if (there == 0)
            break;
    }
    return NULL;
}

static struct slot *least_worth(struct bucket *b, uint64_t now_ns, struct image *image)
{
    struct slot *best = NULL;
    uint64_t least = UINT64_MAX;

    for (unsigned i = 0; i < SLOTS && least > 0; i++) {
        struct image there;
        uint64_t worth;

        if (!slot_read(&b->slots[i], &there))
            continue;
        worth = there.hash != 0 ? image_worth(there, now_ns) : 0;
        if (worth < least) {
            least = worth;
            best = &b->slots[i];
            *image = there;
        }
    }
    return best;
}

static void lock(pthread_mutex_t *mutex)
{
    int error = pthread_mutex_lock(mutex);

    if (error == EOWNERDEAD)
        error = pthread_mutex_consistent(mutex);
    if (error != 0)
        abort();
}

/* Puts a key with its first state where none is; false when it is to be tried again. */
static bool put(struct ml_limiter_region *r, struct bucket *b, struct image new, uint64_t now_ns)
{
    pthread_mutex_t *mutex = &r->locks[(size_t)(b - r->buckets) % LOCKS];
    struct image old;
    bool done = false;

    lock(mutex);
    if (find(b, new.hash) == NULL) {
        struct slot *slot = least_worth(b, now_ns, &old);

        done = slot != NULL && swap(slot, old, new);
    }
    if (pthread_mutex_unlock(mutex) != 0)
        abort();
    return done;
}

static uint64_t since_base(const struct ml_limiter_region *r, uint64_t now_ns)
{
    return now_ns > r->base_ns ? now_ns - r->base_ns : 0;
}

/* One attempt: false when somebody else was faster. */
static bool try_take(struct ml_limiter_region *r, const struct ml_limiter *l, uint64_t hash,
                     struct ml_limiter_step s, struct ml_limiter_result *result)
{
    struct bucket *b = bucket_of(r, hash);
    struct slot *slot = find(b, hash);
    struct image old = {hash, 0};

    if (slot != NULL && (!slot_read(slot, &old) || old.hash != hash))
        return false;
    s.state = old.state;
    ml_limiter_decide(l, &s, result);
    if (!result->allowed || s.cost == 0)
        return true;
    if (slot != NULL)
        return swap(slot, old, (struct image){hash, s.state});
    return put(r, b, (struct image){hash, s.state}, s.now_ns);
}

enum ml_err ml_limiter_take(struct ml_limiter_region *r, const struct ml_limiter *l,
                            struct ml_str key, uint64_t cost, uint64_t now_ns,
                            struct ml_limiter_result *result)
{
    uint64_t hash = key_hash(r, l, key), most = l->kind == ML_LIMITER_GCRA ? l->burst : l->limit;
    struct ml_limiter_step s = {.cost = cost <= most ? cost : most + 1,
                                .now_ns = since_base(r, now_ns)};

    for (int i = 0; i < TRIES; i++)
        if (try_take(r, l, hash, s, result))
            return ML_OK;
    return ML_AGAIN;
}

/* ---- leases ---- */

/* Takes cost units out of the window they were counted in; false when they have expired. */
static bool pair_give(struct ml_limiter_pair *p, uint64_t lease, uint64_t cost)
{
    uint64_t *count = lease == p->window ? &p->now : lease + 1 == p->window ? &p->last : NULL;

    if (count == NULL)
        return false;
    *count -= cost < *count ? cost : *count;
    return true;
}

/* Moves what a lease holds to the present (again: it is in flight, so it counts even over the
 * limit) or drops it. */
static bool try_move(struct ml_limiter_region *r, uint64_t hash, uint64_t cost, uint64_t lease,
                     bool again, uint64_t now_ns)
{
    struct bucket *b = bucket_of(r, hash);
    struct slot *slot = find(b, hash);
    struct image old = {hash, 0}, new = {hash, 0};
    struct ml_limiter_pair p;

    if (slot == NULL && !again)
        return true;
    if (slot != NULL && (!slot_read(slot, &old) || old.hash != hash))
        return false;
    p = ml_limiter_pair_unpack(old.state, ML_LIMITER_LEASE_S);
    ml_limiter_pair_turn(&p, now_ns / (ML_LIMITER_LEASE_S * ML_LIMITER_NS));
    if (!pair_give(&p, lease, cost) && !again)
        return true;
    if (again && p.now + cost <= ML_LIMITER_SLIDING_MAX)
        p.now += cost;
    new.state = ml_limiter_pair_pack(p, ML_LIMITER_LEASE_S);
    return slot != NULL ? swap(slot, old, new) : put(r, b, new, now_ns);
}

static void move(struct ml_limiter_region *r, const struct ml_limiter *l, struct ml_str key,
                 uint64_t cost, uint64_t lease, bool again, uint64_t now_ns)
{
    uint64_t hash = key_hash(r, l, key);

    for (int i = 0; i < TRIES; i++)
        if (try_move(r, hash, cost, lease, again, now_ns))
            return;
    /* What could not be moved expires by itself. */
}

uint64_t ml_limiter_renew(struct ml_limiter_region *r, const struct ml_limiter *l,
                          struct ml_str key, uint64_t cost, uint64_t lease, uint64_t now_ns)
{
    uint64_t now = since_base(r, now_ns), window = now / (ML_LIMITER_LEASE_S * ML_LIMITER_NS);

    if (lease >= window)
        return lease;
    move(r, l, key, cost, lease, true, now);
    return window;
}

void ml_limiter_release(struct ml_limiter_region *r, const struct ml_limiter *l, struct ml_str key,
                        uint64_t cost, uint64_t lease, uint64_t now_ns)
{
    move(r, l, key, cost, lease, false, since_base(r, now_ns));
}

/* ---- setting up ---- */

static const char *setup_gcra(struct ml_limiter *l)
{
    if (l->limit > l->window_ns)
        return "limit is more than one per nanosecond";
    l->interval_ns = (l->window_ns + l->limit - 1) / l->limit;
    if (l->burst > ML_LIMITER_FIXED_MAX)
        return "burst must be at most 16777215";
    if (l->burst * (wide)l->interval_ns > UINT64_MAX / 8)
        return "burst / limit * window is too long a time";
    return NULL;
}

const char *ml_limiter_setup(struct ml_limiter *l, uint64_t limit, uint64_t burst, double window_s)
{
    if (limit == 0)
        return "limit must be at least 1";
    l->limit = limit;
    l->burst = burst > 0 ? burst : limit;
    if (l->kind == ML_LIMITER_CONCURRENCY)
        return limit <= ML_LIMITER_SLIDING_MAX ? NULL : "limit must be at most 262143";
    if (!(window_s >= 0.001 && window_s <= 366 * 86400))
        return "window must be from 0.001 to 31622400 seconds";
    l->window_ns = (uint64_t)llround(window_s * 1e9);
    if (l->kind == ML_LIMITER_GCRA)
        return setup_gcra(l);
    if (l->kind == ML_LIMITER_FIXED)
        return limit <= ML_LIMITER_FIXED_MAX ? NULL : "limit must be at most 16777215";
    if (l->window_ns % ML_LIMITER_NS != 0)
        return "window must be whole seconds";
    return limit <= ML_LIMITER_SLIDING_MAX ? NULL : "limit must be at most 262143";
}

uint64_t ml_limiter_identity(const struct ml_limiter_region *r, struct ml_str name)
{
    return ml_hash_bytes(r->seed, name);
}

static void check(int error)
{
    if (error != 0)
        abort();
}

static void locks_init(struct ml_limiter_region *r)
{
    pthread_mutexattr_t attr;

    check(pthread_mutexattr_init(&attr));
    check(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
    check(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
    for (unsigned i = 0; i < LOCKS; i++)
        check(pthread_mutex_init(&r->locks[i], &attr));
    check(pthread_mutexattr_destroy(&attr));
}

struct ml_limiter_region *ml_limiter_init(void *memory, size_t len)
{
    struct ml_limiter_region *r = memory;
    uint64_t buckets = 1;

    assert(len >= ML_LIMITER_BYTES_MIN && (uintptr_t)memory % 64 == 0);
    while (sizeof *r + 2 * buckets * sizeof(struct bucket) <= len)
        buckets *= 2;
    r->mask = buckets - 1;
    r->base_ns = ml_clock_mono_ns();
    ml_random_bytes(&r->seed, sizeof r->seed);
    locks_init(r);
    return r;
}
