/* http1_response.c - the status line (RFC 9112 section 4) and how a response is framed (6.3).
 *
 * An upstream is as little trusted as a client: what is unclear is refused, and its connection with
 * it, because the next response on it would go to somebody else. */
#include "protocol/chars.h"
#include "protocol/http1_fields.h"

enum { VERSION_LEN = 8 };

/* Parses "version SP status SP [reason] CRLF"; *p moves behind it.  Senders that leave out the
 * second space together with the reason are many, and clear. */
static bool status_line(const char **p, const char *end, struct ml_http1_response *r)
{
    const char *s = *p, *stop;

    if (end - s < VERSION_LEN + 6 || ml_http1_fields_version(s, &r->minor) != ML_OK)
        return false;
    s += VERSION_LEN;
    if (*s++ != ' ')
        return false;
    for (int i = 0; i < 3; i++, s++) {
        if (*s < '0' || *s > '9')
            return false;
        r->status = r->status * 10 + (*s - '0');
    }
    stop = ml_chars_find_control(s, end);
    if (r->status < 100 || end - stop < 2 || stop[0] != '\r' || stop[1] != '\n')
        return false;
    if (stop > s && *s++ != ' ')
        return false;
    r->reason = (struct ml_str){s, (size_t)(stop - s)};
    *p = stop + 2;
    return true;
}

static bool never_has_body(int status)
{
    return status < 200 || status == 204;
}

/* RFC 9110 section 8.6 forbids Content-Length in 1xx and 204, RFC 9112 section 6.1 the codings.  A
 * length of 0 promises nothing, so it is only removed; anything else leaves in doubt where the next
 * response begins. */
static enum ml_err settle_bodiless(struct ml_http1_response *r)
{
    bool has_length = r->framing == ML_BODY_LENGTH;

    if (r->framing == ML_BODY_CHUNKED || (has_length && r->length > 0))
        return ML_UP_PROTOCOL;
    if (has_length)
        ml_headers_remove(&r->headers, ML_STR("content-length"));
    r->framing = ML_BODY_NONE;
    return ML_OK;
}

/* RFC 9112 section 6.3, in its order. */
static enum ml_err settle(const struct ml_http1_fields *f, struct ml_str method,
                          struct ml_http1_response *r)
{
    if (ml_http1_fields_framing(f, r->minor, &r->framing, &r->length) != ML_OK)
        return ML_UP_PROTOCOL;
    r->headers = f->headers;
    r->keep_alive = ml_http1_fields_persist(f, r->minor);
    if (never_has_body(r->status))
        return settle_bodiless(r);
    r->has_length = r->framing == ML_BODY_LENGTH;
    if (ml_str_eq(method, ML_STR("HEAD")) || r->status == 304)
        r->framing = ML_BODY_NONE;
    else if (r->framing == ML_BODY_NONE)
        r->framing = ML_BODY_CLOSE;
    r->keep_alive &= r->framing != ML_BODY_CLOSE;
    return ML_OK;
}

enum ml_err ml_http1_parse_response(const char *head, size_t len, struct ml_str method,
                                    struct ml_arena *arena, const struct ml_http1_limits *limits,
                                    struct ml_http1_response *out)
{
    struct ml_http1_response r = {0};
    struct ml_http1_fields fields = {0};
    const char *p = head, *end = head + len;
    enum ml_err err;

    if (len > limits->head_max)
        return ML_UP_TOO_LARGE;
    if (!status_line(&p, end, &r))
        return ML_UP_PROTOCOL;
    if ((size_t)(p - 2 - head) > limits->line_max)
        return ML_UP_TOO_LARGE;
    err = ml_http1_fields_parse(&fields, p, end, false, limits->fields_max, arena);
    if (err != ML_OK)
        return err == ML_HEADERS_TOO_LARGE ? ML_UP_TOO_LARGE : ML_UP_PROTOCOL;
    err = settle(&fields, method, &r);
    if (err == ML_OK)
        *out = r;
    return err;
}
