/* ranges.h - which bytes of a representation a client asks for (RFC 9110 section 14). */
#ifndef ML_PROTOCOL_RANGES_H
#define ML_PROTOCOL_RANGES_H

#include "base/str.h"

#include <stdint.h>

enum {
    ML_RANGES_MAX = 16,     /* a request for more gets the whole */
    ML_RANGES_LIST_MAX = 64 /* of which some may be outside of it */
};

struct ml_range {
    uint64_t first, len;
};

enum ml_ranges {
    ML_RANGES_WHOLE,        /* the field does not count: everything is sent */
    ML_RANGES_SOME,         /* count of them, in the order they were asked for */
    ML_RANGES_UNSATISFIABLE /* malformed, or none of them is inside: 416 */
};

/* value: of a Range field; size: of the whole, in bytes.  Ranges that overlap or touch become one,
 * so all together are never longer than the whole. */
enum ml_ranges ml_ranges_parse(struct ml_str value, uint64_t size,
                               struct ml_range out[ML_RANGES_MAX], unsigned *count);

#endif
