/* jwk_read.c - keys as JSON: RFC 7517, 7518 section 6, 8037. */
#include "base/base64url.h"
#include "base/json_scan.h"
#include "base/jwk_parts.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#define FIELDS(X)                                                                                  \
    X(kty) X(crv) X(k) X(n) X(e) X(x) X(y) X(d) X(p) X(q) X(dp) X(dq) X(qi) X(use) X(alg) X(kid)

struct jwk_text { /* strings of the JSON, with escapes; p is NULL when absent */
#define X(name) struct ml_str name;
    FIELDS(X)
#undef X
    struct ml_str key_ops;
    bool bad;
};

static void on_member(void *ctx, const struct ml_json_item *item)
{
    struct jwk_text *t = ctx;

    if (ml_str_eq(item->name, ML_STR("key_ops"))) {
        t->key_ops = item->text;
        t->bad |= item->kind != ML_JSON_ARRAY;
        return;
    }
#define X(field)                                                                                   \
    if (ml_str_eq(item->name, ML_STR(#field))) {                                                   \
        t->field = item->text;                                                                     \
        t->bad |= item->kind != ML_JSON_STRING;                                                    \
        return;                                                                                    \
    }
    FIELDS(X)
#undef X
}

static bool is(struct ml_str s, const char *word)
{
    return s.p != NULL && ml_str_eq(s, ml_str_of(word));
}

/* ---- numbers ---- */

enum { NUMBER_MAX = ML_JWK_RSA_BITS_MAX / 8 };

/* NULL when it is absent, empty, malformed or too long. */
static BIGNUM *number(struct ml_str text)
{
    char bytes[NUMBER_MAX + 3];
    size_t len;
    BIGNUM *n;

    if (text.len == 0 || text.len > NUMBER_MAX / 3 * 4 + 4 ||
        !ml_base64url_decode(text, bytes, &len))
        return NULL;
    n = BN_bin2bn((unsigned char *)bytes, (int)len, NULL);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return n;
}

/* Pushes the number of a member, unless it is absent and optional. */
static bool push_number(OSSL_PARAM_BLD *b, BIGNUM *keep[], unsigned *count, const char *param,
                        struct ml_str text)
{
    BIGNUM *n = number(text);

    if (n == NULL)
        return false;
    keep[(*count)++] = n; /* the builder wants it until its end */
    return OSSL_PARAM_BLD_push_BN(b, param, n) == 1;
}

static EVP_PKEY *build(const char *type, OSSL_PARAM_BLD *b, bool private)
{
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(b);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *pkey = NULL;

    if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
        EVP_PKEY_fromdata(ctx, &pkey, private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) !=
            1) {
        EVP_PKEY_free(pkey);
        pkey = NULL;
    }
    EVP_PKEY_CTX_free(ctx);
    OSSL_PARAM_free(params);
    ERR_clear_error();
    return pkey;
}

/* ---- types ---- */

static EVP_PKEY *read_rsa(const struct jwk_text *t)
{
    const struct {
        const char *param;
        struct ml_str text;
    } all[] = {{OSSL_PKEY_PARAM_RSA_N, t->n},          {OSSL_PKEY_PARAM_RSA_E, t->e},
               {OSSL_PKEY_PARAM_RSA_D, t->d},          {OSSL_PKEY_PARAM_RSA_FACTOR1, t->p},
               {OSSL_PKEY_PARAM_RSA_FACTOR2, t->q},    {OSSL_PKEY_PARAM_RSA_EXPONENT1, t->dp},
               {OSSL_PKEY_PARAM_RSA_EXPONENT2, t->dq}, {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, t->qi}};
    size_t want = t->d.p != NULL ? sizeof all / sizeof *all : 2;
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    BIGNUM *keep[sizeof all / sizeof *all];
    EVP_PKEY *pkey = NULL;
    unsigned count = 0;
    bool good = b != NULL;

    for (size_t i = 0; i < want && good; i++)
        good = push_number(b, keep, &count, all[i].param, all[i].text);
    if (good)
        pkey = build("RSA", b, want > 2);
    OSSL_PARAM_BLD_free(b);
    while (count > 0)
        BN_clear_free(keep[--count]);
    return pkey;
}

/* Lengths are fixed: RFC 7518 section 6.2.1.2. */
static bool coordinate(struct ml_str text, size_t want, char *out)
{
    char bytes[128];
    size_t len;

    if (text.p == NULL || text.len > 96 || !ml_base64url_decode(text, bytes, &len) || len != want)
        return false;
    memcpy(out, bytes, len);
    return true;
}

static EVP_PKEY *build_ec(const char *curve, const char *point, size_t point_len, BIGNUM *d)
{
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY *pkey = NULL;

    if (b != NULL &&
        OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, point_len) == 1 &&
        (d == NULL || OSSL_PARAM_BLD_push_BN(b, OSSL_PKEY_PARAM_PRIV_KEY, d) == 1))
        pkey = build("EC", b, d != NULL);
    OSSL_PARAM_BLD_free(b);
    return pkey;
}

static EVP_PKEY *read_ec(const struct jwk_text *t)
{
    static const struct {
        const char *crv, *name;
        size_t len;
    } curves[] = {
        {"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    char point[1 + 2 * 66] = {4};

    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++) {
        size_t len = curves[i].len;
        EVP_PKEY *pkey;
        BIGNUM *d;

        if (!is(t->crv, curves[i].crv))
            continue;
        if (!coordinate(t->x, len, point + 1) || !coordinate(t->y, len, point + 1 + len))
            return NULL;
        d = number(t->d);
        pkey = build_ec(curves[i].name, point, 1 + 2 * len, d);
        BN_clear_free(d);
        return pkey;
    }
    return NULL;
}

static EVP_PKEY *read_okp(const struct jwk_text *t)
{
    unsigned char x[32], d[32];

    if (!is(t->crv, "Ed25519") || !coordinate(t->x, sizeof x, (char *)x))
        return NULL;
    if (t->d.p == NULL)
        return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof x);
    if (!coordinate(t->d, sizeof d, (char *)d))
        return NULL;
    return EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, d, sizeof d);
}

static const char *read_secret(const struct jwk_text *t, struct ml_jwk *key)
{
    if (t->k.len == 0)
        return "a JWK of the type oct needs k";
    key->secret = malloc(t->k.len);
    if (key->secret == NULL)
        abort();
    key->algs = ML_JWA_HS;
    if (!ml_base64url_decode(t->k, key->secret, &key->secret_len) || key->secret_len == 0)
        return "k of the JWK is not base64url";
    return NULL;
}

static const char *read_pair(const struct jwk_text *t, struct ml_jwk *key)
{
    const char *why = "the JWK has an unknown type or curve, or numbers that are no key";

    if (is(t->kty, "RSA"))
        key->pkey = read_rsa(t);
    else if (is(t->kty, "EC"))
        key->pkey = read_ec(t);
    else if (is(t->kty, "OKP"))
        key->pkey = read_okp(t);
    ERR_clear_error();
    if (key->pkey == NULL)
        return why;
    key->algs = ml_jwk_algs_of(key->pkey, &why);
    return key->algs == 0 ? why : NULL;
}

/* ---- what it is for ---- */

struct operations {
    bool verify, sign;
};

static void on_operation(void *ctx, const struct ml_json_item *item)
{
    struct operations *o = ctx;

    o->verify |= item->kind == ML_JSON_STRING && is(item->text, "verify");
    o->sign |= item->kind == ML_JSON_STRING && is(item->text, "sign");
}

static const char *limit_use(const struct jwk_text *t, struct ml_jwk *key)
{
    struct operations o = {0};

    key->may_verify = true;
    key->may_sign = t->d.p != NULL || t->k.p != NULL;
    if (t->use.p != NULL && !is(t->use, "sig"))
        return "the JWK is not for signatures (use)";
    if (t->key_ops.p != NULL) {
        ml_json_scan(t->key_ops, ML_JSON_ARRAY, on_operation, &o);
        key->may_verify = o.verify;
        key->may_sign &= o.sign;
    }
    if (!key->may_verify && !key->may_sign)
        return "the JWK is not for signatures (key_ops)";
    if (t->alg.p != NULL)
        key->algs &= ml_jwa_of(t->alg) < ML_JWA_COUNT ? ML_JWA_BIT(ml_jwa_of(t->alg)) : 0;
    return key->algs == 0 ? "the JWK's alg does not fit its type, or is unknown" : NULL;
}

static void set_kid(struct ml_jwk *key, struct ml_str kid)
{
    struct ml_buf out = {0};

    if (kid.len == 0)
        return;
    ml_json_unescape(&out, kid);
    key->kid_len = ml_buf_len(&out);
    key->kid = malloc(key->kid_len);
    if (key->kid == NULL)
        abort();
    memcpy(key->kid, ml_buf_str(&out).p, key->kid_len);
    ml_buf_release(&out);
}

const char *ml_jwks_add_jwk(struct ml_jwks *set, struct ml_str json,
                            const struct ml_jwk_label *label)
{
    struct jwk_text t = {.bad = false};
    struct ml_jwk key = {.algs = 0};
    const char *why;

    if (!ml_json_scan(json, ML_JSON_OBJECT, on_member, &t) || t.bad)
        return "the JWK is no JSON object with members of the right types, each once";
    why = is(t.kty, "oct") ? read_secret(&t, &key) : read_pair(&t, &key);
    if (why == NULL)
        why = limit_use(&t, &key);
    if (why != NULL) {
        ml_jwk_clear(&key);
        return why;
    }
    set_kid(&key, t.kid);
    return ml_jwks_take(set, &key, label);
}

/* ---- sets ---- */

struct reading {
    struct ml_jwks *set;
    const struct ml_jwk_label *label;
    struct ml_str keys;
    const char *why; /* of the last one that was left out */
};

static void on_set_member(void *ctx, const struct ml_json_item *item)
{
    struct reading *r = ctx;

    if (ml_str_eq(item->name, ML_STR("keys")) && item->kind == ML_JSON_ARRAY)
        r->keys = item->text;
}

static void on_key(void *ctx, const struct ml_json_item *item)
{
    struct reading *r = ctx;
    const char *why = "a key of the set is no object";

    if (item->kind == ML_JSON_OBJECT)
        why = ml_jwks_add_jwk(r->set, item->text, r->label);
    if (why != NULL)
        r->why = why;
}

const char *ml_jwks_add_set(struct ml_jwks *set, struct ml_str json,
                            const struct ml_jwk_label *label)
{
    struct reading r = {.set = set, .label = label};
    unsigned before = set->count;

    if (!ml_json_scan(json, ML_JSON_OBJECT, on_set_member, &r) || r.keys.p == NULL)
        return "the key set is no JSON object with a list of keys";
    ml_json_scan(r.keys, ML_JSON_ARRAY, on_key, &r);
    if (set->count > before)
        return NULL;
    return r.why != NULL ? r.why : "the key set has no keys";
}
