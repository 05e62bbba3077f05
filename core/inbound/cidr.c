/* cidr.c - networks: parsing and matching, IPv4 as a part of IPv6 (RFC 4291 section 2.5.5.2). */
#include "inbound/address.h"

enum { V4_BITS = 96 }; /* of ::ffff:0:0/96 */

/* One to three digits without a sign; false when malformed. */
static bool bits_parse(struct ml_str text, unsigned *out)
{
    unsigned n = 0;

    if (text.len == 0 || text.len > 3)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = n * 10 + (unsigned)(text.p[i] - '0');
    }
    *out = n;
    return true;
}

bool ml_cidr_parse(struct ml_str text, struct ml_cidr *out)
{
    const char *slash = text.len > 0 ? memchr(text.p, '/', text.len) : NULL;
    struct ml_str host = {text.p, slash != NULL ? (size_t)(slash - text.p) : text.len};
    bool v4 = host.len > 0 && memchr(host.p, ':', host.len) == NULL;
    unsigned max = v4 ? 32 : 128, bits = max;
    struct ml_address a;

    if (!ml_address_parse(host, &a))
        return false;
    if (slash != NULL && !bits_parse((struct ml_str){slash + 1, text.len - host.len - 1}, &bits))
        return false;
    if (bits > max)
        return false;
    memcpy(out->bytes, a.bytes, sizeof out->bytes);
    out->bits = v4 ? bits + V4_BITS : bits;
    return true;
}
