/* conditions.h - conditional requests (RFC 9110 section 13): is the answer wanted as it is? */
#ifndef ML_PROTOCOL_CONDITIONS_H
#define ML_PROTOCOL_CONDITIONS_H

#include "protocol/headers.h"

struct ml_validators {  /* of what would be sent */
    struct ml_str etag; /* with its quotes, strong; empty: none */
    bool has_time;
    int64_t modified_s;
};

enum ml_condition { ML_CONDITION_GO, ML_CONDITION_NOT_MODIFIED, ML_CONDITION_FAILED };

/* Of a request whose answer would be 200 without them, in the order of section 13.2.2.  reading:
 * it is GET or HEAD. */
enum ml_condition ml_conditions_check(const struct ml_headers *h, bool reading, int64_t now_s,
                                      const struct ml_validators *v);

/* May a Range be heeded?  False: If-Range names another state than that of v (section 13.1.5). */
bool ml_conditions_range(const struct ml_headers *h, int64_t now_s, const struct ml_validators *v);

#endif
