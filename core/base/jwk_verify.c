/* jwk_verify.c - one key, one signature (RFC 7518 section 3, RFC 8037 section 3.1).
 *
 * libjwt is not used for this: it parses the key for each token, takes a public key for an HMAC
 * secret, and knows neither PS* nor EdDSA. */
#include "base/jwk_parts.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <openssl/rsa.h>
#include <stdlib.h>

const EVP_MD *ml_jwk_digest(enum ml_jwa alg)
{
    switch (ml_jwa_bits(alg)) {
    case 256:
        return EVP_sha256();
    case 384:
        return EVP_sha384();
    case 512:
        return EVP_sha512();
    default:
        return NULL; /* Ed25519 hashes by itself */
    }
}

/* ---- HMAC ---- */

static EVP_MAC_CTX *mac_new(const struct ml_jwk *key, enum ml_jwa alg)
{
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                         (char *)EVP_MD_get0_name(ml_jwk_digest(alg)), 0),
        OSSL_PARAM_construct_end()};

    if (ctx == NULL ||
        EVP_MAC_init(ctx, (const unsigned char *)key->secret, key->secret_len, params) != 1)
        abort(); /* no memory, or an OpenSSL without SHA-2 */
    EVP_MAC_free(mac);
    return ctx;
}

size_t ml_jwk_mac(struct ml_jwk *key, enum ml_jwa alg, struct ml_str text,
                  unsigned char out[EVP_MAX_MD_SIZE])
{
    EVP_MAC_CTX **ctx = &key->mac[alg - ML_JWA_HS256];
    size_t len = 0;

    if (*ctx == NULL)
        *ctx = mac_new(key, alg);
    if (EVP_MAC_init(*ctx, NULL, 0, NULL) != 1 || /* with the key that it has */
        EVP_MAC_update(*ctx, (const unsigned char *)text.p, text.len) != 1 ||
        EVP_MAC_final(*ctx, out, &len, EVP_MAX_MD_SIZE) != 1)
        abort();
    return len;
}

static bool verify_mac(struct ml_jwk *key, const struct ml_jws *jws)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    size_t len = ml_jwk_mac(key, jws->alg, jws->signing_input, mac);

    return jws->signature.len == len && CRYPTO_memcmp(mac, jws->signature.p, len) == 0;
}

/* ---- key pairs ---- */

enum { DER_CAP = 160 }; /* of an ECDSA signature: 2 * 66 bytes and the frame */

/* r || s, each as long as the curve's order, in the form that OpenSSL wants: its length, or 0. */
static size_t ecdsa_der(const struct ml_jws *jws, unsigned char der[DER_CAP])
{
    static const size_t part_len[] = {32, 48, 66};
    size_t half = part_len[jws->alg - ML_JWA_ES256];
    const unsigned char *p = (const unsigned char *)jws->signature.p;
    ECDSA_SIG *sig;
    BIGNUM *r, *s;
    int len;

    if (jws->signature.len != 2 * half)
        return 0;
    sig = ECDSA_SIG_new();
    r = BN_bin2bn(p, (int)half, NULL);
    s = BN_bin2bn(p + half, (int)half, NULL);
    if (sig == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1)
        abort();
    len = i2d_ECDSA_SIG(sig, &der);
    ECDSA_SIG_free(sig);
    return len > 0 ? (size_t)len : 0;
}

static bool set_padding(EVP_PKEY_CTX *ctx, enum ml_jwa alg)
{
    if (alg >= ML_JWA_RS256 && alg <= ML_JWA_RS512)
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    if (alg < ML_JWA_PS256 || alg > ML_JWA_PS512)
        return true;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool verify_pair(struct ml_jwk *key, const struct ml_jws *jws)
{
    const unsigned char *sig = (const unsigned char *)jws->signature.p;
    size_t len = jws->signature.len;
    unsigned char der[DER_CAP];
    EVP_MD_CTX *ctx;
    EVP_PKEY_CTX *pctx = NULL; /* owned by ctx */
    bool good;

    if ((ML_JWA_BIT(jws->alg) & ML_JWA_ES) != 0) {
        len = ecdsa_der(jws, der);
        sig = der;
    }
    if (len == 0)
        return false;
    ctx = EVP_MD_CTX_new();
    if (ctx == NULL)
        abort();
    good = EVP_DigestVerifyInit(ctx, &pctx, ml_jwk_digest(jws->alg), NULL, key->pkey) == 1 &&
           set_padding(pctx, jws->alg) &&
           EVP_DigestVerify(ctx, sig, len, (const unsigned char *)jws->signing_input.p,
                            jws->signing_input.len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

bool ml_jwk_verify(struct ml_jwk *key, const struct ml_jws *jws)
{
    return key->pkey == NULL ? verify_mac(key, jws) : verify_pair(key, jws);
}
