/* page.c - families that are read from where they are kept, then those of the registry. */
#include "process/page.h"

#include "base/clock.h"
#include "base/shdict.h"
#include "base/version.h"
#include "outbound/health.h"

#include <stdlib.h>

struct page {
    struct ml_shm *shm;
    struct ml_shm_gateway gateway;
    enum ml_exposition format;
    struct ml_buf *out;
    struct ml_buf labels;
};

static void family(struct page *p, enum ml_metric_kind kind, const char *name, const char *help)
{
    ml_exposition_family(p->out, p->format, kind, name, help);
}

/* One label, or none when name is NULL. */
static void sample(struct page *p, const char *name, const char *label, struct ml_str value,
                   double number)
{
    ml_buf_consume(&p->labels, ml_buf_len(&p->labels));
    if (label != NULL)
        ml_exposition_label(&p->labels, label, value);
    ml_exposition_sample(p->out, name, ml_buf_str(&p->labels), number);
}

static void single(struct page *p, enum ml_metric_kind kind, const char *name, const char *help,
                   double number)
{
    family(p, kind, name, help);
    sample(p, name, NULL, ML_STR(""), number);
}

/* ---- the gateway ---- */

static double connections(struct page *p)
{
    double sum = 0;

    for (unsigned i = 0; i < ML_SHM_WORKERS_MAX; i++)
        sum += atomic_load_explicit(&ml_shm_worker(p->shm, i)->connections, memory_order_relaxed);
    return sum;
}

static double websockets(struct page *p)
{
    double sum = 0;

    for (unsigned i = 0; i < ML_SHM_WORKERS_MAX; i++)
        sum += atomic_load_explicit(&ml_shm_worker(p->shm, i)->websockets, memory_order_relaxed);
    return sum;
}

static double calmed(struct page *p)
{
    double sum = 0;

    for (unsigned i = 0; i < ML_SHM_WORKERS_MAX; i++)
        sum += (double)atomic_load_explicit(&ml_shm_worker(p->shm, i)->h2_calmed,
                                            memory_order_relaxed);
    return sum;
}

static double restarts(const struct ml_shm_gateway *g)
{
    double sum = 0;

    for (unsigned i = 0; i < g->worker_count && i < ML_SHM_WORKERS_MAX; i++)
        sum += g->workers[i].restarts;
    return sum;
}

static void gateway(struct page *p, struct ml_str service)
{
    const struct ml_shm_gateway *g = &p->gateway;

    family(p, ML_GAUGE, "active_connections", "Number of active connections");
    sample(p, "active_connections", "service", service, connections(p));
    single(p, ML_GAUGE, "moonlatch_websockets", "Open WebSockets", websockets(p));
    single(p, ML_COUNTER, "moonlatch_http2_calmed_total",
           "Connections of HTTP/2 that were closed for what their clients did", calmed(p));
    family(p, ML_GAUGE, "moonlatch_build_info", "The program; always 1");
    sample(p, "moonlatch_build_info", "version", ml_str_of(ml_version), 1);
    single(p, ML_GAUGE, "moonlatch_generation", "Number of the site's generation that serves",
           g->generation);
    single(p, ML_COUNTER, "moonlatch_reloads_total", "Reloads of the site that succeeded",
           (double)g->reloads);
    single(p, ML_COUNTER, "moonlatch_reload_failures_total",
           "Reloads of the site that failed, so that the former generation went on",
           (double)g->reload_failures);
    single(p, ML_GAUGE, "moonlatch_last_reload_successful", "Whether the last reload succeeded",
           g->last_s <= 0 || g->last_ok);
    single(p, ML_GAUGE, "moonlatch_workers", "Worker processes that the gateway has",
           g->worker_count);
    single(p, ML_COUNTER, "moonlatch_worker_restarts_total",
           "Workers started again after they died", restarts(g));
    if (g->started_s > 0)
        single(p, ML_GAUGE, "process_start_time_seconds",
               "Start time of the process since unix epoch in seconds.", g->started_s);
}

/* ---- upstreams ---- */

static double requests_of(struct ml_shm_server *s)
{
    return (double)atomic_load(&s->requests);
}

static double errors_of(struct ml_shm_server *s)
{
    return (double)atomic_load(&s->errors);
}

static double in_flight_of(struct ml_shm_server *s)
{
    return atomic_load(&s->in_flight);
}

static double up(struct ml_shm_server *s)
{
    return ml_health_state(s, ml_clock_mono_ms()) == ML_HEALTH_UP && !ml_health_drained(s);
}

/* Is it in a list, or still at work?  What was taken away is neither up nor down. */
static bool listed(struct ml_shm_server *s)
{
    return atomic_load(&s->unlisted_ms) == 0 || atomic_load(&s->in_flight) > 0;
}

static double checks_of(struct ml_shm_server *s)
{
    return (double)atomic_load(&s->checks);
}

static double failed_checks_of(struct ml_shm_server *s)
{
    return (double)atomic_load(&s->checks_failed);
}

/* "group url" -> two labels; a URL has no space. */
static void server(struct page *p, const char *name, struct ml_shm_server *s,
                   double (*value)(struct ml_shm_server *))
{
    struct ml_str text = {s->name, strnlen(s->name, sizeof s->name)};
    const char *space = text.len > 0 ? memrchr(text.p, ' ', text.len) : NULL;
    size_t group = space != NULL ? (size_t)(space - text.p) : text.len;
    size_t at = space != NULL ? group + 1 : text.len;

    ml_buf_consume(&p->labels, ml_buf_len(&p->labels));
    ml_exposition_label(&p->labels, "upstream", (struct ml_str){text.p, group});
    ml_buf_append(&p->labels, ML_STR(","));
    ml_exposition_label(&p->labels, "server", (struct ml_str){text.p + at, text.len - at});
    ml_exposition_sample(p->out, name, ml_buf_str(&p->labels), value(s));
}

static void servers(struct page *p, enum ml_metric_kind kind, const char *name, const char *help,
                    double (*value)(struct ml_shm_server *))
{
    struct ml_shm_server *s;

    family(p, kind, name, help);
    for (unsigned i = 0; (s = ml_shm_server_at(p->shm, i)) != NULL; i++)
        if (kind == ML_COUNTER || listed(s))
            server(p, name, s, value);
}

static void upstreams(struct page *p)
{
    servers(p, ML_COUNTER, "moonlatch_upstream_requests_total", "Requests sent to a server",
            requests_of);
    servers(p, ML_COUNTER, "moonlatch_upstream_errors_total", "Requests that a server failed",
            errors_of);
    servers(p, ML_COUNTER, "moonlatch_upstream_checks_total", "Health checks of a server",
            checks_of);
    servers(p, ML_COUNTER, "moonlatch_upstream_checks_failed_total",
            "Health checks that a server failed", failed_checks_of);
    servers(p, ML_GAUGE, "moonlatch_upstream_in_flight", "Requests that a server works on",
            in_flight_of);
    servers(p, ML_GAUGE, "moonlatch_upstream_up", "Whether a server gets requests", up);
}

/* ---- dictionaries ---- */

static void dicts(struct page *p)
{
    struct ml_shdict_fill usage;

    ml_shdict_usage(ml_shm_dicts(p->shm), &usage);
    single(p, ML_GAUGE, "moonlatch_shared_dict_capacity_bytes",
           "Memory that the shared dictionaries have together", (double)usage.bytes);
    single(p, ML_GAUGE, "moonlatch_shared_dict_used_bytes",
           "Memory that the entries of the shared dictionaries take", (double)usage.used);
    single(p, ML_COUNTER, "moonlatch_shared_dict_evictions_total",
           "Entries that had to make room for others before their time", (double)usage.evictions);
}

void ml_page_write(struct ml_shm *shm, struct ml_str service, enum ml_exposition format,
                   struct ml_buf *out)
{
    struct page *p = calloc(1, sizeof *p);

    if (p == NULL)
        abort();
    p->shm = shm;
    p->format = format;
    p->out = out;
    ml_shm_gateway_read(shm, &p->gateway);
    ml_metrics_write(ml_shm_metrics(shm), format, out);
    gateway(p, service);
    upstreams(p);
    dicts(p);
    ml_exposition_end(out, format);
    ml_buf_release(&p->labels);
    free(p);
}
