/* http1_request.c - the request line (RFC 9112 section 3) and what the fields must say together. */
#include "protocol/chars.h"
#include "protocol/http1_fields.h"
#include "protocol/url.h"

enum { METHOD_MAX = 64, VERSION_LEN = 8 };

/* The end of the target: a byte that is neither visible nor above ASCII.  url.c looks at the rest. */
static const char *skip_target(const char *p, const char *end)
{
    while (p < end && (uint8_t)*p > ' ' && *p != 0x7f)
        p++;
    return p;
}

/* Parses "method SP target SP version CRLF"; *p moves behind it. */
static enum ml_err request_line(const char **p, const char *end, struct ml_http1_request *out)
{
    const char *method = *p, *target, *stop;
    enum ml_err err;

    stop = ml_chars_skip_token(method, end);
    if (stop == method || stop == end || *stop != ' ')
        return ML_BAD_REQUEST;
    out->method = (struct ml_str){method, (size_t)(stop - method)};
    target = stop + 1;
    stop = skip_target(target, end);
    if (stop == target || stop == end || *stop != ' ')
        return ML_BAD_REQUEST;
    out->target = (struct ml_str){target, (size_t)(stop - target)};
    stop++;
    if (end - stop < VERSION_LEN + 2 || stop[VERSION_LEN] != '\r' || stop[VERSION_LEN + 1] != '\n')
        return ML_BAD_REQUEST;
    err = ml_http1_fields_version(stop, &out->minor);
    *p = stop + VERSION_LEN + 2;
    return err;
}

/* RFC 9112 section 3.2: exactly one, and valid; only HTTP/1.0 may leave it out. */
static enum ml_err check_host(const struct ml_http1_fields *f, int minor)
{
    const struct ml_field *host;

    if (!ml_http1_fields_have(f, ML_H_HOST))
        return minor == 0 ? ML_OK : ML_BAD_HOST;
    if ((f->twice & (1u << ML_H_HOST)) != 0)
        return ML_BAD_HOST;
    host = ml_headers_get(&f->headers, ML_H_HOST);
    return ml_url_authority_ok(host->value) ? ML_OK : ML_BAD_HOST;
}

/* RFC 9110 section 10.1.1: HTTP/1.0 can not expect anything; 100-continue is all there is. */
static enum ml_err check_expect(const struct ml_http1_fields *f, int minor, bool *expect)
{
    const struct ml_field *field;

    *expect = false;
    if (minor == 0 || !ml_http1_fields_have(f, ML_H_EXPECT))
        return ML_OK;
    field = ml_headers_get(&f->headers, ML_H_EXPECT);
    for (; field != NULL; field = ml_headers_next(&f->headers, field)) {
        struct ml_str rest = field->value, element;

        while (ml_list_next(&rest, &element)) {
            if (!ml_str_ieq(element, ML_STR("100-continue")))
                return ML_EXPECTATION;
            *expect = true;
        }
    }
    return ML_OK;
}

/* CONNECT would need a tunnel; TRACE would show the client what other parties added. */
static enum ml_err check_method(struct ml_str method)
{
    if (method.len > METHOD_MAX || ml_str_eq(method, ML_STR("CONNECT")))
        return ML_NOT_IMPLEMENTED;
    return ml_str_eq(method, ML_STR("TRACE")) ? ML_METHOD_REFUSED : ML_OK;
}

static bool has_body(const struct ml_http1_request *r)
{
    return r->framing == ML_BODY_CHUNKED || (r->framing == ML_BODY_LENGTH && r->length > 0);
}

/* RFC 9110 section 7.8: an Upgrade may be ignored.  It is in HTTP/1.0, when Connection does not
 * name it, when it is repeated, and beside a body, whose end would be the tunnel's beginning. */
static void take_upgrade(const struct ml_http1_fields *f, struct ml_http1_request *r)
{
    bool once = ml_http1_fields_have(f, ML_H_UPGRADE) && (f->twice & (1u << ML_H_UPGRADE)) == 0;

    if (once && f->upgrade && r->minor > 0 && !has_body(r))
        r->upgrade = ml_headers_get(&f->headers, ML_H_UPGRADE)->value;
}

static enum ml_err settle(const struct ml_http1_fields *f, struct ml_http1_request *r)
{
    enum ml_err err = check_host(f, r->minor);

    if (err != ML_OK)
        return err;
    if (f->names_protected)
        return ML_BAD_REQUEST;
    if ((err = ml_http1_fields_framing(f, r->minor, &r->framing, &r->length)) != ML_OK)
        return err;
    if ((err = check_method(r->method)) != ML_OK)
        return err;
    if ((err = check_expect(f, r->minor, &r->expect_continue)) != ML_OK)
        return err;
    r->expect_continue &= has_body(r);
    r->keep_alive = ml_http1_fields_persist(f, r->minor);
    take_upgrade(f, r);
    r->headers = f->headers;
    return ML_OK;
}

enum ml_err ml_http1_parse_request(const char *head, size_t len, struct ml_arena *arena,
                                   const struct ml_http1_limits *limits,
                                   struct ml_http1_request *out)
{
    struct ml_http1_request r = {0};
    struct ml_http1_fields fields = {0};
    const char *p = head, *end = head + len;
    enum ml_err err;

    if (len > limits->head_max)
        return ML_HEADERS_TOO_LARGE;
    if (len >= 2 && p[0] == '\r' && p[1] == '\n') /* RFC 9112 section 2.2 */
        p += 2;
    err = request_line(&p, end, &r);
    if (err == ML_OK && (size_t)(p - 2 - r.method.p) > limits->line_max)
        err = ML_URI_TOO_LONG;
    if (err == ML_OK)
        err = ml_http1_fields_parse(&fields, p, end, true, limits->fields_max, arena);
    if (err == ML_OK)
        err = settle(&fields, &r);
    if (err == ML_OK)
        *out = r;
    return err;
}
