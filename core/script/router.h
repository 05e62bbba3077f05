/* router.h - finds the route of a request: static, ":name" and "*rest" segments, method, host.
 *
 * A tree of segments with hashed children, so the cost depends on the path's depth and not on the
 * number of routes.  Static wins over ":name", ":name" over "*rest", at each segment, with
 * backtracking; among routes of one pattern the ones with more conditions are tried first.
 *
 * ":name" takes one segment that is not empty, "*rest" all that is left behind a slash, also
 * nothing. A trailing slash is significant.  Where no route of a pattern takes the method or the
 * conditions, the next pattern is tried; the same holds for hosts, the most specific first. */
#ifndef ML_SCRIPT_ROUTER_H
#define ML_SCRIPT_ROUTER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "protocol/headers.h"

struct ml_router;

enum { ML_ROUTE_PARAMS_MAX = 16 };

struct ml_route_match {
    int route; /* index given to ml_router_add; < 0: see outcome */
    enum { ML_ROUTE_FOUND, ML_ROUTE_NONE, ML_ROUTE_METHOD, ML_ROUTE_OPTIONS } outcome;
    struct ml_str pattern; /* "/api/patients/:id" */
    struct ml_str allow;   /* METHOD, OPTIONS: "GET, HEAD, OPTIONS"; in the given arena */
    unsigned param_count;
    struct ml_str names[ML_ROUTE_PARAMS_MAX];
    struct ml_str values[ML_ROUTE_PARAMS_MAX]; /* still escaped; parts of the path */
};

struct ml_route_condition { /* header or query must have this value; value.p NULL: must be present
                             */
    bool query;
    struct ml_str name, value;
};

struct ml_router *ml_router_new(void);
/* Strings of matches, but for values and allow, die with it. */
void ml_router_free(struct ml_router **r);
/* method "*" is any method.  host "" is any, "*.example.com" a suffix.  ML_OK, or ML_LIMIT /
 * ML_BAD_REQUEST with a sentence in why (bad pattern, duplicate route: *duplicate_of is its index).
 */
enum ml_err ml_router_add(struct ml_router *r, struct ml_str method, struct ml_str pattern,
                          struct ml_str host, const struct ml_route_condition *conditions,
                          unsigned condition_count, int route, int *duplicate_of,
                          struct ml_buf *why);
/* HEAD falls back to GET; OPTIONS without a route of its own gives ML_ROUTE_OPTIONS.  path is in
 * the normal form of url.h, host in lower case.  "OPTIONS *" gives ML_ROUTE_OPTIONS with the
 * methods of all routes.  Of names and values only the first param_count are set. */
void ml_router_match(const struct ml_router *r, struct ml_str method, struct ml_str host,
                     struct ml_str path, struct ml_str query, const struct ml_headers *headers,
                     struct ml_arena *arena, struct ml_route_match *out);

#endif
