/* h2_fields.c - lines of text become fields of HTTP/2 (RFC 9113 sections 8.2 and 8.3). */
#include "outbound/h2_fields.h"

#include "protocol/headers.h"

static nghttp2_nv nv_of(struct ml_str name, struct ml_str value, uint8_t flags)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.len,
                        value.len, flags};
}

/* The next line without its CRLF; false: there is none. */
static bool next_line(struct ml_str *rest, struct ml_str *line)
{
    const char *end = rest->len > 0 ? memchr(rest->p, '\r', rest->len) : NULL;

    if (end == NULL || end == rest->p)
        return false;
    *line = (struct ml_str){rest->p, (size_t)(end - rest->p)};
    rest->p += line->len + 2;
    rest->len -= line->len + 2;
    return true;
}

static void split(struct ml_str line, struct ml_str *name, struct ml_str *value)
{
    const char *colon = memchr(line.p, ':', line.len);

    *name = (struct ml_str){line.p, (size_t)(colon - line.p)};
    *value = (struct ml_str){colon + 2, line.len - name->len - 2};
    for (size_t i = 0; i < name->len; i++)
        ((char *)(uintptr_t)name->p)[i] = ml_lower(name->p[i]);
}

/* Connections are shared by clients, and so is the table of HPACK: what is a secret of one, or
 * different in each request, is not put into it (RFC 7541 section 7.1). */
static uint8_t flags_of(enum ml_header_id id)
{
    switch (id) {
    case ML_H_AUTHORIZATION:
    case ML_H_COOKIE:
    case ML_H_X_REQUEST_ID:
    case ML_H_X_FORWARDED_FOR:
    case ML_H_X_REAL_IP:
        return NGHTTP2_NV_FLAG_NO_INDEX;
    default:
        return NGHTTP2_NV_FLAG_NONE;
    }
}

/* RFC 9113 section 8.2.2 */
static bool is_of_connection(enum ml_header_id id)
{
    return id == ML_H_CONNECTION || id == ML_H_UPGRADE || id == ML_H_TRANSFER_ENCODING;
}

size_t ml_h2_fields_request(struct ml_str head, bool tls, bool te, nghttp2_nv *nv)
{
    struct ml_str line = ML_STR_NONE, name, value;
    const char *path, *end;
    size_t n = 3;

    next_line(&head, &line);
    path = (const char *)memchr(line.p, ' ', line.len) + 1;
    end = (const char *)memrchr(line.p, ' ', line.len);
    nv[0] = nv_of(ML_STR(":method"), (struct ml_str){line.p, (size_t)(path - 1 - line.p)}, 0);
    nv[1] = nv_of(ML_STR(":scheme"), tls ? ML_STR("https") : ML_STR("http"), 0);
    nv[2] = nv_of(ML_STR(":path"), (struct ml_str){path, (size_t)(end - path)},
                  NGHTTP2_NV_FLAG_NO_INDEX);
    while (next_line(&head, &line)) {
        enum ml_header_id id;

        split(line, &name, &value);
        id = ml_header_id(name);
        if (n == 3) /* Host is the first one; pseudo-fields go before others */
            nv[n++] = nv_of(ML_STR(":authority"), value, 0);
        else if (!is_of_connection(id))
            nv[n++] = nv_of(name, value, flags_of(id));
    }
    if (te)
        nv[n++] = nv_of(ML_STR("te"), ML_STR("trailers"), 0);
    return n;
}

size_t ml_h2_fields_trailers(struct ml_str lines, nghttp2_nv *nv)
{
    struct ml_str line, name, value;
    size_t n = 0;

    while (next_line(&lines, &line)) {
        split(line, &name, &value);
        nv[n++] = nv_of(name, value, 0);
    }
    return n;
}
