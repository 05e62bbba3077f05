/* json_scan.c - a recursive descent that keeps the names of the open objects.
 *
 *   names:  [ outer object ... | inner object ... ]   an object compares with its own part only
 */
#include "base/json_scan.h"

#include <math.h>
#include <stdlib.h>

enum { NAME_TEXT_MAX = 4096, NUMBER_LEN_MAX = 100 };

struct scanner {
    const char *p, *end;
    int depth;
    unsigned count; /* of names */
    struct ml_str names[ML_JSON_SCAN_NAMES_MAX];
    size_t used; /* of text: names that had escapes */
    char text[NAME_TEXT_MAX];
};

static bool scan_value(struct scanner *s, struct ml_json_item *item);

static char peek(struct scanner *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
    return s->p < s->end ? *s->p : '\0';
}

static bool take(struct scanner *s, char c)
{
    if (peek(s) != c)
        return false;
    s->p++;
    return true;
}

/* ---- strings ---- */

static int hex4(const char *p, const char *end)
{
    int n = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = ml_lower(p[i]);

        if (c >= '0' && c <= '9')
            n = n << 4 | (c - '0');
        else if (c >= 'a' && c <= 'f')
            n = n << 4 | (c - 'a' + 10);
        else
            return -1;
    }
    return n;
}

/* The code point of the escape behind "\u" at *p, which moves on; -1 for half a pair. */
static int unicode(const char **p, const char *end)
{
    int code = hex4(*p, end), low;

    if (code < 0 || (code >= 0xdc00 && code <= 0xdfff))
        return -1;
    *p += 4;
    if (code < 0xd800 || code > 0xdbff)
        return code;
    if (end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return -1;
    low = hex4(*p + 2, end);
    if (low < 0xdc00 || low > 0xdfff)
        return -1;
    *p += 6;
    return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
}

static bool scan_escape(struct scanner *s)
{
    char c;

    s->p++;
    c = s->p < s->end ? *s->p++ : '\0';
    if (c == 'u')
        return unicode(&s->p, s->end) >= 0;
    return c != '\0' && strchr("\"\\/bfnrt", c) != NULL;
}

/* One character of more than one byte (RFC 3629 section 4). */
static bool scan_utf8(struct scanner *s)
{
    const unsigned char *p = (const unsigned char *)s->p;
    unsigned char low = 0x80, high = 0xbf;
    long len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (p[0] < 0xc2 || p[0] > 0xf4 || s->end - s->p < len)
        return false;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return false;
    for (long i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return false;
    s->p += len;
    return true;
}

/* Behind the opening quote. */
static bool scan_string(struct scanner *s, struct ml_str *out, bool *escaped)
{
    out->p = s->p;
    *escaped = false;
    while (s->p < s->end && *s->p != '"') {
        unsigned char c = (unsigned char)*s->p;

        if (c == '\\') {
            *escaped = true;
            if (!scan_escape(s))
                return false;
        } else if (c >= 0x80) {
            if (!scan_utf8(s))
                return false;
        } else if (c < 0x20) {
            return false;
        } else {
            s->p++;
        }
    }
    out->len = (size_t)(s->p - out->p);
    return take(s, '"');
}

static size_t put_utf8(char *out, int code)
{
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    for (size_t i = len; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)(len == 1 ? code : (0xf0 << (4 - len) & 0xff) | code);
    return len;
}

/* Never longer than text. */
static size_t unescape(char *out, struct ml_str text)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *p = text.p, *end = text.p + text.len;
    char *w = out;

    while (p < end) {
        if (*p != '\\') {
            *w++ = *p++;
        } else if (p[1] == 'u') {
            p += 2;
            w += put_utf8(w, unicode(&p, end));
        } else {
            *w++ = to[strchr(from, p[1]) - from];
            p += 2;
        }
    }
    return (size_t)(w - out);
}

void ml_json_unescape(struct ml_buf *out, struct ml_str text)
{
    ml_buf_commit(out, unescape(ml_buf_reserve(out, text.len + 1), text));
}

/* ---- numbers ---- */

static bool digits(struct scanner *s)
{
    const char *begin = s->p;

    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return s->p > begin;
}

static bool scan_number(struct scanner *s)
{
    if (s->p < s->end && *s->p == '-')
        s->p++;
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (!digits(s))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s))
            return false;
    }
    if (s->p == s->end || (*s->p != 'e' && *s->p != 'E'))
        return true;
    s->p++;
    if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
        s->p++;
    return digits(s);
}

bool ml_json_number(struct ml_str text, double *value)
{
    char copy[NUMBER_LEN_MAX + 1];

    if (text.len > NUMBER_LEN_MAX)
        return false;
    memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    *value = strtod(copy, NULL);
    return isfinite(*value);
}

/* ---- objects and arrays ---- */

/* Keeps the name of a member of the object whose names begin at first; false when it is there. */
static bool add_name(struct scanner *s, unsigned first, struct ml_str name, bool escaped)
{
    if (s->count == ML_JSON_SCAN_NAMES_MAX)
        return false;
    if (escaped) {
        if (name.len > sizeof s->text - s->used)
            return false;
        name = (struct ml_str){s->text + s->used, unescape(s->text + s->used, name)};
        s->used += name.len;
    }
    for (unsigned i = first; i < s->count; i++)
        if (ml_str_eq(s->names[i], name))
            return false;
    s->names[s->count++] = name;
    return true;
}

static bool scan_member(struct scanner *s, unsigned first, struct ml_json_item *item)
{
    struct ml_str name;
    bool escaped;

    if (!take(s, '"') || !scan_string(s, &name, &escaped) || !add_name(s, first, name, escaped) ||
        !take(s, ':') || !scan_value(s, item))
        return false;
    item->name = s->names[s->count - 1];
    return true;
}

/* Behind the opening bracket; each may be NULL. */
static bool scan_items(struct scanner *s, char close, ml_json_each each, void *ctx)
{
    unsigned first = s->count;
    size_t used = s->used;

    if (take(s, close))
        return true;
    if (++s->depth > ML_JSON_SCAN_DEPTH_MAX)
        return false;
    do {
        struct ml_json_item item = {.name = ML_STR_NONE};

        if (!(close == '}' ? scan_member(s, first, &item) : scan_value(s, &item)))
            return false;
        if (each != NULL)
            each(ctx, &item);
    } while (take(s, ','));
    s->count = first;
    s->used = used;
    s->depth--;
    return take(s, close);
}

static bool scan_word(struct scanner *s, struct ml_str word)
{
    if ((size_t)(s->end - s->p) < word.len || memcmp(s->p, word.p, word.len) != 0)
        return false;
    s->p += word.len;
    return true;
}

static bool scan_inner(struct scanner *s, enum ml_json_kind *kind)
{
    switch (*s->p) {
    case '{':
        s->p++;
        *kind = ML_JSON_OBJECT;
        return scan_items(s, '}', NULL, NULL);
    case '[':
        s->p++;
        *kind = ML_JSON_ARRAY;
        return scan_items(s, ']', NULL, NULL);
    case 't':
        *kind = ML_JSON_TRUE;
        return scan_word(s, ML_STR("true"));
    case 'f':
        *kind = ML_JSON_FALSE;
        return scan_word(s, ML_STR("false"));
    case 'n':
        *kind = ML_JSON_NULL;
        return scan_word(s, ML_STR("null"));
    default:
        *kind = ML_JSON_NUMBER;
        return scan_number(s);
    }
}

static bool scan_value(struct scanner *s, struct ml_json_item *item)
{
    char c = peek(s);
    bool escaped;

    item->text.p = s->p;
    if (c == '"') {
        s->p++;
        item->kind = ML_JSON_STRING;
        return scan_string(s, &item->text, &escaped);
    }
    if (s->p == s->end || !scan_inner(s, &item->kind))
        return false;
    item->text.len = (size_t)(s->p - item->text.p);
    return true;
}

bool ml_json_scan(struct ml_str text, enum ml_json_kind kind, ml_json_each each, void *ctx)
{
    struct scanner s; /* not zeroed: it is large */
    bool array = kind == ML_JSON_ARRAY;

    s.p = text.p;
    s.end = text.p + text.len;
    s.depth = 0;
    s.count = 0;
    s.used = 0;
    if (!take(&s, array ? '[' : '{') || !scan_items(&s, array ? ']' : '}', each, ctx))
        return false;
    peek(&s);
    return s.p == s.end;
}
