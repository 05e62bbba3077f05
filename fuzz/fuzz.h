/* fuzz.h - what the harnesses share: a check that crashes, and random numbers that depend on the
 * input only, so that a corpus is plain bytes and a crash comes again. */
#ifndef ML_FUZZ_H
#define ML_FUZZ_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);                     \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

struct fuzz_random {
    uint64_t state;
};

static inline struct fuzz_random fuzz_random_of(struct ml_str input)
{
    return (struct fuzz_random){ml_hash_bytes((struct ml_hash_seed){{1, 2}}, input)};
}

/* splitmix64 (Steele, Lea and Flood, 2014); 0 <= result < below. */
static inline size_t fuzz_below(struct fuzz_random *r, size_t below)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (size_t)((z ^ z >> 31) % below);
}

/* The length of the next piece of left bytes: often one byte, sometimes all of them. */
static inline size_t fuzz_piece(struct fuzz_random *r, size_t left)
{
    switch (fuzz_below(r, 4)) {
    case 0:
        return 1;
    case 1:
        return left;
    default:
        return 1 + fuzz_below(r, left);
    }
}

/* A copy that the address sanitizer guards at both ends; the caller frees it. */
static inline char *fuzz_copy(const void *bytes, size_t len)
{
    char *p = malloc(len > 0 ? len : 1);

    MUST(p != NULL);
    return len > 0 ? memcpy(p, bytes, len) : p;
}

#endif
