/* http1_fields.c - field lines (RFC 9112 section 5) and message framing (section 6.3).
 *
 * Whatever two recipients could read in two ways is refused, never repaired: space before the
 * colon, obs-fold, controls, both framings, a repeated or unclear one. */
#include "protocol/http1_fields.h"

#include "base/str_cut.h"
#include "protocol/chars.h"

_Static_assert(ML_H_COUNT <= 32, "the ids of fields fit into a word");

enum ml_err ml_http1_fields_version(const char *p, int *minor)
{
    if (memcmp(p, "HTTP/", 5) != 0 || p[5] < '0' || p[5] > '9' || p[6] != '.' || p[7] < '0' ||
        p[7] > '9')
        return ML_BAD_REQUEST;
    if (p[5] != '1')
        return ML_VERSION;
    *minor = p[7] > '0'; /* RFC 9110 section 2.5: a higher minor version is read as ours */
    return ML_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Parses the line at *p, which moves behind its CRLF.  A line that begins with white space is
 * obs-fold (RFC 9112 section 5.2): its name is empty, so it is refused with the nameless ones. */
static bool take_line(const char **p, const char *end, struct ml_str *name, struct ml_str *value)
{
    const char *colon = ml_chars_skip_token(*p, end), *first, *stop, *last;

    if (colon == *p || colon == end || *colon != ':')
        return false;
    for (first = colon + 1; first < end && is_blank(*first); first++)
        ;
    stop = ml_chars_find_control(first, end);
    if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n')
        return false;
    for (last = stop; last > first && is_blank(last[-1]); last--)
        ;
    *name = (struct ml_str){*p, (size_t)(colon - *p)};
    *value = (struct ml_str){first, (size_t)(last - first)};
    *p = stop + 2;
    return true;
}

/* What one Connection field says.  Options that are no token name nothing and are passed over. */
static void take_connection(struct ml_http1_fields *f, struct ml_str value)
{
    struct ml_str option;

    while (ml_list_next(&value, &option)) {
        if (ml_str_ieq(option, ML_STR("keep-alive")))
            f->keep_alive = true;
        else if (ml_str_ieq(option, ML_STR("close")))
            f->close = true;
        else
            switch (ml_header_id(option)) {
            case ML_H_UPGRADE:
                f->upgrade = true;
                break;
            case ML_H_HOST:
            case ML_H_CONTENT_LENGTH:
            case ML_H_TRANSFER_ENCODING:
            case ML_H_AUTHORIZATION:
            case ML_H_COOKIE:
                f->names_protected = true;
                break;
            default:
                break;
            }
    }
}

static bool is_left_out(const struct ml_field *field, const char *end)
{
    return field->id == ML_H_OTHER && ml_chars_have(field->name.p, field->name.len, end, '_');
}

static void note(struct ml_http1_fields *f, const struct ml_field *field)
{
    uint32_t bit = 1u << field->id;

    f->twice |= f->present & bit;
    f->present |= bit;
    if (field->id == ML_H_CONNECTION)
        take_connection(f, field->value);
}

enum ml_err ml_http1_fields_parse(struct ml_http1_fields *f, const char *p, const char *end,
                                  bool no_underscore, uint32_t fields_max, struct ml_arena *arena)
{
    for (uint32_t lines = 0; end - p > 2; lines++) {
        struct ml_str name, value;
        struct ml_field *field;

        if (!take_line(&p, end, &name, &value))
            return ML_BAD_REQUEST;
        if (lines == fields_max)
            return ML_HEADERS_TOO_LARGE;
        ml_headers_add(&f->headers, arena, name, value);
        field = &f->headers.v[f->headers.count - 1];
        if (no_underscore && is_left_out(field, end))
            f->headers.count--;
        else
            note(f, field);
    }
    return end - p == 2 && p[0] == '\r' && p[1] == '\n' ? ML_OK : ML_BAD_REQUEST;
}

/* RFC 9110 section 8.6: 1*DIGIT.  19 digits fit into 64 bits; what passes 63 is refused, because
 * somebody may keep it in a signed number. */
static enum ml_err content_length(struct ml_str text, uint64_t *length)
{
    uint64_t n = 0;

    if (text.len < 1 || text.len > 19)
        return ML_BAD_FRAMING;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return ML_BAD_FRAMING;
        n = n * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (n > INT64_MAX)
        return ML_BAD_FRAMING;
    *length = n;
    return ML_OK;
}

/* What one Transfer-Encoding field lists.  An empty element is malformed here, unlike elsewhere:
 * a sloppy peer could see something else in it. */
static enum ml_err codings(struct ml_str value, bool *chunked, bool *unknown)
{
    const char *p = value.p, *end = value.p + value.len;

    for (;;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma != NULL ? comma : end;
        struct ml_str coding = ml_str_trim((struct ml_str){p, (size_t)(stop - p)});

        if (*chunked || !ml_header_name_ok(coding)) /* chunked must be the last, and once */
            return ML_BAD_FRAMING;
        if (ml_str_ieq(coding, ML_STR("chunked")))
            *chunked = true;
        else
            *unknown = true;
        if (comma == NULL)
            return ML_OK;
        p = comma + 1;
    }
}

/* RFC 9112 section 6.1: exactly one chunked is all that we speak. */
static enum ml_err transfer_encoding(const struct ml_http1_fields *f)
{
    bool chunked = false, unknown = false;
    const struct ml_field *field = ml_headers_get(&f->headers, ML_H_TRANSFER_ENCODING);

    for (; field != NULL; field = ml_headers_next(&f->headers, field)) {
        enum ml_err err = codings(field->value, &chunked, &unknown);

        if (err != ML_OK)
            return err;
    }
    return unknown ? ML_NOT_IMPLEMENTED : ML_OK;
}

enum ml_err ml_http1_fields_framing(const struct ml_http1_fields *f, int minor,
                                    enum ml_framing *framing, uint64_t *length)
{
    bool has_length = ml_http1_fields_have(f, ML_H_CONTENT_LENGTH);

    if (ml_http1_fields_have(f, ML_H_TRANSFER_ENCODING)) {
        if (has_length || minor == 0) /* RFC 9112 sections 6.1 and 11.2 */
            return ML_BAD_FRAMING;
        *framing = ML_BODY_CHUNKED;
        return transfer_encoding(f);
    }
    *framing = has_length ? ML_BODY_LENGTH : ML_BODY_NONE;
    if (!has_length)
        return ML_OK;
    if ((f->twice & (1u << ML_H_CONTENT_LENGTH)) != 0)
        return ML_BAD_FRAMING;
    return content_length(ml_headers_get(&f->headers, ML_H_CONTENT_LENGTH)->value, length);
}

bool ml_http1_fields_persist(const struct ml_http1_fields *f, int minor)
{
    return !f->close && (minor > 0 || f->keep_alive);
}

static bool is_named_by_connection(const struct ml_headers *h, struct ml_str name)
{
    const struct ml_field *field = ml_headers_get(h, ML_H_CONNECTION);

    for (; field != NULL; field = ml_headers_next(h, field)) {
        struct ml_str rest = field->value, option;

        while (ml_list_next(&rest, &option))
            if (ml_str_ieq(option, name))
                return true;
    }
    return false;
}

bool ml_http1_hop_by_hop(const struct ml_headers *h, const struct ml_field *f)
{
    switch (f->id) {
    case ML_H_CONNECTION:
    case ML_H_KEEP_ALIVE:
    case ML_H_PROXY_CONNECTION:
    case ML_H_PROXY_AUTHORIZATION: /* RFC 9110 section 11.7: for the next proxy only */
    case ML_H_PROXY_AUTHENTICATE:
    case ML_H_TE:
    case ML_H_TRANSFER_ENCODING:
    case ML_H_UPGRADE:
    case ML_H_HTTP2_SETTINGS:
        return true;
    case ML_H_HOST: /* a peer can not have these removed by naming them */
    case ML_H_CONTENT_LENGTH:
    case ML_H_AUTHORIZATION:
    case ML_H_COOKIE:
    case ML_H_SET_COOKIE:
    case ML_H_X_FORWARDED_FOR:
    case ML_H_X_FORWARDED_PROTO:
    case ML_H_X_FORWARDED_HOST:
    case ML_H_X_FORWARDED_PORT:
    case ML_H_X_REAL_IP:
    case ML_H_FORWARDED:
    case ML_H_VIA:
    case ML_H_DATE:
    case ML_H_CONTENT_TYPE:
    case ML_H_X_REQUEST_ID:
    case ML_H_MAX_FORWARDS:
        return false;
    default:
        return is_named_by_connection(h, f->name);
    }
}
