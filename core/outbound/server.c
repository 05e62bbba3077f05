/* server.c - the register of servers, and the reading of their URLs. */
#include "outbound/server.h"

#include "base/clock.h"

#include <stdlib.h>

/* ---- URLs ---- */

static bool starts(struct ml_str s, struct ml_str with)
{
    return s.len >= with.len && memcmp(s.p, with.p, with.len) == 0;
}

static struct ml_str rest_of(struct ml_str s, size_t skip)
{
    return (struct ml_str){s.p + skip, s.len - skip};
}

/* Printable ASCII without space; "?", "#" and quotes have no place in a server's URL. */
static bool chars_ok(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f || memchr("?#\"<>\\^`{|}", s.p[i], 12) != NULL)
            return false;
    return true;
}

static bool host_ok(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ml_lower(s.p[i]);

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_'))
            return false;
    }
    return s.len > 0 && s.len <= 253;
}

static bool literal6_ok(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (memchr("0123456789abcdefABCDEF:.", s.p[i], 24) == NULL)
            return false;
    return s.len >= 2 && s.len <= 45;
}

/* ":port" or nothing; -1 when it is neither. */
static int port_of(struct ml_str s, int otherwise)
{
    int port = 0;

    if (s.len == 0)
        return otherwise;
    if (s.p[0] != ':' || s.len < 2 || s.len > 6)
        return -1;
    for (size_t i = 1; i < s.len; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return -1;
        port = port * 10 + (s.p[i] - '0');
    }
    return port >= 1 && port <= 65535 ? port : -1;
}

static const char *parse_authority(struct ml_str s, int port, struct ml_server_url *out)
{
    const char *end;
    bool literal6 = s.len > 0 && s.p[0] == '[';
    size_t len;

    end = memchr(s.p, literal6 ? ']' : ':', s.len);
    if (literal6 && end == NULL)
        return "the IPv6 address has no closing bracket";
    len = end != NULL ? (size_t)(end - s.p) : s.len;
    out->authority = s;
    out->host = literal6 ? (struct ml_str){s.p + 1, len - 1} : (struct ml_str){s.p, len};
    if (literal6 ? !literal6_ok(out->host) : !host_ok(out->host))
        return "the host is missing or invalid";
    out->port = port_of(rest_of(s, literal6 ? len + 1 : len), port);
    return out->port < 0 ? "the port is not a number from 1 to 65535" : NULL;
}

/* Its length; 0: it is none of a server. */
static size_t parse_scheme(struct ml_str text, struct ml_server_url *out)
{
    static const struct {
        struct ml_str text;
        bool tls, h2, srv;
    } schemes[] = {{{"http://", 7}, false, false, false},
                   {{"https://", 8}, true, false, false},
                   {{"h2://", 5}, true, true, false},
                   {{"h2c://", 6}, false, true, false},
                   {{"srv://", 6}, false, false, true}};

    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        if (!starts(text, schemes[i].text))
            continue;
        out->tls = schemes[i].tls;
        out->h2 = schemes[i].h2;
        out->srv = schemes[i].srv;
        return schemes[i].text.len;
    }
    return 0;
}

const char *ml_server_url_parse(struct ml_str text, struct ml_server_url *out)
{
    struct ml_str rest;
    const char *slash;
    size_t skip;

    if (!chars_ok(text))
        return "the URL contains a character that a server's URL cannot have";
    *out = (struct ml_server_url){0};
    if (starts(text, ML_STR("unix:"))) {
        *out =
            (struct ml_server_url){.host = text, .authority = ML_STR("localhost"), .origin = text};
        if (text.len < 7 || text.p[5] != '/')
            return "the path of a unix socket begins with '/'";
        return text.len > 5 + 107 ? "the path of a unix socket has at most 107 bytes" : NULL;
    }
    skip = parse_scheme(text, out);
    if (skip == 0)
        return "the URL begins neither with http:// nor with https://, h2://, h2c:// or unix:/";
    rest = rest_of(text, skip);
    slash = rest.len > 0 ? memchr(rest.p, '/', rest.len) : NULL;
    out->prefix = ML_STR_NONE;
    if (slash != NULL) {
        out->prefix = rest_of(rest, (size_t)(slash - rest.p));
        rest.len -= out->prefix.len;
        while (out->prefix.len > 0 && out->prefix.p[out->prefix.len - 1] == '/')
            out->prefix.len--;
    }
    out->origin = (struct ml_str){text.p, (size_t)(rest.p + rest.len - text.p)};
    if (out->srv && rest.len > 0 && memchr(rest.p, ':', rest.len) != NULL)
        return "SRV records say which port it is";
    return rest.len == 0 ? "the host is missing or invalid"
                         : parse_authority(rest, out->tls ? 443 : 80, out);
}

/* ---- the register ---- */

static struct ml_server *find(struct ml_outbound *o, struct ml_str group, struct ml_str url,
                              struct ml_str authority)
{
    for (struct ml_server *s = o->servers; s != NULL; s = s->next)
        if (ml_str_eq(s->group, group) && ml_str_eq(s->text, url) && ml_str_eq(s->given, authority))
            return s;
    return NULL;
}

static struct ml_str put(char **to, struct ml_str text)
{
    struct ml_str copy = {*to, text.len};

    if (text.len > 0)
        memcpy(*to, text.p, text.len);
    *to += text.len;
    return copy;
}

static struct ml_server *server_new(struct ml_outbound *o, struct ml_str group, struct ml_str url,
                                    struct ml_str authority, bool shared)
{
    struct ml_server *s = aligned_alloc(_Alignof(struct ml_server), sizeof *s);
    char *text = malloc(group.len + url.len + authority.len);

    if (s == NULL || text == NULL)
        abort();
    memset(s, 0, sizeof *s);
    s->group = put(&text, group);
    s->text = put(&text, url);
    s->given = put(&text, authority);
    if (ml_server_url_parse(s->text, &s->url) != NULL)
        abort(); /* ml_server_url_check was not asked */
    if (ml_stream_has_source()) /* the network of a test speaks HTTP/1.1, and no TLS */
        s->url.h2 = false;
    if (authority.len > 0)
        s->url.authority = s->given;
    s->o = o;
    s->name = ml_resolver_watch(o->resolver, s->url.host, s->url.port);
    s->state = shared && o->shm != NULL ? ml_shm_server(o->shm, group, url) : NULL;
    if (s->state == NULL)
        s->state = &s->own;
    ml_pool_init(&s->pool, o->loop);
    ml_h2_set_init(&s->h2, o->loop);
    s->next = o->servers;
    o->servers = s;
    return s;
}

struct ml_server *ml_server_hold_as(struct ml_outbound *o, struct ml_str group, struct ml_str url,
                                    struct ml_str authority, bool shared)
{
    struct ml_server *s = find(o, group, url, authority);

    if (s == NULL)
        s = server_new(o, group, url, authority, shared);
    s->refs++;
    return s;
}

struct ml_server *ml_server_hold(struct ml_outbound *o, struct ml_str group, struct ml_str url,
                                 bool shared)
{
    return ml_server_hold_as(o, group, url, ML_STR_NONE, shared);
}

/* One of several addresses behind a name shows the certificate of the name. */
struct ml_str ml_server_tls_name(const struct ml_server *s)
{
    struct ml_server_url url;

    if (s->given.len == 0 || parse_authority(s->given, 443, &url) != NULL)
        return s->url.host;
    return url.host;
}

void ml_server_list(struct ml_server *s)
{
    s->listed++;
    atomic_store_explicit(&s->state->unlisted_ms, 0, memory_order_relaxed);
}

void ml_server_unlist(struct ml_server *s)
{
    if (--s->listed == 0)
        atomic_store_explicit(&s->state->unlisted_ms, ml_clock_mono_ms(), memory_order_relaxed);
}

static void server_free(void *p)
{
    struct ml_server *s = p;

    free((char *)s->group.p);
    free(s);
}

void ml_server_release(struct ml_server **server)
{
    struct ml_server *s = *server, **at = &s->o->servers;

    *server = NULL;
    if (--s->refs > 0)
        return;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    if (s->idle_slot != NULL)
        ml_gauge_unset(s->idle_slot);
    ml_pool_drop(&s->pool);
    ml_h2_set_drop(&s->h2);
    ml_name_release(&s->name);
    ml_loop_bury(s->o->loop, server_free, s);
}

void ml_server_begin(struct ml_server *s)
{
    atomic_fetch_add_explicit(&s->state->requests, 1, memory_order_relaxed);
    if (s->state != &s->own)
        ml_shm_server_begin(s->o->shm, s->state, s->o->worker);
    else
        atomic_fetch_add_explicit(&s->own.in_flight, 1, memory_order_relaxed);
}

void ml_server_end(struct ml_server *s)
{
    if (s->state != &s->own)
        ml_shm_server_end(s->o->shm, s->state, s->o->worker);
    else
        atomic_fetch_sub_explicit(&s->own.in_flight, 1, memory_order_relaxed);
}
