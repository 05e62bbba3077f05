/* headers.h - the fields of a header section: ordered, any case, repeated lines kept apart.
 *
 * Names and values point into memory that lives as long as the arena of the exchange.  Names that
 * the core itself decides on have an id, so hot paths compare numbers. */
#ifndef ML_PROTOCOL_HEADERS_H
#define ML_PROTOCOL_HEADERS_H

#include "base/arena.h"

#include <stdint.h>

/* X(ID, "lower-case name") */
#define ML_HEADER_TABLE(X)                                                                         \
    X(HOST, "host")                                                                                \
    X(CONNECTION, "connection")                                                                    \
    X(CONTENT_LENGTH, "content-length")                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                      \
    X(KEEP_ALIVE, "keep-alive")                                                                    \
    X(PROXY_CONNECTION, "proxy-connection")                                                        \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                  \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                    \
    X(PROXY, "proxy")                                                                              \
    X(TE, "te")                                                                                    \
    X(TRAILER, "trailer")                                                                          \
    X(UPGRADE, "upgrade")                                                                          \
    X(HTTP2_SETTINGS, "http2-settings")                                                            \
    X(EXPECT, "expect")                                                                            \
    X(AUTHORIZATION, "authorization")                                                              \
    X(COOKIE, "cookie")                                                                            \
    X(SET_COOKIE, "set-cookie")                                                                    \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                          \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                      \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                        \
    X(X_FORWARDED_PORT, "x-forwarded-port")                                                        \
    X(X_REAL_IP, "x-real-ip")                                                                      \
    X(FORWARDED, "forwarded")                                                                      \
    X(VIA, "via")                                                                                  \
    X(DATE, "date")                                                                                \
    X(SERVER, "server")                                                                            \
    X(CONTENT_TYPE, "content-type")                                                                \
    X(X_REQUEST_ID, "x-request-id")                                                                \
    X(MAX_FORWARDS, "max-forwards")

enum ml_header_id {
    ML_H_OTHER,
#define X(id, name) ML_H_##id,
    ML_HEADER_TABLE(X)
#undef X
        ML_H_COUNT
};

struct ml_field {
    struct ml_str name, value; /* value without outer white space */
    enum ml_header_id id;
};

struct ml_headers { /* zero-initialised is empty */
    struct ml_field *v;
    uint32_t count, cap;
    /* The keys of all names that were ever added, and of those that were added when their key was
     * there already: most look-ups are for fields that are absent, or there once. */
    uint64_t seen, again;
};

enum ml_header_id ml_header_id(struct ml_str name);
/* The lower-case name of a known field. */
struct ml_str ml_header_name(enum ml_header_id id);

/* One bit, the same for all writings of a name; other names may have it too. */
static inline uint64_t ml_header_key(struct ml_str name)
{
    return name.len == 0 ? 1
                         : (uint64_t)1 << ((name.len * 5 + ((unsigned char)name.p[0] | 0x20)) & 63);
}

/* The first field of that name, or NULL. */
struct ml_field *ml_headers_get(const struct ml_headers *h, enum ml_header_id id);
struct ml_field *ml_headers_find(const struct ml_headers *h, struct ml_str name);
/* The next field of the same name after f, or NULL. */
struct ml_field *ml_headers_next(const struct ml_headers *h, const struct ml_field *f);

/* Appends a field.  name and value are not copied: they must live as long as the arena. */
void ml_headers_add(struct ml_headers *h, struct ml_arena *arena, struct ml_str name,
                    struct ml_str value);
/* The same with the id, for who knows it already. */
void ml_headers_add_field(struct ml_headers *h, struct ml_arena *arena,
                          const struct ml_field *field);
/* Appends fields that are complete, with their ids.  keys: of all their names. */
void ml_headers_add_all(struct ml_headers *h, struct ml_arena *arena, const struct ml_field *fields,
                        uint32_t count, uint64_t keys);
/* Replaces the first field of that name, removes the others; appends if there was none. */
void ml_headers_set(struct ml_headers *h, struct ml_arena *arena, struct ml_str name,
                    struct ml_str value);
/* Removes all fields of that name; says how many. */
uint32_t ml_headers_remove(struct ml_headers *h, struct ml_str name);

/* Is name a token (RFC 9110 section 5.6.2), is value free of CR, LF, NUL and other controls? */
bool ml_header_name_ok(struct ml_str name);
bool ml_header_value_ok(struct ml_str value);

/* Walks the elements of a comma-separated list (RFC 9110 section 5.6.1): *rest shrinks from the
 * front; false at the end.  Empty elements are skipped, outer white space is cut. */
bool ml_list_next(struct ml_str *rest, struct ml_str *element);

#endif
