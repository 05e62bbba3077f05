/* group.c - the options of a group with their defaults, its lists of servers, its life.
 *
 *   new --> in o->groups: lists follow DNS and scripts, servers are checked --retire--> only
 *   requests hold it --the last one ends--> freed */
#include "outbound/group.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "outbound/client_tls.h"

#include <assert.h>
#include <stdlib.h>

static void *zalloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);

    if (p == NULL)
        abort();
    return p;
}

/* ---- the worker's side ---- */

struct ml_outbound *ml_outbound_new(struct ml_loop *loop, struct ml_resolver *resolver,
                                    struct ml_shm *shm, unsigned worker)
{
    struct ml_outbound *o = zalloc(1, sizeof *o);

    o->loop = loop;
    o->resolver = resolver;
    o->shm = shm;
    o->worker = worker;
    ml_random_bytes(&o->random, sizeof o->random);
    o->random |= 1; /* 0 is the one state a xorshift cannot leave */
    return o;
}

const char *ml_server_url_check(struct ml_str url)
{
    struct ml_server_url parts;

    return ml_server_url_parse(url, &parts);
}

/* ---- making a group ---- */

static void otherwise(double *value, double by_default)
{
    if (*value <= 0)
        *value = by_default;
}

static unsigned count_or(unsigned value, unsigned by_default)
{
    if (value == ~0u)
        return 0;
    return value == 0 ? by_default : value;
}

static void defaults(struct ml_group_conf *c)
{
    otherwise(&c->connect_timeout, 2);
    otherwise(&c->first_byte_timeout, 60);
    otherwise(&c->read_timeout, 60);
    otherwise(&c->send_timeout, 60);
    otherwise(&c->tunnel_idle, 3600);
    otherwise(&c->keepalive_timeout, 60);
    otherwise(&c->fail_timeout, 10);
    c->keepalive = count_or(c->keepalive, 64);
    c->retries = count_or(c->retries, 1);
    if (c->max_fails == 0)
        c->max_fails = 1;
    otherwise(&c->check.interval, 5);
    otherwise(&c->check.timeout, 2);
    if (c->check.rise == 0)
        c->check.rise = 2;
    if (c->check.fall == 0)
        c->check.fall = 3;
    if (c->send_proxy != ML_SEND_PROXY_OFF)
        c->keepalive = 0; /* the header says for whom the whole connection is */
    if (c->limits.line_max == 0)
        c->limits.line_max = 8192;
    if (c->limits.head_max == 0)
        c->limits.head_max = 32768;
    if (c->limits.fields_max == 0)
        c->limits.fields_max = 256;
}

/* ---- lists ---- */

/* What the checks said counts only where there are checks. */
static void prepare_checks(struct ml_group *g, struct ml_server *s)
{
    const struct ml_check_conf *c = &g->conf.check;

    if (g->conf.client)
        return;
    if (!c->on) {
        atomic_fetch_and(&s->state->flags, ~(uint32_t)ML_SHM_SERVER_CHECKED);
        ml_health_unchecked(s->state);
        return;
    }
    atomic_fetch_or(&s->state->flags, ML_SHM_SERVER_CHECKED);
    if (c->begins_down)
        ml_health_doubt(s->state, c->rise);
}

static void use(struct ml_group *g, struct ml_roster *r)
{
    struct ml_roster *old = g->roster;

    for (unsigned i = 0; i < r->count; i++) {
        struct ml_server *s = r->members[i].server;

        ml_pool_configure(&s->pool, g->conf.keepalive, g->conf.keepalive_timeout);
        ml_h2_set_configure(&s->h2, g->conf.keepalive_timeout, g->conf.send_timeout,
                            g->conf.ping_interval);
        prepare_checks(g, s);
    }
    g->roster = r;
    if (g->link != NULL)
        ml_roster_list(r);
    if (old == NULL)
        return;
    ml_roster_follow(r, old);
    ml_roster_unlist(old);
    ml_roster_release(&old);
}

/* A server that joins a group at work begins with a small share, like one that is up again. */
static void welcome(struct ml_group *g, struct ml_roster *r)
{
    uint64_t never = 0, now_ms = (uint64_t)(ml_loop_now_s(g->o->loop) * 1000);

    for (unsigned i = 0; g->roster->count > 0 && i < r->count; i++) {
        struct ml_server *s = r->members[i].server;

        if (s->listed == 0 && atomic_load(&s->state->requests) == 0)
            atomic_compare_exchange_strong(&s->state->recovered_ms, &never, now_ms);
        never = 0;
    }
}

static void on_changed(void *ctx)
{
    struct ml_group *g = ctx;
    struct ml_roster *r = ml_sources_roster(g->sources);

    if (ml_roster_same(r, g->roster)) {
        ml_roster_release(&r);
        return;
    }
    ml_log_event(ML_LOG_INFO, "upstream servers changed", ML_KV("upstream", g->conf.name),
                 ML_KV("servers", r->count), ML_KV("before", g->roster->count));
    welcome(g, r);
    use(g, r);
}

static struct ml_sources *open_sources(struct ml_group *g, const struct ml_server_conf *list,
                                       unsigned count)
{
    struct ml_sources_conf conf = {.o = g->o,
                                   .group = g->conf.name,
                                   .all = g->conf.resolve_all,
                                   .shared = !g->conf.client,
                                   .changed = on_changed,
                                   .ctx = g};

    return ml_sources_new(&conf, list, count);
}

void ml_group_set_servers(struct ml_group *g, const struct ml_server_conf *list, unsigned count)
{
    struct ml_sources *old = g->sources;

    g->sources = open_sources(g, list, count); /* first: names that both have stay known */
    ml_sources_free(&old);
    on_changed(g);
}

/* ---- life ---- */

static struct ml_str keep(char **to, struct ml_str text)
{
    struct ml_str copy = {*to, text.len};

    if (text.len > 0)
        memcpy(*to, text.p, text.len);
    *to += text.len;
    return copy;
}

/* The conf's texts belong to a generation, which a group may outlive. */
static void copy_texts(struct ml_group *g)
{
    struct ml_group_conf *c = &g->conf;
    struct ml_check_conf *check = &c->check;
    size_t len =
        c->name.len + check->path.len + check->host.len + check->method.len + check->body.len;
    char *at = zalloc(len, 1);

    g->texts = (struct ml_str){at, len};
    c->name = keep(&at, c->name);
    check->path = keep(&at, check->path);
    check->host = keep(&at, check->host);
    check->method = keep(&at, check->method);
    check->body = keep(&at, check->body);
}

/* The list of the site's files, and what tells whether that is still the same. */
static void copy_list(struct ml_group *g, const struct ml_group_conf *conf)
{
    g->given_count = conf->server_count;
    g->given = zalloc(conf->server_count, sizeof *g->given);
    for (unsigned i = 0; i < conf->server_count; i++) {
        struct ml_server_conf *s = &g->given[i];
        char *url = strndup(conf->servers[i].url.p, conf->servers[i].url.len);

        if (url == NULL)
            abort();
        *s = conf->servers[i];
        s->url.p = url;
        g->given_hash = (g->given_hash ^ ml_balance_hash_of(s->url)) * 31 + s->weight * 8 +
                        s->max_conns * 2 + s->backup;
    }
}

static void enter(struct ml_group *g)
{
    g->next = g->o->groups;
    g->link = &g->o->groups;
    if (g->next != NULL)
        g->next->link = &g->next;
    g->o->groups = g;
}

/* The settings were checked when the site was loaded. */
static struct ml_client_tls *tls_of(struct ml_outbound *o, const struct ml_group_conf *conf)
{
    char error[ML_TLS_ERROR_MAX];
    struct ml_client_tls *tls = ml_client_tls_hold(o, conf->tls, conf->tls_name, error);

    if (tls == NULL)
        abort();
    return tls;
}

static struct ml_client_tls *tls_h2_of(struct ml_outbound *o, const struct ml_group_conf *conf)
{
    static const char *const alpn[] = {"h2", NULL};
    struct ml_tls_client_conf h2 = conf->tls != NULL ? *conf->tls : (struct ml_tls_client_conf){0};
    struct ml_group_conf with = *conf;

    h2.settings.alpn = alpn;
    with.tls = &h2;
    return tls_of(o, &with);
}


struct ml_group *ml_group_new(struct ml_outbound *o, const struct ml_group_conf *conf)
{
    struct ml_group *g = zalloc(1, sizeof *g);
    struct ml_roster *r;

    g->o = o;
    g->refs = 1;
    g->conf = *conf;
    g->conf.servers = NULL;
    g->conf.tls = NULL;
    if (conf->tls != NULL) {
        g->tls = tls_of(o, conf);
        g->tls_h2 = tls_h2_of(o, conf);
    }
    copy_texts(g);
    copy_list(g, conf);
    defaults(&g->conf);
    g->health = (struct ml_health_conf){g->conf.max_fails, (uint64_t)(g->conf.fail_timeout * 1000)};
    if (!conf->client)
        enter(g);
    g->sources = open_sources(g, conf->servers, conf->server_count);
    r = ml_sources_roster(g->sources);
    use(g, r);
    for (unsigned i = 0; r->count > 1 && i < o->worker % 64; i++)
        ml_balance_round_robin(r->candidates, r->count); /* workers begin apart */
    ml_group_count(g);
    return g;
}

const struct ml_client_tls *ml_group_tls(struct ml_group *g)
{
    if (g->tls == NULL)
        g->tls = tls_of(g->o, &g->conf);
    return g->tls;
}

const struct ml_client_tls *ml_group_tls_h2(struct ml_group *g)
{
    if (g->tls_h2 == NULL)
        g->tls_h2 = tls_h2_of(g->o, &g->conf);
    return g->tls_h2;
}

void ml_group_set_tls(struct ml_group *g, struct ml_client_tls *tls)
{
    ml_client_tls_ref(tls);
    ml_client_tls_release(&g->tls);
    g->tls = tls;
}

void ml_group_hold(struct ml_group *g)
{
    g->refs++;
}

void ml_group_retire(struct ml_group *g)
{
    if (g->link == NULL)
        return;
    *g->link = g->next;
    if (g->next != NULL)
        g->next->link = g->link;
    g->link = NULL;
    if (g->retired != NULL)
        g->retired(g);
    ml_sources_rest(g->sources);
    ml_roster_unlist(g->roster);
}

static void group_free(void *p)
{
    struct ml_group *g = p;

    for (unsigned i = 0; i < g->given_count; i++)
        free((char *)g->given[i].url.p);
    free(g->given);
    free((char *)g->texts.p);
    free(g);
}

void ml_group_release(struct ml_group **group)
{
    struct ml_group *g = *group;

    *group = NULL;
    if (g == NULL || --g->refs > 0)
        return;
    ml_group_retire(g);
    ml_roster_release(&g->roster);
    ml_sources_free(&g->sources);
    ml_client_tls_release(&g->tls);
    ml_client_tls_release(&g->tls_h2);
    ml_loop_bury(g->o->loop, group_free, g);
}
