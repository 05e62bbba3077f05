/* rings.c - slots with a sequence number, as seqlocks have it.
 *
 *   slot n % count:   2n + 1 while record n is being written, 2n + 2 when it is whole
 *
 * next is raised after the slot is whole, so the successor of a writer that was killed in between
 * writes the same slot again.  A reader looks at the number before and after it copied. */
#include "base/rings.h"

#include <assert.h>
#include <stdatomic.h>

enum { RECENT_SLOTS = 2048, TRACED_SLOTS = 128, REFUSAL_SLOTS = 384, ERROR_SLOTS = 256 };

struct slot {
    _Atomic uint64_t number;
    _Atomic uint32_t len;
    uint32_t unused;
    char bytes[];
};

_Static_assert(sizeof(struct slot) == 16, "a slot is 512 or 4096 bytes");

struct ml_rings { /* then the slots of worker 0, ring by ring; those of worker 1 ... */
    _Alignas(64) unsigned workers;
    struct {
        _Alignas(64) _Atomic uint64_t next;
    } heads[][ML_RING_COUNT];
};

unsigned ml_rings_slots(enum ml_ring ring)
{
    static const unsigned slots[ML_RING_COUNT] = {RECENT_SLOTS, TRACED_SLOTS, REFUSAL_SLOTS,
                                                  ERROR_SLOTS};

    return slots[ring];
}

size_t ml_rings_record_max(enum ml_ring ring)
{
    return ring == ML_RING_RECENT ? ML_RING_SHORT_MAX : ML_RING_LONG_MAX;
}

static size_t ring_bytes(enum ml_ring ring)
{
    return ml_rings_slots(ring) * (sizeof(struct slot) + ml_rings_record_max(ring));
}

/* Where the ring-th ring of a worker begins behind that of the worker's first one. */
static size_t ring_at(enum ml_ring ring)
{
    size_t at = 0;

    for (unsigned i = 0; i < ring; i++)
        at += ring_bytes((enum ml_ring)i);
    return at;
}

static size_t heads_bytes(unsigned workers)
{
    size_t len = sizeof(struct ml_rings) + workers * sizeof(((struct ml_rings *)0)->heads[0]);

    return (len + 4095) & ~(size_t)4095;
}

size_t ml_rings_bytes(unsigned workers)
{
    return heads_bytes(workers) + workers * ring_at(ML_RING_COUNT);
}

struct ml_rings *ml_rings_init(void *memory, unsigned workers)
{
    struct ml_rings *r = memory;

    r->workers = workers;
    return r;
}

unsigned ml_rings_workers(const struct ml_rings *r)
{
    return r->workers;
}

static struct slot *slot_of(const struct ml_rings *r, unsigned worker, enum ml_ring ring,
                            uint64_t number)
{
    size_t at = heads_bytes(r->workers) + worker * ring_at(ML_RING_COUNT) + ring_at(ring);
    size_t len = sizeof(struct slot) + ml_rings_record_max(ring);

    return (struct slot *)((char *)r + at + (number % ml_rings_slots(ring)) * len);
}

char *ml_rings_begin(struct ml_rings *r, unsigned worker, enum ml_ring ring)
{
    uint64_t next;
    struct slot *s;

    if (worker >= r->workers)
        return NULL;
    next = atomic_load_explicit(&r->heads[worker][ring].next, memory_order_relaxed);
    s = slot_of(r, worker, ring, next);
    atomic_store_explicit(&s->number, 2 * next + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    return s->bytes;
}

void ml_rings_end(struct ml_rings *r, unsigned worker, enum ml_ring ring, size_t len)
{
    uint64_t next = atomic_load_explicit(&r->heads[worker][ring].next, memory_order_relaxed);
    struct slot *s = slot_of(r, worker, ring, next);

    assert(len <= ml_rings_record_max(ring));
    atomic_store_explicit(&s->len, (uint32_t)len, memory_order_relaxed);
    atomic_store_explicit(&s->number, 2 * next + 2, memory_order_release);
    atomic_store_explicit(&r->heads[worker][ring].next, next + 1, memory_order_release);
}

size_t ml_rings_read(const struct ml_rings *r, unsigned worker, enum ml_ring ring, unsigned back,
                     char *out)
{
    uint64_t next, number;
    const struct slot *s;
    size_t len;

    if (worker >= r->workers || back >= ml_rings_slots(ring))
        return 0;
    next = atomic_load_explicit(&r->heads[worker][ring].next, memory_order_acquire);
    if (back >= next)
        return 0;
    number = next - 1 - back;
    s = slot_of(r, worker, ring, number);
    if (atomic_load_explicit(&s->number, memory_order_acquire) != 2 * number + 2)
        return 0;
    len = atomic_load_explicit(&s->len, memory_order_relaxed);
    if (len > ml_rings_record_max(ring))
        return 0;
    memcpy(out, s->bytes, len);
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&s->number, memory_order_relaxed) == 2 * number + 2 ? len : 0;
}
