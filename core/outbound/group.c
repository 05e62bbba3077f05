/* group.c - options with their defaults, and which server is next. */
#include "outbound/group.h"

#include "base/clock.h"

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
    otherwise(&c->keepalive_timeout, 60);
    otherwise(&c->fail_timeout, 10);
    c->keepalive = count_or(c->keepalive, 64);
    c->retries = count_or(c->retries, 1);
    if (c->max_fails == 0)
        c->max_fails = 1;
    if (c->limits.line_max == 0)
        c->limits.line_max = 8192;
    if (c->limits.head_max == 0)
        c->limits.head_max = 32768;
    if (c->limits.fields_max == 0)
        c->limits.fields_max = 256;
}

static void add_servers(struct ml_group *g, const struct ml_group_conf *conf)
{
    for (unsigned i = 0; i < conf->server_count; i++) {
        const struct ml_server_conf *s = &conf->servers[i];
        struct ml_candidate *c = &g->candidates[i];

        g->servers[i] = ml_server_hold(g->o, conf->name, s->url, !conf->client);
        ml_pool_configure(&g->servers[i]->pool, g->conf.keepalive, g->conf.keepalive_timeout);
        c->hash = ml_balance_hash_of(s->url);
        c->weight = s->weight > 0 ? s->weight : 1;
        c->usable = true;
    }
}

struct ml_group *ml_group_new(struct ml_outbound *o, const struct ml_group_conf *conf)
{
    struct ml_group *g = zalloc(1, sizeof *g);
    char *name = zalloc(conf->name.len, 1);

    memcpy(name, conf->name.p, conf->name.len);
    g->o = o;
    g->refs = 1;
    g->conf = *conf;
    g->conf.name = (struct ml_str){name, conf->name.len};
    g->conf.servers = NULL;
    defaults(&g->conf);
    g->health = (struct ml_health_conf){g->conf.max_fails, (uint64_t)(g->conf.fail_timeout * 1000)};
    g->servers = zalloc(conf->server_count, sizeof(struct ml_server *));
    g->candidates = zalloc(conf->server_count, sizeof *g->candidates);
    add_servers(g, conf);
    for (unsigned i = 0; conf->server_count > 1 && i < o->worker % 64; i++)
        ml_balance_round_robin(g->candidates, conf->server_count); /* workers begin apart */
    return g;
}

void ml_group_hold(struct ml_group *g)
{
    g->refs++;
}

static void group_free(void *p)
{
    struct ml_group *g = p;

    free((char *)g->conf.name.p);
    free(g->servers);
    free(g->candidates);
    free(g);
}

void ml_group_release(struct ml_group **group)
{
    struct ml_group *g = *group;

    *group = NULL;
    if (g == NULL || --g->refs > 0)
        return;
    for (unsigned i = 0; i < g->conf.server_count; i++)
        ml_server_release(&g->servers[i]);
    ml_loop_bury(g->o->loop, group_free, g);
}

/* ---- choosing ---- */

static uint64_t next_random(struct ml_outbound *o)
{
    o->random ^= o->random << 13;
    o->random ^= o->random >> 7;
    o->random ^= o->random << 17;
    return o->random * 0x2545f4914f6cdd1dULL;
}

static unsigned choose(struct ml_group *g, struct ml_str hash_key)
{
    unsigned count = g->conf.server_count;
    struct ml_candidate *c = g->candidates;

    switch (g->conf.balance) {
    case ML_LEAST_CONN:
        return ml_balance_least_conn(c, count);
    case ML_HASH:
        return ml_balance_hash(c, count, ml_balance_hash_of(hash_key));
    case ML_P2C:
        return ml_balance_p2c(c, count, next_random(g->o));
    case ML_ROUND_ROBIN:
        break;
    }
    return ml_balance_round_robin(c, count);
}

/* Marks the candidates that are not tried and, unless down counts too, not down. */
static bool mark_usable(struct ml_group *g, const bool *tried, bool down_too, uint64_t now_ms)
{
    bool any = false;

    for (unsigned i = 0; i < g->conf.server_count; i++) {
        struct ml_shm_server *state = g->servers[i]->state;
        struct ml_candidate *c = &g->candidates[i];

        c->usable = (tried == NULL || !tried[i]) &&
                    (down_too || ml_health_state(state, now_ms) != ML_HEALTH_DOWN);
        c->in_flight = atomic_load_explicit(&state->in_flight, memory_order_relaxed);
        any |= c->usable;
    }
    return any;
}

struct ml_pick ml_group_pick(struct ml_group *g, struct ml_str hash_key, const bool *tried)
{
    unsigned count = g->conf.server_count;
    uint64_t now_ms = (uint64_t)(ml_loop_now_s(g->o->loop) * 1000);

    if (count == 1) { /* no choice: its health changes nothing, but must be known */
        if (tried != NULL && tried[0])
            return (struct ml_pick){count, false};
        return (struct ml_pick){0, ml_health_state(g->servers[0]->state, now_ms) != ML_HEALTH_UP};
    }
    while (mark_usable(g, tried, false, now_ms)) {
        unsigned i = choose(g, hash_key);
        struct ml_shm_server *state = g->servers[i]->state;

        if (ml_health_state(state, now_ms) == ML_HEALTH_UP)
            return (struct ml_pick){i, false};
        if (ml_health_claim(state, &g->health, now_ms))
            return (struct ml_pick){i, true};
    } /* another worker took the probe: that server is down now, choose again */
    if (!mark_usable(g, tried, true, now_ms))
        return (struct ml_pick){count, false};
    return (struct ml_pick){choose(g, hash_key), true};
}
