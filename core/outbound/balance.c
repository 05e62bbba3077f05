/* balance.c - the four ways to choose a server. */
#include "outbound/balance.h"

#include <math.h>

unsigned ml_balance_round_robin(struct ml_candidate *c, unsigned count)
{
    unsigned best = count;
    int64_t total = 0;

    for (unsigned i = 0; i < count; i++) {
        if (!c[i].usable)
            continue;
        c[i].credit += c[i].weight;
        total += c[i].weight;
        if (best == count || c[i].credit > c[best].credit)
            best = i;
    }
    if (best < count)
        c[best].credit -= total;
    return best;
}

/* Is a's load per weight below b's?  Compared crosswise: no division. */
static bool less_loaded(const struct ml_candidate *a, const struct ml_candidate *b)
{
    return (uint64_t)a->in_flight * b->weight < (uint64_t)b->in_flight * a->weight;
}

unsigned ml_balance_least_conn(struct ml_candidate *c, unsigned count)
{
    unsigned least = count, best = count;
    int64_t total = 0;

    for (unsigned i = 0; i < count; i++)
        if (c[i].usable && (least == count || less_loaded(&c[i], &c[least])))
            least = i;
    for (unsigned i = least; i < count; i++) { /* round robin among the equals of the least */
        if (!c[i].usable || less_loaded(&c[least], &c[i]))
            continue;
        c[i].credit += c[i].weight;
        total += c[i].weight;
        if (best == count || c[i].credit > c[best].credit)
            best = i;
    }
    if (best < count)
        c[best].credit -= total;
    return best;
}

/* The finalizer of MurmurHash3: every input bit changes every output bit with probability 1/2. */
static uint64_t mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ (h >> 33);
}

uint64_t ml_balance_hash_of(struct ml_str bytes)
{
    uint64_t h = 0xcbf29ce484222325ULL; /* FNV-1a */

    for (size_t i = 0; i < bytes.len; i++)
        h = (h ^ (unsigned char)bytes.p[i]) * 0x100000001b3ULL;
    return mix(h);
}

unsigned ml_balance_hash(const struct ml_candidate *c, unsigned count, uint64_t key)
{
    unsigned best = count;
    double best_score = 0;

    for (unsigned i = 0; i < count; i++) {
        double u, score;

        if (!c[i].usable)
            continue;
        u = ((double)(mix(key ^ c[i].hash) >> 11) + 0.5) / 9007199254740992.0; /* in (0, 1) */
        score = -(double)c[i].weight / log(u);
        if (best == count || score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

/* The n-th usable candidate. */
static unsigned nth_usable(const struct ml_candidate *c, unsigned count, unsigned n)
{
    for (unsigned i = 0; i < count; i++)
        if (c[i].usable && n-- == 0)
            return i;
    return count;
}

unsigned ml_balance_p2c(const struct ml_candidate *c, unsigned count, uint64_t random)
{
    unsigned usable = 0, first, second;

    for (unsigned i = 0; i < count; i++)
        usable += c[i].usable;
    if (usable < 2)
        return nth_usable(c, count, 0);
    first = (unsigned)((random & 0xffffffff) % usable);
    second = (unsigned)((random >> 32) % (usable - 1));
    second += second >= first; /* two different ones */
    first = nth_usable(c, count, first);
    second = nth_usable(c, count, second);
    return less_loaded(&c[second], &c[first]) ? second : first;
}
