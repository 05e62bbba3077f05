/* test_account.c - series of requests: by method, route, status and service, never by what a client
 * made up. */
#include "inbound/account.h"

#include "base/shm.h"
#include "inbound/access_log.h"
#include "test.h"

struct lab {
    struct ml_shm *shm;
    struct ml_metrics *metrics;
    struct ml_inbound inbound;
    struct ml_exchange ex;
    struct ml_buf page;
};

static void lab_open(struct lab *l)
{
    memset(l, 0, sizeof *l);
    l->shm = ml_shm_new(0);
    l->metrics = ml_metrics_open(ml_shm_metrics(l->shm), 0);
    l->ex.loop = ml_loop_new();
    l->ex.req.method = ML_STR("GET");
    l->inbound.service = ML_STR("shop");
    l->inbound.stats = ml_shm_worker(l->shm, 0);
    l->inbound.metrics = ml_request_metrics_new(l->metrics);
}

static void lab_close(struct lab *l)
{
    ml_request_metrics_free(&l->inbound.metrics);
    ml_metrics_close(&l->metrics);
    ml_loop_free(&l->ex.loop);
    ml_shm_free(&l->shm);
    ml_buf_release(&l->page);
}

static bool says(struct lab *l, const char *line)
{
    ml_buf_release(&l->page);
    ml_metrics_write(ml_shm_metrics(l->shm), ML_PROMETHEUS, &l->page);
    if (memmem(ml_buf_str(&l->page).p, ml_buf_len(&l->page), line, strlen(line)) != NULL)
        return true;
    printf("# there is no %s\n", line);
    return false;
}

TEST(methods_that_nobody_knows_are_one)
{
    struct lab l;

    lab_open(&l);
    l.ex.notes.label = ML_STR("/a/:id");
    for (int i = 0; i < 3; i++) {
        static const char *const made_up[] = {"BREW", "GETT", ""};

        l.ex.req.method = ml_str_of(made_up[i]);
        ml_account(&l.inbound, &l.ex, 200);
    }
    l.ex.req.method = ML_STR("PATCH");
    ml_account(&l.inbound, &l.ex, 200);
    CHECK(says(&l, "http_requests_total{method=\"OTHER\",route=\"/a/:id\",status_code=\"200\","
                   "service=\"shop\"} 3\n"));
    CHECK(says(&l, "http_requests_total{method=\"PATCH\",route=\"/a/:id\",status_code=\"200\","
                   "service=\"shop\"} 1\n"));
    CHECK(atomic_load(&l.inbound.stats->requests) == 4);
    lab_close(&l);
}

TEST(a_request_without_a_route_is_unmatched)
{
    struct lab l;

    lab_open(&l);
    l.ex.req.path = ML_STR("/secret");
    ml_account(&l.inbound, &l.ex, ML_STATUS_CLIENT_GONE);
    CHECK(says(&l, "route=\"unmatched\",status_code=\"499\",service=\"shop\"} 1\n"));
    CHECK(memmem(ml_buf_str(&l.page).p, ml_buf_len(&l.page), "secret", 6) == NULL);
    lab_close(&l);
}

TEST(an_exchange_may_say_whose_it_is)
{
    struct lab l;

    lab_open(&l);
    l.ex.notes.service = ML_STR("admin");
    ml_account(&l.inbound, &l.ex, 200);
    CHECK(says(&l, "http_request_duration_seconds_count{method=\"GET\",route=\"unmatched\","
                   "status_code=\"200\",service=\"admin\"} 1\n"));
    lab_close(&l);
}

/* The table of this worker forgets series when it is full; the registry does not. */
TEST(more_series_than_the_table_has_places_are_all_counted)
{
    enum { ROUTES = 3000 };
    struct lab l;
    char route[32];

    lab_open(&l);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < ROUTES; i++) {
            snprintf(route, sizeof route, "/r/%d", i);
            l.ex.notes.label = ml_str_of(route);
            ml_account(&l.inbound, &l.ex, 200);
        }
    for (int i = 0; i < ROUTES; i += 997) {
        char line[160];

        snprintf(line, sizeof line,
                 "http_requests_total{method=\"GET\",route=\"/r/%d\",status_code=\"200\",service="
                 "\"shop\"} 2\n",
                 i);
        CHECK(says(&l, line));
    }
    CHECK(says(&l, "moonlatch_metrics_no_room_total 0\n"));
    lab_close(&l);
}
