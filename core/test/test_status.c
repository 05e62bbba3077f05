/* test_status.c - the status as JSON, and that no reader ever sees half of it. */
#include "process/status.h"

#include "test.h"

#include <signal.h>
#include <sys/wait.h>

static bool has(const struct ml_buf *json, const char *text)
{
    return memmem(json->p + json->start, ml_buf_len(json), text, strlen(text)) != NULL;
}

static struct ml_shm_gateway gateway(void)
{
    struct ml_shm_gateway g = {.pid = 77,
                               .generation = 3,
                               .worker_count = 2,
                               .started_s = 1,
                               .committed_s = 2,
                               .reloads = 2,
                               .reload_failures = 1};

    strcpy(g.hash, "0123456789abcdef");
    strcpy(g.listeners, "127.0.0.1:3100\n[::1]:3100\n");
    g.workers[0].pid = 78;
    g.workers[0].state = ML_SHM_SERVING;
    g.workers[1].restarts = 4;
    g.workers[1].state = ML_SHM_WAITING;
    return g;
}

TEST(an_empty_gateway_has_a_status)
{
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_buf json = {0};

    ml_status_json(shm, &json);
    CHECK(has(&json, "\"lastReload\":null"));
    CHECK(has(&json,
              "\"notes\":[],\"listeners\":[],\"workers\":[],\"upstreams\":[],\"checkedBy\":null}"));
    ml_buf_release(&json);
    ml_shm_free(&shm);
}

TEST(the_status_tells_everything)
{
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_shm_gateway g = gateway();
    struct ml_shm_server *up = ml_shm_server(shm, ML_STR("patients"), ML_STR("http://a:1"));
    struct ml_buf json = {0};

    ml_shm_worker(shm, 0)->connections = 5;
    ml_shm_worker(shm, 0)->websockets = 2;
    ml_shm_worker(shm, 0)->h2_calmed = 7;
    ml_shm_worker(shm, 0)->generation = 3;
    up->requests = 9;
    up->down_until_ms = UINT64_MAX;
    up->last_error = 3;
    strcpy(g.notes, "workers = 4 needs a restart\n");
    g.last_s = 3;
    strcpy(g.last_error, "gateway.lua:6: \"x\"\nmore");
    ml_shm_gateway_publish(shm, &g);
    ml_status_json(shm, &json);
    CHECK(has(&json, "\"pid\":77,") &&
          has(&json, "\"generation\":3,\"hash\":\"0123456789abcdef\""));
    CHECK(has(&json, "\"reloads\":2,\"reloadFailures\":1"));
    CHECK(has(&json, "\"lastReload\":{\"ok\":false,\"at\":\"1970-01-01T00:00:03.000Z\","
                     "\"error\":\"gateway.lua:6: \\\"x\\\"\\nmore\"}"));
    CHECK(has(&json, "\"notes\":[\"workers = 4 needs a restart\"]"));
    CHECK(has(&json, "\"listeners\":[\"127.0.0.1:3100\",\"[::1]:3100\"]"));
    CHECK(has(&json, "{\"index\":0,\"pid\":78,\"cpuSeconds\":") &&
          has(&json, ",\"generation\":3,\"connections\":5,"
                     "\"websockets\":2,\"requests\":0,"
                     "\"http2Calmed\":7,\"restarts\":0,\"logDropped\":0,\"state\":\"serving\"}"));
    CHECK(has(&json, "{\"index\":1,\"pid\":null,") && has(&json, "\"restarts\":4"));
    CHECK(has(&json, "{\"group\":\"patients\",\"server\":\"http://a:1\",\"state\":\"down\","));
    CHECK(has(&json, "\"requests\":9,\"errors\":0,\"check\":null,\"lastError\":\"reset\""));
    ml_buf_release(&json);
    ml_shm_free(&shm);
}

static void publish_for_ever(struct ml_shm *shm)
{
    static struct ml_shm_gateway g;

    alarm(60);
    for (uint32_t n = 1;; n++) {
        g.generation = n;
        memset(g.last_error, (int)('a' + n % 26), sizeof g.last_error - 1);
        ml_shm_gateway_publish(shm, &g);
        for (volatile int pause = 0; pause < 20000; pause++)
            continue;
    }
}

static bool whole(const struct ml_shm_gateway *g)
{
    if (g->generation == 0)
        return true; /* nothing yet */
    for (size_t i = 0; i < sizeof g->last_error - 1; i++)
        if (g->last_error[i] != (char)('a' + g->generation % 26))
            return false;
    return true;
}

TEST(readers_see_whole_records_also_of_a_writer_that_was_killed)
{
    struct ml_shm *shm = ml_shm_new(0);
    static struct ml_shm_gateway g;

    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();

        if (pid == 0)
            publish_for_ever(shm);
        for (int i = 0; i < 200; i++) {
            ml_shm_gateway_read(shm, &g);
            CHECK(whole(&g));
        }
        CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
        ml_shm_gateway_read(shm, &g);
        CHECK(whole(&g));
    }
    ml_shm_free(&shm);
}
