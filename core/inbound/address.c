/* address.c - text and bytes of addresses, and the walk through X-Forwarded-For.
 *
 * Each proxy appends whom it got the request from.  What a trusted proxy wrote is believed, so the
 * walk goes from the right to the left and ends at the first address that is no trusted proxy:
 * everything further left may have been made up by that client. */
#include "inbound/address.h"

#include "base/decimal.h"

#include <arpa/inet.h>

static const uint8_t v4_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct ml_address ml_address_of(const struct ml_addr *addr)
{
    struct ml_address a = {.port = 0};

    if (addr->sa.sa_family == AF_INET) {
        memcpy(a.bytes, v4_prefix, sizeof v4_prefix);
        memcpy(a.bytes + 12, &addr->in.sin_addr, 4);
        a.port = ntohs(addr->in.sin_port);
    } else if (addr->sa.sa_family == AF_INET6) {
        memcpy(a.bytes, &addr->in6.sin6_addr, 16);
        a.port = ntohs(addr->in6.sin6_port);
    }
    return a;
}

bool ml_address_parse(struct ml_str text, struct ml_address *out)
{
    char z[ML_ADDRESS_TEXT_CAP];
    struct ml_address a = {.port = 0};

    if (text.len >= sizeof z || memchr(text.p, '\0', text.len) != NULL)
        return false;
    memcpy(z, text.p, text.len);
    z[text.len] = '\0';
    if (inet_pton(AF_INET, z, a.bytes + 12) == 1)
        memcpy(a.bytes, v4_prefix, sizeof v4_prefix);
    else if (inet_pton(AF_INET6, z, a.bytes) != 1)
        return false;
    *out = a;
    return true;
}

size_t ml_address_text(const struct ml_address *a, char out[ML_ADDRESS_TEXT_CAP])
{
    static const struct ml_address none;
    size_t len = 0;

    if (memcmp(a->bytes, none.bytes, sizeof none.bytes) == 0)
        return strlen(strcpy(out, "unix"));
    if (memcmp(a->bytes, v4_prefix, sizeof v4_prefix) != 0)
        return strlen(inet_ntop(AF_INET6, a->bytes, out, ML_ADDRESS_TEXT_CAP));
    for (int i = 12; i < 16; i++) { /* each request asks for it: snprintf would be felt */
        len += ml_decimal(out + len, a->bytes[i]);
        out[len++] = '.';
    }
    out[--len] = '\0';
    return len;
}

static bool within(const struct ml_cidr *net, const struct ml_address *a)
{
    unsigned whole = net->bits / 8, rest = net->bits % 8;

    if (memcmp(net->bytes, a->bytes, whole) != 0)
        return false;
    return rest == 0 || (net->bytes[whole] ^ a->bytes[whole]) >> (8 - rest) == 0;
}

bool ml_address_within(const struct ml_cidr *list, unsigned count, const struct ml_address *a)
{
    for (unsigned i = 0; i < count; i++)
        if (within(&list[i], a))
            return true;
    return false;
}

/* An element of X-Forwarded-For: an address, maybe in brackets, maybe with a port. */
static bool element_parse(struct ml_str e, struct ml_address *out)
{
    const char *end;

    if (e.len > 2 && e.p[0] == '[') {
        end = memchr(e.p, ']', e.len);
        return end != NULL &&
               ml_address_parse((struct ml_str){e.p + 1, (size_t)(end - e.p - 1)}, out);
    }
    end = memchr(e.p, ':', e.len);
    if (end != NULL && memchr(end + 1, ':', e.len - (size_t)(end + 1 - e.p)) == NULL)
        e.len = (size_t)(end - e.p); /* one colon: a port after an IPv4 address */
    return ml_address_parse(e, out);
}

/* The last elements of all X-Forwarded-For lines, in order; a longer chain is cut at its left. */
enum { CHAIN_MAX = 32 };

static unsigned chain_collect(const struct ml_headers *h, struct ml_str chain[CHAIN_MAX])
{
    const struct ml_field *f = ml_headers_get(h, ML_H_X_FORWARDED_FOR);
    unsigned count = 0;

    for (; f != NULL; f = ml_headers_next(h, f)) {
        struct ml_str rest = f->value, element;

        while (ml_list_next(&rest, &element)) {
            if (count == CHAIN_MAX)
                memmove(chain, chain + 1, --count * sizeof *chain);
            chain[count++] = element;
        }
    }
    return count;
}

struct ml_address ml_address_client(const struct ml_headers *h, const struct ml_cidr *trusted,
                                    unsigned count, const struct ml_address *peer)
{
    struct ml_str chain[CHAIN_MAX];
    struct ml_address client = *peer, next;
    unsigned left = 0;

    if (ml_address_within(trusted, count, &client))
        left = chain_collect(h, chain);
    while (left > 0 && ml_address_within(trusted, count, &client) &&
           element_parse(chain[left - 1], &next)) {
        client = next;
        left--;
    }
    return client;
}
