/* count.c - metrics of upstream groups and pools; those that all workers keep together anyway
 * (requests, failures, in flight, health) are read from shared memory by whoever is scraped. */
#include "outbound/group.h"

static const struct ml_metric_def
    head_def = {.kind = ML_HISTOGRAM,
                .name = "moonlatch_upstream_latency_seconds",
                .help = "Time from the choice of a server to the head of its answer, with retries",
                .labels = {"upstream"},
                .buckets = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.7, 1, 3, 5, 7, 10},
                .bucket_count = 14},
    retries_def = {.kind = ML_COUNTER,
                   .name = "moonlatch_upstream_retries_total",
                   .help = "Further tries of requests that had failed",
                   .labels = {"upstream"}},
    idle_def = {.kind = ML_GAUGE,
                .name = "moonlatch_upstream_idle_connections",
                .help = "Connections that are kept for the next request",
                .labels = {"upstream", "server"}};

void ml_outbound_count(struct ml_outbound *o, struct ml_metrics *m)
{
    o->metrics = m;
}

void ml_group_count(struct ml_group *g)
{
    struct ml_metrics *m = g->o->metrics;
    struct ml_metric *head, *retries;

    if (m == NULL || g->conf.client)
        return;
    head = ml_metric_register(m, &head_def, NULL);
    retries = ml_metric_register(m, &retries_def, NULL);
    if (head == NULL || retries == NULL)
        return;
    g->metrics.head = head;
    g->metrics.head_slot = ml_metric_slot(head, &g->conf.name);
    g->metrics.retries = ml_metric_slot(retries, &g->conf.name);
}

void ml_outbound_gauge(struct ml_outbound *o)
{
    struct ml_metric *idle =
        o->metrics != NULL ? ml_metric_register(o->metrics, &idle_def, NULL) : NULL;

    for (struct ml_server *s = o->servers; s != NULL && idle != NULL; s = s->next) {
        struct ml_str values[2] = {s->group, s->text};

        if (s->state == &s->own)
            continue;
        if (s->idle_slot == NULL)
            s->idle_slot = ml_metric_slot(idle, values);
        ml_gauge_set(s->idle_slot, s->pool.idle + ml_h2_set_idle(&s->h2));
    }
}
