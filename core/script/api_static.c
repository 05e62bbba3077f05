/* api_static.c - directories of files as handlers: what gw.static is made of.
 *
 *   core.static(conf) -> files               while the site is loaded; conf was checked: see
 * read_conf core.static_serve(files, req) -> res, or nil, status, size of the file (with 416)
 *
 * The path is what the *rest of the route stands for, or the whole path of a route without one. */
#include "script/api.h"

#include "inbound/file_body.h"
#include "inbound/static.h"

struct files { /* userdata */
    struct ml_static *s;
};

/* ---- the conf, a table at index 1 ---- */

static struct ml_str text_of(lua_State *L, struct ml_arena *arena, int index)
{
    return ml_arena_dup(arena, ml_check_str(L, index));
}

static struct ml_str text_field(lua_State *L, struct ml_arena *arena, const char *name)
{
    struct ml_str s = ML_STR("");

    lua_getfield(L, 1, name);
    if (!lua_isnil(L, -1))
        s = text_of(L, arena, -1);
    lua_pop(L, 1);
    return s;
}

static bool flag_field(lua_State *L, const char *name)
{
    bool on;

    lua_getfield(L, 1, name);
    on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return on;
}

static struct ml_str *list_field(lua_State *L, struct ml_arena *arena, const char *name,
                                 unsigned *count)
{
    struct ml_str *list;

    lua_getfield(L, 1, name);
    luaL_checktype(L, -1, LUA_TTABLE);
    *count = (unsigned)lua_objlen(L, -1);
    list = ml_arena_zalloc(arena, (*count + 1) * sizeof *list);
    for (unsigned i = 0; i < *count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        list[i] = text_of(L, arena, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return list;
}

/* A list of key, value, key, value ... */
static struct ml_static_pair *pairs_field(lua_State *L, struct ml_arena *arena, const char *name,
                                          unsigned *count)
{
    unsigned texts;
    struct ml_str *list = list_field(L, arena, name, &texts);
    struct ml_static_pair *pairs = ml_arena_zalloc(arena, (texts / 2 + 1) * sizeof *pairs);

    *count = texts / 2;
    for (unsigned i = 0; i < *count; i++)
        pairs[i] = (struct ml_static_pair){list[2 * i], list[2 * i + 1]};
    return pairs;
}

/* "$path", "$path.html", "$path/", "/index.html" */
static void read_tries(lua_State *L, struct ml_arena *arena, struct ml_static_conf *c)
{
    static const struct ml_str path = {"$path", 5};
    struct ml_str *list = list_field(L, arena, "try", &c->try_count);

    c->tries = ml_arena_zalloc(arena, (c->try_count + 1) * sizeof *c->tries);
    for (unsigned i = 0; i < c->try_count; i++) {
        struct ml_static_try *t = &c->tries[i];
        struct ml_str s = list[i];

        if (s.len < path.len || memcmp(s.p, path.p, path.len) != 0) {
            *t = (struct ml_static_try){ML_STATIC_FILE, {s.p + 1, s.len - 1}};
            continue;
        }
        t->text = (struct ml_str){s.p + path.len, s.len - path.len};
        t->kind = ml_str_eq(t->text, ML_STR("/")) ? ML_STATIC_DIRECTORY : ML_STATIC_PATH;
    }
}

static void read_conf(lua_State *L, struct ml_arena *arena, struct ml_static_conf *c)
{
    struct ml_str links = text_field(L, arena, "symlinks");

    c->root = text_field(L, arena, "root");
    c->index = list_field(L, arena, "index", &c->index_count);
    read_tries(L, arena, c);
    c->missing = text_field(L, arena, "missing");
    c->assets = list_field(L, arena, "assets", &c->asset_count);
    c->types = pairs_field(L, arena, "types", &c->type_count);
    c->rules = pairs_field(L, arena, "cache", &c->rule_count);
    c->charset = text_field(L, arena, "charset");
    c->dotfiles = flag_field(L, "dotfiles");
    c->precompressed = flag_field(L, "precompressed");
    c->symlinks = ML_SYMLINKS_INSIDE;
    if (ml_str_eq(links, ML_STR("no")))
        c->symlinks = ML_SYMLINKS_NO;
    else if (ml_str_eq(links, ML_STR("yes")))
        c->symlinks = ML_SYMLINKS_ANY;
    lua_getfield(L, 1, "recheck");
    c->recheck_s = luaL_checknumber(L, -1);
    lua_pop(L, 1);
}

/* ---- making ---- */

struct reading { /* the arena must not be lost when a field raises */
    struct ml_arena *arena;
    struct ml_static_conf conf;
};

static int read_caught(lua_State *L)
{
    struct reading *r = lua_touserdata(L, 2);

    read_conf(L, r->arena, &r->conf);
    return 0;
}

static int static_new(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct reading r = {.arena = ml_arena_new()};
    struct ml_buf *why = ml_handle_scratch();
    struct files *files;

    lua_settop(L, 1);
    files = lua_newuserdata(L, sizeof *files);
    files->s = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->static_metatable);
    lua_setmetatable(L, -2);
    lua_pushcfunction(L, read_caught);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, &r);
    if (lua_pcall(L, 2, 0, 0) != 0) {
        ml_arena_free(&r.arena);
        return lua_error(L);
    }
    files->s = ml_static_new(&r.arena, &r.conf, why);
    if (files->s != NULL)
        return 1;
    ml_arena_free(&r.arena);
    lua_pushnil(L);
    ml_push_str(L, ml_buf_str(why));
    return 2;
}

static int static_gc(lua_State *L)
{
    struct files *files = lua_touserdata(L, 1);

    ml_static_free(&files->s);
    return 0;
}

/* ---- serving ---- */

static struct files *check_files(lua_State *L, const struct ml_bridge *b)
{
    struct files *files = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, b->static_metatable);
    if (files == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2) || files->s == NULL)
        luaL_typerror(L, 1, "directory of files");
    lua_pop(L, 2);
    return files;
}

/* What stands behind the part of the path that the pattern spells out. */
static struct ml_str path_of(const struct ml_route_match *m, const struct ml_exchange *ex)
{
    const char *slash = m->pattern.len > 0 ? memrchr(m->pattern.p, '/', m->pattern.len) : NULL;

    if (slash != NULL && slash + 1 < m->pattern.p + m->pattern.len && slash[1] == '*' &&
        m->param_count > 0)
        return m->values[m->param_count - 1];
    return ex->req.path;
}

static int static_serve(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct files *files = check_files(L, b);
    struct ml_exchange *ex = ml_handle_writable(L, ml_handle_check(L, 2, ML_HANDLE_REQUEST));
    struct ml_task *task = ml_task_running(L);
    struct ml_static_refusal no;

    if (task == NULL || ml_task_exchange(task) != ex)
        return luaL_error(L, "a request can be answered only by its own script");
    ml_handle_reserve(L, ex->arena, 2 * ML_FILE_BYTES_MAX);
    ml_response_drop(L, ex);
    if (ml_static_serve(files->s, ex, path_of(ml_task_match(task), ex), &no))
        return ml_response_push(L, b, ex);
    lua_pushnil(L);
    lua_pushinteger(L, no.status);
    lua_pushnumber(L, (lua_Number)no.size);
    return 3;
}

void ml_api_static_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {
        {"static", static_new}, {"static_serve", static_serve}, {NULL, NULL}};
    static const luaL_Reg none[] = {{NULL, NULL}};

    ml_bridge_register(L, b, functions);
    ml_api_push_class(L, b, none);
    lua_pushcfunction(L, static_gc);
    lua_setfield(L, -2, "__gc");
    b->static_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
}
