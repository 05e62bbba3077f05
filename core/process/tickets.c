/* tickets.c - a ring of keys with one writer.
 *
 * A reader that comes while its slot is written sees an odd or another sequence number, and takes
 * the ticket for one of a forgotten key: a full handshake, no harm. */
#include "process/tickets.h"

#include "transport/tls.h"

#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { SLOTS = 4, KEPT = 3 }; /* the fourth is the one that is written next */

struct slot {
    _Atomic uint32_t sequence; /* odd: it is being written */
    unsigned char key[ML_TLS_TICKET_KEY];
};

static struct ring {
    _Atomic uint32_t current; /* counts up; the slot is this modulo SLOTS */
    struct slot slots[SLOTS];
} * ring;

static bool copy_slot(struct slot *slot, unsigned char out[ML_TLS_TICKET_KEY])
{
    uint32_t before = atomic_load(&slot->sequence);

    memcpy(out, slot->key, ML_TLS_TICKET_KEY);
    atomic_thread_fence(memory_order_acquire);
    return before > 0 && before % 2 == 0 && atomic_load(&slot->sequence) == before;
}

static bool find(void *ctx, const unsigned char *name, unsigned char out[ML_TLS_TICKET_KEY],
                 bool *fresh)
{
    uint32_t current = atomic_load(&ring->current);

    (void)ctx;
    for (uint32_t age = 0; age < KEPT && age <= current; age++) {
        bool whole = copy_slot(&ring->slots[(current - age) % SLOTS], out);

        *fresh = age == 0;
        if (whole && (name == NULL || memcmp(name, out, 16) == 0))
            return true;
    }
    return false;
}

static void write_slot(struct slot *slot)
{
    unsigned char key[ML_TLS_TICKET_KEY];

    if (RAND_bytes(key, sizeof key) != 1)
        abort();
    atomic_fetch_add(&slot->sequence, 1);
    memcpy(slot->key, key, sizeof key);
    atomic_fetch_add(&slot->sequence, 1);
    explicit_bzero(key, sizeof key);
}

void ml_tickets_rotate(void)
{
    uint32_t next = atomic_load(&ring->current) + 1;

    write_slot(&ring->slots[next % SLOTS]);
    atomic_store(&ring->current, next);
}

void ml_tickets_open(void)
{
    static const struct ml_tls_ticket_keys keys = {find, NULL};

    ring = mmap(NULL, sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ring == MAP_FAILED)
        abort();
    (void)madvise(ring, sizeof *ring, MADV_DONTDUMP); /* not in a core file */
    write_slot(&ring->slots[0]);
    ml_tls_set_ticket_keys(&keys);
}

void ml_tickets_close(void)
{
    ml_tls_set_ticket_keys(NULL);
    explicit_bzero(ring, sizeof *ring);
    munmap(ring, sizeof *ring);
    ring = NULL;
}
