/* jwk.h - keys that verify and make signatures: parsed once, each bound to its algorithms.
 *
 * What a key may be used for is decided by the key (its type, curve and size, `alg`, `use` and
 * `key_ops` of a JWK, the algorithm its owner named), never by a token: an RSA key can not be taken
 * for the secret of an HMAC. */
#ifndef ML_BASE_JWK_H
#define ML_BASE_JWK_H

#include "base/buf.h"
#include "base/jws.h"

enum { ML_JWK_MAX = 256, ML_JWK_RSA_BITS_MIN = 2048, ML_JWK_RSA_BITS_MAX = 8192 };

struct ml_jwks; /* a set of keys, in the order in which they were added */

struct ml_jwk_label {
    struct ml_str kid; /* empty: the key serves tokens of any kid */
    uint32_t algs;     /* 0: all that the key can do */
};

struct ml_jwks *ml_jwks_new(void);
void ml_jwks_free(struct ml_jwks **set);
unsigned ml_jwks_count(const struct ml_jwks *set);
/* Changes whenever the keys did; never the same for two sets. */
uint64_t ml_jwks_identity(const struct ml_jwks *set);
/* The keys of from take the place of those of set; from is freed. */
void ml_jwks_replace(struct ml_jwks *set, struct ml_jwks **from);

/* Each adds a key: NULL, or a sentence that says what is wrong with it (never the key itself), good
 * until the next call. */
const char *ml_jwks_add_secret(struct ml_jwks *set, struct ml_str secret,
                               const struct ml_jwk_label *label);
/* A private or public key or a certificate; key must be alone in the text. */
const char *ml_jwks_add_pem(struct ml_jwks *set, struct ml_str pem,
                            const struct ml_jwk_label *label);
const char *ml_jwks_add_jwk(struct ml_jwks *set, struct ml_str json,
                            const struct ml_jwk_label *label);
/* RFC 7517 section 5: keys of a kind that we do not know, or that are for something else, are left
 * out.  An error when none is left. */
const char *ml_jwks_add_set(struct ml_jwks *set, struct ml_str json,
                            const struct ml_jwk_label *label);
/* Length of the shortest secret of the set; SIZE_MAX without any. */
size_t ml_jwks_shortest_secret(const struct ml_jwks *set);

/* Asks the keys that may have made the signature. */
enum ml_jwt_code ml_jwks_verify(struct ml_jwks *set, const struct ml_jws *jws);

/* Appends the token of the claims (a JSON text), signed by the first key that can.  kid may be
 * empty; then the key's is used, if it has one.  NULL, or what is wrong. */
const char *ml_jwks_sign(struct ml_jwks *set, enum ml_jwa alg, struct ml_str kid,
                         struct ml_str claims, struct ml_buf *out);

#endif
