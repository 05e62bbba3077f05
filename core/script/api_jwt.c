/* api_jwt.c - tokens for scripts; the verifier itself is base/jwt.c.
 *
 *   core.jwt_keys(sources) -> keys      sources: list of { secret= | pem= | jwk= | jwks=, kid=,
 * algs= } core.jwt_keys_replace(keys, other)  keys has what other had, which is empty then
 *   core.jwt_keys_info(keys) -> number of keys, bytes of the shortest secret or nil
 *   core.jwt_verifier(keys, rules, no_cache) -> function(token) -> claims | nil, code, message
 *   core.jwt_sign(claims, keys, alg, kid) -> token | nil, message
 *
 * A verifier remembers the tokens that were good: by their whole text, for the keys of that moment,
 * until the first of their times.  Each answer is a copy, so that a script that changes its claims
 * changes them for nobody else.  What was refused is never remembered. */
#include "script/api.h"
#include "script/json_value.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/jwt.h"

/* In each of two halves; the claims take about as many bytes again. */
enum { CACHED_MAX = 512, CACHED_BYTES_MAX = 256 << 10, CACHED_TOKEN_MAX = 4096 };

static const char keys_key, verifier_key; /* metatables in the registry */

struct keys {
    struct ml_jwks *set; /* owned */
};

struct verifier {
    struct keys *keys;      /* an upvalue of the function keeps it */
    struct ml_arena *arena; /* owned; strings of the rules */
    struct ml_jwt_rules rules;
    unsigned cached;     /* tokens in the newer half */
    size_t cached_bytes; /* of these tokens */
    bool no_cache;
};

static void set_class(lua_State *L, const char *key)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_setmetatable(L, -2);
}

static void *check_class(lua_State *L, int index, const char *key, const char *what)
{
    void *p = lua_touserdata(L, index);

    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (p == NULL || !lua_getmetatable(L, index) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, index, what);
    lua_pop(L, 2);
    return p;
}

static struct keys *check_keys(lua_State *L, int index)
{
    return check_class(L, index, &keys_key, "set of keys (gw.jwt.keys)");
}

/* ---- options ---- */

/* One name, or a list of them; the options table is at index. */
static uint32_t option_algs(lua_State *L, int index, const char *name)
{
    uint32_t algs = 0;
    int count = 1;

    lua_getfield(L, index, name);
    if (lua_istable(L, -1))
        count = (int)lua_objlen(L, -1);
    for (int i = 1; i <= count && !lua_isnil(L, -1); i++) {
        enum ml_jwa alg;

        if (lua_istable(L, -1))
            lua_rawgeti(L, -1, i);
        else
            lua_pushvalue(L, -1);
        alg = lua_type(L, -1) == LUA_TSTRING ? ml_jwa_of(ml_check_str(L, -1)) : ML_JWA_COUNT;
        if (alg == ML_JWA_COUNT)
            luaL_error(L,
                       "%s: unknown algorithm \"%s\"; known are HS, RS, PS and ES with 256, 384 "
                       "and 512, and EdDSA",
                       name,
                       lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
        algs |= ML_JWA_BIT(alg);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return algs;
}

/* The strings of a list, or one string, copied to the arena. */
static struct ml_jwt_list option_list(lua_State *L, int index, const char *name,
                                      struct ml_arena *arena)
{
    struct ml_jwt_list list = {NULL, 0};
    struct ml_str *v;
    size_t count;

    lua_getfield(L, index, name);
    count = lua_istable(L, -1) ? lua_objlen(L, -1) : !lua_isnil(L, -1);
    if (count > ML_JWT_REQUIRED_MAX)
        luaL_error(L, "%s has more than %d entries", name, ML_JWT_REQUIRED_MAX);
    v = ml_arena_zalloc(arena, (count + 1) * sizeof *v);
    for (; list.count < count; list.count++) {
        if (lua_istable(L, -1))
            lua_rawgeti(L, -1, (int)list.count + 1);
        else
            lua_pushvalue(L, -1);
        if (lua_type(L, -1) != LUA_TSTRING)
            luaL_error(L, "%s must be a string or a list of strings", name);
        v[list.count] = ml_arena_dup(arena, ml_check_str(L, -1));
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    list.v = v;
    return list;
}

static void read_rules(lua_State *L, int index, struct verifier *v)
{
    static const char *const names[] = {"algs",   "iss",      "aud",          "sub",
                                        "leeway", "required", "reject_types", NULL};
    struct ml_jwt_rules *rules = &v->rules;

    luaL_checktype(L, index, LUA_TTABLE);
    ml_api_options(L, index, names);
    rules->algs = option_algs(L, index, "algs");
    if (rules->algs == 0)
        luaL_error(L, "algs is missing: the list of algorithms that are accepted");
    rules->issuers = option_list(L, index, "iss", v->arena);
    rules->audiences = option_list(L, index, "aud", v->arena);
    rules->required = option_list(L, index, "required", v->arena);
    rules->reject_types = option_list(L, index, "reject_types", v->arena);
    rules->subject = ml_arena_dup(v->arena, ml_api_option_string(L, index, "sub", ML_STR_NONE));
    lua_pop(L, 1);
    rules->leeway_s = ml_api_option_seconds(L, index, "leeway", 0, 0);
}

/* ---- keys ---- */

static int keys_gc(lua_State *L)
{
    struct keys *keys = lua_touserdata(L, 1);

    ml_jwks_free(&keys->set);
    return 0;
}

static struct keys *push_keys(lua_State *L)
{
    struct keys *keys = lua_newuserdata(L, sizeof *keys);

    keys->set = NULL;
    set_class(L, &keys_key);
    keys->set = ml_jwks_new();
    return keys;
}

typedef const char *adder(struct ml_jwks *set, struct ml_str text, const struct ml_jwk_label *l);

/* The source is on top of the stack: NULL, or what is wrong. */
static const char *add_source(lua_State *L, struct ml_jwks *set)
{
    static const struct {
        const char *name;
        adder *add;
    } kinds[] = {{"secret", ml_jwks_add_secret},
                 {"pem", ml_jwks_add_pem},
                 {"jwk", ml_jwks_add_jwk},
                 {"jwks", ml_jwks_add_set}};
    int index = lua_gettop(L);
    struct ml_jwk_label label = {.algs = option_algs(L, index, "algs")};
    const char *why = "it has neither secret, pem, jwk nor jwks";

    label.kid = ml_api_option_string(L, index, "kid", ML_STR_NONE);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct ml_str text = ml_api_option_string(L, index, kinds[i].name, ML_STR_NONE);

        if (text.p != NULL)
            why = kinds[i].add(set, text, &label);
    }
    lua_settop(L, index);
    return why;
}

static int api_jwt_keys(lua_State *L)
{
    struct keys *keys;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    keys = push_keys(L);
    for (int i = 1; i <= (int)lua_objlen(L, 1); i++) {
        const char *why;

        lua_rawgeti(L, 1, i);
        luaL_checktype(L, -1, LUA_TTABLE);
        why = add_source(L, keys->set);
        if (why != NULL)
            return luaL_error(L, "key %d: %s", i, why);
        lua_pop(L, 1);
    }
    return 1;
}

static int api_jwt_keys_replace(lua_State *L)
{
    struct keys *keys = check_keys(L, 1), *other = check_keys(L, 2);

    if (keys == other)
        return 0;
    ml_jwks_replace(keys->set, &other->set);
    other->set = ml_jwks_new();
    return 0;
}

static int api_jwt_keys_info(lua_State *L)
{
    struct keys *keys = check_keys(L, 1);
    size_t shortest = ml_jwks_shortest_secret(keys->set);

    lua_pushnumber(L, ml_jwks_count(keys->set));
    if (shortest == SIZE_MAX)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (double)shortest);
    return 2;
}

/* ---- copies of claims ---- */

/* The value on top gives way to a copy of it that shares no table. */
static void copy_value(lua_State *L)
{
    int from = lua_gettop(L), to = from + 1;

    if (!lua_istable(L, from))
        return;
    luaL_checkstack(L, 6, "the claims are nested too deeply");
    lua_createtable(L, (int)lua_objlen(L, from), 0);
    for (lua_pushnil(L); lua_next(L, from) != 0;) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        copy_value(L);
        lua_rawset(L, to);
    }
    if (lua_getmetatable(L, from)) /* lists are marked */
        lua_setmetatable(L, to);
    lua_replace(L, from);
}

/* ---- the cache ---- */

/* An entry is { from, until, identity of the keys, name, value, name, value, ... }. */
enum { ENTRY_FROM = 1, ENTRY_UNTIL, ENTRY_KEYS, ENTRY_CLAIMS };
enum { UP_VERIFIER = 1, UP_KEYS, UP_NEWER, UP_OLDER };

static double entry_number(lua_State *L, int entry, int field)
{
    double n;

    lua_rawgeti(L, entry, field);
    n = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return n;
}

/* Keeps the entry on top in the newer half. */
static void keep(lua_State *L, struct verifier *v)
{
    if (v->cached == CACHED_MAX || v->cached_bytes > CACHED_BYTES_MAX) {
        lua_pushvalue(L, lua_upvalueindex(UP_NEWER));
        lua_replace(L, lua_upvalueindex(UP_OLDER));
        lua_createtable(L, 0, CACHED_MAX);
        lua_replace(L, lua_upvalueindex(UP_NEWER));
        v->cached = 0;
        v->cached_bytes = 0;
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, lua_upvalueindex(UP_NEWER));
    v->cached++;
    v->cached_bytes += lua_objlen(L, 1);
}

static bool find(lua_State *L, struct verifier *v)
{
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(UP_NEWER));
    if (!lua_isnil(L, -1))
        return true;
    lua_pop(L, 1);
    lua_pushvalue(L, 1);
    lua_rawget(L, lua_upvalueindex(UP_OLDER));
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    keep(L, v);
    return true;
}

/* Pushes the claims of the token at index 1 when it is known to be good now. */
static bool push_cached(lua_State *L, struct verifier *v, double now_s)
{
    int entry = 2, count;

    if (v->no_cache || !find(L, v))
        return false;
    if (entry_number(L, entry, ENTRY_KEYS) != (double)ml_jwks_identity(v->keys->set) ||
        now_s < entry_number(L, entry, ENTRY_FROM) ||
        !(now_s < entry_number(L, entry, ENTRY_UNTIL))) {
        lua_pop(L, 1);
        return false;
    }
    count = (int)lua_objlen(L, entry);
    lua_createtable(L, 0, (count - ENTRY_KEYS) / 2);
    for (int i = ENTRY_CLAIMS; i < count; i += 2) {
        lua_rawgeti(L, entry, i);
        lua_rawgeti(L, entry, i + 1);
        copy_value(L);
        lua_rawset(L, -3);
    }
    return true;
}

static void put_number(lua_State *L, int entry, int field, double n)
{
    lua_pushnumber(L, n);
    lua_rawseti(L, entry, field);
}

/* The claims, which are on top, and stay there. */
static void remember(lua_State *L, struct verifier *v, const struct ml_jwt_times *times)
{
    int claims = lua_gettop(L), entry = claims + 1, at = ENTRY_CLAIMS;

    if (v->no_cache || lua_objlen(L, 1) > CACHED_TOKEN_MAX)
        return;
    lua_createtable(L, 16, 0);
    put_number(L, entry, ENTRY_FROM, times->from);
    put_number(L, entry, ENTRY_UNTIL, times->until);
    put_number(L, entry, ENTRY_KEYS, (double)ml_jwks_identity(v->keys->set));
    for (lua_pushnil(L); lua_next(L, claims) != 0;) {
        copy_value(L);
        lua_rawseti(L, entry, at + 1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, entry, at);
        at += 2;
    }
    keep(L, v);
    lua_settop(L, claims);
}

/* ---- verifying ---- */

static int refuse(lua_State *L, enum ml_jwt_code code)
{
    lua_pushnil(L);
    lua_pushstring(L, ml_jwt_word(code));
    lua_pushstring(L, ml_jwt_message(code));
    return 3;
}

/* In place of a request at index 1: its bearer token.  ML_JWT_OK when there is one. */
static enum ml_jwt_code take_bearer(lua_State *L)
{
    struct ml_handle *h = ml_handle_of(L, 1, ML_HANDLE_REQUEST);
    struct ml_str token;

    if (h == NULL)
        return ML_JWT_OK;
    switch (ml_bearer_find(&ml_handle_exchange(L, h)->req.headers, &token)) {
    case ML_BEARER_NONE:
        return ML_JWT_MISSING;
    case ML_BEARER_MALFORMED:
        return ML_JWT_MALFORMED;
    default:
        ml_push_str(L, token);
        lua_replace(L, 1);
        return ML_JWT_OK;
    }
}

static int verify(lua_State *L)
{
    static struct ml_jws jws; /* no Lua code runs while it is used */
    struct verifier *v = lua_touserdata(L, lua_upvalueindex(UP_VERIFIER));
    double now_s = ml_clock_wall_s();
    struct ml_jwt_times times;
    enum ml_jwt_code code;

    lua_settop(L, 1);
    if (lua_isnil(L, 1))
        return refuse(L, ML_JWT_MISSING);
    code = take_bearer(L);
    if (code != ML_JWT_OK)
        return refuse(L, code);
    luaL_checktype(L, 1, LUA_TSTRING);
    if (push_cached(L, v, now_s))
        return 1;
    code = ml_jwt_verify(v->keys->set, &v->rules, ml_check_str(L, 1), now_s, &jws, &times);
    if (code != ML_JWT_OK)
        return refuse(L, code);
    if (ml_json_push(L, jws.payload) != NULL) /* a number that no double can hold */
        return refuse(L, ML_JWT_MALFORMED);
    remember(L, v, &times);
    return 1;
}

static int verifier_gc(lua_State *L)
{
    struct verifier *v = lua_touserdata(L, 1);

    ml_arena_free(&v->arena);
    return 0;
}

static int api_jwt_verifier(lua_State *L)
{
    struct keys *keys = check_keys(L, 1);
    struct verifier *v;

    lua_settop(L, 3);
    v = lua_newuserdata(L, sizeof *v);
    *v = (struct verifier){.keys = keys, .no_cache = lua_toboolean(L, 3)};
    set_class(L, &verifier_key);
    v->arena = ml_arena_new();
    read_rules(L, 2, v);
    lua_pushvalue(L, 1);
    lua_newtable(L);
    lua_newtable(L);
    lua_pushcclosure(L, verify, UP_OLDER);
    return 1;
}

/* ---- signing ---- */

static int api_jwt_sign(lua_State *L)
{
    static struct ml_buf token; /* a Lua error must not lose it */
    struct ml_buf *claims = ml_handle_scratch();
    struct keys *keys = check_keys(L, 2);
    enum ml_jwa alg = ml_jwa_of(ml_check_str(L, 3));
    struct ml_str kid = lua_isnoneornil(L, 4) ? ML_STR_NONE : ml_check_str(L, 4);
    const char *why;

    luaL_checktype(L, 1, LUA_TTABLE);
    if (alg == ML_JWA_COUNT)
        return luaL_argerror(L, 3, "unknown algorithm");
    why = ml_json_write(L, 1, claims, false);
    ml_buf_consume(&token, ml_buf_len(&token));
    if (why == NULL)
        why = ml_jwks_sign(keys->set, alg, kid, ml_buf_str(claims), &token);
    if (why != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, why);
        return 2;
    }
    ml_push_str(L, ml_buf_str(&token));
    return 1;
}

static void add_class(lua_State *L, const char *key, lua_CFunction gc)
{
    lua_pushlightuserdata(L, (void *)key);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_rawset(L, LUA_REGISTRYINDEX);
}

void ml_api_jwt_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {
        {"jwt_keys", api_jwt_keys},           {"jwt_keys_replace", api_jwt_keys_replace},
        {"jwt_keys_info", api_jwt_keys_info}, {"jwt_verifier", api_jwt_verifier},
        {"jwt_sign", api_jwt_sign},           {NULL, NULL}};

    add_class(L, &keys_key, keys_gc);
    add_class(L, &verifier_key, verifier_gc);
    ml_bridge_register(L, b, functions);
}
