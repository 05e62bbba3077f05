/* api_password.c - password hashes: slow on purpose, so a thread beside the loop computes them.
 *
 *   core.password_hash(password, method, cost) -> text | nil, code     code: also
 * "password_unusable" core.password_verify(password, hash) -> boolean | nil, code     code:
 * "overload" core.password_check(hash) -> boolean     is it a hash that can be verified?
 *
 *   task waits --job--> helper: crypt --finish--> woken, or forgotten when its task is gone
 *
 * crypt(5) of the C library knows yescrypt, scrypt, bcrypt, SHA-512 and SHA-256.  A hash names its
 * method and cost; both come from whoever wrote the hash, so they are bounded here. */
#include "script/api.h"

#include "base/clock.h"
#include "base/err.h"
#include "transport/helper.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { PASSWORD_MAX = 512, BCRYPT_PASSWORD_MAX = 72 };

struct hashing { /* malloc'ed; freed on the loop's thread */
    struct ml_job job;
    struct ml_wait wait;
    atomic_bool forgotten; /* nobody waits any more */
    bool verifying;
    char setting[CRYPT_OUTPUT_SIZE]; /* method, cost and salt, or the hash to compare with */
    char password[PASSWORD_MAX + 1];
    struct crypt_data data;
    char result[CRYPT_OUTPUT_SIZE]; /* "" when crypt refused */
};

static void hashing_free(struct hashing *h)
{
    OPENSSL_cleanse(h, sizeof *h);
    free(h);
}

/* On the helper's thread. */
static void run(struct ml_job *job)
{
    struct hashing *h = (struct hashing *)job;
    const char *out;

    if (atomic_load(&h->forgotten))
        return;
    out = crypt_r(h->password, h->setting, &h->data);
    if (out != NULL && out[0] != '*')
        memcpy(h->result, out, strlen(out) + 1);
}

static void finish(struct ml_job *job)
{
    struct hashing *h = (struct hashing *)job;

    if (atomic_load(&h->forgotten))
        hashing_free(h);
    else
        ml_task_wake(&h->wait);
}

static bool matches(const struct hashing *h)
{
    size_t len = strlen(h->result);

    return len > 0 && len == strlen(h->setting) && CRYPTO_memcmp(h->result, h->setting, len) == 0;
}

static int push(lua_State *L, void *ctx)
{
    struct hashing *h = ctx;
    char result[CRYPT_OUTPUT_SIZE];
    bool good = matches(h), verifying = h->verifying;

    memcpy(result, h->result, sizeof result);
    hashing_free(h);
    if (verifying)
        lua_pushboolean(L, good);
    else if (result[0] != '\0')
        lua_pushstring(L, result);
    else
        return luaL_error(L, "crypt could not make the hash");
    return 1;
}

static void cancel(void *ctx)
{
    struct hashing *h = ctx;

    atomic_store(&h->forgotten, true);
}

static int fail(lua_State *L, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, code);
    return 2;
}

static int begin(lua_State *L, struct ml_task *task, struct hashing *h)
{
    h->job.run = run;
    h->job.finish = finish;
    h->wait = (struct ml_wait){task, push, cancel, h};
    if (ml_helper_start(ml_tasks_loop(ml_task_owner(task)), &h->job))
        return ml_task_wait(L, &h->wait);
    hashing_free(h);
    return fail(L, ml_err_word(ML_OVERLOAD));
}

static struct hashing *hashing_new(struct ml_str password, const char *setting)
{
    struct hashing *h = calloc(1, sizeof *h);

    if (h == NULL)
        abort();
    memcpy(h->password, password.p, password.len);
    memcpy(h->setting, setting, strlen(setting) + 1);
    return h;
}

/* crypt takes C strings: a NUL would hide the rest. */
static bool usable(struct ml_str password)
{
    return password.len <= PASSWORD_MAX && memchr(password.p, '\0', password.len) == NULL;
}

/* ---- core.password_hash ---- */

struct method {
    const char *name, *prefix;
    int cost, cost_min, cost_max;
};

static const struct method *check_method(lua_State *L, int index)
{
    static const struct method methods[] = {{"yescrypt", "$y$", 5, 3, 8},
                                            {"scrypt", "$7$", 7, 6, 9},
                                            {"bcrypt", "$2b$", 10, 8, 14},
                                            {"sha512", "$6$", 100000, 5000, 1000000}};
    const char *name = luaL_optstring(L, index, "yescrypt");

    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(name, methods[i].name) == 0)
            return &methods[i];
    luaL_argerror(L, index, "the method must be yescrypt, scrypt, bcrypt or sha512");
    return NULL;
}

static int api_password_hash(lua_State *L)
{
    struct ml_str password = ml_check_str(L, 1);
    const struct method *m = check_method(L, 2);
    double cost = luaL_optnumber(L, 3, m->cost);
    struct ml_task *task = ml_task_waiter(L);
    char salt[32], setting[CRYPT_OUTPUT_SIZE];

    if (!(cost >= m->cost_min && cost <= m->cost_max))
        return luaL_error(L, "the cost of %s must be from %d to %d", m->name, m->cost_min,
                          m->cost_max);
    if (!usable(password) || (strcmp(m->name, "bcrypt") == 0 && password.len > BCRYPT_PASSWORD_MAX))
        return fail(L, "password_unusable");
    ml_random_bytes(salt, sizeof salt);
    if (crypt_gensalt_rn(m->prefix, (unsigned long)cost, salt, sizeof salt, setting,
                         sizeof setting) == NULL)
        return luaL_error(L, "crypt does not know the method %s", m->name);
    return begin(L, task, hashing_new(password, setting));
}

/* ---- core.password_verify ---- */

/* Is it the hash of a method and cost that we are ready to compute? */
static bool hash_ok(const char *hash)
{
    unsigned n = 0;

    if (strlen(hash) >= CRYPT_OUTPUT_SIZE)
        return false;
    if (sscanf(hash, "$2%*[abxy]$%2u$", &n) == 1)
        return n >= 4 && n <= 15;
    if (strncmp(hash, "$5$", 3) == 0 || strncmp(hash, "$6$", 3) == 0)
        return sscanf(hash + 3, "rounds=%9u$", &n) != 1 || n <= 1000000;
    if (strncmp(hash, "$y$", 3) == 0) /* j9T: N = 2^12; the letter is log2 N - 2 */
        return hash[3] == 'j' && hash[4] >= '7' && hash[4] <= 'D' && hash[5] == 'T';
    return strncmp(hash, "$7$", 3) == 0 && hash[3] >= '7' && hash[3] <= 'F';
}

static int api_password_check(lua_State *L)
{
    lua_pushboolean(L, hash_ok(luaL_checkstring(L, 1)));
    return 1;
}

static int api_password_verify(lua_State *L)
{
    struct ml_str password = ml_check_str(L, 1);
    const char *hash = luaL_checkstring(L, 2);
    struct ml_task *task = ml_task_waiter(L);
    struct hashing *h;

    if (!hash_ok(hash))
        return luaL_argerror(L, 2,
                             "the hash is none that can be verified: yescrypt, scrypt, bcrypt, "
                             "SHA-512 or SHA-256 of crypt(5), of a bearable cost");
    if (!usable(password)) {
        lua_pushboolean(L, false);
        return 1;
    }
    h = hashing_new(password, hash);
    h->verifying = true;
    return begin(L, task, h);
}

void ml_api_password_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"password_hash", api_password_hash},
                                         {"password_verify", api_password_verify},
                                         {"password_check", api_password_check},
                                         {NULL, NULL}};

    ml_bridge_register(L, b, functions);
}
