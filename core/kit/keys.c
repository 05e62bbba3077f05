/* keys.c - key pairs by OpenSSL, signatures by the product.
 *
 * HMACs are made here, because the product refuses the secrets of attackers. */
#include "kit/keys.h"

#include "base/base64url.h"
#include "base/clock.h"
#include "base/jwk.h"

#include <lauxlib.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdlib.h>

enum { RSA_BITS = 2048, RANDOM_MAX = 65536 };

static void push_base64url(lua_State *L, const void *bytes, size_t len)
{
    struct ml_buf text = {0};

    ml_base64url_encode(&text, (struct ml_str){bytes, len});
    lua_pushlstring(L, ml_buf_len(&text) > 0 ? ml_buf_str(&text).p : "", ml_buf_len(&text));
    ml_buf_release(&text);
}

/* ---- key pairs ---- */

/* The field name of the JWK on top; numbers are as long as pad says, or as short as they can be. */
static void set_number(lua_State *L, EVP_PKEY *key, const char *param, const char *name, int pad)
{
    unsigned char bytes[RSA_BITS / 8];
    BIGNUM *n = NULL;

    if (EVP_PKEY_get_bn_param(key, param, &n) != 1)
        luaL_error(L, "OpenSSL does not give the %s of a key", name);
    if (pad == 0)
        pad = BN_num_bytes(n);
    if (pad > (int)sizeof bytes || BN_bn2binpad(n, bytes, pad) != pad)
        abort();
    BN_clear_free(n);
    push_base64url(L, bytes, (size_t)pad);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

static void jwk_of_rsa(lua_State *L, EVP_PKEY *key)
{
    static const char *const parts[][2] = {
        {OSSL_PKEY_PARAM_RSA_N, "n"},          {OSSL_PKEY_PARAM_RSA_E, "e"},
        {OSSL_PKEY_PARAM_RSA_D, "d"},          {OSSL_PKEY_PARAM_RSA_FACTOR1, "p"},
        {OSSL_PKEY_PARAM_RSA_FACTOR2, "q"},    {OSSL_PKEY_PARAM_RSA_EXPONENT1, "dp"},
        {OSSL_PKEY_PARAM_RSA_EXPONENT2, "dq"}, {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, "qi"}};

    set_text(L, "kty", "RSA");
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        set_number(L, key, parts[i][0], parts[i][1], 0);
}

static void jwk_of_ec(lua_State *L, EVP_PKEY *key, const char *curve)
{
    int len = (EVP_PKEY_get_bits(key) + 7) / 8;

    set_text(L, "kty", "EC");
    set_text(L, "crv", curve);
    set_number(L, key, OSSL_PKEY_PARAM_EC_PUB_X, "x", len);
    set_number(L, key, OSSL_PKEY_PARAM_EC_PUB_Y, "y", len);
    set_number(L, key, OSSL_PKEY_PARAM_PRIV_KEY, "d", len);
}

static void jwk_of_ed(lua_State *L, EVP_PKEY *key)
{
    unsigned char bytes[32];
    size_t len = sizeof bytes;

    set_text(L, "kty", "OKP");
    set_text(L, "crv", "Ed25519");
    if (EVP_PKEY_get_raw_public_key(key, bytes, &len) != 1)
        abort();
    push_base64url(L, bytes, len);
    lua_setfield(L, -2, "x");
    len = sizeof bytes;
    if (EVP_PKEY_get_raw_private_key(key, bytes, &len) != 1)
        abort();
    push_base64url(L, bytes, len);
    lua_setfield(L, -2, "d");
}

static void set_pem(lua_State *L, EVP_PKEY *key, const char *name, bool private)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long len;
    int ok = private ? PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)
                     : PEM_write_bio_PUBKEY(bio, key);

    if (ok != 1)
        abort();
    len = BIO_get_mem_data(bio, &text);
    lua_pushlstring(L, text, (size_t)len);
    lua_setfield(L, -2, name);
    BIO_free(bio);
}

static int key_pair(lua_State *L)
{
    static const char *const curves[] = {"P-256", "P-384", "P-521"};
    const char *name = luaL_checkstring(L, 1);
    enum ml_jwa alg = ml_jwa_of(ml_str_of(name));
    const char *curve = NULL;
    EVP_PKEY *key;

    if (alg >= ML_JWA_COUNT || (ML_JWA_BIT(alg) & ML_JWA_HS) != 0)
        return luaL_error(L, "key_pair: %s has no key pair", name);
    if (alg == ML_JWA_EDDSA)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else if ((ML_JWA_BIT(alg) & ML_JWA_ES) != 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve = curves[alg - ML_JWA_ES256]);
    else
        key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)RSA_BITS);
    if (key == NULL)
        return luaL_error(L, "OpenSSL makes no key for %s", name);
    lua_createtable(L, 0, 4);
    set_pem(L, key, "private_pem", true);
    set_pem(L, key, "public_pem", false);
    lua_createtable(L, 0, 10);
    if (alg == ML_JWA_EDDSA)
        jwk_of_ed(L, key);
    else if (curve != NULL)
        jwk_of_ec(L, key, curve);
    else
        jwk_of_rsa(L, key);
    lua_setfield(L, -2, "jwk");
    EVP_PKEY_free(key);
    return 1;
}

/* ---- signatures ---- */

static int random_bytes(lua_State *L)
{
    lua_Integer len = luaL_checkinteger(L, 1);
    char *bytes;

    luaL_argcheck(L, len >= 0 && len <= RANDOM_MAX, 1, "out of range");
    bytes = lua_newuserdata(L, (size_t)len + 1);
    ml_random_bytes(bytes, (size_t)len);
    lua_pushlstring(L, bytes, (size_t)len);
    return 1;
}

static int base64url(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);

    push_base64url(L, bytes, len);
    return 1;
}

static int hmac(lua_State *L)
{
    const EVP_MD *const digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    enum ml_jwa alg = ml_jwa_of(ml_str_of(luaL_checkstring(L, 1)));
    size_t secret_len, text_len;
    const char *secret = luaL_checklstring(L, 2, &secret_len);
    const char *text = luaL_checklstring(L, 3, &text_len);
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len;

    luaL_argcheck(L, alg < ML_JWA_COUNT && (ML_JWA_BIT(alg) & ML_JWA_HS) != 0, 1, "no HMAC");
    if (HMAC(digests[alg - ML_JWA_HS256], secret, (int)secret_len, (const unsigned char *)text,
             text_len, mac, &len) == NULL)
        abort();
    lua_pushlstring(L, (const char *)mac, len);
    return 1;
}

static struct ml_str check_str(lua_State *L, int index)
{
    struct ml_str s;

    s.p = luaL_checklstring(L, index, &s.len);
    return s;
}

static int sign(lua_State *L)
{
    static const char *const kinds[] = {"pem", "jwk", NULL};
    enum ml_jwa alg = ml_jwa_of(check_str(L, 1));
    struct ml_str kid = check_str(L, 2), key = check_str(L, 4), claims = check_str(L, 5);
    bool pem = luaL_checkoption(L, 3, NULL, kinds) == 0;
    struct ml_jwk_label label = {0};
    struct ml_buf token = {0};
    struct ml_jwks *set;
    const char *why;

    luaL_argcheck(L, alg < ML_JWA_COUNT, 1, "no algorithm");
    set = ml_jwks_new();
    why = pem ? ml_jwks_add_pem(set, key, &label) : ml_jwks_add_jwk(set, key, &label);
    if (why == NULL)
        why = ml_jwks_sign(set, alg, kid, claims, &token);
    ml_jwks_free(&set);
    if (why == NULL) {
        lua_pushlstring(L, ml_buf_str(&token).p, ml_buf_len(&token));
    } else {
        lua_pushnil(L);
        lua_pushstring(L, why);
    }
    ml_buf_release(&token);
    return why == NULL ? 1 : 2;
}

void ml_keys_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"key_pair", key_pair},   {"random", random_bytes},
                                         {"base64url", base64url}, {"hmac", hmac},
                                         {"sign", sign},           {NULL, NULL}};

    luaL_register(L, NULL, functions);
}
