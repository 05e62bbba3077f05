/* resolver_literal.c - hosts for which nobody is asked: addresses, paths of sockets, and all of
 * them in a simulation. */
#include "transport/resolver_parts.h"

#include <arpa/inet.h>

/* "127.0.0.1", "::1", "[::1]", "/path" and "unix:/path" are their own answer. */
static bool literal_parse(const char *host, int port, struct ml_addr *out)
{
    struct ml_addr a = {0};
    char inner[INET6_ADDRSTRLEN];
    size_t len = strlen(host);

    if (strncmp(host, "unix:", 5) == 0 || *host == '/') {
        const char *path = *host == '/' ? host : host + 5;

        if (strlen(path) >= sizeof a.un.sun_path)
            return false;
        a.un.sun_family = AF_UNIX;
        memcpy(a.un.sun_path, path, strlen(path));
        a.len = sizeof a.un;
        *out = a;
        return true;
    }
    if (len > 2 && len < sizeof inner + 2 && host[0] == '[' && host[len - 1] == ']') {
        memcpy(inner, host + 1, len - 2);
        inner[len - 2] = '\0';
        host = inner;
    }
    if (inet_pton(AF_INET, host, &a.in.sin_addr) == 1) {
        a.in.sin_family = AF_INET;
        a.in.sin_port = htons((uint16_t)port);
        a.len = sizeof a.in;
    } else if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) == 1) {
        a.in6.sin6_family = AF_INET6;
        a.in6.sin6_port = htons((uint16_t)port);
        a.len = sizeof a.in6;
    } else {
        return false;
    }
    *out = a;
    return true;
}

static const struct ml_resolver_source *source;

void ml_resolver_set_source(const struct ml_resolver_source *replacement)
{
    source = replacement;
}

bool resolver_known_at_once(const char *host, int port, struct ml_addr *out)
{
    if (source == NULL)
        return literal_parse(host, port, out);
    source->find(source->ctx, ml_str_of(host), port, out);
    return true;
}

bool resolver_is_simulated(void)
{
    return source != NULL;
}
