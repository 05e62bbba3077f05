/* api_upstream.c - what a script may do with an upstream while it serves.
 *
 *   core.upstream_set(name, servers or nil) -> true | nil, what is wrong     lists.h
 *   core.upstream_drain(name, url, on) -> whether that changed something | nil, what is wrong
 *   core.upstream_servers(name) -> { { url, state, weight, backup, in_flight, ... }, ... }
 *
 * servers: { { url, weight, max_conns, backup }, ... }, checked by lua/moonlatch/upstream.lua but for
 * what the core alone knows of URLs. */
#include "script/api.h"

#include "outbound/lists.h"

static struct ml_group *group_of(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_group *g = b->conf.group(b->conf.ctx, ml_check_str(L, 1));

    if (g == NULL)
        luaL_error(L, "the upstreams begin to work when the site is loaded");
    return g;
}

static int refuse(lua_State *L, const char *why, const char *what)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", what, why);
    return 2;
}

static void read_server(lua_State *L, struct ml_server_conf *s)
{
    *s = (struct ml_server_conf){.weight = 1};
    lua_getfield(L, -1, "url");
    s->url = ml_check_str(L, -1); /* kept by the table */
    lua_getfield(L, -2, "weight");
    if (!lua_isnil(L, -1))
        s->weight = (unsigned)luaL_checkinteger(L, -1);
    lua_getfield(L, -3, "max_conns");
    s->max_conns = (unsigned)lua_tointeger(L, -1);
    lua_getfield(L, -4, "backup");
    s->backup = lua_toboolean(L, -1);
    lua_pop(L, 4);
}

static int api_set(lua_State *L)
{
    struct ml_server_conf list[ML_LIST_SERVERS_MAX];
    struct ml_group *g = group_of(L);
    const char *wrong;
    size_t count = 0;

    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        count = lua_objlen(L, 2);
        if (count == 0)
            return refuse(L, "needs at least one server", "servers");
        if (count > ML_LIST_SERVERS_MAX)
            return refuse(L, "a list has at most 256 servers", "servers");
    }
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 2, (int)i + 1);
        luaL_checktype(L, -1, LUA_TTABLE);
        read_server(L, &list[i]);
        wrong = ml_server_url_check(list[i].url);
        if (wrong != NULL)
            return refuse(L, wrong, list[i].url.p);
        lua_pop(L, 1);
    }
    wrong = ml_group_publish(g, list, (unsigned)count);
    if (wrong != NULL)
        return refuse(L, wrong, "servers");
    lua_pushboolean(L, true);
    return 1;
}

static uint64_t now_ms(const struct ml_group *g)
{
    return (uint64_t)(ml_loop_now_s(g->o->loop) * 1000);
}

static int api_drain(lua_State *L)
{
    struct ml_group *g = group_of(L);
    struct ml_str url = ml_check_str(L, 2);

    for (unsigned i = 0; i < g->roster->count; i++) {
        struct ml_server *s = g->roster->members[i].server;

        if (!ml_str_eq(s->text, url))
            continue;
        lua_pushboolean(L, ml_health_drain(s->state, lua_toboolean(L, 3), now_ms(g)));
        return 1;
    }
    return refuse(L, "the upstream has no such server", url.p);
}

static void set_text(lua_State *L, const char *key, struct ml_str text)
{
    ml_push_str(L, text);
    lua_setfield(L, -2, key);
}

static void set_number(lua_State *L, const char *key, double n)
{
    lua_pushnumber(L, n);
    lua_setfield(L, -2, key);
}

static void push_server(lua_State *L, const struct ml_group *g, const struct ml_member *m)
{
    const struct ml_shm_server *state = m->server->state;
    uint32_t error = atomic_load(&state->last_error);
    struct ml_buf word = {0};

    lua_createtable(L, 0, 8);
    set_text(L, "url", m->server->text);
    set_text(L, "state", ml_str_of(ml_health_word(state, now_ms(g))));
    set_number(L, "weight", m->weight);
    lua_pushboolean(L, m->tier > 0);
    lua_setfield(L, -2, "backup");
    set_number(L, "in_flight", atomic_load(&state->in_flight));
    set_number(L, "requests", (double)atomic_load(&state->requests));
    set_number(L, "errors", (double)atomic_load(&state->errors));
    if (error == 0)
        return;
    ml_health_error_text(error, &word);
    set_text(L, "last_error", ml_buf_str(&word));
    set_number(L, "last_error_at", (double)atomic_load(&state->last_error_ms) / 1000);
    ml_buf_release(&word);
}

static int api_servers(lua_State *L)
{
    struct ml_group *g = group_of(L);

    lua_createtable(L, (int)g->roster->count, 0);
    for (unsigned i = 0; i < g->roster->count; i++) {
        push_server(L, g, &g->roster->members[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

void ml_api_upstream_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"upstream_set", api_set},
                                         {"upstream_drain", api_drain},
                                         {"upstream_servers", api_servers},
                                         {NULL, NULL}};

    ml_bridge_register(L, b, functions);
}
