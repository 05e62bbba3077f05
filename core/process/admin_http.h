/* admin_http.h - requests to the admin API as HTTP, and who may make them.
 *
 * Over TCP a client must know the token.  Browsers are kept out on both ways: a page that a person
 * with access looks at must not be able to use it.  So a Host that is no address (the trick of DNS
 * rebinding) is refused, and so is everything that says it comes from a page.  There is no CORS. */
#ifndef ML_PROCESS_ADMIN_HTTP_H
#define ML_PROCESS_ADMIN_HTTP_H

#include "base/arena.h"
#include "base/buf.h"

enum { ML_ADMIN_REQUEST_MAX = 16384 };
#define ML_ADMIN_JSON "application/json"

struct ml_admin_request {
    struct ml_str verb;  /* "why" */
    struct ml_str query; /* "id=1f&last=3", as sent */
    bool read, change;   /* GET, POST; a line is both */
    const char *refusal; /* JSON, when it was not accepted */
};

struct ml_admin_guard {
    bool tcp;
    struct ml_str token;
};

/* Does it begin like a request of HTTP?  Lines of the control protocol do not. */
bool ml_admin_is_http(struct ml_str bytes);
/* 0: more bytes are needed.  200: request is complete, its strings live in arena.  Others: the
 * status that refuses it. */
int ml_admin_http_read(struct ml_str bytes, const struct ml_admin_guard *guard,
                       struct ml_arena *arena, struct ml_admin_request *request);
void ml_admin_http_head(struct ml_buf *out, int status, const char *type, size_t len);

/* The index-th value of a parameter, decoded; false: there is none. */
bool ml_admin_param(struct ml_str query, const char *name, unsigned index, struct ml_arena *arena,
                    struct ml_str *value);

#endif
