/* cidr_set.c - many networks as one sorted array.
 *
 * Two networks are disjoint, or one holds the other.  Those that are held by another one are
 * dropped, so the rest is disjoint, and only the last one that does not begin behind an address can
 * hold it: a binary search finds it. */
#include "inbound/address.h"

#include <stdlib.h>

/* Bits behind the prefix do not count: 10.1.2.3/8 is 10.0.0.0/8. */
static void cut(struct ml_cidr *n)
{
    for (unsigned i = 0; i < sizeof n->bytes; i++) {
        unsigned kept = n->bits > i * 8 ? n->bits - i * 8 : 0;

        if (kept < 8)
            n->bytes[i] &= (uint8_t)(0xff00u >> kept);
    }
}

/* By the first address; the larger network first. */
static int by_begin(const void *a, const void *b)
{
    const struct ml_cidr *x = a, *y = b;
    int order = memcmp(x->bytes, y->bytes, sizeof x->bytes);

    if (order != 0)
        return order;
    return (x->bits > y->bits) - (x->bits < y->bits);
}

unsigned ml_cidr_set_make(struct ml_cidr *list, unsigned count)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < count; i++)
        cut(&list[i]);
    if (count > 0)
        qsort(list, count, sizeof *list, by_begin);
    for (unsigned i = 0; i < count; i++) {
        struct ml_address first;

        memcpy(first.bytes, list[i].bytes, sizeof first.bytes);
        if (kept == 0 || !ml_address_within(&list[kept - 1], 1, &first))
            list[kept++] = list[i];
    }
    return kept;
}

bool ml_cidr_set_has(const struct ml_cidr *set, unsigned count, const struct ml_address *a)
{
    unsigned low = 0, high = count; /* all below low begin at a or before it, none from high on */

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (memcmp(set[middle].bytes, a->bytes, sizeof a->bytes) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && ml_address_within(&set[low - 1], 1, a);
}
