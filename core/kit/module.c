/* module.c - the Lua module moonlatch.kit.native: simulations for lua/moonlatch/test.lua.
 *
 *   native.load{ dir=, files=, env=, now=, seed= } -> sim, or nil, why
 *   sim:client(ip, port) -> end, or nil, why         sim:settle()   sim:next() -> seconds or nil
 *   sim:move(seconds)                                sim:clock() -> wall clock, seconds since begin
 *   sim:request() -> end, host, request              what an upstream got and nobody has seen yet
 *   sim:host(name, port) -> index                    sim:mode(index, "accept"|"refuse"|"reset")
 *   sim:facts() -> { upstreams, ports, warnings }   sim:log("events"|"access") -> text
 *   sim:close()
 *   end:send(bytes)   end:response(method) -> response | nil, word    end:record() -> table
 *   end:close()       end:ended() -> boolean
 *
 * A handle that outlived its simulation raises an error. */
#include "base/err.h"
#include "kit/files.h"
#include "kit/message.h"
#include "kit/tools.h"
#include "outbound/server.h"
#include "script/task.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char SIM[] = "moonlatch simulation", END[] = "moonlatch connection";

struct end_handle {
    struct ml_sim_end *end;
    int sim_ref; /* keeps the simulation's handle, in the registry */
    struct ml_sim **sim;
};

/* ---- what the fresh VM gets ---- */

struct extension {
    lua_State *outer;
    int env; /* index of a table in outer */
    struct ml_sim **sim;
};

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

static void extend(lua_State *L, void *ctx)
{
    struct extension *x = ctx;

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
}

/* ---- simulations ---- */

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
    struct extension x = {.outer = L, .env = 2};
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
    snapshot = ml_files_snapshot(L, dir, files, &why);
    if (snapshot != NULL)
        *x.sim = ml_sim_new(&snapshot, now, (uint64_t)seed, extend, &x, &why);
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

static void push_end(lua_State *L, struct ml_sim_end *end)
{
    struct end_handle *h;

    lua_pushlightuserdata(L, end);
    lua_rawget(L, LUA_REGISTRYINDEX); /* one handle per end, for as long as the end lives */
    if (!lua_isnil(L, -1))
        return;
    lua_pop(L, 1);
    h = lua_newuserdata(L, sizeof *h);
    *h = (struct end_handle){.end = end, .sim = lua_touserdata(L, 1)};
    luaL_getmetatable(L, END);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1);
    h->sim_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushlightuserdata(L, end);
    lua_pushvalue(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
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
    push_end(L, end);
    return 1;
}

static void forget_end(lua_State *L, struct ml_sim_end *end)
{
    struct end_handle *h;

    lua_pushlightuserdata(L, end);
    lua_rawget(L, LUA_REGISTRYINDEX);
    h = lua_touserdata(L, -1);
    if (h != NULL) {
        luaL_unref(L, LUA_REGISTRYINDEX, h->sim_ref);
        h->end = NULL;
    }
    lua_pop(L, 1);
    lua_pushlightuserdata(L, end);
    lua_pushnil(L);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

static void close_end(lua_State *L, struct ml_sim_end *end)
{
    forget_end(L, end);
    ml_sim_end_close(&end);
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
            push_end(L, end);
            lua_pushinteger(L, (int)end->host);
            if (ml_message_take_request(L, end) == ML_OK) {
                end->handed = true;
                return 3;
            }
            lua_settop(L, 1);
        }
        if (end->eof)
            close_end(L, end);
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
            close_end(L, end);
    }
    return 0;
}

static void push_str(lua_State *L, struct ml_str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.len);
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

static int sim_close(lua_State *L)
{
    struct ml_sim **sim = luaL_checkudata(L, 1, SIM);

    if (*sim == NULL)
        return 0;
    for (struct ml_sim_end *end = (*sim)->ends; end != NULL; end = end->next)
        forget_end(L, end);
    ml_sim_free(sim);
    return 0;
}

/* ---- connections ---- */

static struct ml_sim_end *check_end(lua_State *L, int index)
{
    struct end_handle *h = luaL_checkudata(L, index, END);

    if (h->end == NULL || *h->sim == NULL)
        luaL_error(L, "the connection is closed");
    return h->end;
}

static int end_send(lua_State *L)
{
    struct ml_sim_end *end = check_end(L, 1);
    struct ml_str bytes;

    bytes.p = luaL_checklstring(L, 2, &bytes.len);
    ml_buf_append(&end->out, bytes);
    end->handed = false;
    return 0;
}

static int end_response(lua_State *L)
{
    struct ml_sim_end *end = check_end(L, 1);
    struct ml_str method;
    enum ml_err err;

    method.p = luaL_checklstring(L, 2, &method.len);
    err = ml_message_take_response(L, end, method);
    if (err == ML_OK)
        return 1;
    lua_pushnil(L);
    if (err == ML_EOF)
        lua_pushstring(L, end->broken ? "reset" : "closed");
    else
        lua_pushstring(L, err == ML_AGAIN ? "again" : ml_err_word(err));
    return 2;
}

static void set_text(lua_State *L, const char *name, const struct ml_buf *b)
{
    push_str(L, ml_buf_str(b));
    lua_setfield(L, -2, name);
}

static int end_record(lua_State *L)
{
    struct ml_sim_record *r = &check_end(L, 1)->record;

    lua_newtable(L);
    set_text(L, "trace", &r->trace);
    set_text(L, "id", &r->id);
    set_text(L, "route", &r->route);
    set_text(L, "upstream", &r->upstream);
    set_text(L, "server", &r->server);
    set_text(L, "user", &r->user);
    lua_pushinteger(L, (int)r->tries);
    lua_setfield(L, -2, "tries");
    if (r->why != ML_OK) {
        lua_pushstring(L, ml_err_word(r->why));
        lua_setfield(L, -2, "why");
    }
    lua_pushboolean(L, r->serial != 0);
    lua_setfield(L, -2, "seen");
    r->serial = 0;
    return 1;
}

static int end_ended(lua_State *L)
{
    struct end_handle *h = luaL_checkudata(L, 1, END);

    lua_pushboolean(L, h->end == NULL || *h->sim == NULL || h->end->eof);
    return 1;
}

static int end_close(lua_State *L)
{
    struct end_handle *h = luaL_checkudata(L, 1, END);
    struct ml_sim_end *end = h->end;

    if (end == NULL || *h->sim == NULL)
        return 0;
    close_end(L, end);
    return 0;
}

static void make_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_moonlatch_kit(lua_State *L)
{
    static const luaL_Reg sim_methods[] = {
        {"settle", sim_settle}, {"next", sim_next},     {"move", sim_move},
        {"clock", sim_clock},   {"client", sim_client}, {"request", sim_request},
        {"host", sim_host},     {"mode", sim_mode},     {"facts", sim_facts},
        {"log", sim_log},       {"close", sim_close},   {NULL, NULL}};
    static const luaL_Reg end_methods[] = {{"send", end_send},     {"response", end_response},
                                           {"record", end_record}, {"ended", end_ended},
                                           {"close", end_close},   {NULL, NULL}};

    static const luaL_Reg functions[] = {{"load", load}, {NULL, NULL}};

    make_class(L, SIM, sim_methods);
    make_class(L, END, end_methods);
    luaL_getmetatable(L, SIM);
    lua_pushcfunction(L, sim_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    ml_tools_open(L);
    return 1;
}
