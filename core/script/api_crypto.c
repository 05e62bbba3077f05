/* api_crypto.c - hashes, MACs and randomness for scripts; slow password hashes: api_password.c.
 *
 *   core.digest(name, text, raw) -> hex or raw bytes       name: sha1 sha256 sha384 sha512
 *   core.hmac(name, key, text, raw) -> the same            core.equals(a, b) -> boolean
 *   core.random(n) -> n bytes                               core.secret(name) -> hex
 */
#include "script/api.h"

#include "base/clock.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

enum { RANDOM_MAX = 65536 };

static const EVP_MD *check_digest(lua_State *L, int index)
{
    const char *name = luaL_checkstring(L, index);

    if (strcmp(name, "sha256") == 0)
        return EVP_sha256();
    if (strcmp(name, "sha384") == 0)
        return EVP_sha384();
    if (strcmp(name, "sha512") == 0)
        return EVP_sha512();
    if (strcmp(name, "sha1") == 0)
        return EVP_sha1();
    luaL_argerror(L, index, "the hash must be sha1, sha256, sha384 or sha512");
    return NULL;
}

static int push_bytes(lua_State *L, const unsigned char *bytes, unsigned len, bool raw)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * EVP_MAX_MD_SIZE];

    for (unsigned i = 0; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    if (raw)
        lua_pushlstring(L, (const char *)bytes, len);
    else
        lua_pushlstring(L, hex, 2 * len);
    return 1;
}

static int api_digest(lua_State *L)
{
    const EVP_MD *md = check_digest(L, 1);
    struct ml_str text = ml_check_str(L, 2);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len;

    if (EVP_Digest(text.p, text.len, out, &len, md, NULL) != 1)
        return luaL_error(L, "the hash can not be computed");
    return push_bytes(L, out, len, lua_toboolean(L, 3));
}

static int api_hmac(lua_State *L)
{
    const EVP_MD *md = check_digest(L, 1);
    struct ml_str key = ml_check_str(L, 2), text = ml_check_str(L, 3);
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned len;

    if (key.len > INT_MAX ||
        HMAC(md, key.p, (int)key.len, (const unsigned char *)text.p, text.len, out, &len) == NULL)
        return luaL_error(L, "the HMAC can not be computed");
    return push_bytes(L, out, len, lua_toboolean(L, 4));
}

/* The time tells the lengths only. */
static int api_equals(lua_State *L)
{
    struct ml_str a = ml_check_str(L, 1), b = ml_check_str(L, 2);

    lua_pushboolean(L, a.len == b.len && CRYPTO_memcmp(a.p, b.p, a.len) == 0);
    return 1;
}

static int api_random(lua_State *L)
{
    double n = luaL_checknumber(L, 1);
    struct ml_buf *out = ml_handle_scratch();

    if (!(n >= 1 && n <= RANDOM_MAX))
        return luaL_argerror(L, 1, "the number of bytes must be from 1 to 65536");
    ml_random_bytes(ml_buf_reserve(out, (size_t)n), (size_t)n);
    ml_buf_commit(out, (size_t)n);
    ml_push_str(L, ml_buf_str(out));
    return 1;
}

/* core.secret(name) -> 64 hexadecimal digits that only this gateway can compute.  A site that is
 * only checked has no gateway around it: it gets other ones each time. */
static int api_secret(lua_State *L)
{
    struct ml_shm *shm = ml_bridge_of(L)->conf.host->shm;
    struct ml_str name = ml_check_str(L, 1);
    unsigned char once[ML_SHM_SECRET_LEN], out[EVP_MAX_MD_SIZE];
    const unsigned char *key = once;
    unsigned len;

    if (shm != NULL)
        key = ml_shm_secret(shm);
    else
        ml_random_bytes(once, sizeof once);
    if (HMAC(EVP_sha256(), key, ML_SHM_SECRET_LEN, (const unsigned char *)name.p, name.len, out,
             &len) == NULL)
        return luaL_error(L, "the secret can not be computed");
    return push_bytes(L, out, len, false);
}

void ml_api_crypto_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"digest", api_digest}, {"hmac", api_hmac},
                                         {"equals", api_equals}, {"random", api_random},
                                         {"secret", api_secret}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_password_open(L, b);
}
