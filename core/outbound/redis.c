/* redis.c - the register of clients, and who waits for the map of a cluster. */
#include "outbound/redis.h"

#include "outbound/client_tls.h"
#include "outbound/redis_call.h"
#include "outbound/server.h"

#include <assert.h>
#include <stdlib.h>

enum { WAITING_MAX = 10000 };

bool ml_redis_wait(struct ml_redis *r, struct ml_redis_waiter *w)
{
    if (r->waiting_count >= WAITING_MAX)
        return false;
    r->waiting_count++;
    w->queued = true;
    w->next = NULL;
    *r->waiting_end = w;
    r->waiting_end = &w->next;
    return true;
}

void ml_redis_unwait(struct ml_redis *r, struct ml_redis_waiter *w)
{
    struct ml_redis_waiter **at = &r->waiting;

    if (!w->queued)
        return;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (w->next == NULL)
        r->waiting_end = at;
    w->queued = false;
    r->waiting_count--;
}

/* The map is there, or will not be: those who waited until now go on. */
static void on_settled(void *ctx)
{
    struct ml_redis *r = ctx, *held = r;

    held->refs++;
    for (unsigned n = r->waiting_count; n > 0 && r->waiting != NULL; n--) {
        struct ml_redis_waiter *w = r->waiting;

        ml_redis_unwait(r, w);
        w->go(w);
    }
    ml_redis_release(&held);
}

static struct ml_redis *redis_new(struct ml_outbound *o, const struct ml_redis_conf *conf)
{
    struct ml_redis *r = calloc(1, sizeof *r);

    if (r == NULL)
        abort();
    r->o = o;
    memcpy(&r->conf, conf, sizeof r->conf);
    if (conf->tls != NULL)
        ml_client_tls_ref(conf->tls);
    r->waiting_end = &r->waiting;
    if (conf->cluster)
        r->cluster = ml_redis_cluster_new(o, &r->conf, on_settled, r);
    else
        r->conn = ml_redis_conn_new(o, &r->conf, &r->conf.seeds[0]);
    r->next = o->redis;
    o->redis = r;
    return r;
}

struct ml_redis *ml_redis_hold(struct ml_outbound *o, const struct ml_redis_conf *conf)
{
    struct ml_redis *r = o->redis;

    assert(conf->timeout_s > 0 && conf->connect_timeout_s > 0 && conf->seed_count > 0);
    while (r != NULL && memcmp(&r->conf, conf, sizeof *conf) != 0)
        r = r->next;
    if (r == NULL)
        r = redis_new(o, conf);
    r->refs++;
    return r;
}

static void redis_free(void *p)
{
    struct ml_redis *r = p;

    explicit_bzero(&r->conf, sizeof r->conf);
    free(r);
}

void ml_redis_release(struct ml_redis **redis)
{
    struct ml_redis *r = *redis, **at;

    *redis = NULL;
    if (r == NULL || --r->refs > 0)
        return;
    assert(r->waiting == NULL);
    for (at = &r->o->redis; *at != r; at = &(*at)->next)
        ;
    *at = r->next;
    ml_redis_conn_free(&r->conn);
    ml_redis_cluster_free(&r->cluster);
    ml_client_tls_release(&r->conf.tls);
    ml_loop_bury(r->o->loop, redis_free, r);
}

enum ml_redis_state ml_redis_state_of(const struct ml_redis *r)
{
    return r->conn != NULL ? ml_redis_conn_state(r->conn) : ml_redis_cluster_state(r->cluster);
}
