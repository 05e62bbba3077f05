/* source.c - one entry of a list of servers becomes one server, or one for each answer of DNS.
 *
 * Addresses and targets that a name has no more are simply not in the next roster: what is in
 * flight to them goes on, for its own roster holds them. */
#include "outbound/source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

enum { SRV_WEIGHT_ZERO = 1, WEIGHT_MAX = 65535 };

struct source {
    struct ml_server_conf conf; /* its url is owned */
    struct ml_server_url url;
    struct ml_name *name; /* held; NULL: it is one server, always the same */
    struct ml_name_watcher watcher;
};

struct ml_sources {
    struct ml_sources_conf conf;
    unsigned count;
    struct source v[];
};

static bool is_address(struct ml_str host)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char bytes[16];

    if (host.len >= sizeof text)
        return false;
    memcpy(text, host.p, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static bool starts_unix(struct ml_str host)
{
    return host.len > 5 && memcmp(host.p, "unix:", 5) == 0;
}

static void open_source(struct ml_sources *all, struct source *s, const struct ml_server_conf *conf)
{
    struct ml_resolver *resolver = all->conf.o->resolver;
    char *url = strndup(conf->url.p, conf->url.len);

    if (url == NULL)
        abort();
    s->conf = *conf;
    s->conf.url = (struct ml_str){url, conf->url.len};
    if (s->conf.weight == 0)
        s->conf.weight = 1;
    if (ml_server_url_parse(s->conf.url, &s->url) != NULL)
        abort(); /* ml_server_url_check was not asked */
    if (s->url.srv)
        s->name = ml_resolver_watch_srv(resolver, s->url.host);
    else if (all->conf.all && !starts_unix(s->url.host) && !is_address(s->url.host))
        s->name = ml_resolver_watch(resolver, s->url.host, s->url.port);
    if (s->name == NULL || all->conf.changed == NULL)
        return;
    s->watcher.changed = all->conf.changed;
    s->watcher.ctx = all->conf.ctx;
    ml_name_watch(s->name, &s->watcher);
}

struct ml_sources *ml_sources_new(const struct ml_sources_conf *conf,
                                  const struct ml_server_conf *list, unsigned count)
{
    struct ml_sources *all = calloc(1, sizeof *all + count * sizeof(struct source));

    if (all == NULL)
        abort();
    all->conf = *conf;
    all->count = count;
    for (unsigned i = 0; i < count; i++)
        open_source(all, &all->v[i], &list[i]);
    return all;
}

void ml_sources_rest(struct ml_sources *all)
{
    for (unsigned i = 0; i < all->count; i++)
        ml_name_unwatch(&all->v[i].watcher);
}

void ml_sources_free(struct ml_sources **sources)
{
    struct ml_sources *all = *sources;

    *sources = NULL;
    if (all == NULL)
        return;
    ml_sources_rest(all);
    for (unsigned i = 0; i < all->count; i++) {
        ml_name_release(&all->v[i].name);
        free((char *)all->v[i].conf.url.p);
    }
    free(all);
}

struct ml_name *ml_sources_pending(struct ml_sources *all)
{
    const struct ml_srv *targets;
    const struct ml_addr *addrs;
    enum ml_err err;

    for (unsigned i = 0; i < all->count; i++) {
        struct ml_name *name = all->v[i].name;

        if (name == NULL)
            continue;
        if (all->v[i].url.srv)
            ml_name_targets(name, &targets, &err);
        else
            ml_name_addresses(name, &addrs, &err);
        if (err == ML_AGAIN)
            return name;
    }
    return NULL;
}

/* ---- servers ---- */

static void add(struct ml_sources *all, struct ml_roster *r, const struct source *s,
                struct ml_str url, struct ml_str authority, unsigned weight, unsigned tier)
{
    struct ml_member m = {.weight = weight, .max_conns = s->conf.max_conns, .tier = tier};

    if (r->count == ML_ROSTER_MAX)
        return;
    m.server = ml_server_hold_as(all->conf.o, all->conf.group, url, authority, all->conf.shared);
    ml_roster_add(r, &m);
}

static unsigned tier_of(const struct source *s)
{
    return s->conf.backup ? 1 : 0;
}

static bool print_address(const struct ml_addr *a, char out[INET6_ADDRSTRLEN + 2])
{
    char text[INET6_ADDRSTRLEN];

    if (a->sa.sa_family == AF_INET && inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof text))
        return snprintf(out, INET6_ADDRSTRLEN + 2, "%s", text) > 0;
    if (a->sa.sa_family == AF_INET6 && inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof text))
        return snprintf(out, INET6_ADDRSTRLEN + 2, "[%s]", text) > 0;
    return false;
}

static size_t scheme_len(struct ml_str origin)
{
    const char *colon = memchr(origin.p, ':', origin.len);

    return colon != NULL ? (size_t)(colon - origin.p) + 3 : 0;
}

static void add_addresses(struct ml_sources *all, struct ml_roster *r, const struct source *s)
{
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(s->name, &addrs, &err);

    for (unsigned i = 0; i < count; i++) {
        char text[INET6_ADDRSTRLEN + 2];
        struct ml_buf url = {0};

        if (!print_address(&addrs[i], text)) /* a test's stand-in for the network */
            snprintf(text, sizeof text, "%.*s", (int)s->url.host.len, s->url.host.p);
        ml_buf_append(&url, (struct ml_str){s->conf.url.p, scheme_len(s->url.origin)});
        ml_buf_printf(&url, "%s:%d%.*s", text, s->url.port, (int)s->url.prefix.len,
                      s->url.prefix.p != NULL ? s->url.prefix.p : "");
        add(all, r, s, ml_buf_str(&url), s->url.authority, s->conf.weight, tier_of(s));
        ml_buf_release(&url);
    }
}

/* The targets come in the order of priority: each priority is a tier.  RFC 2782: a weight of 0 is
 * "a very small chance". */
static void add_targets(struct ml_sources *all, struct ml_roster *r, const struct source *s)
{
    const struct ml_srv *targets;
    enum ml_err err;
    unsigned count = ml_name_targets(s->name, &targets, &err), tier = tier_of(s);

    for (unsigned i = 0; i < count; i++) {
        unsigned weight = targets[i].weight > 0 ? targets[i].weight : SRV_WEIGHT_ZERO;
        struct ml_server_url parts;
        struct ml_buf url = {0};

        if (i > 0 && targets[i].priority != targets[i - 1].priority &&
            tier + 1 < ML_ROSTER_TIERS_MAX)
            tier++;
        weight = weight * s->conf.weight < WEIGHT_MAX ? weight * s->conf.weight : WEIGHT_MAX;
        ml_buf_printf(&url, "http://%s:%u%.*s", targets[i].host, targets[i].port,
                      (int)s->url.prefix.len, s->url.prefix.p != NULL ? s->url.prefix.p : "");
        if (ml_server_url_parse(ml_buf_str(&url), &parts) == NULL) /* DNS may say anything */
            add(all, r, s, ml_buf_str(&url), ML_STR_NONE, weight, tier);
        ml_buf_release(&url);
    }
}

struct ml_roster *ml_sources_roster(struct ml_sources *all)
{
    struct ml_roster *r;
    unsigned room = 0;

    for (unsigned i = 0; i < all->count; i++)
        room += all->v[i].name != NULL ? 128 : 1;
    r = ml_roster_new(room < ML_ROSTER_MAX ? room : ML_ROSTER_MAX);
    for (unsigned i = 0; i < all->count; i++) {
        struct source *s = &all->v[i];

        if (s->name == NULL)
            add(all, r, s, s->conf.url, ML_STR_NONE, s->conf.weight, tier_of(s));
        else if (s->url.srv)
            add_targets(all, r, s);
        else
            add_addresses(all, r, s);
    }
    return r;
}
