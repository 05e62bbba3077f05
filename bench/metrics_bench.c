/* metrics_bench.c - what the metrics of a request cost: the mean of many, in nanoseconds.
 *
 *   cmake --build build --target metrics_bench && build/metrics_bench
 *
 * One exchange is counted with the method, route and status of one of several hundred series in
 * turn; a second line looks a series up by its label values each time, as scripts do. */
#include "base/clock.h"
#include "base/shm.h"
#include "inbound/account.h"

#include <stdio.h>

enum { ROUTES = 200, TIMES = 2000000 };

static struct ml_str routes[ROUTES];
static char texts[ROUTES][32];

static double per_call_ns(uint64_t begin_ns)
{
    return (double)(ml_clock_mono_ns() - begin_ns) / TIMES;
}

static void requests(struct ml_metrics *m, struct ml_exchange *ex)
{
    static const int statuses[] = {200, 404};
    struct ml_request_metrics *r = ml_request_metrics_new(m);
    uint64_t begin_ns = 0;

    for (int round = 0; round < 2; round++) { /* the first one makes the series */
        begin_ns = ml_clock_mono_ns();
        for (unsigned i = 0; i < TIMES; i++) {
            ex->notes.label = routes[i % ROUTES];
            ml_request_metrics_count(r, ex, ML_STR("api-gateway"), statuses[i & 1]);
        }
    }
    printf("a request: counter and histogram, %d series in turn  %6.1f ns\n", ROUTES,
           per_call_ns(begin_ns));
    ml_request_metrics_free(&r);
}

static void lookups(struct ml_metrics *m)
{
    static const struct ml_metric_def def = {
        .kind = ML_COUNTER, .name = "x_total", .help = "x", .labels = {"operation"}};
    struct ml_metric *metric = ml_metric_register(m, &def, NULL);
    uint64_t begin_ns = ml_clock_mono_ns();

    for (unsigned i = 0; i < TIMES; i++)
        ml_metric_add(ml_metric_slot(metric, &routes[i % ROUTES]), 1);
    printf("a look-up by label values, as gw.metrics does             %6.1f ns\n",
           per_call_ns(begin_ns));
}

/* As large as it may be for the metrics of requests. */
static void page(struct ml_shm *shm, struct ml_metrics *m, struct ml_exchange *ex)
{
    struct ml_request_metrics *r = ml_request_metrics_new(m);
    struct ml_buf text = {0};
    uint64_t begin_ns;
    char route[32];

    for (unsigned i = 0; i < ML_METRIC_SERIES_MAX; i++) {
        snprintf(route, sizeof route, "/api/resource/%u", i);
        ex->notes.label = ml_str_of(route);
        ml_request_metrics_count(r, ex, ML_STR("api-gateway"), 200);
    }
    begin_ns = ml_clock_mono_ns();
    ml_metrics_write(ml_shm_metrics(shm), ML_PROMETHEUS, &text);
    printf("a page of all series that requests may have, %zu MB       %6.1f ms\n",
           ml_buf_len(&text) >> 20, (double)(ml_clock_mono_ns() - begin_ns) / 1e6);
    ml_buf_release(&text);
    ml_request_metrics_free(&r);
}

int main(void)
{
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_metrics *m = ml_metrics_open(ml_shm_metrics(shm), 0);
    struct ml_exchange ex = {.loop = ml_loop_new(), .req = {.method = ML_STR("GET")}};

    for (unsigned i = 0; i < ROUTES; i++) {
        snprintf(texts[i], sizeof texts[i], "/api/resource%u/:id", i);
        routes[i] = ml_str_of(texts[i]);
    }
    requests(m, &ex);
    lookups(m);
    page(shm, m, &ex);
    ml_metrics_close(&m);
    ml_loop_free(&ex.loop);
    ml_shm_free(&shm);
    return 0;
}
