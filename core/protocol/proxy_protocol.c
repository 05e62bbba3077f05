/* proxy_protocol.c - one line of text, or sixteen bytes and what follows them. */
#include "protocol/proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { V2_HEAD = 16, LOCAL = 0x20, PROXY = 0x21, CRC_LEN = 4, TLV_HEAD = 3, TLV_CRC32C = 3 };
enum { FAMILY_NONE = 0x00, FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21, FAMILY_UNIX = 0x31 };

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

static void set_v4(struct ml_proxy_end *end, const void *bytes)
{
    memcpy(end->bytes, v4_prefix, sizeof v4_prefix);
    memcpy(end->bytes + 12, bytes, 4);
}

static unsigned two(const char *p)
{
    return (unsigned)(unsigned char)p[0] << 8 | (unsigned char)p[1];
}

/* ---- version 1 ---- */

/* The next word and the one space behind it; empty when there is none. */
static struct ml_str word(struct ml_str *line)
{
    const char *space = memchr(line->p, ' ', line->len);
    struct ml_str w = {line->p, space != NULL ? (size_t)(space - line->p) : line->len};
    size_t skip = space != NULL ? w.len + 1 : w.len;

    line->p += skip;
    line->len -= skip;
    return w;
}

static bool read_address(struct ml_str text, int family, struct ml_proxy_end *end)
{
    char z[INET6_ADDRSTRLEN];
    uint8_t v4[4];

    if (text.len == 0 || text.len >= sizeof z || memchr(text.p, '\0', text.len) != NULL)
        return false;
    memcpy(z, text.p, text.len);
    z[text.len] = '\0';
    if (family == AF_INET6)
        return inet_pton(AF_INET6, z, end->bytes) == 1;
    if (inet_pton(AF_INET, z, v4) != 1)
        return false;
    set_v4(end, v4);
    return true;
}

/* Digits without a zero in front of them. */
static bool read_port(struct ml_str text, struct ml_proxy_end *end)
{
    unsigned port = 0;

    if (text.len == 0 || text.len > 5 || (text.len > 1 && text.p[0] == '0'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        port = port * 10 + (unsigned)(text.p[i] - '0');
    }
    end->port = (uint16_t)port;
    return port <= 65535;
}

static bool read_line(struct ml_str line, struct ml_proxy_header *out)
{
    struct ml_str family;
    int af;

    (void)word(&line); /* PROXY */
    family = word(&line);
    if (ml_str_eq(family, ML_STR("UNKNOWN")))
        return true; /* what follows means nothing */
    if (!ml_str_eq(family, ML_STR("TCP4")) && !ml_str_eq(family, ML_STR("TCP6")))
        return false;
    af = family.p[3] == '6' ? AF_INET6 : AF_INET;
    out->known = read_address(word(&line), af, &out->source) &&
                 read_address(word(&line), af, &out->dest) &&
                 read_port(word(&line), &out->source) && memchr(line.p, ' ', line.len) == NULL &&
                 read_port(line, &out->dest);
    return out->known;
}

static enum ml_err read_v1(const char *p, size_t len, struct ml_proxy_header *out, size_t *used)
{
    static const char begin[] = "PROXY ";
    size_t have = len < sizeof begin - 1 ? len : sizeof begin - 1;
    const char *end;

    if (memcmp(p, begin, have) != 0)
        return ML_BAD_REQUEST;
    end = memchr(p, '\n', len < ML_PROXY_V1_MAX ? len : ML_PROXY_V1_MAX);
    if (end == NULL)
        return len < ML_PROXY_V1_MAX ? ML_AGAIN : ML_BAD_REQUEST;
    *used = (size_t)(end - p) + 1;
    if (*used < sizeof begin + 1 || end[-1] != '\r')
        return ML_BAD_REQUEST;
    return read_line((struct ml_str){p, *used - 2}, out) ? ML_OK : ML_BAD_REQUEST;
}

/* ---- version 2 ---- */

/* CRC-32C, as if the four bytes at hole were zero. */
static uint32_t crc32c(const char *p, size_t len, size_t hole)
{
    uint32_t crc = ~0u;

    for (size_t i = 0; i < len; i++) {
        crc ^= i >= hole && i < hole + CRC_LEN ? 0 : (unsigned char)p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

/* The extensions from at on: each fits, and the checksum is right. */
static bool extensions_ok(const char *p, size_t len, size_t at)
{
    while (at < len) {
        size_t tlv_len;

        if (len - at < TLV_HEAD)
            return false;
        tlv_len = two(p + at + 1);
        if (tlv_len > len - at - TLV_HEAD)
            return false;
        if (p[at] == TLV_CRC32C) {
            const char *sum = p + at + TLV_HEAD;

            if (tlv_len != CRC_LEN ||
                crc32c(p, len, at + TLV_HEAD) != (two(sum) << 16 | two(sum + 2)))
                return false;
        }
        at += TLV_HEAD + tlv_len;
    }
    return true;
}

static size_t addresses_len(unsigned char family)
{
    switch (family) {
    case FAMILY_TCP4:
        return 12;
    case FAMILY_TCP6:
        return 36;
    case FAMILY_UNIX:
        return 216;
    default:
        return 0;
    }
}

static void read_addresses(const char *p, unsigned char family, struct ml_proxy_header *out)
{
    size_t each = family == FAMILY_TCP4 ? 4 : 16;

    if (family != FAMILY_TCP4 && family != FAMILY_TCP6)
        return;
    out->known = true;
    if (family == FAMILY_TCP4) {
        set_v4(&out->source, p);
        set_v4(&out->dest, p + each);
    } else {
        memcpy(out->source.bytes, p, each);
        memcpy(out->dest.bytes, p + each, each);
    }
    out->source.port = (uint16_t)two(p + 2 * each);
    out->dest.port = (uint16_t)two(p + 2 * each + 2);
}

static enum ml_err read_v2(const char *p, size_t len, struct ml_proxy_header *out, size_t *used)
{
    size_t have = len < sizeof signature ? len : sizeof signature, total, need;
    unsigned char command, family;

    if (memcmp(p, signature, have) != 0)
        return ML_BAD_REQUEST;
    if (len < V2_HEAD)
        return ML_AGAIN;
    command = (unsigned char)p[12];
    family = (unsigned char)p[13];
    total = V2_HEAD + two(p + 14);
    need = addresses_len(family);
    if ((command != LOCAL && command != PROXY) || total > ML_PROXY_MAX)
        return ML_BAD_REQUEST;
    if (need == 0 && family != FAMILY_NONE) /* UDP, or what nobody knows: not on this connection */
        return ML_BAD_REQUEST;
    if (command == PROXY && total < V2_HEAD + need)
        return ML_BAD_REQUEST;
    if (len < total)
        return ML_AGAIN;
    *used = total;
    if (command == LOCAL)
        return ML_OK; /* its addresses mean nothing */
    if (!extensions_ok(p, total, V2_HEAD + need))
        return ML_BAD_REQUEST;
    read_addresses(p + V2_HEAD, family, out);
    return ML_OK;
}

enum ml_err ml_proxy_protocol_read(const char *p, size_t len, struct ml_proxy_header *out,
                                   size_t *used)
{
    *out = (struct ml_proxy_header){0};
    if (len == 0)
        return ML_AGAIN;
    return p[0] == 'P' ? read_v1(p, len, out, used) : read_v2(p, len, out, used);
}

/* ---- writing ---- */

static bool is_v4(const struct ml_proxy_end *end)
{
    return memcmp(end->bytes, v4_prefix, sizeof v4_prefix) == 0;
}

static size_t write_v1(const struct ml_proxy_header *h, bool v4, char *out)
{
    char source[INET6_ADDRSTRLEN], dest[INET6_ADDRSTRLEN];
    int af = v4 ? AF_INET : AF_INET6, skip = v4 ? 12 : 0;

    if (!h->known)
        return (size_t)snprintf(out, ML_PROXY_WRITE_MAX, "PROXY UNKNOWN\r\n");
    inet_ntop(af, h->source.bytes + skip, source, sizeof source);
    inet_ntop(af, h->dest.bytes + skip, dest, sizeof dest);
    return (size_t)snprintf(out, ML_PROXY_WRITE_MAX, "PROXY TCP%c %s %s %u %u\r\n", v4 ? '4' : '6',
                            source, dest, h->source.port, h->dest.port);
}

static char *put(char *to, const void *bytes, size_t len)
{
    memcpy(to, bytes, len);
    return to + len;
}

static char *put_port(char *to, uint16_t port)
{
    const char bytes[2] = {(char)(port >> 8), (char)port};

    return put(to, bytes, sizeof bytes);
}

static size_t write_v2(const struct ml_proxy_header *h, bool v4, char *out)
{
    size_t skip = v4 ? 12 : 0, len = h->known ? addresses_len(v4 ? FAMILY_TCP4 : FAMILY_TCP6) : 0;
    char *at = put(out, signature, sizeof signature);

    *at++ = (char)(h->known ? PROXY : LOCAL);
    *at++ = (char)(!h->known ? FAMILY_NONE : v4 ? FAMILY_TCP4 : FAMILY_TCP6);
    at = put_port(at, (uint16_t)len);
    if (!h->known)
        return (size_t)(at - out);
    at = put(at, h->source.bytes + skip, 16 - skip);
    at = put(at, h->dest.bytes + skip, 16 - skip);
    at = put_port(at, h->source.port);
    return (size_t)(put_port(at, h->dest.port) - out);
}

size_t ml_proxy_protocol_write(const struct ml_proxy_header *h, int version,
                               char out[ML_PROXY_WRITE_MAX])
{
    bool v4 = is_v4(&h->source) && is_v4(&h->dest);

    return version == 1 ? write_v1(h, v4, out) : write_v2(h, v4, out);
}
