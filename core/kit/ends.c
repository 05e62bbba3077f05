/* ends.c - the class of connections.  A handle that outlived its simulation raises an error. */
#include "kit/ends.h"

#include "base/err.h"
#include "kit/message.h"

#include <lauxlib.h>

static const char END[] = "moonlatch connection";

struct end_handle {
    struct ml_sim_end *end;
    int sim_ref; /* keeps the simulation's handle, in the registry */
    struct ml_sim **sim;
};

void ml_ends_push(lua_State *L, struct ml_sim_end *end)
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

void ml_ends_forget(lua_State *L, struct ml_sim_end *end)
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

void ml_ends_close(lua_State *L, struct ml_sim_end *end)
{
    ml_ends_forget(L, end);
    ml_sim_end_close(&end);
}

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

/* What came since, as it is. */
static int end_take(lua_State *L)
{
    struct ml_sim_end *end = check_end(L, 1);
    struct ml_str s = ml_buf_str(&end->in);

    lua_pushlstring(L, s.p != NULL ? s.p : "", s.len);
    ml_buf_consume(&end->in, s.len);
    return 1;
}

static void push_str(lua_State *L, struct ml_str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.len);
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
    ml_ends_close(L, end);
    return 0;
}

void ml_ends_push_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_setfield(L, -2, "__index");
}

void ml_ends_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"send", end_send},     {"response", end_response},
                                       {"record", end_record}, {"ended", end_ended},
                                       {"close", end_close},   {"take", end_take},
                                       {NULL, NULL}};

    ml_ends_push_class(L, END, methods);
    lua_pop(L, 1);
}
