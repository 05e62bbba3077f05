/* pack.h - numbers and strings as bytes and back, between processes of the same program.
 *
 * The reader believes nothing: past the end, or at a length that is too large, it turns bad and
 * gives zeros from then on, so that a caller checks once, at the end. */
#ifndef ML_PROCESS_PACK_H
#define ML_PROCESS_PACK_H

#include "base/buf.h"

#include <stdint.h>

void ml_pack_u64(struct ml_buf *out, uint64_t n);
void ml_pack_double(struct ml_buf *out, double n);
void ml_pack_str(struct ml_buf *out, struct ml_str s);

struct ml_unpack {
    struct ml_str left;
    bool bad;
};
uint64_t ml_unpack_u64(struct ml_unpack *in);
double ml_unpack_double(struct ml_unpack *in);
struct ml_str ml_unpack_str(struct ml_unpack *in); /* points into the input */
/* Everything was read, and nothing of it was bad. */
bool ml_unpack_done(const struct ml_unpack *in);

#endif
