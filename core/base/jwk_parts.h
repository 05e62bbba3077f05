/* jwk_parts.h - what the jwk*.c files share.
 *
 *   jwk.c         the set, and who may verify what      jwk_read.c   JWK texts -> keys
 *   jwk_verify.c  one key and one signature             jwk_sign.c   tokens */
#ifndef ML_BASE_JWK_PARTS_H
#define ML_BASE_JWK_PARTS_H

#include "base/jwk.h"

#include <openssl/evp.h>

struct ml_jwk {
    char *kid; /* owned; NULL: any */
    size_t kid_len;
    uint32_t algs; /* what it may verify or sign */
    bool may_verify, may_sign;
    EVP_PKEY *pkey; /* NULL: a secret */
    char *secret;
    size_t secret_len;
    EVP_MAC_CTX *mac[3]; /* of the secret, by hash; made when first used */
};

struct ml_jwks {
    struct ml_jwk *v;
    unsigned count, cap;
    uint64_t identity;
};

void ml_jwk_clear(struct ml_jwk *key);
/* Takes key into the set and clears it otherwise. */
const char *ml_jwks_take(struct ml_jwks *set, struct ml_jwk *key, const struct ml_jwk_label *label);
/* All algorithms of a key pair's type, curve and size; 0 and a sentence when there is none. */
uint32_t ml_jwk_algs_of(EVP_PKEY *pkey, const char **why);
const EVP_MD *ml_jwk_digest(enum ml_jwa alg);

/* jwk_verify.c */
bool ml_jwk_verify(struct ml_jwk *key, const struct ml_jws *jws);
/* The HMAC of text: its length. */
size_t ml_jwk_mac(struct ml_jwk *key, enum ml_jwa alg, struct ml_str text,
                  unsigned char out[EVP_MAX_MD_SIZE]);

#endif
