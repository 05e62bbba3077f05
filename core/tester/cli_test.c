/* cli_test.c - `moonlatch test`: becomes busted under LuaJIT, with the kit at hand.
 *
 *   luajit -e "load the kit" /usr/bin/busted --ignore-lua ...      in the site's directory
 *
 * busted's own first line names another Lua, so it is given to LuaJIT as a script. */
#include "process/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char LOAD_KIT[] =
    "package.loaded['moonlatch.kit'] = assert(package.loadlib(os.getenv('MOONLATCH_KIT'), "
    "'luaopen_moonlatch_kit'))()";

static int fail(const char *what, const char *path)
{
    fprintf(stderr, "moonlatch: cannot %s %s: %s\n", what, path, strerror(errno));
    return ML_CLI_START;
}

/* A readable file of that name in a directory of PATH. */
static bool find_program(const char *name, char path[PATH_MAX])
{
    const char *at = getenv("PATH");

    while (at != NULL && *at != '\0') {
        size_t len = strcspn(at, ":");

        if (len > 0 && snprintf(path, PATH_MAX, "%.*s/%s", (int)len, at, name) < PATH_MAX &&
            access(path, R_OK | X_OK) == 0)
            return true;
        at += at[len] == ':' ? len + 1 : len;
    }
    return false;
}

/* What LuaRocks installs is a shell script that starts another interpreter. */
static bool is_lua_script(const char *path)
{
    char line[128] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    (void)!read(fd, line, sizeof line - 1);
    close(fd);
    line[strcspn(line, "\n")] = '\0';
    return strncmp(line, "#!", 2) == 0 && strstr(line, "lua") != NULL;
}

/* $MOONLATCH_KIT, or beside this program, or where it is installed. */
static bool find_kit(const char *self, char path[PATH_MAX])
{
    static const char *const places[] = {"moonlatch_kit.so", "../lib/lua/5.1/moonlatch_kit.so"};
    const char *given = getenv("MOONLATCH_KIT"), *slash = strrchr(self, '/');

    if (given != NULL && given[0] != '\0')
        return realpath(given, path) != NULL;
    for (unsigned i = 0; i < sizeof places / sizeof places[0]; i++) {
        char place[2 * PATH_MAX];

        snprintf(place, sizeof place, "%.*s/%s", (int)(slash - self), self, places[i]);
        if (realpath(place, path) != NULL)
            return true;
    }
    return false;
}

static int missing(const char *what)
{
    fprintf(stderr, "moonlatch: %s; on Debian: apt install luajit lua-busted\n", what);
    return ML_CLI_START;
}

static int become_busted(char *luajit, char *busted, char **rest)
{
    static char execute[] = "-e", ignore[] = "--ignore-lua", code[sizeof LOAD_KIT];
    size_t count = 0;
    char **argv;

    while (rest != NULL && rest[count] != NULL)
        count++;
    argv = calloc(count + 6, sizeof *argv);
    if (argv == NULL)
        abort();
    memcpy(code, LOAD_KIT, sizeof LOAD_KIT);
    memcpy(argv, (char *[]){luajit, execute, code, busted, ignore}, 5 * sizeof *argv);
    if (count > 0)
        memcpy(argv + 5, rest, count * sizeof *argv);
    execv(luajit, argv);
    free(argv);
    return fail("start", luajit);
}

int ml_cli_test(const struct ml_cli_args *args)
{
    char self[PATH_MAX], kit[PATH_MAX], luajit[PATH_MAX], busted[PATH_MAX];

    if (realpath("/proc/self/exe", self) == NULL)
        return fail("find", "/proc/self/exe");
    if (!find_kit(self, kit)) {
        fprintf(stderr,
                "moonlatch: moonlatch_kit.so is not beside %s; $MOONLATCH_KIT may name it\n", self);
        return ML_CLI_START;
    }
    if (!find_program("luajit", luajit))
        return missing("luajit is not installed");
    if (!find_program("busted", busted))
        return missing("busted is not installed");
    if (!is_lua_script(busted))
        return missing("the first busted in PATH is no Lua script");
    if (chdir(args->dir) != 0)
        return fail("use", args->dir);
    if (setenv("MOONLATCH_KIT", kit, 1) != 0 || setenv("MOONLATCH", self, 1) != 0)
        abort();
    return become_busted(luajit, busted, args->rest);
}
