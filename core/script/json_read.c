/* json_read.c - JSON text as Lua values: RFC 8259 to the letter, and nothing else.
 *
 * Refused are control characters in strings, single surrogates, numbers that a double can not hold,
 * anything behind the value.  The last of equal names counts. */
#include "script/json_value.h"

#include "protocol/chars.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct reader {
    lua_State *L;
    const char *begin, *p, *end;
    int mark; /* index of the metatable of lists */
    int depth;
};

static const char *read_value(struct reader *r);

static const char *wrong(const struct reader *r, const char *what)
{
    static char message[96];

    snprintf(message, sizeof message, "%s at byte %zu", what, (size_t)(r->p - r->begin) + 1);
    return message;
}

/* The next byte that is not white space, or 0 at the end. */
static char peek(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\r' || *r->p == '\t'))
        r->p++;
    return r->p < r->end ? *r->p : '\0';
}

/* ---- strings ---- */

/* Four hex digits at p, or -1. */
static int hex4(const char *p, const char *end)
{
    int n = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = ml_char_hex(p[i]);

        if (digit < 0)
            return -1;
        n = n * 16 + digit;
    }
    return n;
}

static void put_utf8(struct ml_buf *out, int code)
{
    char text[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (size_t i = len; i-- > 1; code >>= 6)
        text[i] = (char)(0x80 | (code & 0x3f));
    text[0] = (char)(len == 1 ? code : (0xf0 << (4 - len) & 0xff) | code);
    ml_buf_append(out, (struct ml_str){text, len});
}

/* Behind "\u": one code unit, or a pair of surrogates. */
static const char *read_unicode(struct reader *r, struct ml_buf *out)
{
    int code = hex4(r->p, r->end), low;

    if (code < 0 || (code >= 0xdc00 && code <= 0xdfff))
        return wrong(r, "invalid \\u escape");
    r->p += 4;
    if (code >= 0xd800 && code <= 0xdbff) {
        low = r->end - r->p >= 6 && r->p[0] == '\\' && r->p[1] == 'u' ? hex4(r->p + 2, r->end) : -1;
        if (low < 0xdc00 || low > 0xdfff)
            return wrong(r, "a surrogate without its other half");
        r->p += 6;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(out, code);
    return NULL;
}

/* Behind a backslash. */
static const char *read_escape(struct reader *r, struct ml_buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (r->p == r->end)
        return wrong(r, "unterminated string");
    if (*r->p == 'u') {
        r->p++;
        return read_unicode(r, out);
    }
    found = memchr(from, *r->p, sizeof from - 1);
    if (found == NULL)
        return wrong(r, "invalid escape");
    ml_buf_append(out, (struct ml_str){to + (found - from), 1});
    r->p++;
    return NULL;
}

/* The bytes up to the next quote, backslash or control character. */
static struct ml_str plain_run(struct reader *r)
{
    const char *begin = r->p;

    while (r->p < r->end && (unsigned char)*r->p >= 0x20 && *r->p != '"' && *r->p != '\\')
        r->p++;
    return (struct ml_str){begin, (size_t)(r->p - begin)};
}

static const char *read_string(struct reader *r)
{
    struct ml_str run;
    struct ml_buf *out;
    const char *err;

    r->p++;
    run = plain_run(r);
    if (r->p < r->end && *r->p == '"') { /* the usual case: no copy */
        r->p++;
        ml_push_str(r->L, run);
        return NULL;
    }
    out = ml_handle_scratch();
    ml_buf_append(out, run);
    while (r->p < r->end && *r->p == '\\') {
        r->p++;
        err = read_escape(r, out);
        if (err != NULL)
            return err;
        ml_buf_append(out, plain_run(r));
    }
    if (r->p == r->end)
        return wrong(r, "unterminated string");
    if (*r->p != '"')
        return wrong(r, "control character in a string");
    r->p++;
    ml_push_str(r->L, ml_buf_str(out));
    return NULL;
}

/* ---- numbers ---- */

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* RFC 8259 section 6: the end of the number at p, or NULL; *whole: it has neither fraction nor
 * exponent. */
static const char *number_end(const char *p, const char *end, bool *whole)
{
    const char *digits;

    *whole = true;
    p += p < end && *p == '-';
    digits = p;
    p = skip_digits(p, end);
    if (p == digits || (*digits == '0' && p - digits > 1))
        return NULL;
    if (p < end && *p == '.') {
        *whole = false;
        digits = ++p;
        p = skip_digits(p, end);
        if (p == digits)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        *whole = false;
        p++;
        p += p < end && (*p == '+' || *p == '-');
        digits = p;
        p = skip_digits(p, end);
        if (p == digits)
            return NULL;
    }
    return p;
}

/* At most 15 digits, which fit into a double. */
static double small_integer(const char *p, const char *end)
{
    bool negative = *p == '-';
    long long n = 0;

    for (p += negative; p < end; p++)
        n = n * 10 + (*p - '0');
    return negative ? -(double)n : (double)n;
}

static const char *read_number(struct reader *r)
{
    bool whole;
    const char *end = number_end(r->p, r->end, &whole);
    struct ml_buf *text;
    double n;

    if (end == NULL)
        return wrong(r, "invalid number");
    if (whole && end - r->p <= 15) {
        n = small_integer(r->p, end);
    } else { /* strtod needs a NUL behind the number */
        text = ml_handle_scratch();
        ml_buf_append(text, (struct ml_str){r->p, (size_t)(end - r->p)});
        ml_buf_append(text, (struct ml_str){"", 1});
        n = strtod(text->p + text->start, NULL);
        if (!isfinite(n))
            return wrong(r, "a number that is too large");
    }
    r->p = end;
    lua_pushnumber(r->L, n);
    return NULL;
}

/* ---- lists, objects, words ---- */

static const char *enter(struct reader *r)
{
    r->p++;
    if (++r->depth > ML_JSON_DEPTH_MAX || !lua_checkstack(r->L, 6))
        return wrong(r, "nested too deeply");
    lua_newtable(r->L);
    return NULL;
}

/* Behind an element: true when another one follows, *err when neither that nor the end does. */
static bool goes_on(struct reader *r, char close, const char **err)
{
    char c = peek(r);

    if (c != ',' && c != close) {
        *err = wrong(r, r->p == r->end ? "unexpected end" : "expected a comma or the end");
        return false;
    }
    r->p++;
    if (c == close)
        r->depth--;
    return c == ',';
}

static const char *read_list(struct reader *r)
{
    const char *err = enter(r);
    int count = 0;

    if (err != NULL)
        return err;
    lua_pushvalue(r->L, r->mark);
    lua_setmetatable(r->L, -2);
    if (peek(r) == ']') {
        r->p++;
        r->depth--;
        return NULL;
    }
    do {
        err = read_value(r);
        if (err != NULL)
            return err;
        lua_rawseti(r->L, -2, ++count);
    } while (goes_on(r, ']', &err));
    return err;
}

static const char *read_member(struct reader *r)
{
    const char *err;

    if (peek(r) != '"')
        return wrong(r, "expected a name in quotes");
    err = read_string(r);
    if (err != NULL)
        return err;
    if (peek(r) != ':')
        return wrong(r, "expected a colon");
    r->p++;
    err = read_value(r);
    if (err == NULL)
        lua_rawset(r->L, -3);
    return err;
}

static const char *read_object(struct reader *r)
{
    const char *err = enter(r);

    if (err != NULL)
        return err;
    if (peek(r) == '}') {
        r->p++;
        r->depth--;
        return NULL;
    }
    do {
        err = read_member(r);
        if (err != NULL)
            return err;
    } while (goes_on(r, '}', &err));
    return err;
}

static bool is_word(struct reader *r, struct ml_str word)
{
    if ((size_t)(r->end - r->p) < word.len || memcmp(r->p, word.p, word.len) != 0)
        return false;
    r->p += word.len;
    return true;
}

static const char *read_word(struct reader *r)
{
    if (is_word(r, ML_STR("true")))
        lua_pushboolean(r->L, 1);
    else if (is_word(r, ML_STR("false")))
        lua_pushboolean(r->L, 0);
    else if (is_word(r, ML_STR("null")))
        lua_pushlightuserdata(r->L, NULL);
    else
        return wrong(r, r->p == r->end ? "unexpected end" : "unexpected character");
    return NULL;
}

static const char *read_value(struct reader *r)
{
    char c = peek(r);

    if (c == '{')
        return read_object(r);
    if (c == '[')
        return read_list(r);
    if (c == '"')
        return read_string(r);
    if (c == '-' || (c >= '0' && c <= '9'))
        return read_number(r);
    return read_word(r);
}

const char *ml_json_push(lua_State *L, struct ml_str text)
{
    struct reader r = {.L = L, .begin = text.p, .p = text.p, .end = text.p + text.len};
    int top = lua_gettop(L);
    const char *err;

    luaL_checkstack(L, 6, "no room for JSON");
    ml_json_push_mark(L);
    r.mark = top + 1;
    err = read_value(&r);
    if (err == NULL && peek(&r) != '\0')
        err = wrong(&r, "something follows the value");
    if (err == NULL && r.p < r.end) /* a NUL byte */
        err = wrong(&r, "unexpected character");
    if (err != NULL) {
        lua_settop(L, top);
        return err;
    }
    lua_remove(L, top + 1);
    return NULL;
}
