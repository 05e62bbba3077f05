/* url.c - a target is cut into parts, its path is normalised segment by segment.
 *
 * Most paths are in normal form already: is_normal finds that out in one pass and nothing is
 * copied. For the others, each segment is decoded behind the '/' that it belongs to and then
 * judged; as all escapes of unreserved characters are gone by then, "%2e" is a dot like any other.
 */
#include "protocol/url.h"

#include "protocol/chars.h"

/* ---- the path ---- */

static bool is_normal(struct ml_str path)
{
    for (size_t i = 0; i < path.len; i++) {
        char next = i + 1 < path.len ? path.p[i + 1] : 'x';

        if (path.p[i] == '/' ? next == '/' || next == '.' : !ml_char_is(path.p[i], ML_CHAR_PLAIN))
            return false;
    }
    return true;
}

/* The value of the escape at p ("%XX"), or -1. */
static int escape(const char *p, const char *end)
{
    int high, low;

    if (end - p < 3 || p[0] != '%')
        return -1;
    high = ml_char_hex(p[1]);
    low = ml_char_hex(p[2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* UTF-8 that hides a shorter form, such as C0 AE for '.': sloppy decoders see a dot in it, some
 * also when it is of the five or six bytes of RFC 2279. */
static bool is_overlong(int byte, const char *next, const char *end)
{
    int second = escape(next, end), shortest = 0x80;

    switch (byte) {
    case 0xc0:
    case 0xc1:
        return true;
    case 0xe0:
        shortest = 0xa0;
        break;
    case 0xf0:
        shortest = 0x90;
        break;
    case 0xf8:
        shortest = 0x88;
        break;
    case 0xfc:
        shortest = 0x84;
        break;
    default:
        break;
    }
    return second >= 0x80 && second < shortest;
}

/* May the escaped byte be in a path?  What a decoder behind us could take for the end of a segment,
 * of the string or of a line may not. */
static bool escape_ok(int byte, const struct ml_url_policy *policy)
{
    if (byte == '/')
        return policy->allow_encoded_slash;
    return byte >= 0x20 && byte != 0x7f && byte != '\\';
}

static char *put_escape(char *w, int byte)
{
    static const char digits[] = "0123456789ABCDEF";

    if (ml_char_is((char)byte, ML_CHAR_UNRESERVED)) {
        *w++ = (char)byte;
        return w;
    }
    *w++ = '%';
    *w++ = digits[byte >> 4];
    *w++ = digits[byte & 15];
    return w;
}

/* Copies the segment at *p to w, decoded; *p moves to the '/' behind it or to end. */
static enum ml_err copy_segment(const char **p, const char *end, const struct ml_url_policy *policy,
                                char **w)
{
    while (*p < end && **p != '/') {
        if (**p == '%') {
            int byte = escape(*p, end);

            if (byte < 0 || !escape_ok(byte, policy) || is_overlong(byte, *p + 3, end))
                return ML_BAD_PATH;
            *w = put_escape(*w, byte);
            *p += 3;
        } else if (ml_char_is(**p, ML_CHAR_PATH)) {
            *(*w)++ = *(*p)++;
        } else {
            return **p == '\\' ? ML_BAD_PATH : ML_BAD_TARGET;
        }
    }
    return ML_OK;
}

static size_t count_dots(struct ml_str segment)
{
    size_t n = 0;

    while (n < segment.len && segment.p[n] == '.')
        n++;
    return n;
}

/* Does the segment have parameters and nothing before them but dots?  An origin that strips them
 * would see a dot segment or an empty one there. */
static bool hides_dots(struct ml_str segment)
{
    size_t dots = count_dots(segment);
    struct ml_str rest = {segment.p + dots, segment.len - dots};

    if (dots > 2 || rest.len == 0)
        return false;
    return rest.p[0] == ';' || (rest.len >= 3 && memcmp(rest.p, "%3B", 3) == 0);
}

/* Does the segment, which is decoded, still hold an escape of an escape ("%2561")?  An origin that
 * decodes twice would see another path. */
static bool hides_escape(struct ml_str segment)
{
    const char *end = segment.p + segment.len;

    for (const char *p = segment.p; end - p >= 5; p++)
        if (memcmp(p, "%25", 3) == 0 && ml_char_hex(p[3]) >= 0 && ml_char_hex(p[3]) < 8 &&
            ml_char_hex(p[4]) >= 0)
            return true;
    return false;
}

/* The end of what [out, w) is without its last segment, RFC 3986 section 5.2.4. */
static char *drop_segment(char *out, char *w)
{
    while (w > out && *--w != '/')
        ;
    return w;
}

/* Judges the segment [mark + 1, w) whose '/' is at mark; says where the output ends now. */
static char *settle_segment(char *out, char *mark, char *w, bool last,
                            const struct ml_url_policy *policy)
{
    struct ml_str segment = {mark + 1, (size_t)(w - mark - 1)};
    size_t dots = count_dots(segment);

    if (segment.len == 0)
        return last || policy->keep_slashes ? w : mark;
    if (dots != segment.len || dots > 2)
        return w;
    w = dots == 1 ? mark : drop_segment(out, mark);
    if (last)
        *w++ = '/'; /* what a dot segment ends in is a directory */
    return w;
}

/* Writes the normal form of path, which is never longer, to out. */
static enum ml_err normalise(struct ml_str path, const struct ml_url_policy *policy, char *out,
                             size_t *len)
{
    const char *p = path.p, *end = path.p + path.len;
    char *w = out;

    while (p < end) {
        char *mark = w;
        struct ml_str segment;
        enum ml_err err;

        *w++ = *p++; /* the '/' */
        if ((err = copy_segment(&p, end, policy, &w)) != ML_OK)
            return err;
        segment = (struct ml_str){mark + 1, (size_t)(w - mark - 1)};
        if (hides_dots(segment) || (!policy->allow_encoded_slash && hides_escape(segment)))
            return ML_BAD_PATH;
        w = settle_segment(out, mark, w, p == end, policy);
    }
    *len = (size_t)(w - out);
    return ML_OK;
}

enum ml_err ml_url_path(struct ml_str path, const struct ml_url_policy *policy,
                        struct ml_arena *arena, struct ml_str *out)
{
    char *copy;
    size_t len;
    enum ml_err err;

    if (path.len == 0 || path.p[0] != '/')
        return ML_BAD_TARGET;
    copy = ml_arena_alloc(arena, path.len);
    err = normalise(path, policy, copy, &len);
    if (err == ML_OK)
        *out = (struct ml_str){copy, len};
    return err;
}

/* ---- the target ---- */

static enum ml_err check_query(struct ml_str query)
{
    const char *end = query.p + query.len;

    for (const char *p = query.p; p < end; p++)
        if (!ml_char_is(*p, ML_CHAR_QUERY) && escape(p, end) < 0)
            return ML_BAD_TARGET;
    return ML_OK;
}

/* Parses path["?" query]; an empty path is "/" (RFC 9110 section 4.2.3). */
static enum ml_err take_path(struct ml_str text, const struct ml_url_policy *policy,
                             struct ml_arena *arena, struct ml_target *t)
{
    const char *mark = text.len > 0 ? memchr(text.p, '?', text.len) : NULL;
    struct ml_str path = {text.p, mark != NULL ? (size_t)(mark - text.p) : text.len};

    if (mark != NULL) {
        t->has_query = true;
        t->query = (struct ml_str){mark + 1, text.len - path.len - 1};
        if (check_query(t->query) != ML_OK)
            return ML_BAD_TARGET;
    }
    if (path.len == 0)
        path = ML_STR("/");
    t->path = path;
    if (path.p[0] == '/' && is_normal(path))
        return ML_OK;
    return ml_url_path(path, policy, arena, &t->path);
}

/* Parses scheme "://" authority path: RFC 9112 section 3.2.2, of http and https only. */
static enum ml_err take_absolute(struct ml_str text, const struct ml_url_policy *policy,
                                 struct ml_arena *arena, struct ml_target *t)
{
    bool tls = text.len >= 8 && ml_str_ieq((struct ml_str){text.p, 8}, ML_STR("https://"));
    bool plain = text.len >= 7 && ml_str_ieq((struct ml_str){text.p, 7}, ML_STR("http://"));
    const char *p = text.p + (tls ? 8 : 7), *end = text.p + text.len, *authority = p;

    if (!tls && !plain)
        return ML_BAD_TARGET;
    while (p < end && *p != '/' && *p != '?')
        p++;
    t->form = ML_TARGET_ABSOLUTE;
    t->scheme = tls ? ML_STR("https") : ML_STR("http");
    t->authority = (struct ml_str){authority, (size_t)(p - authority)};
    if (!ml_url_authority_ok(t->authority))
        return ML_BAD_TARGET;
    return take_path((struct ml_str){p, (size_t)(end - p)}, policy, arena, t);
}

enum ml_err ml_url_target(struct ml_str method, struct ml_str target,
                          const struct ml_url_policy *policy, struct ml_arena *arena,
                          struct ml_target *out)
{
    struct ml_target t = {.form = ML_TARGET_ORIGIN};
    enum ml_err err;

    if (ml_str_eq(method, ML_STR("CONNECT")))
        return ML_NOT_IMPLEMENTED;
    if (ml_str_eq(target, ML_STR("*"))) { /* RFC 9112 section 3.2.4 */
        t.form = ML_TARGET_ASTERISK;
        t.path = target;
        err = ml_str_eq(method, ML_STR("OPTIONS")) ? ML_OK : ML_BAD_TARGET;
    } else if (target.len > 0 && target.p[0] == '/') {
        err = take_path(target, policy, arena, &t);
    } else {
        err = take_absolute(target, policy, arena, &t);
    }
    if (err == ML_OK)
        *out = t;
    return err;
}

/* ---- escapes ---- */

struct ml_str ml_url_decode(struct ml_str text, bool form, struct ml_arena *arena)
{
    const char *p = text.p, *end = text.p + text.len;
    char *out = ml_arena_alloc(arena, text.len + 1), *w = out;

    while (p < end) {
        int byte = escape(p, end);

        if (byte >= 0)
            *w++ = (char)byte;
        else
            *w++ = form && *p == '+' ? ' ' : *p;
        p += byte >= 0 ? 3 : 1;
    }
    return (struct ml_str){out, (size_t)(w - out)};
}

struct ml_str ml_url_encode(struct ml_str text, struct ml_arena *arena)
{
    char *out = ml_arena_alloc(arena, text.len * 3 + 1), *w = out;

    for (size_t i = 0; i < text.len; i++)
        w = put_escape(w, (uint8_t)text.p[i]);
    return (struct ml_str){out, (size_t)(w - out)};
}
