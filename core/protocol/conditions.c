/* conditions.c - the precedence of RFC 9110 section 13.2.2:
 *
 *   If-Match, else If-Unmodified-Since: 412 when false
 *   If-None-Match, else If-Modified-Since (of GET and HEAD): 304 when false, 412 for other methods
 *
 * A list of entity tags may be spread over several lines.  What comes behind an element that is
 * malformed is not looked at. */
#include "protocol/conditions.h"

#include "protocol/http_date.h"

/* A quoted tag that begins at s.p; its length with the quotes, 0 when there is none. */
static size_t tag_len(struct ml_str s)
{
    if (s.len < 2 || s.p[0] != '"')
        return 0;
    for (size_t i = 1; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '"')
            return i + 1;
        if (c <= ' ' || c == 0x7f)
            return 0;
    }
    return 0;
}

static void skip(struct ml_str *s, size_t len)
{
    s->p += len;
    s->len -= len;
}

static void skip_separators(struct ml_str *s)
{
    while (s->len > 0 && (*s->p == ' ' || *s->p == '\t' || *s->p == ','))
        skip(s, 1);
}

/* Is etag among the tags of one line?  weak: W/ counts as well (section 8.8.3.2). */
static bool line_names(struct ml_str line, struct ml_str etag, bool weak)
{
    for (skip_separators(&line); line.len > 0; skip_separators(&line)) {
        bool is_weak = line.len > 2 && line.p[0] == 'W' && line.p[1] == '/';
        size_t len;

        if (is_weak)
            skip(&line, 2);
        len = tag_len(line);
        if (len == 0)
            return false;
        if ((weak || !is_weak) && ml_str_eq((struct ml_str){line.p, len}, etag))
            return true;
        skip(&line, len);
    }
    return false;
}

static bool names(const struct ml_headers *h, const struct ml_field *f, struct ml_str etag,
                  bool weak)
{
    for (; f != NULL; f = ml_headers_next(h, f)) {
        if (ml_str_eq(f->value, ML_STR("*")))
            return true;
        if (etag.len > 0 && line_names(f->value, etag, weak))
            return true;
    }
    return false;
}

/* A field that names one time: false when there is none, more than one, or it is malformed. */
static bool time_of(const struct ml_headers *h, struct ml_str name, int64_t now_s, int64_t *second)
{
    const struct ml_field *f = ml_headers_find(h, name);

    return f != NULL && ml_headers_next(h, f) == NULL &&
           ml_http_date_parse(f->value, now_s, second);
}

/* If-Match and If-Unmodified-Since. */
static bool state_is_wanted(const struct ml_headers *h, int64_t now_s,
                            const struct ml_validators *v)
{
    const struct ml_field *match = ml_headers_find(h, ML_STR("if-match"));
    int64_t since_s;

    if (match != NULL)
        return names(h, match, v->etag, false);
    if (v->has_time && time_of(h, ML_STR("if-unmodified-since"), now_s, &since_s))
        return v->modified_s <= since_s;
    return true;
}

enum ml_condition ml_conditions_check(const struct ml_headers *h, bool reading, int64_t now_s,
                                      const struct ml_validators *v)
{
    const struct ml_field *none;
    int64_t since_s;

    if (!state_is_wanted(h, now_s, v))
        return ML_CONDITION_FAILED;
    none = ml_headers_find(h, ML_STR("if-none-match"));
    if (none != NULL) {
        if (!names(h, none, v->etag, true))
            return ML_CONDITION_GO;
        return reading ? ML_CONDITION_NOT_MODIFIED : ML_CONDITION_FAILED;
    }
    if (reading && v->has_time && time_of(h, ML_STR("if-modified-since"), now_s, &since_s) &&
        v->modified_s <= since_s)
        return ML_CONDITION_NOT_MODIFIED;
    return ML_CONDITION_GO;
}

bool ml_conditions_range(const struct ml_headers *h, int64_t now_s, const struct ml_validators *v)
{
    const struct ml_field *f = ml_headers_find(h, ML_STR("if-range"));
    int64_t second;

    if (f == NULL)
        return true;
    if (ml_headers_next(h, f) != NULL)
        return false;
    if (f->value.len > 0 && f->value.p[0] == '"')
        return v->etag.len > 0 && ml_str_eq(f->value, v->etag);
    /* Section 8.8.2.2: a time is strong when nothing can have changed within its second. */
    return v->has_time && ml_http_date_parse(f->value, now_s, &second) && second == v->modified_s &&
           second < now_s;
}
