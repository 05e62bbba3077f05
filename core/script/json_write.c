/* json_write.c - a Lua value as JSON text.
 *
 * Only raw accesses: no code of a script runs, so the text may go into the shared scratch buffer.
 * A table can be reached by many ways, so the text could be exponentially larger than its tables:
 * depth and length have limits. */
#include "script/json_value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct writer {
    lua_State *L;
    struct ml_buf *out;
    const void *mark; /* metatable of lists */
    bool pretty;
    int depth;
};

static const char *write_value(struct writer *w, int index);

/* ---- pieces ---- */

static void put(struct writer *w, char c)
{
    *ml_buf_reserve(w->out, 1) = c;
    ml_buf_commit(w->out, 1);
}

static void new_line(struct writer *w)
{
    if (!w->pretty)
        return;
    put(w, '\n');
    for (int i = 0; i < w->depth; i++)
        ml_buf_append(w->out, ML_STR("  "));
}

static void write_escape(struct writer *w, unsigned char c)
{
    static const char hex[] = "0123456789abcdef", shorts[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};

    for (size_t i = 0; i + 1 < sizeof shorts; i += 2)
        if ((unsigned char)shorts[i] == c) {
            text[1] = shorts[i + 1];
            ml_buf_append(w->out, (struct ml_str){text, 2});
            return;
        }
    ml_buf_append(w->out, (struct ml_str){text, sizeof text});
}

static void write_string(struct writer *w, struct ml_str s)
{
    const char *p = s.p, *end = s.p + s.len, *run = p;

    put(w, '"');
    for (; p < end; p++) {
        unsigned char c = (unsigned char)*p;

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        ml_buf_append(w->out, (struct ml_str){run, (size_t)(p - run)});
        write_escape(w, c);
        run = p + 1;
    }
    ml_buf_append(w->out, (struct ml_str){run, (size_t)(p - run)});
    put(w, '"');
}

/* Whole numbers without exponent; the others with as many digits as they need. */
static const char *write_number(struct writer *w, double n)
{
    char text[40];

    if (!isfinite(n))
        return "a number is infinite or not a number";
    if (n == floor(n) && fabs(n) < 1e17) {
        snprintf(text, sizeof text, "%.0f", n);
    } else {
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(text, sizeof text, "%.*g", digits, n);
            if (strtod(text, NULL) == n)
                break;
        }
    }
    ml_buf_append(w->out, ml_str_of(text));
    return NULL;
}

/* ---- tables ---- */

enum shape { LIST, OBJECT, NEITHER };

/* A list has the keys 1 to *count, an object only strings.  The table is at index. */
static enum shape shape_of(struct writer *w, int index, int *count)
{
    lua_State *L = w->L;
    int numbers = 0, strings = 0;
    double max = 0;
    bool marked = false;

    if (lua_getmetatable(L, index)) {
        marked = lua_topointer(L, -1) == w->mark;
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        double key = lua_tonumber(L, -2);

        if (lua_type(L, -2) == LUA_TSTRING) {
            strings++;
            continue;
        }
        numbers++;
        if (lua_type(L, -2) != LUA_TNUMBER || !(key >= 1) || key != floor(key))
            max = INFINITY;
        else if (key > max)
            max = key;
    }
    *count = numbers;
    if (numbers == 0)
        return !marked ? OBJECT : strings == 0 ? LIST : NEITHER;
    return strings == 0 && max == numbers ? LIST : NEITHER;
}

static const char *write_list(struct writer *w, int index, int count)
{
    put(w, '[');
    w->depth++;
    for (int i = 1; i <= count; i++) {
        const char *wrong;

        if (i > 1)
            put(w, ',');
        new_line(w);
        lua_rawgeti(w->L, index, i);
        wrong = write_value(w, lua_gettop(w->L));
        if (wrong != NULL)
            return wrong;
        lua_pop(w->L, 1);
    }
    w->depth--;
    if (count > 0)
        new_line(w);
    put(w, ']');
    return NULL;
}

static const char *write_object(struct writer *w, int index)
{
    lua_State *L = w->L;
    bool first = true;

    put(w, '{');
    w->depth++;
    for (lua_pushnil(L); lua_next(L, index) != 0; lua_pop(L, 1)) {
        struct ml_str name;
        const char *wrong;

        name.p = lua_tolstring(L, -2, &name.len);
        if (!first)
            put(w, ',');
        first = false;
        new_line(w);
        write_string(w, name);
        put(w, ':');
        if (w->pretty)
            put(w, ' ');
        wrong = write_value(w, lua_gettop(L));
        if (wrong != NULL)
            return wrong;
    }
    w->depth--;
    if (!first)
        new_line(w);
    put(w, '}');
    return NULL;
}

static const char *write_table(struct writer *w, int index)
{
    int count;

    if (w->depth >= ML_JSON_DEPTH_MAX)
        return "tables are nested too deeply, or in each other";
    if (!lua_checkstack(w->L, 6))
        return "tables are nested too deeply";
    switch (shape_of(w, index, &count)) {
    case LIST:
        return write_list(w, index, count);
    case OBJECT:
        return write_object(w, index);
    case NEITHER:
        break;
    }
    return "a table is neither a list without holes nor an object with strings as keys";
}

static const char *write_value(struct writer *w, int index)
{
    static char message[64];
    struct ml_str s;

    if (ml_buf_len(w->out) > ML_JSON_TEXT_MAX)
        return "the text is too long";
    switch (lua_type(w->L, index)) {
    case LUA_TTABLE:
        return write_table(w, index);
    case LUA_TSTRING:
        s.p = lua_tolstring(w->L, index, &s.len);
        write_string(w, s);
        return NULL;
    case LUA_TNUMBER:
        return write_number(w, lua_tonumber(w->L, index));
    case LUA_TBOOLEAN:
        ml_buf_append(w->out, ml_str_of(lua_toboolean(w->L, index) ? "true" : "false"));
        return NULL;
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(w->L, index) == NULL) {
            ml_buf_append(w->out, ML_STR("null"));
            return NULL;
        }
        break;
    case LUA_TNIL:
        ml_buf_append(w->out, ML_STR("null"));
        return NULL;
    default:
        break;
    }
    snprintf(message, sizeof message, "a %s has no form in JSON", luaL_typename(w->L, index));
    return message;
}

const char *ml_json_write(lua_State *L, int index, struct ml_buf *out, bool pretty)
{
    struct writer w = {.L = L, .out = out, .pretty = pretty};
    int top = lua_gettop(L);
    const char *wrong;

    ml_json_push_mark(L);
    w.mark = lua_topointer(L, -1);
    lua_pop(L, 1);
    wrong = write_value(&w, index);
    lua_settop(L, top);
    return wrong;
}
