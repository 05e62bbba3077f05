/* handle_header.c - the header methods that requests and responses share, and the view `.headers`.
 *
 * The view behaves like a table in any case: h["Accept"], h.accept = "x", h.accept = nil.  LuaJIT
 * has no
 * __pairs: for name, value in req:each_header() do goes through the fields in order, and so does
 * req.headers(). */
#include "script/handle.h"

#include "script/steps.h"

/* Numbers are taken as text, everything else but strings raises. */
static struct ml_str check_name(lua_State *L, int index)
{
    struct ml_str name = ml_check_str(L, index);

    if (!ml_header_name_ok(name))
        luaL_error(L, "invalid header name");
    return name;
}

static struct ml_str check_value(lua_State *L, int index, struct ml_arena *arena)
{
    struct ml_str value = ml_check_str(L, index);

    if (!ml_header_value_ok(value))
        luaL_error(L, "invalid header value: it holds a control character such as CR or LF");
    return ml_handle_dup(L, arena, value);
}

/* RFC 9110 section 5.3 forbids to merge only Set-Cookie; :header is for fields that occur once, so
 * it takes the first. */
static int header_get(lua_State *L)
{
    struct ml_message m;
    struct ml_field *f;

    ml_handle_message(L, 1, false, &m);
    f = ml_headers_find(m.headers, ml_check_str(L, 2));
    if (f == NULL)
        lua_pushnil(L);
    else
        ml_push_str(L, f->value);
    return 1;
}

static int header_values(lua_State *L)
{
    struct ml_message m;
    struct ml_field *f;
    int n = 0;

    ml_handle_message(L, 1, false, &m);
    f = ml_headers_find(m.headers, ml_check_str(L, 2));
    lua_newtable(L);
    for (; f != NULL; f = ml_headers_next(m.headers, f)) {
        ml_push_str(L, f->value);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

static int header_count(lua_State *L)
{
    struct ml_message m;
    struct ml_field *f;
    int n = 0;

    ml_handle_message(L, 1, false, &m);
    f = ml_headers_find(m.headers, ml_check_str(L, 2));
    for (; f != NULL; f = ml_headers_next(m.headers, f))
        n++;
    lua_pushinteger(L, n);
    return 1;
}

/* Framing belongs to the core: a script that sets it could smuggle requests. */
static void refuse_framing(lua_State *L, enum ml_header_id id, struct ml_str name)
{
    if (id == ML_H_CONTENT_LENGTH || id == ML_H_TRANSFER_ENCODING || id == ML_H_CONNECTION)
        luaL_error(L, "the header \"%s\" is set by the gateway itself", name.p);
}

/* Adds the value at index, or the values of the list there. */
static void add_values(lua_State *L, int index, struct ml_headers *h, struct ml_arena *arena,
                       struct ml_str name)
{
    int count = lua_istable(L, index) ? (int)lua_objlen(L, index) : 0;

    ml_handle_reserve(L, arena, 2 * (h->count + (size_t)count + 1) * sizeof *h->v);
    if (!lua_istable(L, index))
        ml_headers_add(h, arena, name, check_value(L, index, arena));
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        ml_headers_add(h, arena, name, check_value(L, -1, arena));
        lua_pop(L, 1);
    }
}

void ml_header_add_table(lua_State *L, int index, struct ml_headers *h, struct ml_arena *arena)
{
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        struct ml_str name;

        if (lua_type(L, -2) != LUA_TSTRING) /* a number is not converted: lua_next would get lost */
            luaL_error(L, "the name of a header is a string, not a %s", luaL_typename(L, -2));
        name = check_name(L, -2);
        refuse_framing(L, ml_header_id(name), name);
        add_values(L, lua_gettop(L), h, arena, ml_handle_dup(L, arena, name));
    }
}

/* Cookies were parsed for req.cookies: that has to be done again.  Host is written by who forwards.
 */
static void changed(lua_State *L, const struct ml_message *m, enum ml_header_id id)
{
    if (m->handle->kind != ML_HANDLE_REQUEST)
        return;
    if (id == ML_H_HOST)
        luaL_error(L, "the header \"Host\" is changed by req:set_host");
    if (id == ML_H_COOKIE)
        ml_handle_forget(L, 1, m->handle, "cookies");
}

/* What the values need is checked before the first field is changed. */
static void check_list(lua_State *L, struct ml_arena *arena)
{
    for (int i = 1; i <= (int)lua_objlen(L, 3); i++) {
        lua_rawgeti(L, 3, i);
        check_value(L, -1, arena);
        lua_pop(L, 1);
    }
}

/* For `why`; name and value live in the arena. */
static void note(const struct ml_message *m, enum ml_change_kind kind, struct ml_str name,
                 struct ml_str value)
{
    struct ml_change change = {.name = name,
                               .value = value,
                               .kind = kind,
                               .response = m->handle->kind == ML_HANDLE_RESPONSE};

    if (m->ex == NULL)
        return;
    change.step = m->ex->timing != NULL ? m->ex->timing->step : 0;
    ml_trail_changed(&m->ex->trail, m->ex->arena, &change);
}

static void note_removal(lua_State *L, const struct ml_message *m, struct ml_str name)
{
    if (m->ex != NULL && m->ex->trail.change_count < ML_TRAIL_CHANGES_MAX)
        note(m, ML_CHANGE_REMOVE, ml_handle_dup(L, m->arena, name), ML_STR_NONE);
}

/* The values from the first-th field on were added. */
static void note_added(const struct ml_message *m, enum ml_change_kind kind, struct ml_str name,
                       uint32_t first)
{
    for (uint32_t i = first; i < m->headers->count; i++)
        note(m, i == first ? kind : ML_CHANGE_ADD, name, m->headers->v[i].value);
}

static int header_set(lua_State *L)
{
    struct ml_message m;
    struct ml_str name = check_name(L, 2);
    enum ml_header_id id = ml_header_id(name);
    struct ml_str value;
    uint32_t first;
    int type;

    lua_settop(L, 3);
    type = lua_type(L, 3);
    ml_handle_message(L, 1, true, &m);
    changed(L, &m, id);
    if (type == LUA_TNIL) {
        if (ml_headers_remove(m.headers, name) > 0)
            note_removal(L, &m, name);
        return 0;
    }
    refuse_framing(L, id, name);
    name = ml_handle_dup(L, m.arena, name);
    if (type == LUA_TTABLE) {
        check_list(L, m.arena);
        ml_headers_remove(m.headers, name);
        first = m.headers->count;
        add_values(L, 3, m.headers, m.arena, name);
        note_added(&m, ML_CHANGE_SET, name, first);
        return 0;
    }
    ml_handle_reserve(L, m.arena, 2 * (m.headers->count + 1) * sizeof *m.headers->v);
    value = check_value(L, 3, m.arena);
    ml_headers_set(m.headers, m.arena, name, value);
    note(&m, ML_CHANGE_SET, name, value);
    return 0;
}

static int header_add(lua_State *L)
{
    struct ml_message m;
    struct ml_str name = check_name(L, 2);
    enum ml_header_id id = ml_header_id(name);
    uint32_t first;

    lua_settop(L, 3);
    refuse_framing(L, id, name);
    ml_handle_message(L, 1, true, &m);
    changed(L, &m, id);
    name = ml_handle_dup(L, m.arena, name);
    first = m.headers->count;
    add_values(L, 3, m.headers, m.arena, name);
    note_added(&m, ML_CHANGE_ADD, name, first);
    return 0;
}

static int header_remove(lua_State *L)
{
    struct ml_message m;
    struct ml_str name = ml_check_str(L, 2);
    bool removed;

    ml_handle_message(L, 1, true, &m);
    changed(L, &m, ml_header_id(name));
    removed = ml_headers_remove(m.headers, name) > 0;
    if (removed)
        note_removal(L, &m, name);
    lua_pushboolean(L, removed);
    return 1;
}

/* Upvalues: handle, index of the next field. */
static int next_field(lua_State *L)
{
    struct ml_message m;
    lua_Integer i = lua_tointeger(L, lua_upvalueindex(2));

    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    ml_handle_message(L, 1, false, &m);
    if ((uint32_t)i >= m.headers->count)
        return 0;
    lua_pushinteger(L, i + 1);
    lua_replace(L, lua_upvalueindex(2));
    ml_push_str(L, m.headers->v[i].name);
    ml_push_str(L, m.headers->v[i].value);
    return 2;
}

static int each_header(lua_State *L)
{
    struct ml_message m;

    ml_handle_message(L, 1, false, &m);
    lua_settop(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_field, 2);
    return 1;
}

const luaL_Reg ml_header_methods[] = {
    {"header", header_get},
    {"header_values", header_values},
    {"header_count", header_count},
    {"set_header", header_set},
    {"add_header", header_add},
    {"remove_header", header_remove},
    {"each_header", each_header},
    {NULL, NULL},
};

/* ---- the view: a userdata whose environment holds the handle at [1] ---- */

static void view_to_handle(lua_State *L)
{
    lua_getfenv(L, 1);
    lua_rawgeti(L, -1, 1);
    lua_replace(L, 1);
    lua_pop(L, 1);
}

static int view_index(lua_State *L)
{
    view_to_handle(L);
    return header_get(L);
}

static int view_newindex(lua_State *L)
{
    view_to_handle(L);
    return header_set(L);
}

static int view_call(lua_State *L)
{
    view_to_handle(L);
    return each_header(L);
}

int ml_headers_push_view(lua_State *L)
{
    struct ml_message m;

    ml_handle_message(L, 1, false, &m);
    ml_handle_push_env(L, 1, m.handle);
    lua_getfield(L, -1, "headers");
    if (!lua_isnil(L, -1))
        return 1;
    lua_newuserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->headers_metatable);
    lua_setmetatable(L, -2);
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    lua_setfenv(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -4, "headers");
    return 1;
}

void ml_headers_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg methods[] = {
        {"__index", view_index},
        {"__newindex", view_newindex},
        {"__call", view_call},
        {NULL, NULL},
    };

    lua_newtable(L);
    ml_bridge_register(L, b, methods);
    lua_pushliteral(L, "locked");
    lua_setfield(L, -2, "__metatable");
    b->headers_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
