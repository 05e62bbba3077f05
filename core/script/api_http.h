/* api_http.h - the parts of core.http_request: what is asked for, and what comes of it.
 *
 *   api_http.c         the life of a call
 *   api_http_spec.c    options of the script -> struct ml_http_spec
 *   api_http_result.c  exchange -> Lua table */
#ifndef ML_SCRIPT_API_HTTP_H
#define ML_SCRIPT_API_HTTP_H

#include "script/api.h"

struct ml_http_spec {        /* zero-initialised; strings live in memory */
    struct ml_arena *memory; /* owned */
    struct ml_str method;
    struct ml_str origin; /* "http[s]://host[:port]", lower case: names the servers' pool */
    struct ml_client_tls *tls, *tls_elsewhere; /* held; NULL: the defaults.  For other origins, */
                                               /* which get no certificate of ours */
    struct ml_str path, query;
    bool has_query;
    struct ml_str host; /* Host, when it is not the origin's */
    struct ml_headers headers;
    bool has_body;
    struct ml_str body;
    double timeout_s, connect_timeout_s;
    size_t body_max; /* of the answer */
    unsigned redirects;
    bool keepalive;
};

/* Reads the options at index 1 and raises what is wrong with them.  A URL is data: when that is
 * unusable, the code for the script (nil, code, message), else NULL. */
const char *ml_http_spec_read(lua_State *L, struct ml_bridge *b, struct ml_http_spec *spec);
/* Makes spec ask for what a redirect of that status points to; results as above.  Raises nothing.
 */
const char *ml_http_spec_redirect(struct ml_http_spec *spec, int status, struct ml_str location);

struct ml_http_result_class { /* registry indexes */
    int response, headers;
};
void ml_http_result_open(lua_State *L, struct ml_bridge *b, struct ml_http_result_class *class);
/* Pushes the table of a response whose body is complete. */
void ml_http_result_push(lua_State *L, const struct ml_http_result_class *class,
                         const struct ml_response *res, struct ml_str body);

#endif
