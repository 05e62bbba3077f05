/* http1.h - the text of HTTP/1.1 (RFC 9112): pure, strict, no I/O.
 *
 * A head is first found whole (ml_http1_scan), which costs each byte once however it arrives, then
 * parsed in place: fields point into it.  Bodies are cut out of the byte stream by a decoder that
 * can stop after any byte. */
#ifndef ML_PROTOCOL_HTTP1_H
#define ML_PROTOCOL_HTTP1_H

#include "base/arena.h"
#include "base/err.h"
#include "protocol/headers.h"

/* ---- the head ---- */

struct ml_http1_limits {
    size_t line_max;   /* request line in bytes without CRLF; over it: ML_URI_TOO_LONG */
    size_t head_max;   /* whole head in bytes; over it: ML_HEADERS_TOO_LARGE */
    uint32_t fields_max; /* over it: ML_HEADERS_TOO_LARGE */
};

struct ml_http1_scan { /* zero-initialised at the start of a message */
    size_t seen; /* bytes looked at already */
    size_t line; /* offset of the line that seen is in */
    uint32_t lines;
};

/* Looks for the empty line that ends a head in bytes[0..len), a buffer that only grows between
 * calls.  ML_OK: *head_len is its length with the empty line.  ML_AGAIN: more bytes are needed.
 * A bare LF or CR, a NUL, a limit passed: the error, at the first byte that proves it.  Any byte
 * that can not begin a request line is an error at once. */
enum ml_err ml_http1_scan(struct ml_http1_scan *scan, const struct ml_http1_limits *limits,
                          const char *bytes, size_t len, size_t *head_len);

enum ml_framing { ML_BODY_NONE, ML_BODY_LENGTH, ML_BODY_CHUNKED, ML_BODY_CLOSE };

struct ml_http1_request {
    struct ml_str method;     /* a token, as sent */
    struct ml_str target;     /* as sent, not empty; url.h normalises it */
    int minor;                /* HTTP/1.minor, 0 or 1 */
    struct ml_headers headers;
    enum ml_framing framing;
    uint64_t length;          /* with ML_BODY_LENGTH; "Content-Length: 0" is a length of 0 */
    bool keep_alive;          /* RFC 9112 section 9.3 */
    bool expect_continue;     /* RFC 9110 section 10.1.1; never for HTTP/1.0 or without a body */
    struct ml_str upgrade;    /* value of Upgrade when Connection names it; len 0 in HTTP/1.0, when
                               * repeated, or beside a body */
};

/* Parses head[0..len), a whole head.  Checks the request line, every field, Host (present once,
 * valid), Content-Length, Transfer-Encoding and Expect.  Connection may not name Host,
 * Content-Length, Transfer-Encoding, Authorization, Cookie (ML_BAD_REQUEST).
 * Field names with '_' are dropped (they collide with '-' in CGI-like upstreams). */
enum ml_err ml_http1_parse_request(const char *head, size_t len, struct ml_arena *arena,
                                   const struct ml_http1_limits *limits,
                                   struct ml_http1_request *out);

struct ml_http1_response {
    int status;               /* 100..999 */
    int minor;
    struct ml_str reason;
    struct ml_headers headers;
    enum ml_framing framing;  /* as the request's method and the status demand */
    uint64_t length;          /* with ML_BODY_LENGTH; with ML_BODY_NONE after HEAD or 304: the value
                               * of Content-Length if has_length */
    bool has_length;
    bool keep_alive;
};

/* Parses the head of a response to a request of that method.  Any doubt: ML_UP_PROTOCOL; over a
 * limit: ML_UP_TOO_LARGE. */
enum ml_err ml_http1_parse_response(const char *head, size_t len, struct ml_str method,
                                    struct ml_arena *arena, const struct ml_http1_limits *limits,
                                    struct ml_http1_response *out);

/* ---- the chunked coding (RFC 9112 section 7.1) ---- */

struct ml_http1_chunks { /* zero-initialised before the first byte of a body */
    uint64_t left;       /* data bytes of this chunk still to come */
    uint32_t overhead;   /* bytes of extensions and trailers that data has not paid for */
    uint8_t state;
    uint8_t digits;
};

/* Takes bytes from in: *used of them are done with, and of those *data (a run inside them) is body.
 * ML_AGAIN: all given bytes are used or a run of data is returned; call again with the rest.
 * ML_OK: the body ended; *used includes its last CRLF; *data is empty.  ML_BAD_CHUNK: malformed.
 * ML_HEADERS_TOO_LARGE: chunk extensions or trailers beyond 8 KiB in total that data does not pay
 * for.  Extensions are skipped.  Trailer lines are validated (token, colon, no control bytes) and
 * appended with CRLF to trailers when it is not NULL. */
struct ml_buf;
enum ml_err ml_http1_dechunk(struct ml_http1_chunks *c, struct ml_str in, size_t *used,
                             struct ml_str *data, struct ml_buf *trailers);

/* May a field of that name be a trailer (RFC 9110 section 6.5.1)?  Dechunking keeps no others. */
bool ml_http1_may_trail(struct ml_str name);

/* ---- pieces for writers ---- */

const char *ml_http1_reason(int status); /* "Not Found"; "" when unregistered */
/* Is this a field that belongs to the connection (RFC 9110 section 7.6.1) or is named by one of the
 * Connection fields of h? */
bool ml_http1_hop_by_hop(const struct ml_headers *h, const struct ml_field *f);

#endif
