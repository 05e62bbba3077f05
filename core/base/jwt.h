/* jwt.h - is this token good, for these keys and rules, now?  (RFC 7519, RFC 8725)
 *
 * The signature is checked before any claim is read, the time before anything else of the claims.
 */
#ifndef ML_BASE_JWT_H
#define ML_BASE_JWT_H

#include "base/jwk.h"

struct ml_jwt_list {
    const struct ml_str *v;
    unsigned count;
};

enum { ML_JWT_REQUIRED_MAX = 32 };

struct ml_jwt_rules {
    uint32_t algs;                   /* never empty */
    struct ml_jwt_list issuers;      /* one of them must be iss; empty: any */
    struct ml_jwt_list audiences;    /* one of them must be in aud; empty: any */
    struct ml_str subject;           /* must be sub; empty: any */
    struct ml_jwt_list required;     /* names of claims that must be there, and not be null */
    struct ml_jwt_list reject_types; /* no typ, type, token_type, token_use may be one of them */
    double leeway_s;
};

struct ml_jwt_times {   /* the token is good from <= now < until; both with leeway */
    double from, until; /* seconds since 1970; -INFINITY and INFINITY without such claims */
};

/* The claims are jws->payload, a JSON object with each name once, when the result is ML_JWT_OK. */
enum ml_jwt_code ml_jwt_verify(struct ml_jwks *keys, const struct ml_jwt_rules *rules,
                               struct ml_str token, double now_s, struct ml_jws *jws,
                               struct ml_jwt_times *times);

#endif
