/* jwk.c - sets of keys, and which of them a token may ask. */
#include "base/jwk_parts.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

enum { TRIES_MAX = 8 }; /* keys that one token may cost */

static uint64_t next_identity(void)
{
    static uint64_t last;

    return ++last;
}

struct ml_jwks *ml_jwks_new(void)
{
    struct ml_jwks *set = calloc(1, sizeof *set);

    if (set == NULL)
        abort();
    set->identity = next_identity();
    return set;
}

void ml_jwk_clear(struct ml_jwk *key)
{
    free(key->kid);
    if (key->secret != NULL)
        OPENSSL_cleanse(key->secret, key->secret_len);
    free(key->secret);
    EVP_PKEY_free(key->pkey);
    for (int i = 0; i < 3; i++)
        EVP_MAC_CTX_free(key->mac[i]);
    *key = (struct ml_jwk){0};
}

static void clear(struct ml_jwks *set)
{
    for (unsigned i = 0; i < set->count; i++)
        ml_jwk_clear(&set->v[i]);
    free(set->v);
    set->v = NULL;
    set->count = set->cap = 0;
}

void ml_jwks_free(struct ml_jwks **set)
{
    if (*set == NULL)
        return;
    clear(*set);
    free(*set);
    *set = NULL;
}

unsigned ml_jwks_count(const struct ml_jwks *set)
{
    return set->count;
}

uint64_t ml_jwks_identity(const struct ml_jwks *set)
{
    return set->identity;
}

void ml_jwks_replace(struct ml_jwks *set, struct ml_jwks **from)
{
    clear(set);
    *set = **from;
    set->identity = next_identity();
    free(*from);
    *from = NULL;
}

size_t ml_jwks_shortest_secret(const struct ml_jwks *set)
{
    size_t least = SIZE_MAX;

    for (unsigned i = 0; i < set->count; i++)
        if (set->v[i].secret != NULL && set->v[i].secret_len < least)
            least = set->v[i].secret_len;
    return least;
}

/* ---- adding ---- */

static char *copy(struct ml_str s)
{
    char *p = malloc(s.len + 1);

    if (p == NULL)
        abort();
    if (s.len > 0)
        memcpy(p, s.p, s.len);
    p[s.len] = '\0';
    return p;
}

static struct ml_jwk *room(struct ml_jwks *set)
{
    if (set->count == set->cap) {
        set->cap = set->cap > 0 ? 2 * set->cap : 2;
        set->v = realloc(set->v, set->cap * sizeof *set->v);
        if (set->v == NULL)
            abort();
    }
    return &set->v[set->count++];
}

const char *ml_jwks_take(struct ml_jwks *set, struct ml_jwk *key, const struct ml_jwk_label *label)
{
    const char *why = NULL;

    if (label->algs != 0)
        key->algs &= label->algs;
    if (key->algs == 0)
        why = "the key can not be used for the algorithm that it is meant for";
    else if (set->count == ML_JWK_MAX)
        why = "there are too many keys";
    if (why != NULL) {
        ml_jwk_clear(key);
        return why;
    }
    if (label->kid.len > 0) {
        free(key->kid);
        key->kid = copy(label->kid);
        key->kid_len = label->kid.len;
    }
    *room(set) = *key;
    *key = (struct ml_jwk){0};
    set->identity = next_identity();
    return NULL;
}

const char *ml_jwks_add_secret(struct ml_jwks *set, struct ml_str secret,
                               const struct ml_jwk_label *label)
{
    struct ml_jwk key = {.algs = ML_JWA_HS, .may_verify = true, .may_sign = true};

    if (secret.len == 0)
        return "the secret is empty";
    if (secret.len >= 11 && memmem(secret.p, secret.len, "-----BEGIN ", 11) != NULL)
        return "the secret is the text of a PEM file: give that as a key, not as a secret";
    key.secret = copy(secret);
    key.secret_len = secret.len;
    return ml_jwks_take(set, &key, label);
}

/* ---- what a key can do ---- */

static uint32_t rsa_algs(EVP_PKEY *pkey, uint32_t algs, const char **why)
{
    int bits = EVP_PKEY_get_bits(pkey);

    if (bits < ML_JWK_RSA_BITS_MIN || bits > ML_JWK_RSA_BITS_MAX) {
        *why = "an RSA key must have 2048 to 8192 bits";
        return 0;
    }
    return algs;
}

static uint32_t ec_algs(EVP_PKEY *pkey, const char **why)
{
    char name[32];
    size_t len;

    *why = "the curve of an EC key must be P-256, P-384 or P-521";
    if (EVP_PKEY_get_group_name(pkey, name, sizeof name, &len) != 1)
        return 0;
    if (strcmp(name, "prime256v1") == 0)
        return ML_JWA_BIT(ML_JWA_ES256);
    if (strcmp(name, "secp384r1") == 0)
        return ML_JWA_BIT(ML_JWA_ES384);
    return strcmp(name, "secp521r1") == 0 ? ML_JWA_BIT(ML_JWA_ES512) : 0;
}

uint32_t ml_jwk_algs_of(EVP_PKEY *pkey, const char **why)
{
    switch (EVP_PKEY_get_base_id(pkey)) {
    case EVP_PKEY_RSA:
        return rsa_algs(pkey, ML_JWA_RS | ML_JWA_PS, why);
    case EVP_PKEY_RSA_PSS:
        return rsa_algs(pkey, ML_JWA_PS, why);
    case EVP_PKEY_EC:
        return ec_algs(pkey, why);
    case EVP_PKEY_ED25519:
        return ML_JWA_BIT(ML_JWA_EDDSA);
    default:
        *why = "a key must be of the type RSA, EC or Ed25519";
        return 0;
    }
}

/* ---- PEM ---- */

/* No pass phrase, and no prompt for one. */
static int no_password(char *buf, int size, int writing, void *arg)
{
    (void)buf;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static EVP_PKEY *certified_key(BIO *bio)
{
    X509 *certificate = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    EVP_PKEY *pkey = certificate != NULL ? X509_get_pubkey(certificate) : NULL;

    X509_free(certificate);
    return pkey;
}

static EVP_PKEY *read_pem(struct ml_str pem, bool *private)
{
    BIO *bio = pem.len <= 65536 ? BIO_new_mem_buf(pem.p, (int)pem.len) : NULL;
    EVP_PKEY *pkey = NULL;

    *private = false;
    if (bio == NULL)
        return NULL;
    if (memmem(pem.p, pem.len, "-----BEGIN CERTIFICATE-----", 27) != NULL) {
        pkey = certified_key(bio);
    } else if (memmem(pem.p, pem.len, "PRIVATE KEY-----", 16) != NULL) {
        pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
        *private = true;
    } else {
        pkey = PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
    }
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

const char *ml_jwks_add_pem(struct ml_jwks *set, struct ml_str pem,
                            const struct ml_jwk_label *label)
{
    struct ml_jwk key = {.may_verify = true};
    const char *why = NULL;

    key.pkey = read_pem(pem, &key.may_sign);
    if (key.pkey == NULL)
        return "the text is no PEM of a key without pass phrase, nor of a certificate";
    key.algs = ml_jwk_algs_of(key.pkey, &why);
    if (key.algs == 0) {
        ml_jwk_clear(&key);
        return why;
    }
    return ml_jwks_take(set, &key, label);
}

/* ---- verifying ---- */

/* A key with another kid is never asked; one without a kid serves every token. */
static bool is_candidate(const struct ml_jwk *key, const struct ml_jws *jws)
{
    if (!key->may_verify || (key->algs & ML_JWA_BIT(jws->alg)) == 0)
        return false;
    return key->kid == NULL || !jws->has_kid ||
           ml_str_eq((struct ml_str){key->kid, key->kid_len}, jws->kid);
}

enum ml_jwt_code ml_jwks_verify(struct ml_jwks *set, const struct ml_jws *jws)
{
    unsigned tries = 0;

    for (unsigned i = 0; i < set->count && tries < TRIES_MAX; i++) {
        if (!is_candidate(&set->v[i], jws))
            continue;
        tries++;
        if (ml_jwk_verify(&set->v[i], jws))
            return ML_JWT_OK;
    }
    return tries > 0 ? ML_JWT_SIGNATURE : ML_JWT_KEY;
}
