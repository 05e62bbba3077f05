/* hash.h - SipHash-1-3: a keyed hash, so that clients cannot aim their keys at one bucket. */
#ifndef ML_BASE_HASH_H
#define ML_BASE_HASH_H

#include "base/str.h"

#include <stdint.h>

struct ml_hash_seed { /* random; the same for all who must agree */
    uint64_t word[2];
};

uint64_t ml_hash_bytes(struct ml_hash_seed seed, struct ml_str s);

#endif
