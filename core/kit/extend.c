/* extend.c - functions of core that a simulation puts in the place of others. */
#include "kit/extend.h"

#include "kit/cover.h"
#include "outbound/redis_conf.h"
#include "script/task.h"

#include <lauxlib.h>

/* core.getenv(name): upvalue 1 is the environment of the test. */
static int get_env(lua_State *L)
{
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

static void append_item(lua_State *L, int index, struct ml_buf *out, const char *end)
{
    struct ml_str s = {0};

    if (lua_type(L, index) == LUA_TSTRING)
        s.p = lua_tolstring(L, index, &s.len);
    ml_buf_append(out, s);
    ml_buf_append(out, ml_str_of(end));
}

/* core.trace(what, name, detail): upvalue 1 points to the handle's simulation. */
static int trace(lua_State *L)
{
    struct ml_sim **sim = lua_touserdata(L, lua_upvalueindex(1));
    struct ml_task *task = ml_task_running(L);
    struct ml_exchange *ex = task != NULL ? ml_task_exchange(ml_task_root(task)) : NULL;
    struct ml_sim_record *record = ex != NULL ? ml_sim_record_of(*sim, ex) : NULL;

    if (record == NULL)
        return 0;
    append_item(L, 1, &record->trace, "\037");
    append_item(L, 2, &record->trace, "\037");
    append_item(L, 3, &record->trace, "\036");
    return 0;
}

/* core.redis(url, opts): upvalue 1 is the product's function, which says what is wrong with a URL.
 */
static int note_redis(lua_State *L)
{
    static struct ml_redis_conf conf;
    struct ml_str url = {0};
    int count = lua_gettop(L);

    if (lua_type(L, 1) == LUA_TSTRING)
        url.p = lua_tolstring(L, 1, &url.len);
    if (ml_redis_conf_parse(url, &conf) == NULL) {
        if (lua_istable(L, 2)) {
            lua_getfield(L, 2, "db");
            conf.db = (int)luaL_optinteger(L, -1, conf.db);
            lua_pop(L, 1);
        }
        ml_sim_redis(&conf);
    }
    explicit_bzero(&conf, sizeof conf);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, count, LUA_MULTRET);
    return lua_gettop(L);
}

void ml_extend(lua_State *L, void *ctx)
{
    struct ml_extension *x = ctx;

    ml_cover_attach(L, x);
    lua_newtable(L);
    for (lua_pushnil(x->outer); lua_next(x->outer, x->env) != 0; lua_pop(x->outer, 1)) {
        size_t len;
        const char *value = lua_tolstring(x->outer, -1, &len);

        lua_pushstring(L, lua_tostring(x->outer, -2));
        lua_pushlstring(L, value, len);
        lua_rawset(L, -3);
    }
    lua_pushcclosure(L, get_env, 1);
    lua_setfield(L, -2, "getenv");
    lua_pushlightuserdata(L, x->sim);
    lua_pushcclosure(L, trace, 1);
    lua_setfield(L, -2, "trace");
    lua_getfield(L, -1, "redis");
    lua_pushcclosure(L, note_redis, 1);
    lua_setfield(L, -2, "redis");
}
