/* cli_test.c - `moonlatch test`: busted and the kit in a VM of their own, both parts of this
 * program.
 *
 *   package.loaders: what is preloaded, what the program has (busted, moonlatch.test ...), files
 *   moonlatch.test_main(arguments) -> exit code: reads the command line, runs busted
 *
 * What the program has comes before files, so that a busted that is installed makes no difference.
 * Sites run in VMs inside the kit, as they do under plain busted. */
#include "process/cli.h"
#include "tester/modules.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beside this program, or where it is installed: for specs that start plain busted. */
static void note_kit(const char *self)
{
    static const char *const places[] = {"moonlatch_kit.so", "../lib/lua/5.1/moonlatch_kit.so"};
    const char *slash = strrchr(self, '/');
    char place[2 * PATH_MAX], kit[PATH_MAX];

    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        snprintf(place, sizeof place, "%.*s/%s", (int)(slash - self), self, places[i]);
        if (realpath(place, kit) != NULL && setenv("MOONLATCH_KIT", kit, 0) != 0)
            abort();
    }
}

static void push_arguments(lua_State *L, char **rest)
{
    lua_newtable(L);
    for (int i = 0; rest != NULL && rest[i] != NULL; i++) {
        lua_pushstring(L, rest[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

/* Protected: all that may raise an error.  argument: struct ml_cli_args. */
static int run(lua_State *L)
{
    const struct ml_cli_args *args = lua_touserdata(L, 1);

    luaL_openlibs(L);
    ml_tester_open(L);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "moonlatch.test_main");
    lua_call(L, 1, 1);
    push_arguments(L, args->rest);
    lua_call(L, 1, 1);
    return 1;
}

static int with_traceback(lua_State *L)
{
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int ml_cli_test(const struct ml_cli_args *args)
{
    char self[PATH_MAX];
    lua_State *L;
    int code;

    if (realpath("/proc/self/exe", self) == NULL || setenv("MOONLATCH", self, 1) != 0) {
        fprintf(stderr, "moonlatch: cannot find /proc/self/exe: %s\n", strerror(errno));
        return ML_CLI_START;
    }
    note_kit(self);
    L = luaL_newstate();
    if (L == NULL)
        abort();
    lua_pushcfunction(L, with_traceback);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, (void *)args);
    if (lua_pcall(L, 1, 1, 1) != 0) {
        fprintf(stderr, "moonlatch: %s\n", lua_tostring(L, -1));
        code = ML_CLI_START;
    } else {
        code = (int)lua_tointeger(L, -1);
    }
    lua_close(L);
    return code;
}
