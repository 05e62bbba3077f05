/* modules.c - busted, its libraries and the kit, found by `require` inside this program.
 *
 * The Lua files of busted and of what it needs are bytes of the program (tools/embed.sh, from
 * Debian's packages) and lfs is linked in.  Of system.core and term.core busted calls four
 * functions, which are here. */
#include "tester/modules.h"
#include "script/embed.h"
#include "script/load.h"

#include <errno.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern const struct ml_embed ml_busted_files[];
extern const unsigned ml_busted_count;

int luaopen_lfs(lua_State *L);
int luaopen_moonlatch_kit(lua_State *L);

static void push_clock(lua_State *L, clockid_t id)
{
    struct timespec now;

    clock_gettime(id, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9);
}

static int get_time(lua_State *L)
{
    push_clock(L, CLOCK_REALTIME);
    return 1;
}

static int get_mono(lua_State *L)
{
    push_clock(L, CLOCK_MONOTONIC);
    return 1;
}

/* system.core.sleep(seconds) */
static int sleep_for(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    struct timespec left = {0};

    if (!(seconds > 0))
        return 0;
    left.tv_sec = (time_t)seconds;
    left.tv_nsec = (long)((seconds - (double)left.tv_sec) * 1e9);
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
    return 0;
}

static int open_system(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"gettime", get_time}, {"monotime", get_mono}, {"sleep", sleep_for}, {NULL, NULL}};

    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}

/* term.core.isatty(file) */
static int is_a_terminal(lua_State *L)
{
    FILE **file = luaL_checkudata(L, 1, LUA_FILEHANDLE);

    lua_pushboolean(L, *file != NULL && isatty(fileno(*file)) == 1);
    return 1;
}

static int open_term(lua_State *L)
{
    static const luaL_Reg functions[] = {{"isatty", is_a_terminal}, {NULL, NULL}};

    lua_newtable(L);
    luaL_register(L, NULL, functions);
    return 1;
}

/* ---- files ---- */

static bool find_of_busted(const char *file, struct ml_str *text)
{
    for (unsigned i = 0; i < ml_busted_count; i++)
        if (strcmp(ml_busted_files[i].name, file) == 0) {
            *text = (struct ml_str){ml_busted_files[i].bytes, ml_busted_files[i].len};
            return true;
        }
    return false;
}

static bool find_file(const char *file, struct ml_str *text)
{
    if (strncmp(file, "moonlatch/test", 14) == 0)
        return ml_load_embedded(file, text);
    return find_of_busted(file, text);
}

static int load_text(lua_State *L, const char *file, struct ml_str text)
{
    lua_pushfstring(L, "@%s%s", strncmp(file, "moonlatch/", 10) == 0 ? "lua/" : "", file);
    if (luaL_loadbuffer(L, text.p, text.len, lua_tostring(L, -1)) != 0)
        return lua_error(L);
    return 1;
}

/* A package.loader. */
static int find_module(lua_State *L)
{
    const char *path = luaL_gsub(L, luaL_checkstring(L, 1), ".", "/");
    static const char *const forms[] = {"%s.lua", "%s/init.lua"};
    struct ml_str text;
    char file[128];

    for (unsigned i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        int len = snprintf(file, sizeof file, forms[i], path);

        if (len < (int)sizeof file && find_file(file, &text))
            return load_text(L, file, text);
    }
    lua_pushliteral(L, "\n\tno file of moonlatch");
    return 1;
}

/* Behind the loader of package.preload, in front of those that look for files. */
static void add_loader(lua_State *L)
{
    lua_getfield(L, -1, "loaders");
    for (int i = (int)lua_objlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, find_module);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 1);
}

/* The notices of busted and its parts, for `require "moonlatch.test_main"`: name -> text. */
static int notices(lua_State *L)
{
    lua_newtable(L);
    for (unsigned i = 0; i < ml_busted_count; i++) {
        if (ml_busted_files[i].name[0] != '/')
            continue;
        lua_pushlstring(L, ml_busted_files[i].bytes, ml_busted_files[i].len);
        lua_setfield(L, -2, ml_busted_files[i].name);
    }
    return 1;
}

void ml_tester_open(lua_State *L)
{
    static const luaL_Reg modules[] = {
        {"lfs", luaopen_lfs},           {"system.core", open_system},
        {"term.core", open_term},       {"moonlatch.kit", luaopen_moonlatch_kit},
        {"moonlatch.notices", notices}, {NULL, NULL}};

    lua_getglobal(L, "package");
    lua_getfield(L, -1, "preload");
    luaL_register(L, NULL, modules);
    lua_pop(L, 1);
    add_loader(L);
    lua_pop(L, 1);
}
