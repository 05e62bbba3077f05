/* test_metrics.c - what several workers counted, as one page; caps, kills, restarts. */
#include "base/metrics.h"

#include "test.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>

static const struct ml_metric_def requests = {.kind = ML_COUNTER,
                                              .name = "requests_total",
                                              .help = "Requests",
                                              .labels = {"method", "route"},
                                              .series_max = 4};
static const struct ml_metric_def seconds = {.kind = ML_HISTOGRAM,
                                             .name = "seconds",
                                             .help = "Time",
                                             .labels = {"route"},
                                             .buckets = {0.1, 1, 2.5},
                                             .bucket_count = 3};
static const struct ml_metric_def clients = {
    .kind = ML_GAUGE, .name = "clients", .help = "Clients"};

static struct ml_metrics_region *region_new(unsigned workers, size_t *len)
{
    void *p;

    *len = ml_metrics_bytes(workers);
    p = mmap(NULL, *len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return ml_metrics_init(p, workers);
}

static struct ml_buf page;

static const char *written(struct ml_metrics_region *region, enum ml_exposition format)
{
    ml_buf_release(&page);
    ml_metrics_write(region, format, &page);
    ml_exposition_end(&page, format);
    ml_buf_append(&page, (struct ml_str){"", 1});
    return ml_buf_str(&page).p;
}

static bool says(struct ml_metrics_region *region, const char *line)
{
    const char *all = written(region, ML_PROMETHEUS), *at = strstr(all, line);

    if (at != NULL && (at == all || at[-1] == '\n'))
        return true;
    printf("# no line %s in\n%s", line, all);
    return false;
}

TEST(workers_are_summed)
{
    size_t len;
    struct ml_metrics_region *region = region_new(2, &len);
    struct ml_metrics *a = ml_metrics_open(region, 0), *b = ml_metrics_open(region, 1);
    struct ml_slot *slot;

    ml_metric_add(ml_metric_slot_of(ml_metric_register(a, &requests, NULL), "GET", "/a", 0, 0), 2);
    slot = ml_metric_slot_of(ml_metric_register(b, &requests, NULL), "GET", "/a", 0, 0);
    ml_metric_add(slot, 1);
    CHECK(slot == ml_metric_slot_of(ml_metric_register(b, &requests, NULL), "GET", "/a", 0, 0));
    ml_gauge_set(ml_metric_slot_of(ml_metric_register(a, &clients, NULL), 0, 0, 0, 0), 5);
    ml_gauge_add(ml_metric_slot_of(ml_metric_register(b, &clients, NULL), 0, 0, 0, 0), 2);
    CHECK(says(region, "requests_total{method=\"GET\",route=\"/a\"} 3\n"));
    CHECK(says(region, "# TYPE requests_total counter\n"));
    CHECK(says(region, "clients 7\n"));
    ml_metrics_close(&a);
    ml_metrics_close(&b);
    munmap(region, len);
}

TEST(a_histogram_has_cumulative_buckets)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    struct ml_metrics *m = ml_metrics_open(region, 0);
    struct ml_metric *h = ml_metric_register(m, &seconds, NULL);
    struct ml_slot *slot = ml_metric_slot_of(h, "/a", 0, 0, 0);

    ml_histogram_observe(h, slot, 0.1);
    ml_histogram_observe(h, slot, 0.5);
    ml_histogram_observe(h, slot, 9);
    CHECK(says(region, "seconds_bucket{route=\"/a\",le=\"0.1\"} 1\n"
                       "seconds_bucket{route=\"/a\",le=\"1\"} 2\n"
                       "seconds_bucket{route=\"/a\",le=\"2.5\"} 2\n"
                       "seconds_bucket{route=\"/a\",le=\"+Inf\"} 3\n"
                       "seconds_sum{route=\"/a\"} 9.6\n"
                       "seconds_count{route=\"/a\"} 3\n"));
    CHECK(strstr(written(region, ML_OPENMETRICS), "le=\"1.0\"") != NULL);
    ml_metrics_close(&m);
    munmap(region, len);
}

TEST(a_worker_that_starts_again_continues)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    struct ml_metrics *m = ml_metrics_open(region, 0);

    ml_metric_add(ml_metric_slot_of(ml_metric_register(m, &requests, NULL), "GET", "/a", 0, 0), 2);
    ml_gauge_set(ml_metric_slot_of(ml_metric_register(m, &clients, NULL), 0, 0, 0, 0), 5);
    ml_metrics_close(&m);
    ml_metrics_unset_gauges(region, 0);
    CHECK(says(region, "requests_total{method=\"GET\",route=\"/a\"} 2\n"));
    CHECK(strstr(written(region, ML_PROMETHEUS), "\nclients ") == NULL);
    m = ml_metrics_open(region, 0);
    ml_metric_add(ml_metric_slot_of(ml_metric_register(m, &requests, NULL), "GET", "/a", 0, 0), 1);
    CHECK(says(region, "requests_total{method=\"GET\",route=\"/a\"} 3\n"));
    ml_metrics_close(&m);
    munmap(region, len);
}

TEST(label_sets_beyond_the_cap_are_other)
{
    size_t len;
    struct ml_metrics_region *region = region_new(2, &len);
    struct ml_metrics *m[2] = {ml_metrics_open(region, 0), ml_metrics_open(region, 1)};
    char route[16];
    unsigned lines = 0;

    for (int i = 0; i < 20; i++) {
        snprintf(route, sizeof route, "/%d", i);
        ml_metric_add(
            ml_metric_slot_of(ml_metric_register(m[i % 2], &requests, NULL), "GET", route, 0, 0),
            1);
    }
    CHECK(says(region, "requests_total{method=\"other\",route=\"other\"} 16\n"));
    CHECK(says(region, "moonlatch_metrics_other_total{metric=\"requests_total\"} 16\n"));
    for (const char *at = written(region, ML_PROMETHEUS); (at = strstr(at, "\nrequests_total{"));
         at++)
        lines++;
    CHECK(lines == 5);
    /* one that exists has its series in a worker that never saw it, too */
    ml_metric_add(ml_metric_slot_of(ml_metric_register(m[1], &requests, NULL), "GET", "/0", 0, 0),
                  1);
    CHECK(says(region, "requests_total{method=\"GET\",route=\"/0\"} 2\n"));
    ml_metrics_close(&m[0]);
    ml_metrics_close(&m[1]);
    munmap(region, len);
}

TEST(values_of_strangers_are_text)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    struct ml_metrics *m = ml_metrics_open(region, 0);
    struct ml_metric *metric = ml_metric_register(m, &requests, NULL);
    char longer[400];

    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ml_metric_add(ml_metric_slot_of(metric, "a\"b\\c\nd\r", "\xff\xc3\xa9\xed\xa0\x80", 0, 0), 1);
    ml_metric_add(ml_metric_slot_of(metric, longer, "\xc3", 0, 0), 1);
    CHECK(says(region, "requests_total{method=\"a\\\"b\\\\c\\nd?\",route=\"\xef\xbf\xbd\xc3\xa9"
                       "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"} 1\n"));
    longer[ML_METRIC_VALUE_MAX] = '\0';
    CHECK(strstr(written(region, ML_PROMETHEUS), longer) != NULL);
    ml_metrics_close(&m);
    munmap(region, len);
}

TEST(one_name_is_one_metric)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    struct ml_metrics *m = ml_metrics_open(region, 0);
    struct ml_metric_def changed = requests;
    struct ml_buf why = {0};

    CHECK(ml_metric_register(m, &requests, NULL) != NULL);
    changed.labels[1] = "path";
    CHECK(!ml_metric_agrees(region, &changed, NULL));
    CHECK(ml_metric_register(m, &changed, &why) == NULL);
    CHECK(memmem(ml_buf_str(&why).p, ml_buf_len(&why), "labels", 6) != NULL);
    ml_buf_release(&why);
    changed = seconds;
    CHECK(ml_metric_agrees(region, &changed, NULL));
    CHECK(ml_metric_register(m, &seconds, NULL) != NULL);
    changed.buckets[0] = 0.2;
    CHECK(!ml_metric_agrees(region, &changed, NULL));
    ml_metrics_close(&m);
    munmap(region, len);
}

TEST(an_area_that_is_full_loses_series_and_says_so)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    struct ml_metrics *m = ml_metrics_open(region, 0);
    struct ml_metric_def def = seconds;
    char name[32], route[160];

    def.bucket_count = 0;
    def.series_max = 5000;
    def.name = name;
    memset(route, 'r', sizeof route);
    for (int i = 0; i < 6; i++) {
        struct ml_metric *h;

        snprintf(name, sizeof name, "seconds_%d", i);
        h = ml_metric_register(m, &def, NULL);
        for (int j = 0; j < 5000 && h != NULL; j++) {
            snprintf(route, 11, "%09u", (unsigned)j % 1000000000u);
            route[9] = 'r';
            ml_histogram_observe(h, ml_metric_slot(h, &(struct ml_str){route, sizeof route}), 1);
        }
    }
    CHECK(strstr(written(region, ML_PROMETHEUS), "\nmoonlatch_metrics_no_room_total 0\n") == NULL);
    CHECK(strstr(written(region, ML_PROMETHEUS), "route=\"other\"") != NULL);
    ml_metrics_close(&m);
    munmap(region, len);
}

/* Makes series and counts until it is killed. */
static void count_for_ever(struct ml_metrics_region *region)
{
    struct ml_metrics *m = ml_metrics_open(region, 0);
    struct ml_metric_def def = seconds;
    struct ml_metric *h;

    def.series_max = 5000;
    h = ml_metric_register(m, &def, NULL);
    for (int i = 0;; i++) {
        char route[16];

        snprintf(route, sizeof route, "/%d", i % 4000);
        ml_histogram_observe(h, ml_metric_slot_of(h, route, 0, 0, 0), 0.5);
    }
}

TEST(a_worker_may_be_killed_at_any_instruction)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    double before = 0;

    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        double sum = 0;

        if (pid == 0)
            count_for_ever(region);
        usleep((useconds_t)(200 + i * 97));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        for (const char *at = written(region, ML_PROMETHEUS);
             (at = strstr(at, "\nseconds_count{")) != NULL; at++)
            sum += strtod(strchr(at, '}') + 1, NULL);
        CHECK(sum >= before);
        before = sum;
    }
    CHECK(before > 0);
    munmap(region, len);
}

TEST(a_gauge_is_what_was_set_last_or_an_extreme)
{
    size_t len;
    struct ml_metrics_region *region = region_new(2, &len);
    struct ml_metrics *m[2] = {ml_metrics_open(region, 0), ml_metrics_open(region, 1)};
    const enum ml_metric_merge how[] = {ML_MERGE_MAX, ML_MERGE_MIN, ML_MERGE_LAST};
    const char *const names[] = {"most", "least", "newest"};

    for (int i = 0; i < 3; i++) {
        struct ml_metric_def def = {
            .kind = ML_GAUGE, .merge = how[i], .name = names[i], .help = "x"};

        ml_gauge_set(ml_metric_slot_of(ml_metric_register(m[1], &def, NULL), 0, 0, 0, 0), 9);
        ml_gauge_set(ml_metric_slot_of(ml_metric_register(m[0], &def, NULL), 0, 0, 0, 0), -1.5);
    }
    CHECK(says(region, "most 9\n") && says(region, "least -1.5\n") &&
          says(region, "newest -1.5\n"));
    ml_metrics_close(&m[0]);
    ml_metrics_close(&m[1]);
    munmap(region, len);
}

TEST(a_scraper_gets_what_it_asks_for)
{
    CHECK(ml_exposition_of(ML_STR("")) == ML_PROMETHEUS);
    CHECK(ml_exposition_of(ML_STR("*/*")) == ML_PROMETHEUS);
    CHECK(ml_exposition_of(ML_STR("text/html")) == ML_PROMETHEUS);
    CHECK(ml_exposition_of(ML_STR("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")) ==
          ML_OPENMETRICS);
    CHECK(ml_exposition_of(ML_STR("application/openmetrics-text; q=0.2, text/plain; q=0.5")) ==
          ML_PROMETHEUS);
    CHECK(ml_exposition_of(ML_STR("application/openmetrics-text;q=0")) == ML_PROMETHEUS);
}

TEST(openmetrics_names_families_without_total)
{
    size_t len;
    struct ml_metrics_region *region = region_new(1, &len);
    struct ml_metrics *m = ml_metrics_open(region, 0);
    const char *all;

    ml_metric_add(ml_metric_slot_of(ml_metric_register(m, &requests, NULL), "GET", "/", 0, 0), 1);
    all = written(region, ML_OPENMETRICS);
    CHECK(strstr(all, "# TYPE requests counter\n") != NULL);
    CHECK(strstr(all, "requests_total{method=\"GET\",route=\"/\"} 1\n") != NULL);
    CHECK(strcmp(all + strlen(all) - 6, "# EOF\n") == 0);
    ml_metrics_close(&m);
    munmap(region, len);
}
