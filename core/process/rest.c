/* rest.c - once in each pause, at the first tick without a request. */
#include "process/rest.h"

#include "base/arena.h"
#include "base/buf.h"

#include <malloc.h>

void ml_rest_tick(struct ml_rest *r, uint64_t requests, struct ml_generation *generation)
{
    if (requests != r->seen) {
        r->seen = requests;
        r->rested = false;
        return;
    }
    if (r->rested)
        return;
    r->rested = true;
    if (generation != NULL)
        ml_generation_rest(generation);
    ml_buf_trim();
    ml_arena_trim();
    malloc_trim(0);
}
