/* api_shared.c - core.shared(name): a dictionary that all workers and all generations share.
 *
 * Its handle is a name; the entries are in shared memory (base/shdict.h).  Nothing here waits. */
#include "script/api.h"

#include "base/clock.h"
#include "base/shdict.h"

#include <math.h>

enum { NAME_MAX_LEN = 255, KEY_MAX_LEN = 1024, KEYS_DEFAULT = 1000, KEYS_MAX = 100000 };

struct dict {
    size_t len;
    char name[];
};

/* What comes out of the shared memory before it becomes a Lua string; kept, as making one may
 * raise. No two calls need it at a time. */
static struct ml_buf scratch;

/* ---- arguments ---- */

/* The dict at index 1, and the region it is in. */
static struct ml_str check_dict(lua_State *L, struct ml_shdict_region **region)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct dict *d = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, b->dict_metatable);
    if (d == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, 1, "shared dict");
    lua_pop(L, 2);
    if (b->conf.host->shm == NULL || ml_task_running(L) == NULL)
        luaL_error(L, "a shared dict can not be used while the site is loaded");
    *region = ml_shm_dicts(b->conf.host->shm);
    return (struct ml_str){d->name, d->len};
}

static struct ml_str check_key(lua_State *L)
{
    struct ml_str key = ml_check_str(L, 2); /* numbers become strings */

    if (key.len == 0 || key.len > KEY_MAX_LEN)
        luaL_argerror(L, 2, "a key has 1 to 1024 bytes");
    return key;
}

/* 0: for ever. */
static double check_ttl(lua_State *L, int index)
{
    return lua_isnoneornil(L, index) ? 0 : ml_api_seconds(L, index, 0.001);
}

static struct ml_shdict_value check_value(lua_State *L, int index)
{
    struct ml_shdict_value v = {.type = ML_SHDICT_NIL};

    switch (lua_type(L, index)) {
    case LUA_TNIL:
        break;
    case LUA_TBOOLEAN:
        v.type = ML_SHDICT_BOOLEAN;
        v.number = lua_toboolean(L, index);
        break;
    case LUA_TNUMBER:
        v.type = ML_SHDICT_NUMBER;
        v.number = lua_tonumber(L, index);
        break;
    case LUA_TSTRING:
        v.type = ML_SHDICT_STRING;
        v.string = ml_check_str(L, index);
        break;
    default:
        luaL_typerror(L, index, "string, number, boolean or nil");
    }
    return v;
}

static int fail(lua_State *L, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, code);
    return 2;
}

/* ---- methods ---- */

static int dict_get(lua_State *L)
{
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region), key = check_key(L);
    struct ml_shdict_value v = {.type = ML_SHDICT_NIL};

    ml_shdict_get(region, name, key, ml_clock_wall_s(), &scratch,
                  &v); /* the key has been checked */
    switch (v.type) {
    case ML_SHDICT_STRING:
        ml_push_str(L, v.string);
        break;
    case ML_SHDICT_NUMBER:
        lua_pushnumber(L, v.number);
        break;
    case ML_SHDICT_BOOLEAN:
        lua_pushboolean(L, v.number != 0);
        break;
    case ML_SHDICT_NIL:
        lua_pushnil(L);
        break;
    }
    if (scratch.cap > ML_BUF_BLOCK)
        ml_buf_release(&scratch);
    return 1;
}

static int dict_set(lua_State *L)
{
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region), key = check_key(L);
    struct ml_shdict_value v;
    double ttl_s = check_ttl(L, 4);

    luaL_checkany(L, 3);
    v = check_value(L, 3);
    if (ml_shdict_set(region, name, key, &v, ttl_s, ml_clock_wall_s()) != ML_OK)
        return fail(L, "too_large");
    lua_pushboolean(L, 1);
    return 1;
}

static int dict_add(lua_State *L)
{
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region), key = check_key(L);
    struct ml_shdict_value v = check_value(L, 3);
    double ttl_s = check_ttl(L, 4);
    bool done;

    if (v.type == ML_SHDICT_NIL)
        luaL_argerror(L, 3, "a value is expected");
    if (ml_shdict_add(region, name, key, &v, ttl_s, ml_clock_wall_s(), &done) != ML_OK)
        return fail(L, "too_large");
    lua_pushboolean(L, done);
    if (done)
        return 1;
    lua_pushliteral(L, "exists");
    return 2;
}

static void incr_options(lua_State *L, double *init, double *ttl_s)
{
    static const char *const names[] = {"init", "ttl", NULL};

    *init = *ttl_s = 0;
    if (lua_type(L, 4) == LUA_TTABLE) {
        ml_api_options(L, 4, names);
        *init = ml_api_option_number(L, 4, "init", -1e300, 1e300, 0);
        *ttl_s = ml_api_option_seconds(L, 4, "ttl", 0.001, 0);
    } else {
        *ttl_s = check_ttl(L, 4);
    }
}

/* dict:incr(key, by, ttl or {init=, ttl=}) -> sum, nil, seconds left (nil: for ever) */
static int dict_incr(lua_State *L)
{
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region), key = check_key(L);
    double by = luaL_optnumber(L, 3, 1), init, ttl_s, sum, left_s;
    enum ml_err err;

    if (!isfinite(by))
        luaL_argerror(L, 3, "a finite number is expected");
    incr_options(L, &init, &ttl_s);
    err = ml_shdict_incr(region, name, key, by, init, ttl_s, ml_clock_wall_s(), &sum, &left_s);
    if (err != ML_OK)
        return fail(L, err == ML_BAD_REQUEST ? "not_a_number" : "too_large");
    lua_pushnumber(L, sum);
    lua_pushnil(L);
    if (left_s > 0)
        lua_pushnumber(L, left_s);
    else
        lua_pushnil(L);
    return 3;
}

static int dict_delete(lua_State *L)
{
    static const struct ml_shdict_value nil = {.type = ML_SHDICT_NIL};
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region), key = check_key(L);

    ml_shdict_set(region, name, key, &nil, 0, ml_clock_wall_s());
    lua_pushboolean(L, 1);
    return 1;
}

static int dict_clear(lua_State *L)
{
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region);

    ml_shdict_clear(region, name);
    return 0;
}

/* Raises nothing: ml_shdict_keys holds memory.  Keys are separated by their lengths. */
static void note_key(void *ctx, struct ml_str key)
{
    (void)ctx;
    ml_buf_append(&scratch, (struct ml_str){(const char *)&key.len, sizeof key.len});
    ml_buf_append(&scratch, key);
}

static int dict_keys(lua_State *L)
{
    struct ml_shdict_region *region;
    struct ml_str name = check_dict(L, &region), key;
    double max = luaL_optnumber(L, 2, KEYS_DEFAULT);

    if (!(max >= 1 && max <= KEYS_MAX))
        luaL_argerror(L, 2, "max must be from 1 to 100000");
    ml_buf_consume(&scratch, ml_buf_len(&scratch));
    ml_shdict_keys(region, name, (unsigned)max, ml_clock_wall_s(), note_key, NULL);
    lua_newtable(L);
    for (int i = 1; ml_buf_len(&scratch) > 0; i++) {
        memcpy(&key.len, scratch.p + scratch.start, sizeof key.len);
        ml_buf_consume(&scratch, sizeof key.len);
        key.p = scratch.p + scratch.start;
        ml_push_str(L, key);
        ml_buf_consume(&scratch, key.len);
        lua_rawseti(L, -2, i);
    }
    ml_buf_release(&scratch);
    return 1;
}

/* ---- core.shared(name) ---- */

static int api_shared(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_str name;
    struct dict *d;

    luaL_checktype(L, 1, LUA_TSTRING);
    name = ml_check_str(L, 1);
    if (name.len == 0 || name.len > NAME_MAX_LEN)
        luaL_argerror(L, 1, "the name of a shared dict has 1 to 255 bytes");
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.p[i] < ' ' || name.p[i] == 0x7f)
            luaL_argerror(L, 1, "the name of a shared dict has no control characters");
    d = lua_newuserdata(L, sizeof *d + name.len);
    d->len = name.len;
    memcpy(d->name, name.p, name.len);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->dict_metatable);
    lua_setmetatable(L, -2);
    return 1;
}

void ml_api_shared_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"shared", api_shared}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"get", dict_get},       {"set", dict_set},     {"add", dict_add},   {"incr", dict_incr},
        {"delete", dict_delete}, {"clear", dict_clear}, {"keys", dict_keys}, {NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, methods);
    b->dict_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
