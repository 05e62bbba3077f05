/* url.h - request targets (RFC 9112 section 3.2, RFC 3986), normalised once for everybody.
 *
 * Routing, policies and the upstream all see the same form, so no two of them can disagree:
 *   - escapes of unreserved characters are decoded, the other escapes get upper-case hex digits;
 *   - dot segments are removed ("%2e" counts as a dot), also after the decoding;
 *   - runs of '/' become one '/';
 *   - "%2f", "%5c", "\", "%00", other escaped control characters and invalid escapes: ML_BAD_PATH
 *     ("%2f" may be allowed per listener, it then stays an escape and never separates segments);
 *   - escapes of escaped ASCII ("%2561", "%252f"): ML_BAD_PATH, unless "%2f" is allowed;
 *   - overlong UTF-8 in escapes ("%c0%ae"): ML_BAD_PATH;
 *   - ";" stays what it is, but parameters behind nothing or behind dots (";x", "..;x") are
 *     ML_BAD_PATH: an origin that strips them would see another path;
 *   - raw bytes outside the URI grammar, a fragment: ML_BAD_TARGET.
 * The query is checked for illegal bytes and broken escapes and else left as sent; "[" and "]", which
 * browsers send raw, may be in it.  What is in normal form already is not copied. */
#ifndef ML_PROTOCOL_URL_H
#define ML_PROTOCOL_URL_H

#include "base/arena.h"
#include "base/err.h"

struct ml_target {
    enum { ML_TARGET_ORIGIN, ML_TARGET_ABSOLUTE, ML_TARGET_ASTERISK } form;
    struct ml_str scheme;    /* absolute form: "http" or "https", else empty */
    struct ml_str authority; /* absolute form: host[:port] as sent, else empty */
    struct ml_str path;      /* normalised, begins with '/'; "*" in the asterisk form */
    struct ml_str query;     /* without '?'; len 0 when none */
    bool has_query;          /* a '?' was there */
};

struct ml_url_policy {
    bool allow_encoded_slash; /* default false: "%2f" is refused */
    bool keep_slashes;        /* default false: "//" becomes "/" */
};

/* Parses and normalises the target of a request.  CONNECT is not supported (ML_NOT_IMPLEMENTED),
 * "*" only for OPTIONS. */
enum ml_err ml_url_target(struct ml_str method, struct ml_str target,
                          const struct ml_url_policy *policy, struct ml_arena *arena,
                          struct ml_target *out);

struct ml_authority {
    struct ml_str host; /* lower case, without brackets' removal: "[::1]" keeps them */
    int port;           /* 0 when not given */
};
/* A Host field or the authority of a target: reg-name, IPv4 or [IPv6], optional port. */
enum ml_err ml_url_authority(struct ml_str text, struct ml_arena *arena, struct ml_authority *out);
/* Would ml_url_authority take it? */
bool ml_url_authority_ok(struct ml_str text);

/* Decodes %XX (and '+' as a space when form is true).  Invalid escapes are kept as they are. */
struct ml_str ml_url_decode(struct ml_str text, bool form, struct ml_arena *arena);
/* Escapes everything but unreserved characters. */
struct ml_str ml_url_encode(struct ml_str text, struct ml_arena *arena);

/* Normalises a path that a script sets; the same rules as for a request.  *out is a copy. */
enum ml_err ml_url_path(struct ml_str path, const struct ml_url_policy *policy,
                        struct ml_arena *arena, struct ml_str *out);

#endif
