/* grpc.c - gRPC over HTTP/2, as far as it concerns those between client and server. */
#include "inbound/grpc.h"

enum { MESSAGE_MAX = 512 };

bool ml_grpc_is(const struct ml_request *req)
{
    static const struct ml_str type = {"application/grpc", 16};
    const struct ml_field *f;

    if (req->major != 2)
        return false;
    f = ml_headers_get(&req->headers, ML_H_CONTENT_TYPE);
    if (f == NULL || f->value.len < type.len ||
        !ml_str_ieq((struct ml_str){f->value.p, type.len}, type))
        return false;
    return f->value.len == type.len || f->value.p[type.len] == '+' || f->value.p[type.len] == ';';
}

/* 1 to 8 digits and a unit. */
double ml_grpc_timeout_s(const struct ml_request *req)
{
    static const char units[] = "HMSmun";
    static const double seconds[] = {3600, 60, 1, 1e-3, 1e-6, 1e-9};
    const struct ml_field *f = ml_headers_find(&req->headers, ML_STR("grpc-timeout"));
    size_t digits = f != NULL && f->value.len >= 2 ? f->value.len - 1 : 0;
    const char *unit;
    double n = 0;

    if (digits == 0 || digits > 8)
        return 0;
    for (size_t i = 0; i < digits; i++) {
        if (f->value.p[i] < '0' || f->value.p[i] > '9')
            return 0;
        n = n * 10 + (f->value.p[i] - '0');
    }
    unit = memchr(units, f->value.p[digits], sizeof units - 1);
    if (unit == NULL)
        return 0;
    n *= seconds[unit - units];
    return n > 0.001 ? n : 0.001;
}

int ml_grpc_status(int status)
{
    switch (status) {
    case 400:
        return 13; /* INTERNAL */
    case 401:
        return 16; /* UNAUTHENTICATED */
    case 403:
        return 7; /* PERMISSION_DENIED */
    case 404:
    case 405:
    case 501:
        return 12; /* UNIMPLEMENTED */
    case 408:
    case 504:
        return 4; /* DEADLINE_EXCEEDED */
    case 413:
    case 429:
    case 431:
        return 8; /* RESOURCE_EXHAUSTED */
    case 500:
        return 13;
    case 502:
    case 503:
        return 14; /* UNAVAILABLE */
    default:
        return 2; /* UNKNOWN */
    }
}

bool ml_grpc_translates(const struct ml_exchange *ex)
{
    return ex->res.from != ML_FROM_UPSTREAM && ex->res.status >= 300 && ml_grpc_is(&ex->req);
}

/* The sentence of a failure, or the body of a script's answer when it is short. */
static struct ml_str message(const struct ml_exchange *ex)
{
    if (ex->res.from == ML_FROM_CORE && ex->notes.why != ML_OK)
        return ml_str_of(ml_err_text(ex->notes.why));
    return ex->res.body == NULL && ex->res.bytes.len <= MESSAGE_MAX ? ex->res.bytes : ML_STR_NONE;
}

struct ml_str ml_grpc_message(const struct ml_exchange *ex)
{
    static const char hex[] = "0123456789ABCDEF";
    struct ml_str s = message(ex);
    char *out = ml_arena_alloc(ex->arena, 3 * s.len + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '\n' && i + 1 == s.len)
            continue;
        if (c >= ' ' && c <= '~' && c != '%') {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return (struct ml_str){out, n};
}
