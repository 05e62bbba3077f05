/* handle.c - making handles, and telling whether one is still good. */
#include "script/handle.h"

#include <assert.h>

enum { SCRATCH_KEEP = 64 << 10 };

static const char magic;

/* A handle of either kind, or NULL. */
static struct ml_handle *handle_at(lua_State *L, int index)
{
    struct ml_handle *h = lua_touserdata(L, index);

    if (h == NULL || lua_objlen(L, index) != sizeof *h) /* a light one has no length */
        return NULL;
    return h->magic == &magic ? h : NULL;
}

struct ml_handle *ml_handle_of(lua_State *L, int index, enum ml_handle_kind kind)
{
    struct ml_handle *h = handle_at(L, index);

    return h != NULL && h->kind == kind ? h : NULL;
}

struct ml_handle *ml_handle_self(lua_State *L)
{
    struct ml_handle *h = lua_touserdata(L, 1);

    assert(h != NULL && h->magic == &magic);
    return h;
}

struct ml_handle *ml_handle_check(lua_State *L, int index, enum ml_handle_kind kind)
{
    static const char *const names[] = {"request", "response"};
    struct ml_handle *h = ml_handle_of(L, index, kind);

    if (h == NULL)
        luaL_typerror(L, index, names[kind]);
    return h;
}

/* The task is over, or serves another exchange by now: serials are never used twice. */
bool ml_handle_alive(const struct ml_handle *h)
{
    struct ml_exchange *ex = h->task != NULL ? ml_task_exchange(h->task) : NULL;

    return ex != NULL && ex->serial == h->serial;
}

struct ml_exchange *ml_handle_exchange(lua_State *L, struct ml_handle *h)
{
    if (h->kind == ML_HANDLE_RESPONSE && h->res == NULL)
        luaL_error(L, "this response was replaced by another one");
    if (h->task == NULL)
        return NULL;
    if (!ml_handle_alive(h))
        luaL_error(L, "this handle was used after its request ended");
    return ml_task_exchange(h->task);
}

struct ml_exchange *ml_handle_writable(lua_State *L, struct ml_handle *h)
{
    struct ml_exchange *ex = ml_handle_exchange(L, h);

    if (ex != NULL && ex->responded)
        luaL_error(L, "the response was sent: nothing can be changed any more");
    return ex;
}

struct ml_handle *ml_handle_push(lua_State *L, struct ml_bridge *b, enum ml_handle_kind kind)
{
    struct ml_handle *h = lua_newuserdata(L, sizeof *h);

    *h = (struct ml_handle){.magic = &magic, .kind = kind};
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->metatable[kind]);
    lua_setmetatable(L, -2);
    return h;
}

void ml_handle_push_env(lua_State *L, int index, struct ml_handle *h)
{
    if (h->has_env) {
        lua_getfenv(L, index);
        return;
    }
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -1);
    lua_setfenv(L, index > 0 ? index : index - 2);
    h->has_env = true;
}

void ml_handle_forget(lua_State *L, int index, struct ml_handle *h, const char *name)
{
    if (!h->has_env)
        return;
    lua_getfenv(L, index);
    lua_pushnil(L);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

struct ml_exchange *ml_handle_running(lua_State *L, struct ml_task **root)
{
    struct ml_task *task = ml_task_running(L);

    if (task == NULL)
        luaL_error(L, "this function can not be called while the site is loaded");
    if (ml_task_exchange(task) == NULL)
        luaL_error(L, "this function works only while a request is handled");
    *root = ml_task_root(task);
    return ml_task_exchange(task);
}

struct ml_plan *ml_handle_plan(lua_State *L, struct ml_exchange *ex)
{
    struct ml_handle *h;

    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_task_ref(ex->task, ML_SLOT_REQUEST));
    h = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (h->plan == NULL)
        h->plan = ml_arena_zalloc(ex->arena, sizeof *h->plan);
    return h->plan;
}

/* ---- memory ---- */

void ml_handle_reserve(lua_State *L, const struct ml_arena *arena, size_t len)
{
    size_t used = ml_arena_used(arena);

    if (used > ML_HANDLE_ARENA_MAX || len > ML_HANDLE_ARENA_MAX - used)
        luaL_error(L, "this request takes too much memory: its headers and bodies may have %d MiB",
                   ML_HANDLE_ARENA_MAX >> 20);
}

struct ml_str ml_handle_dup(lua_State *L, struct ml_arena *arena, struct ml_str s)
{
    ml_handle_reserve(L, arena, s.len);
    return ml_arena_dup(arena, s);
}

struct ml_buf *ml_handle_scratch(void)
{
    static struct ml_buf scratch;

    if (scratch.cap > SCRATCH_KEEP)
        ml_buf_release(&scratch);
    ml_buf_consume(&scratch, ml_buf_len(&scratch));
    return &scratch;
}

void ml_handle_message(lua_State *L, int index, bool writable, struct ml_message *out)
{
    struct ml_handle *h = handle_at(L, index);

    if (h == NULL)
        luaL_typerror(L, index, "request or response");
    out->handle = h;
    out->ex = writable ? ml_handle_writable(L, h) : ml_handle_exchange(L, h);
    out->headers = h->kind == ML_HANDLE_REQUEST ? &out->ex->req.headers : &h->res->headers;
    out->arena = out->ex != NULL ? out->ex->arena : h->arena;
}

struct ml_bridge *ml_bridge_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

void ml_bridge_register(lua_State *L, struct ml_bridge *b, const luaL_Reg *functions)
{
    for (; functions->name != NULL; functions++) {
        lua_pushlightuserdata(L, b);
        lua_pushcclosure(L, functions->func, 1);
        lua_setfield(L, -2, functions->name);
    }
}

/* Members are one table: name -> method, or name -> id of a getter.  It is upvalue 2 of __index. */
void ml_handle_methods(lua_State *L, struct ml_bridge *b, enum ml_handle_kind kind,
                       const luaL_Reg *const *methods, const char *const *names,
                       lua_CFunction index, lua_CFunction newindex)
{
    lua_newtable(L);
    lua_pushlightuserdata(L, b);
    lua_newtable(L);
    for (; *methods != NULL; methods++)
        ml_bridge_register(L, b, *methods);
    for (int id = 0; names[id] != NULL; id++) {
        lua_pushinteger(L, id);
        lua_setfield(L, -2, names[id]);
    }
    lua_pushcclosure(L, index, 2);
    lua_setfield(L, -2, "__index");
    lua_pushlightuserdata(L, b);
    lua_pushcclosure(L, newindex, 1);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    b->metatable[kind] = luaL_ref(L, LUA_REGISTRYINDEX);
}
