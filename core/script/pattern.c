/* pattern.c - what a pattern may be.
 *
 * A pattern that can never match is a policy that silently does not apply, so whatever looks like
 * one is refused with the reason: another form than the normal one of url.h, a '*' in the middle.
 */
#include "script/pattern.h"

#include "protocol/url.h"
#include "script/router.h"

static enum ml_err refuse(struct ml_buf *why, const char *sentence)
{
    ml_buf_append(why, ml_str_of(sentence));
    return ML_BAD_REQUEST;
}

static bool name_ok(struct ml_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = ml_lower(name.p[i]);

        if (!(c == '_' || (c >= 'a' && c <= 'z') || (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return name.len > 0;
}

static bool name_taken(const struct ml_pattern *pattern, struct ml_str name)
{
    for (unsigned i = 0; i < pattern->count; i++)
        if (pattern->v[i].kind != ML_SEGMENT_STATIC && ml_str_eq(pattern->v[i].text, name))
            return true;
    return false;
}

static enum ml_err add_name(struct ml_pattern *pattern, enum ml_segment_kind kind,
                            struct ml_str name, bool last, struct ml_buf *why)
{
    if (!name_ok(name)) {
        ml_buf_printf(why, "\"%.*s\" is no name of a parameter: letters, digits and \"_\" only",
                      (int)name.len, name.p);
        return ML_BAD_REQUEST;
    }
    if (name_taken(pattern, name)) {
        ml_buf_printf(why, "the parameter \"%.*s\" is there twice", (int)name.len, name.p);
        return ML_BAD_REQUEST;
    }
    if (kind == ML_SEGMENT_REST && !last)
        return refuse(why, "\"*\" may only begin the last segment");
    if (pattern->name_count == ML_ROUTE_PARAMS_MAX) {
        ml_buf_printf(why, "more than %d parameters", ML_ROUTE_PARAMS_MAX);
        return ML_LIMIT;
    }
    pattern->name_count++;
    pattern->v[pattern->count].kind = kind;
    pattern->v[pattern->count++].text = name;
    return ML_OK;
}

static enum ml_err add_segment(struct ml_pattern *pattern, struct ml_str segment, bool last,
                               struct ml_buf *why)
{
    struct ml_str name = {segment.p + 1, segment.len - 1};

    if (pattern->count == ML_PATTERN_SEGMENTS_MAX) {
        ml_buf_printf(why, "more than %d segments", ML_PATTERN_SEGMENTS_MAX);
        return ML_LIMIT;
    }
    if (segment.len > 0 && segment.p[0] == ':')
        return add_name(pattern, ML_SEGMENT_PARAM, name, last, why);
    if (segment.len > 0 && segment.p[0] == '*')
        return add_name(pattern, ML_SEGMENT_REST, name, last, why);
    if (segment.len == 0 && !last)
        return refuse(why, "a segment is empty: two slashes in a row never reach a route");
    if (segment.len > 0 && memchr(segment.p, '*', segment.len) != NULL)
        return refuse(why, "\"*\" may only begin the last segment");
    pattern->v[pattern->count].kind = ML_SEGMENT_STATIC;
    pattern->v[pattern->count++].text = segment;
    return ML_OK;
}

/* "%2F" may be in a pattern: a listener that allows it keeps it as an escape. */
static enum ml_err check_form(struct ml_str text, struct ml_arena *arena, struct ml_buf *why)
{
    const struct ml_url_policy policy = {.allow_encoded_slash = true, .keep_slashes = true};
    struct ml_str normal;

    if (text.len == 0 || text.p[0] != '/')
        return refuse(why, "a pattern begins with \"/\"");
    if (ml_url_path(text, &policy, arena, &normal) != ML_OK)
        return refuse(why, "no path can look like this pattern; a character that is not allowed in "
                           "paths is written as %XX");
    if (ml_str_eq(normal, text))
        return ML_OK;
    ml_buf_printf(why, "paths are compared in their normal form, so write \"%.*s\"",
                  (int)normal.len, normal.p);
    return ML_BAD_REQUEST;
}

enum ml_err ml_pattern_parse(struct ml_str text, struct ml_arena *arena, struct ml_pattern *out,
                             struct ml_buf *why)
{
    const char *p = text.p, *end = text.p + text.len;
    enum ml_err err = check_form(text, arena, why);

    out->count = out->name_count = 0;
    while (err == ML_OK && p < end) {
        const char *from = p + 1, *slash = memchr(from, '/', (size_t)(end - from));

        p = slash != NULL ? slash : end;
        err = add_segment(out, (struct ml_str){from, (size_t)(p - from)}, slash == NULL, why);
    }
    return err;
}
