/* counts.c - the registry of a worker, and who counts in it. */
#include "process/counts.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "inbound/account.h"
#include "process/page.h"
#include "process/vitals.h"
#include "transport/tls.h"

#include <stdio.h>
#include <stdlib.h>

struct ml_counts {
    struct ml_shm *shm; /* borrowed */
    struct ml_inbound *inbound;
    struct ml_outbound *outbound;
    struct ml_metrics *metrics; /* owned, like the next two */
    struct ml_request_metrics *requests;
    struct ml_vitals *vitals;
    struct ml_metric *expiry, *recycled, *reclaimed;
    double due_s;          /* of the next tick; 0: there was none */
    struct ml_timer timer; /* of the supervisor's; a worker has ticks */
    bool alone;
};

static const double ALONE_S = 5;

static const struct ml_metric_def expiry_def = {
    .kind = ML_GAUGE,
    .merge = ML_MERGE_MIN,
    .name = "moonlatch_tls_certificate_expiry_timestamp_seconds",
    .help = "When the first of a listener's certificates expires, since unix epoch in seconds",
    .labels = {"listener"}};

static const struct ml_metric_def reclaimed_def = {
    .kind = ML_COUNTER,
    .name = "moonlatch_connections_reclaimed_total",
    .help =
        "Idle connections of clients that were closed because descriptors or memory were short"};

static const struct ml_metric_def recycled_def = {
    .kind = ML_COUNTER,
    .name = "moonlatch_script_vms_replaced_total",
    .help = "VMs that made room for a fresh one of the same generation, by reason: heap, age",
    .labels = {"reason"}};

struct ml_counts *ml_counts_open(struct ml_shm *shm, unsigned worker, struct ml_inbound *inbound,
                                 struct ml_outbound *outbound, struct ml_script_host *host)
{
    struct ml_counts *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    c->shm = shm;
    c->inbound = inbound;
    c->outbound = outbound;
    c->metrics = ml_metrics_open(ml_shm_metrics(shm), worker);
    c->requests = ml_request_metrics_new(c->metrics);
    c->vitals = ml_vitals_new(c->metrics, (int)worker);
    c->expiry = ml_metric_register(c->metrics, &expiry_def, NULL);
    c->reclaimed = ml_metric_register(c->metrics, &reclaimed_def, NULL);
    c->recycled = ml_metric_register(c->metrics, &recycled_def, NULL);
    inbound->metrics = c->requests;
    ml_outbound_count(outbound, c->metrics);
    host->metrics = c->metrics;
    host->metrics_region = ml_shm_metrics(shm);
    return c;
}

void ml_counts_close(struct ml_counts **cp)
{
    struct ml_counts *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    if (c->alone)
        ml_timer_drop(&c->timer);
    else
        c->inbound->metrics = NULL;
    ml_request_metrics_free(&c->requests);
    ml_vitals_free(&c->vitals);
    ml_metrics_close(&c->metrics);
    free(c);
}

static void on_alone(void *ctx)
{
    struct ml_counts *c = ctx;

    ml_vitals_update(c->vitals);
    ml_timer_set(&c->timer, ALONE_S);
}

struct ml_counts *ml_counts_open_alone(struct ml_loop *loop, struct ml_shm *shm, unsigned number)
{
    struct ml_counts *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    c->alone = true;
    c->shm = shm;
    c->metrics = ml_metrics_open(ml_shm_metrics(shm), number);
    c->vitals = ml_vitals_new(c->metrics, -1);
    ml_timer_init(&c->timer, loop, on_alone, c);
    on_alone(c);
    return c;
}

static void look(struct ml_counts *c)
{
    struct ml_log *access = c->inbound->access_log;

    ml_vitals_update(c->vitals);
    ml_vitals_dropped(c->vitals, access != NULL ? ml_log_dropped(access) : 0,
                      ml_log_event_dropped());
    ml_outbound_gauge(c->outbound);
    if (c->reclaimed != NULL && c->inbound->reclaimed > 0)
        ml_metric_add(ml_metric_slot_of(c->reclaimed, NULL, NULL, NULL, NULL),
                      (double)c->inbound->reclaimed);
    c->inbound->reclaimed = 0;
}

void ml_counts_site(struct ml_counts *c, const struct ml_site *site)
{
    if (c->expiry == NULL)
        return;
    ml_metric_unset(c->expiry); /* of the site before */
    for (unsigned i = 0; i < site->listener_count; i++) {
        const struct ml_listener_conf *l = &site->listeners[i];
        char name[300];

        if (l->tls == NULL || ml_tls_expires(l->tls) <= 0)
            continue;
        snprintf(name, sizeof name, "%.*s:%d", (int)l->host.len, l->host.p, l->port);
        ml_gauge_set(ml_metric_slot_of(c->expiry, name, NULL, NULL, NULL),
                     (double)ml_tls_expires(l->tls));
    }
}

void ml_counts_recycled(struct ml_counts *c, const char *reason)
{
    if (c->recycled != NULL)
        ml_metric_add(ml_metric_slot_of(c->recycled, reason, NULL, NULL, NULL), 1);
}

void ml_counts_tick(struct ml_counts *c, const struct ml_generation *current, double period_s)
{
    double now_s = ml_clock_mono_s();

    if (c->due_s > 0)
        ml_vitals_lag(c->vitals, now_s - c->due_s);
    c->due_s = now_s + period_s;
    look(c);
    if (current != NULL)
        ml_vitals_heap(c->vitals, ml_generation_heap(current));
}

void ml_counts_page(struct ml_counts *c, enum ml_exposition format, struct ml_buf *out)
{
    look(c);
    ml_page_write(c->shm, c->inbound->service, format, out);
}
