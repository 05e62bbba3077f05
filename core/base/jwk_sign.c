/* jwk_sign.c - tokens of our own: libjwt where it knows the algorithm, EVP for PS* and EdDSA. */
#include "base/base64url.h"
#include "base/json.h"
#include "base/jwk_parts.h"

#include <jwt.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>

static struct ml_jwk *signer(struct ml_jwks *set, enum ml_jwa alg, struct ml_str kid)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct ml_jwk *key = &set->v[i];

        if (key->may_sign && (key->algs & ML_JWA_BIT(alg)) != 0 &&
            (kid.len == 0 || key->kid == NULL ||
             ml_str_eq((struct ml_str){key->kid, key->kid_len}, kid)))
            return key;
    }
    return NULL;
}

/* ---- libjwt ---- */

static jwt_alg_t libjwt_alg(enum ml_jwa alg)
{
    static const jwt_alg_t algs[] = {[ML_JWA_HS256] = JWT_ALG_HS256, [ML_JWA_HS384] = JWT_ALG_HS384,
                                     [ML_JWA_HS512] = JWT_ALG_HS512, [ML_JWA_RS256] = JWT_ALG_RS256,
                                     [ML_JWA_RS384] = JWT_ALG_RS384, [ML_JWA_RS512] = JWT_ALG_RS512,
                                     [ML_JWA_ES256] = JWT_ALG_ES256, [ML_JWA_ES384] = JWT_ALG_ES384,
                                     [ML_JWA_ES512] = JWT_ALG_ES512, [ML_JWA_EDDSA] = JWT_ALG_NONE};

    return algs[alg];
}

/* libjwt wants the text of the key each time.  Owned by the BIO. */
static BIO *private_pem(EVP_PKEY *pkey, struct ml_str *text)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *p;
    long len;

    if (bio == NULL || PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1)
        abort(); /* it is a private key: no memory */
    len = BIO_get_mem_data(bio, &p);
    *text = (struct ml_str){p, (size_t)len};
    return bio;
}

static const char *encode(jwt_t *jwt, struct ml_buf *out)
{
    char *token = jwt_encode_str(jwt);

    ERR_clear_error();
    if (token == NULL)
        return "the token could not be signed";
    ml_buf_append(out, ml_str_of(token));
    free(token);
    return NULL;
}

static const char *sign_with_libjwt(struct ml_jwk *key, enum ml_jwa alg, const char *kid,
                                    const char *claims, struct ml_buf *out)
{
    struct ml_str secret = {key->secret, key->secret_len};
    const char *why = "the claims are no JSON object, or have a NUL in a string";
    BIO *pem = NULL;
    jwt_t *jwt;

    if (jwt_new(&jwt) != 0)
        abort();
    if (key->pkey != NULL)
        pem = private_pem(key->pkey, &secret);
    if (jwt_set_alg(jwt, libjwt_alg(alg), (const unsigned char *)secret.p, (int)secret.len) != 0 ||
        (kid[0] != '\0' && jwt_add_header(jwt, "kid", kid) != 0))
        why = "the token could not be signed";
    else if (jwt_add_grants_json(jwt, claims) == 0)
        why = encode(jwt, out);
    jwt_free(jwt);
    BIO_free(pem);
    return why;
}

/* ---- EVP ---- */

static bool sign_bytes(EVP_PKEY *pkey, enum ml_jwa alg, struct ml_str text, unsigned char *sig,
                       size_t *len)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pctx = NULL; /* owned by ctx */
    bool good;

    if (ctx == NULL)
        abort();
    good = EVP_DigestSignInit(ctx, &pctx, ml_jwk_digest(alg), NULL, pkey) == 1;
    if (good && alg != ML_JWA_EDDSA)
        good = EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
               EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1;
    good = good && EVP_DigestSign(ctx, sig, len, (const unsigned char *)text.p, text.len) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return good;
}

static void put_header(struct ml_buf *out, enum ml_jwa alg, const char *kid)
{
    struct ml_buf header = {0};

    ml_buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"", ml_jwa_name(alg));
    if (kid[0] != '\0') {
        ml_buf_append(&header, ML_STR(",\"kid\":"));
        ml_json_string(&header, ml_str_of(kid));
    }
    ml_buf_append(&header, ML_STR("}"));
    ml_base64url_encode(out, ml_buf_str(&header));
    ml_buf_release(&header);
}

static const char *sign_with_evp(struct ml_jwk *key, enum ml_jwa alg, const char *kid,
                                 struct ml_str claims, struct ml_buf *out)
{
    unsigned char sig[ML_JWK_RSA_BITS_MAX / 8];
    size_t len = sizeof sig;
    struct ml_buf token = {0};
    const char *why = NULL;

    put_header(&token, alg, kid);
    ml_buf_append(&token, ML_STR("."));
    ml_base64url_encode(&token, claims);
    if (sign_bytes(key->pkey, alg, ml_buf_str(&token), sig, &len)) {
        ml_buf_append(&token, ML_STR("."));
        ml_base64url_encode(&token, (struct ml_str){(char *)sig, len});
        ml_buf_append(out, ml_buf_str(&token));
    } else {
        why = "the token could not be signed";
    }
    ml_buf_release(&token);
    return why;
}

/* ---- both ---- */

static char *terminated(struct ml_str s)
{
    char *p = malloc(s.len + 1);

    if (p == NULL)
        abort();
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}

const char *ml_jwks_sign(struct ml_jwks *set, enum ml_jwa alg, struct ml_str kid,
                         struct ml_str claims, struct ml_buf *out)
{
    struct ml_jwk *key = signer(set, alg, kid);
    char *name, *text;
    const char *why;

    if (key == NULL)
        return "no key of the set can sign with this algorithm";
    if (kid.len == 0)
        kid = (struct ml_str){key->kid, key->kid_len};
    if (kid.len > 0 && memchr(kid.p, '\0', kid.len) != NULL)
        return "the kid has a NUL";
    name = terminated(kid);
    text = terminated(claims);
    if ((ML_JWA_BIT(alg) & (ML_JWA_HS | ML_JWA_RS | ML_JWA_ES)) != 0)
        why = sign_with_libjwt(key, alg, name, text, out);
    else
        why = sign_with_evp(key, alg, name, claims, out);
    free(name);
    free(text);
    return why;
}
