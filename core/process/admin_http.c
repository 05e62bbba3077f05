/* admin_http.c - one head, checked from the outside to the inside: form, origin, token, method. */
#include "process/admin_http.h"

#include "protocol/http1.h"
#include "protocol/url.h"

#include <arpa/inet.h>
#include <strings.h>

static const struct ml_http1_limits limits = {
    .line_max = 12288, .head_max = ML_ADMIN_REQUEST_MAX - 1, .fields_max = 50};

bool ml_admin_is_http(struct ml_str bytes)
{
    const char *end = memchr(bytes.p, '\n', bytes.len);

    return end != NULL && end > bytes.p + 9 && end[-1] == '\r' &&
           memcmp(end - 9, "HTTP/1.", 7) == 0;
}

static int refuse(struct ml_admin_request *request, int status, const char *json)
{
    request->refusal = json;
    return status;
}

/* ---- who asks ---- */

static const struct ml_field *field(const struct ml_headers *h, const char *name)
{
    return ml_headers_find(h, ml_str_of(name));
}

/* An address, or the one name that no DNS can give another meaning. */
static bool host_ok(struct ml_str value, struct ml_arena *arena)
{
    struct ml_authority a;
    unsigned char bytes[16];
    struct ml_str host;

    if (ml_url_authority(value, arena, &a) != ML_OK)
        return false;
    if (ml_str_eq(a.host, ML_STR("localhost")))
        return true;
    host = ml_arena_dup(arena, a.host); /* with a NUL */
    if (host.len > 2 && host.p[0] == '[')
        host = ml_arena_dup(arena, (struct ml_str){host.p + 1, host.len - 2});
    return inet_pton(AF_INET, host.p, bytes) == 1 || inet_pton(AF_INET6, host.p, bytes) == 1;
}

static bool from_page(const struct ml_headers *h)
{
    const struct ml_field *site = field(h, "sec-fetch-site");

    return field(h, "origin") != NULL || field(h, "access-control-request-method") != NULL ||
           (site != NULL && !ml_str_eq(site->value, ML_STR("none")));
}

/* Takes as long whatever of the token is right; only its length may show. */
static bool same(struct ml_str a, struct ml_str b)
{
    unsigned char differ = a.len != b.len;

    for (size_t i = 0; i < b.len; i++)
        differ |= (unsigned char)(b.p[i] ^ (a.len > 0 ? a.p[i % a.len] : 0));
    return differ == 0 && b.len > 0;
}

static bool token_ok(const struct ml_headers *h, struct ml_str token)
{
    static const char scheme[] = "Bearer ";
    const size_t len = sizeof scheme - 1;
    const struct ml_field *f = field(h, "authorization");

    if (f == NULL || f->value.len <= len || strncasecmp(f->value.p, scheme, len) != 0)
        return false;
    return same((struct ml_str){f->value.p + len, f->value.len - len}, token);
}

static int check(const struct ml_http1_request *r, const struct ml_admin_guard *guard,
                 struct ml_arena *arena, struct ml_admin_request *out)
{
    const struct ml_field *host = field(&r->headers, "host");

    if (from_page(&r->headers))
        return refuse(out, 403, "{\"error\":\"requests of web pages are refused\"}");
    if (guard->tcp && (host == NULL || !host_ok(host->value, arena)))
        return refuse(out, 403, "{\"error\":\"Host must be an address or localhost\"}");
    if (guard->tcp && !token_ok(&r->headers, guard->token))
        return refuse(out, 401, "{\"error\":\"Authorization: Bearer TOKEN is needed\"}");
    if (r->framing == ML_BODY_CHUNKED || (r->framing == ML_BODY_LENGTH && r->length > 0))
        return refuse(out, 413, "{\"error\":\"parameters go into the query: no body is read\"}");
    out->read = ml_str_eq(r->method, ML_STR("GET"));
    out->change = ml_str_eq(r->method, ML_STR("POST"));
    if (!out->read && !out->change)
        return refuse(out, 405, "{\"error\":\"the methods are GET and POST\"}");
    return 200;
}

int ml_admin_http_read(struct ml_str bytes, const struct ml_admin_guard *guard,
                       struct ml_arena *arena, struct ml_admin_request *out)
{
    struct ml_url_policy policy = {0};
    struct ml_http1_scan scan = {0};
    struct ml_http1_request r;
    struct ml_target t;
    size_t len;
    enum ml_err err = ml_http1_scan(&scan, &limits, bytes.p, bytes.len, &len);
    int status;

    if (err == ML_AGAIN)
        return 0;
    if (err != ML_OK || ml_http1_parse_request(bytes.p, len, arena, &limits, &r) != ML_OK ||
        ml_url_target(r.method, r.target, &policy, arena, &t) != ML_OK)
        return refuse(out, 400, "{\"error\":\"the request is malformed\"}");
    status = check(&r, guard, arena, out);
    if (status != 200)
        return status;
    out->verb = (struct ml_str){t.path.p + 1, t.path.len - 1};
    out->query = t.query;
    return 200;
}

void ml_admin_http_head(struct ml_buf *out, int status, const char *type, size_t len)
{
    ml_buf_printf(out,
                  "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                  "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
                  "Cross-Origin-Resource-Policy: same-origin\r\nConnection: close\r\n%s%s\r\n",
                  status, ml_http1_reason(status), type, len,
                  status == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
                  status == 405 ? "Allow: GET, POST\r\n" : "");
}

bool ml_admin_param(struct ml_str query, const char *name, unsigned index, struct ml_arena *arena,
                    struct ml_str *value)
{
    size_t len = strlen(name);

    while (query.len > 0) {
        const char *end = memchr(query.p, '&', query.len);
        struct ml_str pair = {query.p, end != NULL ? (size_t)(end - query.p) : query.len};

        if (pair.len > len && pair.p[len] == '=' && memcmp(pair.p, name, len) == 0 &&
            index-- == 0) {
            pair = (struct ml_str){pair.p + len + 1, pair.len - len - 1};
            *value = ml_arena_dup(arena, ml_url_decode(pair, true, arena));
            return true;
        }
        if (end == NULL)
            return false;
        query = (struct ml_str){end + 1, query.len - pair.len - 1};
    }
    return false;
}
