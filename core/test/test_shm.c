/* test_shm.c - slots are the same for all processes, and the dead leave no request in flight. */
#include "base/shm.h"

#include "base/shdict.h"
#include "base/clock.h"
#include "test.h"

#include <signal.h>
#include <sys/wait.h>

static struct ml_str numbered(char *buf, size_t cap, const char *format, int n)
{
    snprintf(buf, cap, format, n);
    return ml_str_of(buf);
}

TEST(a_server_has_one_slot)
{
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_shm_server *s = ml_shm_server(shm, ML_STR("patients"), ML_STR("127.0.0.1:3003"));

    CHECK(s != NULL && strcmp(s->name, "patients 127.0.0.1:3003") == 0);
    CHECK(ml_shm_server(shm, ML_STR("patients"), ML_STR("127.0.0.1:3003")) == s);
    CHECK(ml_shm_server(shm, ML_STR("doctors"), ML_STR("127.0.0.1:3003")) != s);
    CHECK(ml_shm_server(shm, ML_STR("patients1"), ML_STR("27.0.0.1:3003")) != s);
    CHECK(ml_shm_server_at(shm, 0) != NULL && ml_shm_server_at(shm, 2) != NULL);
    CHECK(ml_shm_server_at(shm, 3) == NULL);
    ml_shm_free(&shm);
    CHECK(shm == NULL);
}

TEST(each_segment_has_a_secret_of_its_own)
{
    struct ml_shm *a = ml_shm_new(0), *b = ml_shm_new(0);
    static const unsigned char zeroes[ML_SHM_SECRET_LEN];

    CHECK(memcmp(ml_shm_secret(a), ml_shm_secret(b), ML_SHM_SECRET_LEN) != 0);
    CHECK(memcmp(ml_shm_secret(a), zeroes, ML_SHM_SECRET_LEN) != 0);
    ml_shm_free(&a);
    ml_shm_free(&b);
}

TEST(a_long_name_is_cut_in_the_status_only)
{
    struct ml_shm *shm = ml_shm_new(0);
    char long_name[300], longer[300];

    memset(long_name, 'x', sizeof long_name);
    memset(longer, 'x', sizeof longer);
    longer[299] = 'y';
    CHECK(ml_shm_server(shm, ML_STR("g"), (struct ml_str){long_name, 300}) !=
          ml_shm_server(shm, ML_STR("g"), (struct ml_str){longer, 300}));
    CHECK(strlen(ml_shm_server_at(shm, 0)->name) == sizeof(((struct ml_shm_server *)0)->name) - 1);
    ml_shm_free(&shm);
}

TEST(slots_end_with_null)
{
    struct ml_shm *shm = ml_shm_new(0);
    char name[32];

    for (int i = 0; i < ML_SHM_SERVERS_MAX; i++)
        CHECK(ml_shm_server(shm, ML_STR("g"), numbered(name, sizeof name, "10.0.0.1:%d", i)));
    CHECK(ml_shm_server(shm, ML_STR("g"), ML_STR("one more")) == NULL);
    CHECK(ml_shm_server(shm, ML_STR("g"), ML_STR("10.0.0.1:17")) != NULL);
    CHECK(ml_shm_server_at(shm, ML_SHM_SERVERS_MAX - 1) != NULL);
    CHECK(ml_shm_server_at(shm, ML_SHM_SERVERS_MAX) == NULL);
    ml_shm_free(&shm);
}

TEST(processes_that_name_servers_at_once_agree)
{
    enum { CHILDREN = 4, NAMES = 1000 };
    struct ml_shm *shm = ml_shm_new(0);
    char name[32];

    for (int c = 0; c < CHILDREN; c++)
        if (fork() == 0) {
            for (int i = 0; i < NAMES; i++)
                ml_shm_server(shm, ML_STR("g"), numbered(name, sizeof name, "host-%d", i));
            _exit(0);
        }
    for (int c = 0; c < CHILDREN; c++)
        CHECK(wait(NULL) > 0);
    CHECK(ml_shm_server_at(shm, NAMES - 1) != NULL && ml_shm_server_at(shm, NAMES) == NULL);
    ml_shm_free(&shm);
}

TEST(counts_of_a_dead_worker_are_subtracted)
{
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_shm_server *a = ml_shm_server(shm, ML_STR("g"), ML_STR("a"));
    struct ml_shm_server *b = ml_shm_server(shm, ML_STR("g"), ML_STR("b"));

    for (int i = 0; i < 3; i++)
        ml_shm_server_begin(shm, a, 0);
    ml_shm_server_begin(shm, a, 1);
    ml_shm_server_begin(shm, b, 1);
    ml_shm_server_end(shm, a, 0);
    CHECK(a->in_flight == 3 && b->in_flight == 1);
    ml_shm_worker_died(shm, 1);
    CHECK(a->in_flight == 2 && b->in_flight == 0);
    ml_shm_worker_died(shm, 0);
    ml_shm_worker_died(shm, 0);
    CHECK(a->in_flight == 0);
    ml_shm_free(&shm);
}

TEST(a_dead_worker_has_no_heartbeat_but_keeps_its_totals)
{
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_shm_worker *w = ml_shm_worker(shm, 3);

    w->beat_ms = 5;
    w->script_since_ms = 4;
    w->connections = 9;
    w->requests = 100;
    strcpy(w->script, "GET /x");
    ml_shm_worker_died(shm, 3);
    CHECK(w->beat_ms == 0 && w->script_since_ms == 0 && w->connections == 0);
    CHECK(w->script[0] == '\0' && w->requests == 100);
    ml_shm_free(&shm);
}

TEST(the_dicts_can_be_used)
{
    struct ml_shm *shm = ml_shm_new(1);
    double sum, left_s;

    CHECK(ml_shdict_incr(ml_shm_dicts(shm), ML_STR("d"), ML_STR("k"), 1, 0, 0, 1, &sum, &left_s) ==
          ML_OK);
    CHECK(sum == 1);
    ml_shm_free(&shm);
}

static void count_for_ever(struct ml_shm *shm, struct ml_shm_server **s, unsigned worker)
{
    alarm(60); /* if the test itself dies */
    for (;;)
        for (int i = 0; i < 2; i++) {
            ml_shm_server_begin(shm, s[i], worker);
            ml_shm_server_begin(shm, s[i], worker);
            ml_shm_server_end(shm, s[i], worker);
            ml_shm_server_end(shm, s[i], worker);
        }
}

static pid_t start_counting(struct ml_shm *shm, struct ml_shm_server **s, unsigned worker)
{
    pid_t pid = fork();

    if (pid == 0)
        count_for_ever(shm, s, worker);
    return pid;
}

static void kill_worker(struct ml_shm *shm, pid_t pid, unsigned worker)
{
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
    ml_shm_worker_died(shm, worker);
}

/* The kill comes at any instruction, also between the two halves of a count, and the other worker
 * goes on counting while the dead one's is repaired. */
TEST(kills_at_any_instruction_leave_the_counts_right)
{
    enum { KILLS = 500 };
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_shm_server *s[2] = {ml_shm_server(shm, ML_STR("g"), ML_STR("a")),
                                  ml_shm_server(shm, ML_STR("g"), ML_STR("b"))};
    pid_t other = start_counting(shm, s, 1);

    for (int i = 0; i < KILLS; i++) {
        pid_t pid = start_counting(shm, s, 0);

        usleep((useconds_t)(200 + random() % 1000));
        kill_worker(shm, pid, 0);
        CHECK(s[0]->in_flight <= 4 && s[1]->in_flight <= 4);
    }
    kill_worker(shm, other, 1);
    CHECK(s[0]->in_flight == 0 && s[1]->in_flight == 0);
    ml_shm_free(&shm);
}

TEST(one_worker_has_the_lease_of_the_checks)
{
    struct ml_shm *shm = ml_shm_new(0);

    CHECK(ml_shm_prober_who(shm) == 0);
    CHECK(ml_shm_prober(shm, 3, 1000, 500) && ml_shm_prober_who(shm) == 4);
    CHECK(!ml_shm_prober(shm, 0, 1499, 500));
    CHECK(ml_shm_prober(shm, 3, 1400, 500)); /* says so again */
    CHECK(!ml_shm_prober(shm, 0, 1899, 500) && ml_shm_prober(shm, 0, 1900, 500));
    CHECK(!ml_shm_prober(shm, 3, 1901, 500)); /* it was too late */
    ml_shm_prober_leave(shm, 3);
    CHECK(ml_shm_prober_who(shm) == 1);
    ml_shm_worker_died(shm, 0);
    CHECK(ml_shm_prober_who(shm) == 0 && ml_shm_prober(shm, 255, 1902, 500));
    ml_shm_free(&shm);
}

static uint64_t clock_ns = 5;

static uint64_t mono_ns(void *ctx)
{
    (void)ctx;
    return clock_ns;
}

static double wall_s(void *ctx)
{
    (void)ctx;
    return 1;
}

static void no_random(void *ctx, void *p, size_t len)
{
    (void)ctx;
    memset(p, 0, len);
}

TEST(a_slot_is_given_to_another_server_long_after_its_own_left)
{
    static const struct ml_clock_source source = {mono_ns, wall_s, no_random, NULL};
    struct ml_shm *shm = ml_shm_new(0);
    struct ml_shm_server *s;
    char name[32];

    for (int i = 0; i < ML_SHM_SERVERS_MAX; i++)
        CHECK(ml_shm_server(shm, ML_STR("g"), numbered(name, sizeof name, "10.0.0.1:%d", i)));
    ml_clock_set_source(&source);
    s = ml_shm_server(shm, ML_STR("g"), ML_STR("10.0.0.1:17"));
    s->errors = 7;
    s->drained = 1;
    s->in_flight = 1;
    s->unlisted_ms = 1000;
    clock_ns = UINT64_C(3600) * 1000000000; /* not yet */
    CHECK(ml_shm_server(shm, ML_STR("g"), ML_STR("one more")) == NULL);
    clock_ns = UINT64_C(3601) * 1000000000; /* but somebody is at work there */
    CHECK(ml_shm_server(shm, ML_STR("g"), ML_STR("one more")) == NULL);
    s->in_flight = 0;
    CHECK(ml_shm_server(shm, ML_STR("g"), ML_STR("one more")) == s);
    CHECK(s->errors == 0 && s->drained == 0 && strcmp(s->name, "g one more") == 0);
    CHECK(ml_shm_server(shm, ML_STR("g"), ML_STR("one more")) == s);
    CHECK(ml_shm_server_find(shm, ML_STR("g"), ML_STR("10.0.0.1:17")) == NULL);
    ml_clock_set_source(NULL);
    ml_shm_free(&shm);
}
