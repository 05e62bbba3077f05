/* http1_fields.h - the field lines of a head, and what they say of framing and connection.
 *
 * Shared by the parsers of requests and responses; outcomes are those of a request. */
#ifndef ML_PROTOCOL_HTTP1_FIELDS_H
#define ML_PROTOCOL_HTTP1_FIELDS_H

#include "protocol/http1.h"

struct ml_http1_fields { /* zero-initialised before parsing */
    struct ml_headers headers;
    uint32_t present, twice; /* bit 1 << id: the field is there, is there more than once */
    bool close, keep_alive, upgrade; /* options of Connection */
    bool names_protected; /* Connection names a field that no peer may have removed */
};

static inline bool ml_http1_fields_have(const struct ml_http1_fields *f, enum ml_header_id id)
{
    return (f->present & (1u << id)) != 0;
}

/* Parses [p, end): field lines, then the empty line, and nothing behind it.  With no_underscore,
 * fields whose name has a '_' are checked and left out. */
enum ml_err ml_http1_fields_parse(struct ml_http1_fields *f, const char *p, const char *end,
                                  bool no_underscore, uint32_t fields_max,
                                  struct ml_arena *arena);

/* The body as Transfer-Encoding and Content-Length say: CHUNKED, LENGTH, or NONE without both. */
enum ml_err ml_http1_fields_framing(const struct ml_http1_fields *f, int minor,
                                    enum ml_framing *framing, uint64_t *length);

/* Does the connection persist after this message, RFC 9112 section 9.3? */
bool ml_http1_fields_persist(const struct ml_http1_fields *f, int minor);

/* Parses "HTTP/1.x" in [p, p + 8): *minor is 0 or 1.  ML_VERSION: another HTTP/x.y. */
enum ml_err ml_http1_fields_version(const char *p, int *minor);

#endif
