/* condition.h - what a route asks of header and query besides method, host and path. */
#ifndef ML_SCRIPT_CONDITION_H
#define ML_SCRIPT_CONDITION_H

#include "script/router.h"

/* A copy in arena, in an order that makes equal sets equal lists. */
struct ml_route_condition *ml_conditions_dup(const struct ml_route_condition *v, unsigned count,
                                             struct ml_arena *arena);
/* Are two lists of ml_conditions_dup the same? */
bool ml_conditions_equal(const struct ml_route_condition *a, const struct ml_route_condition *b,
                         unsigned count);
/* Does the request fulfil all of them?  A repeated field or argument does if one of it does. */
bool ml_conditions_hold(const struct ml_route_condition *v, unsigned count, struct ml_str query,
                        const struct ml_headers *headers, struct ml_arena *arena);

#endif
