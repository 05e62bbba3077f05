/* The cache of verifiers, on a clock of the test's own; what a good token is: test_jwt.c. */
#include "test.h"

#include "base/arena.h"
#include "base/clock.h"
#include "script/handle.h"

#include <lualib.h>

static double wall = 1700000000;

static uint64_t fake_mono(void *ctx)
{
    (void)ctx;
    return 1;
}

static double fake_wall(void *ctx)
{
    (void)ctx;
    return wall;
}

static void fake_random(void *ctx, void *p, size_t len)
{
    (void)ctx;
    memset(p, 7, len);
}

static int set_now(lua_State *L)
{
    wall = luaL_checknumber(L, 1);
    return 0;
}

/* Runs code with core, keys, sign(claims) and now(s); true when it raised nothing. */
static bool runs(const char *code)
{
    static const struct ml_clock_source source = {fake_mono, fake_wall, fake_random, NULL};
    static const char prelude[] =
        "keys = core.jwt_keys { { secret = ('k'):rep(32) } }\n"
        "rules = { algs = { 'HS256' } }\n"
        "function sign(claims) return assert(core.jwt_sign(claims, keys, 'HS256')) end\n"
        "function word(verify, t) local c, w = verify(t) return c and 'ok' or w end\n"
        "function is(a, b) if a ~= b then error(tostring(a) .. ' is not ' .. tostring(b), 2) end "
        "end\n";
    struct ml_bridge bridge = {.json_encode = LUA_NOREF};
    lua_State *L = luaL_newstate();
    bool good;

    ml_clock_set_source(&source);
    wall = 1700000000;
    luaL_openlibs(L);
    lua_newtable(L);
    ml_api_json_open(L, &bridge);
    ml_api_jwt_open(L, &bridge);
    lua_setglobal(L, "core");
    lua_register(L, "now", set_now);
    good = luaL_dostring(L, prelude) == 0 && luaL_dostring(L, code) == 0;
    if (!good)
        printf("# %s\n", lua_tostring(L, -1));
    lua_close(L);
    ml_clock_set_source(NULL);
    return good;
}

TEST(a_cached_token_is_good_only_between_its_times)
{
    CHECK(runs("local verify = core.jwt_verifier(keys, rules)\n"
               "local t = sign { exp = 1700000100, nbf = 1700000000 }\n"
               "for _ = 1, 3 do is(word(verify, t), 'ok') end\n"
               "now(1700000099.9) is(word(verify, t), 'ok')\n"
               "now(1700000100) is(word(verify, t), 'token_expired')\n"
               "now(1700000050) is(word(verify, t), 'ok')\n"
               "now(1699999999) is(word(verify, t), 'token_not_yet_valid')"));
}

TEST(what_was_refused_is_not_remembered)
{
    CHECK(runs("local verify = core.jwt_verifier(keys, rules)\n"
               "local t = sign { nbf = 1700000010 }\n"
               "is(word(verify, t), 'token_not_yet_valid')\n"
               "now(1700000010) is(word(verify, t), 'ok')\n"
               "is(word(verify, t .. '='), 'token_malformed')\n"
               "is(word(verify, t:sub(1, -3) .. (t:sub(-2) == 'AA' and 'BB' or 'AA')), "
               "'signature_invalid')"));
}

TEST(other_keys_make_cached_tokens_void)
{
    CHECK(runs("local verify = core.jwt_verifier(keys, rules)\n"
               "local t = sign { sub = 'a' }\n"
               "is(word(verify, t), 'ok') is(word(verify, t), 'ok')\n"
               "local other = core.jwt_keys { { secret = ('o'):rep(40) } }\n"
               "core.jwt_keys_replace(keys, other)\n"
               "is(word(verify, t), 'signature_invalid')\n"
               "is(core.jwt_keys_info(other), 0)\n"
               "is(select(2, core.jwt_keys_info(keys)), 40)\n"
               "core.jwt_keys_replace(keys, keys) is(core.jwt_keys_info(keys), 1)\n"
               "is(word(core.jwt_verifier(other, rules), t), 'keys_unavailable')"));
}

TEST(rules_of_one_verifier_do_not_count_for_another)
{
    CHECK(runs("local t = sign { aud = 'a' }\n"
               "is(word(core.jwt_verifier(keys, rules), t), 'ok')\n"
               "is(word(core.jwt_verifier(keys, { algs = 'HS256', aud = 'b' }), t), "
               "'audience_invalid')\n"
               "is(word(core.jwt_verifier(keys, { algs = 'HS512' }), t), 'alg_not_allowed')"));
}

TEST(claims_are_copies)
{
    CHECK(runs("local verify = core.jwt_verifier(keys, rules)\n"
               "local t = sign { sub = 'a', list = { 'x', { y = 1 } }, none = core.json_null }\n"
               "for _ = 1, 4 do\n"
               "  local c = assert(verify(t))\n"
               "  is(c.sub, 'a') is(c.list[1], 'x') is(c.list[2].y, 1) is(c.list[3], nil)\n"
               "  is(c.none, core.json_null) is(c.evil, nil)\n"
               "  is(core.json_encode(c.list), '[\"x\",{\"y\":1}]')\n"
               "  c.sub, c.evil, c.list[1], c.list[2].y, c.list[3] = 'root', 1, 'z', 2, 'more'\n"
               "end"));
}

TEST(the_cache_is_bounded)
{
    CHECK(
        runs("local verify = core.jwt_verifier(keys, rules)\n"
             "local first = sign { sub = 'first' }\n"
             "is(word(verify, first), 'ok')\n"
             "local function fill(n)\n"
             "  for i = 1, n do is(verify(sign { sub = tostring(i), pad = ('p'):rep(2000) }).sub, "
             "tostring(i)) end\n"
             "end\n"
             "fill(1200) collectgarbage() collectgarbage()\n"
             "local before = collectgarbage 'count'\n"
             "fill(2400) collectgarbage() collectgarbage()\n"
             "local more = collectgarbage 'count' - before\n"
             "if more > 3000 then error('it grew by ' .. more .. ' KiB') end\n"
             "is(word(verify, first), 'ok')\n"
             "local large = sign { pad = ('p'):rep(5000) }\n"
             "is(word(verify, large), 'ok') is(word(verify, large), 'ok')"));
}

TEST(wrong_arguments_are_errors)
{
    CHECK(runs("local function fails(what, ...)\n"
               "  local ok, err = pcall(...)\n"
               "  if ok or not err:find(what, 1, true) then error(tostring(err), 2) end\n"
               "end\n"
               "local v, k = core.jwt_verifier, core.jwt_keys\n"
               "fails('algs is missing', v, keys, {})\n"
               "fails('unknown algorithm \"none\"', v, keys, { algs = { 'none' } })\n"
               "fails('unknown algorithm \"number\"', v, keys, { algs = { 5 } })\n"
               "fails('unknown option', v, keys, { algs = 'HS256', audience = 'x' })\n"
               "fails('iss must be a string', v, keys, { algs = 'HS256', iss = 5 })\n"
               "fails('leeway must be a number', v, keys, { algs = 'HS256', leeway = -1 })\n"
               "fails('set of keys', v, {}, rules)\n"
               "fails('set of keys', v, io.stdout, rules)\n"
               "fails('key 1: the secret is empty', k, { { secret = '' } })\n"
               "fails('key 2: it has neither', k, { { secret = 'x' }, {} })\n"
               "fails('can not be used for', k, { { secret = 'x', algs = 'RS256' } })\n"
               "fails('string expected', v(keys, rules), {})\n"
               "is(select(2, v(keys, rules)()), 'token_missing')\n"
               "fails('unknown algorithm', core.jwt_sign, {}, keys, 'none')\n"
               "is(core.jwt_sign({}, keys, 'RS256'), nil)\n"
               "fails('table expected', core.jwt_sign, 'x', keys, 'HS256')\n"
               "is(getmetatable(keys), 'locked')"));
}
