/* url_authority.c - host[":" port], as in Host and in absolute targets.
 *
 * A host is a name of letters, digits, '-', '.', '_' and '~', or an address.  RFC 3986 section 3.2.2
 * would also allow escapes and sub-delims ("a%2eb", "a,b"); no DNS name has them, and each is a way
 * to mean two hosts at once, so they are refused. */
#include "protocol/chars.h"
#include "protocol/url.h"

#include <arpa/inet.h>

enum { HOST_MAX = 255, PORT_MAX = 65535 };

/* "[" IPv6address "]"; a zone (RFC 6874) means nothing to anybody but its host. */
static bool literal_ok(struct ml_str host)
{
    char text[INET6_ADDRSTRLEN + 1];
    struct in6_addr address;
    size_t len = host.len - 2;

    if (host.len < 4 || host.p[host.len - 1] != ']' || len >= sizeof text)
        return false;
    if (memchr(host.p, '\0', host.len) != NULL)
        return false;
    memcpy(text, host.p + 1, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* Labels are not empty, but for the root behind a last dot. */
static bool name_ok(struct ml_str host)
{
    for (size_t i = 0; i < host.len; i++) {
        if (!ml_char_is(host.p[i], ML_CHAR_UNRESERVED))
            return false;
        if (host.p[i] == '.' && (i == 0 || host.p[i - 1] == '.'))
            return false;
    }
    return host.len > 0;
}

/* *DIGIT behind the colon (RFC 3986 section 3.2.3), so none at all is legal and means no port. */
static bool take_port(struct ml_str text, int *port)
{
    int n = 0;

    if (text.len > 5)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = n * 10 + (text.p[i] - '0');
    }
    *port = n;
    return text.len == 0 || (n > 0 && n <= PORT_MAX);
}

static bool split(struct ml_str text, struct ml_str *host, int *port)
{
    const char *from = text.p, *colon;

    *port = 0;
    if (text.len == 0)
        return false;
    if (text.p[0] == '[') {
        from = memchr(text.p, ']', text.len);
        if (from == NULL)
            return false;
    }
    colon = memchr(from, ':', (size_t)(text.p + text.len - from));
    *host = (struct ml_str){text.p, colon != NULL ? (size_t)(colon - text.p) : text.len};
    if (host->len > HOST_MAX || !(text.p[0] == '[' ? literal_ok(*host) : name_ok(*host)))
        return false;
    return colon == NULL ||
           take_port((struct ml_str){colon + 1, text.len - host->len - 1}, port);
}

bool ml_url_authority_ok(struct ml_str text)
{
    struct ml_str host;
    int port;

    return split(text, &host, &port);
}

enum ml_err ml_url_authority(struct ml_str text, struct ml_arena *arena, struct ml_authority *out)
{
    struct ml_str host;
    char *lower;
    int port;

    if (!split(text, &host, &port))
        return ML_BAD_HOST;
    lower = ml_arena_alloc(arena, host.len);
    for (size_t i = 0; i < host.len; i++)
        lower[i] = ml_lower(host.p[i]);
    *out = (struct ml_authority){{lower, host.len}, port};
    return ML_OK;
}
