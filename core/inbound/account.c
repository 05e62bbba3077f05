/* account.c - one place for the end of an exchange, whatever wire carried it.
 *
 * A series is looked up by method, route, status and service in a small table of this worker, so
 * counting formats nothing and locks nothing: 0.1 us (bench/metrics_bench.c). */
#include "inbound/account.h"

#include "base/clock.h"
#include "inbound/access_log.h"
#include "inbound/conn.h"
#include "inbound/tracing.h"

#include <stdio.h>
#include <stdlib.h>

enum { ENTRIES = 2048, METHODS = 10, WAYS = 4 };

struct entry {
    struct ml_slot *total, *duration;
    uint64_t hash;
    unsigned method;
    int status;
    uint32_t route_len, service_len;
    char text[]; /* route, service */
};

struct ml_request_metrics {
    struct ml_metric *total, *duration, *handshakes;
    struct entry *entries[ENTRIES];
};

struct wanted { /* a series */
    uint64_t hash;
    unsigned method;
    int status;
    struct ml_str route, service;
};

static const struct ml_metric_def total_def = {
    .kind = ML_COUNTER,
    .name = "http_requests_total",
    .help = "Total number of HTTP requests",
    .labels = {"method", "route", "status_code", "service"},
    .series_max = ML_METRIC_SERIES_MAX};
static const struct ml_metric_def duration_def = {
    .kind = ML_HISTOGRAM,
    .name = "http_request_duration_seconds",
    .help = "Duration of HTTP requests in seconds",
    .labels = {"method", "route", "status_code", "service"},
    .buckets = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 0.5, 0.7, 1, 3, 5, 7, 10},
    .bucket_count = 14,
    .series_max = ML_METRIC_SERIES_MAX};
static const struct ml_metric_def handshakes_def = {
    .kind = ML_COUNTER,
    .name = "moonlatch_tls_handshake_failures_total",
    .help = "Connections of clients that ended before their TLS handshake did",
    .labels = {"reason"}};

struct ml_request_metrics *ml_request_metrics_new(struct ml_metrics *m)
{
    struct ml_request_metrics *r = calloc(1, sizeof *r);

    if (r == NULL)
        abort();
    r->duration = ml_metric_register(m, &duration_def, NULL);
    r->total = ml_metric_register(m, &total_def, NULL);
    r->handshakes = ml_metric_register(m, &handshakes_def, NULL);
    if (r->duration == NULL || r->total == NULL || r->handshakes == NULL)
        abort(); /* nobody else may register these */
    return r;
}

void ml_request_metrics_free(struct ml_request_metrics **rp)
{
    struct ml_request_metrics *r = *rp;

    *rp = NULL;
    if (r == NULL)
        return;
    for (unsigned i = 0; i < ENTRIES; i++)
        free(r->entries[i]);
    free(r);
}

/* The methods of RFC 9110 and RFC 5789; clients can make up any number of others. */
static const char *const methods[METHODS] = {"OTHER",  "GET",     "POST",  "HEAD",  "PUT",
                                             "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};

static unsigned method_of(struct ml_str method)
{
    for (unsigned i = 1; i < METHODS; i++)
        if (methods[i][0] == (method.len > 0 ? method.p[0] : '\0') &&
            ml_str_eq(ml_str_of(methods[i]), method))
            return i;
    return 0;
}

/* Eight bytes at a time; only names of the site go in. */
static uint64_t mix(uint64_t hash, struct ml_str s)
{
    uint64_t word;

    while (s.len >= sizeof word) {
        memcpy(&word, s.p, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
        s = (struct ml_str){s.p + sizeof word, s.len - sizeof word};
    }
    word = s.len;
    for (size_t i = 0; i < s.len; i++)
        word = word << 8 | (unsigned char)s.p[i];
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 29;
}

static bool is_entry(const struct entry *e, const struct wanted *w)
{
    return e != NULL && e->hash == w->hash && e->method == w->method && e->status == w->status &&
           e->route_len == w->route.len && e->service_len == w->service.len &&
           memcmp(e->text, w->route.p, w->route.len) == 0 &&
           memcmp(e->text + w->route.len, w->service.p, w->service.len) == 0;
}

static struct entry *entry_new(struct ml_request_metrics *r, const struct wanted *w)
{
    struct entry *e = malloc(sizeof *e + w->route.len + w->service.len);
    struct ml_str values[4] = {ml_str_of(methods[w->method]), w->route, {0}, w->service};
    char digits[12];

    if (e == NULL)
        abort();
    snprintf(digits, sizeof digits, "%d", w->status);
    values[2] = ml_str_of(digits);
    *e = (struct entry){.hash = w->hash,
                        .method = w->method,
                        .status = w->status,
                        .route_len = (uint32_t)w->route.len,
                        .service_len = (uint32_t)w->service.len,
                        .total = ml_metric_slot(r->total, values),
                        .duration = ml_metric_slot(r->duration, values)};
    memcpy(e->text, w->route.p, w->route.len);
    memcpy(e->text + w->route.len, w->service.p, w->service.len);
    return e;
}

/* When all places are taken the first one is given up: the series stays in the registry. */
static struct entry *entry_of(struct ml_request_metrics *r, struct wanted *w)
{
    uint64_t hash = ((uint64_t)w->method << 32 | (unsigned)w->status) + 1;
    struct entry **free_place = NULL, **first;

    w->hash = hash = mix(mix(hash, w->route), w->service);
    first = &r->entries[hash % ENTRIES];
    for (unsigned i = 0; i < WAYS; i++) {
        struct entry **place = &r->entries[(hash + i) % ENTRIES];

        if (is_entry(*place, w))
            return *place;
        if (*place == NULL && free_place == NULL)
            free_place = place;
    }
    if (free_place == NULL) {
        free(*first);
        free_place = first;
    }
    *free_place = entry_new(r, w);
    return *free_place;
}

void ml_request_metrics_count(struct ml_request_metrics *r, const struct ml_exchange *ex,
                              struct ml_str service, int status)
{
    struct wanted w = {.method = method_of(ex->req.method),
                       .status = status,
                       .route = ex->notes.label.len > 0 ? ex->notes.label : ML_STR("unmatched"),
                       .service = service};
    double took_s = ml_clock_mono_s() - ex->notes.start_s; /* also within one turn of the loop */
    struct entry *e = entry_of(r, &w);

    ml_metric_add(e->total, 1);
    ml_histogram_observe(r->duration, e->duration, took_s > 0 ? took_s : 0);
}

void ml_account_handshake(const struct ml_port *port, const char *failed)
{
    if (port->in->metrics == NULL || (failed == NULL && (port->closing || port->in->draining)))
        return; /* it is us who end it */
    if (failed == NULL)
        failed = "timeout";
    ml_metric_add(ml_metric_slot_of(port->in->metrics->handshakes, failed, NULL, NULL, NULL), 1);
}

void ml_account(struct ml_inbound *in, struct ml_exchange *ex, int status)
{
    struct ml_str service = ex->notes.service.len > 0 ? ex->notes.service : in->service;

    ml_access_log_write(in, ex, status);
    if (in->stats != NULL)
        atomic_fetch_add_explicit(&in->stats->requests, 1, memory_order_relaxed);
    if (in->metrics != NULL)
        ml_request_metrics_count(in->metrics, ex, service, status);
    if (ex->trace != NULL && ex->trace->sampled && in->traced != NULL)
        in->traced(in->traced_ctx, ex, status);
    if (in->record != NULL)
        in->record(in->record_ctx, ex, status);
}
