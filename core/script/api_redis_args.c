/* api_redis_args.c - strings and numbers of scripts as the words of a command. */
#include "script/api_redis.h"

#include <math.h>
#include <stdlib.h>

enum { ARGS_MAX = 1 << 20 };

struct number { /* room for the text of one */
    char text[32];
};

static struct {
    const char **v;
    size_t *len;
    struct number *numbers; /* v[i] is NULL: the word is numbers[i] */
    int count, cap;
    struct ml_redis_argv argv;
} args;

static void *grown(void *p, size_t size)
{
    p = realloc(p, (size_t)args.cap * size);
    if (p == NULL)
        abort();
    return p;
}

static int next_place(void)
{
    if (args.count == args.cap) {
        args.cap = args.cap > 0 ? 2 * args.cap : 16;
        args.v = grown(args.v, sizeof *args.v);
        args.len = grown(args.len, sizeof *args.len);
        args.numbers = grown(args.numbers, sizeof *args.numbers);
    }
    return args.count++;
}

void ml_redis_args_begin(void)
{
    args.count = 0;
}

void ml_redis_args_add(struct ml_str word)
{
    int at = next_place();

    args.v[at] = word.p;
    args.len[at] = word.len;
}

void ml_redis_args_set(int at, struct ml_str word)
{
    args.v[at] = word.p;
    args.len[at] = word.len;
}

/* Whole numbers in full: 1e15 is no number for most commands. */
static void add_number(lua_State *L, double n)
{
    bool whole = n == floor(n) && fabs(n) < 9007199254740992.0;
    int at, len;

    if (!isfinite(n))
        luaL_error(L, "redis: a number of a command must be finite");
    at = next_place();
    len = whole ? snprintf(args.numbers[at].text, sizeof args.numbers[at].text, "%.0f", n)
                : snprintf(args.numbers[at].text, sizeof args.numbers[at].text, "%.17g", n);
    args.v[at] = NULL;
    args.len[at] = (size_t)len;
}

void ml_redis_args_value(lua_State *L, int index)
{
    if (args.count >= ARGS_MAX)
        luaL_error(L, "redis: a command has too many arguments");
    if (lua_type(L, index) == LUA_TNUMBER)
        add_number(L, lua_tonumber(L, index));
    else if (lua_type(L, index) == LUA_TSTRING)
        ml_redis_args_add(ml_check_str(L, index));
    else
        luaL_error(L, "redis: argument %d of the command is a %s, not a string or a number",
                   args.count, luaL_typename(L, index));
}

/* The list keeps its strings, so they may leave the stack. */
int ml_redis_args_list(lua_State *L, int index, const char *what)
{
    int count;

    if (lua_isnoneornil(L, index))
        return 0;
    if (!lua_istable(L, index))
        return luaL_error(L, "redis: %s must be a list", what);
    count = (int)lua_objlen(L, index);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        ml_redis_args_value(L, -1);
        lua_pop(L, 1);
    }
    return count;
}

const struct ml_redis_argv *ml_redis_args_end(lua_State *L)
{
    const char *why;

    if (args.count == 0 || args.len[0] == 0 || args.v[0] == NULL)
        luaL_error(L, "redis: a command begins with its name, a string");
    for (int i = 0; i < args.count; i++)
        if (args.v[i] == NULL)
            args.v[i] = args.numbers[i].text;
    args.argv = (struct ml_redis_argv){args.count, args.v, args.len};
    why = ml_redis_command_refusal(&args.argv);
    if (why != NULL) {
        lua_pushlstring(L, args.v[0], args.len[0]);
        luaL_error(L, "redis: %s can not be used: %s", lua_tostring(L, -1), why);
    }
    return &args.argv;
}
