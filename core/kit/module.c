/* module.c - the Lua module moonlatch.kit.native: simulations for lua/moonlatch/test.lua.
 *
 *   native.load{ dir=, files=, env=, now=, seed= } -> sim, or nil, why
 *   sim:client(ip, port) -> end, or nil, why         sim:settle()   sim:next() -> seconds or nil
 *   sim:move(seconds)                                sim:clock() -> wall clock, seconds since begin
 *   sim:request() -> end, host, request              what an upstream got and nobody has seen yet;
 *       bytes when the host is a Redis
 *   sim:host(name, port) -> index                    sim:mode(index, "accept"|"refuse"|"reset")
 *   sim:facts() -> { upstreams, ports, hosts, redis, warnings }
 *   sim:log("events"|"access") -> text
 *   sim:metrics() -> the page of metrics            sim:close()
 *
 * An end is a connection, see ends.h.  A handle that outlived its simulation raises an error. */
#include "base/err.h"
#include "kit/cover.h"
#include "kit/ends.h"
#include "kit/extend.h"
#include "kit/files.h"
#include "kit/message.h"
#include "kit/tools.h"
#include "outbound/server.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char SIM[] = "moonlatch simulation";

/* ---- simulations ---- */

static void push_str(lua_State *L, struct ml_str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.len);
}

static struct ml_sim *check_sim(lua_State *L, int index)
{
    struct ml_sim **sim = luaL_checkudata(L, index, SIM);

    if (*sim == NULL)
        luaL_error(L, "the app is closed");
    return *sim;
}

static int fail(lua_State *L, struct ml_buf *why)
{
    lua_pushnil(L);
    lua_pushlstring(L, ml_buf_str(why).p != NULL ? ml_buf_str(why).p : "", ml_buf_len(why));
    ml_buf_release(why);
    return 2;
}

static double number_field(lua_State *L, const char *name, double otherwise)
{
    double n;

    lua_getfield(L, 1, name);
    n = luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return n;
}

static void check_strings(lua_State *L, int index, const char *what)
{
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1))
        if (lua_type(L, -2) != LUA_TSTRING ||
            (lua_type(L, -1) != LUA_TSTRING && lua_type(L, -1) != LUA_TBOOLEAN))
            luaL_error(L, "%s: names and values are strings", what);
}

/* The sim is anchored by its handle before the VM inside gets a pointer to it. */
static int load(lua_State *L)
{
    struct ml_extension x = {.outer = L, .env = 2};
    struct ml_snapshot *snapshot;
    struct ml_buf why = {0};
    double now, seed;
    const char *dir;
    int files;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    now = number_field(L, "now", 0);
    seed = number_field(L, "seed", 1);
    lua_getfield(L, 1, "env");
    luaL_checktype(L, 2, LUA_TTABLE);
    check_strings(L, 2, "env");
    lua_getfield(L, 1, "files");
    files = lua_istable(L, 3) ? 3 : 0;
    if (files != 0)
        check_strings(L, 3, "files");
    lua_getfield(L, 1, "dir");
    dir = files != 0 ? luaL_optstring(L, 4, NULL) : luaL_checkstring(L, 4);
    x.sim = lua_newuserdata(L, sizeof(struct ml_sim *));
    *x.sim = NULL;
    luaL_getmetatable(L, SIM);
    lua_setmetatable(L, -2);
    x.snapshot = snapshot = ml_files_snapshot(L, dir, files, &why);
    x.dir = dir;
    x.files = files;
    if (snapshot != NULL)
        *x.sim = ml_sim_new(&snapshot, now, (uint64_t)seed, ml_extend, &x, &why);
    if (*x.sim == NULL)
        return fail(L, &why);
    return 1;
}

static int sim_settle(lua_State *L)
{
    ml_sim_settle(check_sim(L, 1));
    return 0;
}

static int sim_next(lua_State *L)
{
    double next = ml_sim_next_s(check_sim(L, 1));

    if (!isfinite(next))
        return 0;
    lua_pushnumber(L, next > 0 ? next : 0);
    return 1;
}

static int sim_move(lua_State *L)
{
    ml_sim_move(check_sim(L, 1), luaL_checknumber(L, 2));
    return 0;
}

static int sim_clock(lua_State *L)
{
    struct ml_sim *sim = check_sim(L, 1);

    lua_pushnumber(L, sim->clock.wall_s(sim));
    lua_pushnumber(L, sim->clock.wall_s(sim) - sim->wall_begin_s);
    return 2;
}

static int sim_client(lua_State *L)
{
    struct ml_sim *sim = check_sim(L, 1);
    struct ml_address from;
    struct ml_sim_end *end;
    struct ml_str ip;

    ip.p = luaL_checklstring(L, 2, &ip.len);
    if (!ml_address_parse(ip, &from))
        return luaL_error(L, "ip: \"%s\" is no address", ip.p);
    end = ml_sim_client(sim, &from, (int)luaL_optinteger(L, 3, 0));
    if (end == NULL)
        return luaL_error(L, "the site has no listener with port %d", (int)lua_tointeger(L, 3));
    ml_ends_push(L, end);
    return 1;
}

/* An upstream's end whose gateway went away is of no use any more. */
static int sim_request(lua_State *L)
{
    struct ml_sim *sim = check_sim(L, 1);
    struct ml_sim_end *next;

    lua_settop(L, 1);
    for (struct ml_sim_end *end = sim->ends; end != NULL; end = next) {
        next = end->next;
        if (end->conn != NULL || end->handed)
            continue;
        if (ml_buf_len(&end->in) > 0) {
            ml_ends_push(L, end);
            lua_pushinteger(L, (int)end->host);
            if (sim->hosts[end->host].redis) {
                push_str(L, ml_buf_str(&end->in));
                ml_buf_consume(&end->in, ml_buf_len(&end->in));
                return 3;
            }
            if (ml_message_take_request(L, end) == ML_OK) {
                end->handed = true;
                return 3;
            }
            lua_settop(L, 1);
        }
        if (end->eof)
            ml_ends_close(L, end);
    }
    return 0;
}

static int sim_host(lua_State *L)
{
    struct ml_sim *sim = check_sim(L, 1);
    struct ml_str name;

    name.p = luaL_checklstring(L, 2, &name.len);
    lua_pushinteger(L, (int)ml_sim_host(sim, name, (int)luaL_checkinteger(L, 3)));
    return 1;
}

static int sim_mode(lua_State *L)
{
    static const char *const names[] = {"accept", "refuse", "reset", NULL};
    struct ml_sim *sim = check_sim(L, 1);
    lua_Integer index = luaL_checkinteger(L, 2);

    luaL_argcheck(L, index >= 0 && index < (lua_Integer)sim->host_count, 2, "no such host");
    sim->hosts[index].mode = (enum ml_sim_mode)luaL_checkoption(L, 3, NULL, names);
    for (struct ml_sim_end *end = sim->ends, *next; end != NULL; end = next) {
        next = end->next;
        if (end->conn == NULL && end->host == (unsigned)index && !end->handed)
            ml_ends_close(L, end);
    }
    return 0;
}

/* { name, host index, host index ... } for each upstream */
static void push_upstreams(lua_State *L, struct ml_sim *sim, const struct ml_site *site)
{
    lua_createtable(L, (int)site->group_count, 0);
    for (unsigned i = 0; i < site->group_count; i++) {
        const struct ml_group_conf *conf = &site->groups[i];

        lua_newtable(L);
        push_str(L, conf->name);
        lua_rawseti(L, -2, 1);
        for (unsigned j = 0; j < conf->server_count; j++) {
            struct ml_server_url url;

            if (ml_server_url_parse(conf->servers[j].url, &url) != NULL)
                continue;
            lua_pushinteger(L, (int)ml_sim_host(sim, url.host, url.port));
            lua_rawseti(L, -2, (int)j + 2);
        }
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* { name =, port = } for each host, that with index 0 first */
static void push_hosts(lua_State *L, struct ml_sim *sim)
{
    lua_createtable(L, (int)sim->host_count, 0);
    for (unsigned i = 0; i < sim->host_count; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, sim->hosts[i].name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, sim->hosts[i].port);
        lua_setfield(L, -2, "port");
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* { index =, name =, port =, db = } for each server of a Redis that the site uses */
static void push_redis(lua_State *L, struct ml_sim *sim)
{
    int count = 0;

    lua_newtable(L);
    for (unsigned i = 0; i < sim->host_count; i++) {
        const struct ml_sim_host *host = &sim->hosts[i];

        if (!host->redis)
            continue;
        lua_createtable(L, 0, 4);
        lua_pushinteger(L, (int)i);
        lua_setfield(L, -2, "index");
        lua_pushstring(L, host->name);
        lua_setfield(L, -2, "name");
        lua_pushinteger(L, host->port);
        lua_setfield(L, -2, "port");
        lua_pushinteger(L, host->redis_db);
        lua_setfield(L, -2, "db");
        lua_rawseti(L, -2, ++count);
    }
}

static int sim_facts(lua_State *L)
{
    struct ml_sim *sim = check_sim(L, 1);

    lua_newtable(L);
    push_upstreams(L, sim, ml_generation_site(sim->current));
    lua_setfield(L, -2, "upstreams");
    lua_newtable(L);
    for (unsigned i = 0; i < sim->port_count; i++) {
        lua_pushinteger(L, sim->ports[i].conf->port);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "ports");
    push_hosts(L, sim);
    lua_setfield(L, -2, "hosts");
    push_redis(L, sim);
    lua_setfield(L, -2, "redis");
    push_str(L, ml_generation_warnings(sim->current));
    lua_setfield(L, -2, "warnings");
    return 1;
}

static int sim_log(lua_State *L)
{
    static const char *const names[] = {"events", "access", NULL};
    struct ml_sim *sim = check_sim(L, 1);
    int which = luaL_checkoption(L, 2, NULL, names);
    off_t at = (off_t)luaL_optnumber(L, 3, 0);
    luaL_Buffer buffer;
    ssize_t n;

    ml_log_flush(which == 0 ? sim->events : sim->access);
    luaL_buffinit(L, &buffer);
    do {
        n = pread(which == 0 ? sim->events_fd : sim->access_fd, luaL_prepbuffer(&buffer),
                  LUAL_BUFFERSIZE, at);
        if (n > 0) {
            luaL_addsize(&buffer, (size_t)n);
            at += n;
        }
    } while (n > 0);
    luaL_pushresult(&buffer);
    return 1;
}

static int sim_metrics(lua_State *L)
{
    struct ml_sim *sim = check_sim(L, 1);
    struct ml_buf text = {0};

    ml_sim_metrics(sim, &text);
    push_str(L, ml_buf_str(&text)); /* no memory: the test program ends */
    ml_buf_release(&text);
    return 1;
}

static int sim_close(lua_State *L)
{
    struct ml_sim **sim = luaL_checkudata(L, 1, SIM);

    if (*sim == NULL)
        return 0;
    for (struct ml_sim_end *end = (*sim)->ends; end != NULL; end = end->next)
        ml_ends_forget(L, end);
    ml_sim_free(sim);
    return 0;
}

__attribute__((visibility("default"))) int luaopen_moonlatch_kit(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"settle", sim_settle}, {"next", sim_next},     {"move", sim_move},
        {"clock", sim_clock},   {"client", sim_client}, {"request", sim_request},
        {"host", sim_host},     {"mode", sim_mode},     {"facts", sim_facts},
        {"metrics", sim_metrics},
        {"log", sim_log},       {"close", sim_close},   {NULL, NULL}};
    static const luaL_Reg functions[] = {{"load", load}, {NULL, NULL}};

    ml_ends_open(L);
    ml_ends_push_class(L, SIM, methods);
    lua_pushcfunction(L, sim_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    ml_tools_open(L);
    ml_cover_open(L);
    return 1;
}
