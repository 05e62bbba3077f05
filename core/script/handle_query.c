/* handle_query.c - query strings, forms and cookies as Lua tables. */
#include "script/handle.h"

#include "base/str_cut.h"
#include "protocol/chars.h"

/* Sets table[name] = value, where the table is below name and value on the stack; both go. */
static void add_pair(lua_State *L)
{
    lua_pushvalue(L, -2);
    lua_rawget(L, -4);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_rawset(L, -3);
        return;
    }
    if (!lua_istable(L, -1)) { /* the second of this name */
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, -6);
    }
    lua_insert(L, -2); /* table, name, list, value */
    lua_rawseti(L, -2, (int)lua_objlen(L, -2) + 1);
    lua_pop(L, 2);
}

/* The byte of the escape at p, or -1: a broken one stays what it is. */
static int escaped(const char *p, const char *end)
{
    int high, low;

    if (end - p < 3 || *p != '%')
        return -1;
    high = ml_char_hex(p[1]);
    low = ml_char_hex(p[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool is_plain(struct ml_str s)
{
    return s.len == 0 || (memchr(s.p, '%', s.len) == NULL && memchr(s.p, '+', s.len) == NULL);
}

void ml_query_push_decoded(lua_State *L, struct ml_str text)
{
    const char *p = text.p, *end = text.p + text.len;
    struct ml_buf *out;
    char *w;

    if (is_plain(text)) {
        ml_push_str(L, text);
        return;
    }
    out = ml_handle_scratch();
    for (w = ml_buf_reserve(out, text.len); p < end; w++) {
        int byte = escaped(p, end);

        *w = byte >= 0 ? (char)byte : *p == '+' ? ' ' : *p;
        p += byte >= 0 ? 3 : 1;
        ml_buf_commit(out, 1);
    }
    ml_push_str(L, ml_buf_str(out));
}

void ml_query_push(lua_State *L, struct ml_str text)
{
    struct ml_str pair, name;

    lua_newtable(L);
    while (ml_str_next(&text, '&', &pair)) {
        if (pair.len == 0)
            continue;
        ml_str_next(&pair, '=', &name);
        ml_query_push_decoded(L, name);
        ml_query_push_decoded(L, pair);
        add_pair(L);
    }
}

/* RFC 6265 section 5.4; values in quotes lose them. */
static void add_cookie(lua_State *L, struct ml_str pair)
{
    struct ml_str name, value;

    if (memchr(pair.p, '=', pair.len) == NULL)
        return;
    ml_str_next(&pair, '=', &name);
    name = ml_str_trim(name);
    value = ml_str_trim(pair);
    if (value.len >= 2 && value.p[0] == '"' && value.p[value.len - 1] == '"') {
        value.p++;
        value.len -= 2;
    }
    ml_push_str(L, name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        ml_push_str(L, value);
        lua_rawset(L, -3);
    } else {
        lua_pop(L, 2);
    }
}

void ml_cookies_push(lua_State *L, const struct ml_headers *h)
{
    struct ml_field *f = ml_headers_get(h, ML_H_COOKIE);
    struct ml_str rest, pair;

    lua_newtable(L);
    for (; f != NULL; f = ml_headers_next(h, f)) {
        rest = f->value;
        while (ml_str_next(&rest, ';', &pair))
            add_cookie(L, pair);
    }
}
