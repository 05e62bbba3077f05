/* cover.c - counts the lines that run.
 *
 *   hook -> name of the chunk -> file of this VM (a table of names made before the VM's first file
 * runs)
 *        -> counters of the file, which all VMs that loaded it share
 *
 * LuaJIT calls hooks for interpreted code only, so the compiler is off in these VMs
 * (ml_budget_rest). Counters stay until the process ends. */
#include "kit/cover.h"

#include "script/budget.h"
#include "script/load.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_MAX = 1 << 20 };

struct file {
    struct file *next;
    char *path;
    unsigned *hits; /* by line */
    int cap;
};

struct vm_files { /* a userdata in the registry of a VM */
    unsigned count;
    struct {
        const char *name; /* below the site's directory: a part of the file's path */
        struct file *file;
    } of[];
};

static struct {
    bool on;
    struct file *files;
    const void *registry; /* of the VM that the last hook ran in, and what it found there */
    char name[PATH_MAX];
    struct file *file;
} cover;

static const char vm_key;

/* ---- files ---- */

static struct file *file_of(const char *path)
{
    struct file *f;

    for (f = cover.files; f != NULL; f = f->next)
        if (strcmp(f->path, path) == 0)
            return f;
    f = calloc(1, sizeof *f);
    if (f == NULL || (f->path = strdup(path)) == NULL)
        abort();
    f->next = cover.files;
    return cover.files = f;
}

static void count_line(struct file *f, int line)
{
    if (line <= 0 || line > LINES_MAX)
        return;
    if (line >= f->cap) {
        int cap = line * 2 + 64;

        f->hits = realloc(f->hits, (size_t)cap * sizeof *f->hits);
        if (f->hits == NULL)
            abort();
        memset(f->hits + f->cap, 0, (size_t)(cap - f->cap) * sizeof *f->hits);
        f->cap = cap;
    }
    if (f->hits[line] < UINT_MAX)
        f->hits[line]++;
}

/* ---- in the VM of a site ---- */

static struct file *find_in_vm(lua_State *L, const char *name)
{
    const struct vm_files *files;
    struct file *found = NULL;

    lua_pushlightuserdata(L, (void *)&vm_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    files = lua_touserdata(L, -1);
    for (unsigned i = 0; files != NULL && found == NULL && i < files->count; i++)
        if (strcmp(files->of[i].name, name) == 0)
            found = files->of[i].file;
    lua_pop(L, 1);
    return found;
}

static struct file *find(lua_State *L, const char *source)
{
    if (source[0] != '@')
        return NULL;
    source++;
    if (strncmp(source, "lua/middleware/", 15) == 0 || strncmp(source, "lua/routes/", 11) == 0)
        return file_of(source);
    return strncmp(source, "lua/", 4) != 0 ? find_in_vm(L, source) : NULL;
}

/* The chunk is mostly that of the last line. */
static void on_line(lua_State *L, lua_Debug *ar)
{
    const void *registry = lua_topointer(L, LUA_REGISTRYINDEX);

    if (lua_getinfo(L, "Sl", ar) == 0)
        return;
    if (registry != cover.registry || strcmp(cover.name, ar->source) != 0) {
        if (strlen(ar->source) >= sizeof cover.name)
            return;
        cover.registry = registry;
        strcpy(cover.name, ar->source);
        cover.file = find(L, ar->source);
    }
    if (cover.file != NULL)
        count_line(cover.file, ar->currentline);
}

/* A file that the test gave as text is not the one on disk. */
static bool is_overlaid(const struct ml_extension *x, struct ml_str name)
{
    bool found;

    if (x->files == 0)
        return false;
    lua_pushlstring(x->outer, name.p, name.len);
    lua_rawget(x->outer, x->files);
    found = !lua_isnil(x->outer, -1);
    lua_pop(x->outer, 1);
    return found;
}

static void add_files(struct vm_files *files, const struct ml_extension *x, const char *dir)
{
    for (unsigned i = 0; i < ml_snapshot_count(x->snapshot); i++) {
        struct ml_str name = ml_snapshot_name(x->snapshot, i);
        char path[2 * PATH_MAX];
        struct file *f;

        if (name.len < 4 || memcmp(name.p + name.len - 4, ".lua", 4) != 0 || is_overlaid(x, name))
            continue;
        snprintf(path, sizeof path, "%s/%.*s", dir, (int)name.len, name.p);
        f = file_of(path);
        files->of[files->count].name = f->path + strlen(dir) + 1;
        files->of[files->count++].file = f;
    }
}

void ml_cover_attach(lua_State *L, const struct ml_extension *x)
{
    char dir[PATH_MAX];

    if (!cover.on)
        return;
    cover.registry = NULL; /* another VM may have been at the same place */
    lua_sethook(L, on_line, LUA_MASKLINE, 0);
    if (x->dir != NULL && realpath(x->dir, dir) != NULL) {
        unsigned count = ml_snapshot_count(x->snapshot);
        struct vm_files *files;

        lua_pushlightuserdata(L, (void *)&vm_key);
        files = lua_newuserdata(L, sizeof *files + count * sizeof files->of[0]);
        files->count = 0;
        add_files(files, x, dir);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
}

/* ---- for the report ---- */

static int cover_start(lua_State *L)
{
    lua_pushboolean(L, !cover.on);
    cover.on = true;
    ml_budget_rest(on_line);
    return 1;
}

static int cover_lines(lua_State *L)
{
    lua_newtable(L);
    for (const struct file *f = cover.files; f != NULL; f = f->next) {
        lua_newtable(L);
        for (int line = 1; line < f->cap; line++) {
            if (f->hits[line] == 0)
                continue;
            lua_pushnumber(L, f->hits[line]);
            lua_rawseti(L, -2, line);
        }
        lua_setfield(L, -2, f->path);
    }
    return 1;
}

static int embedded(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct ml_str text;

    if (strncmp(path, "lua/", 4) != 0 || !ml_load_embedded(path + 4, &text))
        return 0;
    lua_pushlstring(L, text.p, text.len);
    return 1;
}

void ml_cover_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"cover_start", cover_start},
                                         {"cover_lines", cover_lines},
                                         {"embedded", embedded},
                                         {NULL, NULL}};

    luaL_register(L, NULL, functions);
}
