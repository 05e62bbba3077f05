/* jwt_bench.c - CPU per verified token, through the functions that scripts call.
 *
 *   cmake --build build --target jwt_bench && build/jwt_bench
 *
 * For each algorithm: verified anew each time, and out of the verifier's cache.  The best of five
 * rounds counts; times are those of the thread, so a busy machine disturbs little. */
#include "base/arena.h"
#include "base/buf.h"
#include "script/handle.h"

#include <lualib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 5 };

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int clock_of_script(lua_State *L)
{
    lua_pushnumber(L, cpu_s());
    return 1;
}

static void push_pem(lua_State *L, const char *name, EVP_PKEY *pkey)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p;
    long len;

    PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
    len = BIO_get_mem_data(bio, &p);
    lua_pushlstring(L, p, (size_t)len);
    lua_setglobal(L, name);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
}

static const char script[] =
    "local algs = { { 'HS256', { secret = ('s'):rep(32) }, 100000 }, { 'RS256', { pem = rsa }, "
    "5000 },\n"
    "  { 'PS256', { pem = rsa }, 5000 }, { 'ES256', { pem = ec }, 2000 }, { 'EdDSA', { pem = ed }, "
    "2000 } }\n"
    "local claims = { sub = 'USR001', email = 'a@example.com', role = 'doctor', iat = 1700000000,\n"
    "                 exp = 4102444800 }\n"
    "local function best(n, verify, token)\n"
    "  local least = math.huge\n"
    "  for _ = 1, rounds do\n"
    "    local begin = cpu()\n"
    "    for _ = 1, n do assert(verify(token)) end\n"
    "    least = math.min(least, (cpu() - begin) / n)\n"
    "  end\n"
    "  return least * 1e6\n"
    "end\n"
    "print(('%-6s %12s %12s'):format('us', 'verified', 'cached'))\n"
    "for _, a in ipairs(algs) do\n"
    "  local name, key, n = a[1], a[2], a[3]\n"
    "  local keys = core.jwt_keys { key }\n"
    "  local token = assert(core.jwt_sign(claims, keys, name))\n"
    "  local rules = { algs = { name }, required = { 'exp' }, reject_types = { 'refresh' } }\n"
    "  print(('%-6s %12.2f %12.2f'):format(name, best(n, core.jwt_verifier(keys, rules, true), "
    "token),\n"
    "    best(100000, core.jwt_verifier(keys, rules), token)))\n"
    "end\n";

int main(void)
{
    lua_State *L = luaL_newstate();
    struct ml_bridge bridge = {.json_encode = LUA_NOREF};

    if (L == NULL)
        abort();
    luaL_openlibs(L);
    lua_newtable(L);
    ml_api_json_open(L, &bridge);
    ml_api_jwt_open(L, &bridge);
    lua_setglobal(L, "core");
    lua_register(L, "cpu", clock_of_script);
    lua_pushnumber(L, ROUNDS);
    lua_setglobal(L, "rounds");
    push_pem(L, "rsa", EVP_RSA_gen(2048));
    push_pem(L, "ec", EVP_EC_gen("P-256"));
    push_pem(L, "ed", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    if (luaL_dostring(L, script) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    lua_close(L);
    return 0;
}
