/* jws.h - a signed token in compact form (RFC 7515), taken apart before any key is asked.
 *
 *   BASE64URL(header) . BASE64URL(payload) . BASE64URL(signature)
 *
 * Nothing of it is trusted: a header names an algorithm and a key, it never brings one (jwk, jku,
 * x5c, x5u are not read). */
#ifndef ML_BASE_JWS_H
#define ML_BASE_JWS_H

#include "base/jwt_code.h"
#include "base/str.h"

#include <stdint.h>

enum ml_jwa { /* RFC 7518 section 3.1 and RFC 8037; there is no "none" */
              ML_JWA_HS256,
              ML_JWA_HS384,
              ML_JWA_HS512,
              ML_JWA_RS256,
              ML_JWA_RS384,
              ML_JWA_RS512,
              ML_JWA_PS256,
              ML_JWA_PS384,
              ML_JWA_PS512,
              ML_JWA_ES256,
              ML_JWA_ES384,
              ML_JWA_ES512,
              ML_JWA_EDDSA,
              ML_JWA_COUNT, /* no algorithm that we know */
};

/* Sets of algorithms: bit 1 << alg. */
#define ML_JWA_BIT(alg) (1u << (alg))
enum {
    ML_JWA_HS = 7 << ML_JWA_HS256,
    ML_JWA_RS = 7 << ML_JWA_RS256,
    ML_JWA_PS = 7 << ML_JWA_PS256,
    ML_JWA_ES = 7 << ML_JWA_ES256,
};

enum ml_jwa ml_jwa_of(struct ml_str name); /* names are case-sensitive */
const char *ml_jwa_name(enum ml_jwa alg);
/* 256, 384 or 512; 0 for EdDSA */
unsigned ml_jwa_bits(enum ml_jwa alg);

enum { ML_JWS_TOKEN_MAX = 16384, ML_JWS_HEADER_MAX = 4096, ML_JWS_KID_MAX = 256 };

struct ml_jws {
    enum ml_jwa alg;
    bool has_kid;
    struct ml_str kid, typ;      /* without escapes; typ is empty when absent */
    struct ml_str signing_input; /* of the token */
    struct ml_str payload, signature;
    char bytes[ML_JWS_TOKEN_MAX]; /* what these point to */
};

/* Fills jws, which need not be zeroed; token must stay. */
enum ml_jwt_code ml_jws_read(struct ml_str token, struct ml_jws *jws);

#endif
