#include "test.h"

#include "base/clock.h"
#include "base/limiter.h"
#include "base/shm.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define S UINT64_C(1000000000)
#define MIB ((size_t)1 << 20)

static struct ml_limiter_region *region;
static size_t region_len;
static uint64_t now; /* what tests pass; begins at the region's own time */

static void open_region(size_t len)
{
    region_len = len;
    region = ml_limiter_init(
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), len);
    now = ml_clock_mono_ns();
}

static void close_region(void)
{
    munmap(region, region_len);
}

static struct ml_limiter limiter(enum ml_limiter_kind kind, uint64_t limit, uint64_t burst,
                                 double window_s)
{
    struct ml_limiter l = {.kind = kind, .identity = 7};
    const char *wrong = ml_limiter_setup(&l, limit, burst, window_s);

    CHECK(wrong == NULL);
    return l;
}

static struct ml_limiter_result take(const struct ml_limiter *l, const char *key, uint64_t cost)
{
    struct ml_limiter_result r;

    CHECK(ml_limiter_take(region, l, ml_str_of(key), cost, now, &r) == ML_OK);
    return r;
}

static unsigned admitted(const struct ml_limiter *l, const char *key, unsigned tries)
{
    unsigned n = 0;

    for (unsigned i = 0; i < tries; i++)
        n += take(l, key, 1).allowed;
    return n;
}

static bool near(uint64_t a, uint64_t b)
{
    return a <= b + 2000000 && b <= a + 2000000;
}

TEST(gcra_gives_the_burst_at_once_and_then_an_even_flow)
{
    struct ml_limiter l = {0};
    struct ml_limiter_result r;

    open_region(MIB);
    l = limiter(ML_LIMITER_GCRA, 60, 10, 60);
    r = take(&l, "a", 1);
    CHECK(r.allowed && r.remaining == 9 && near(r.reset_ns, S) && r.delay_ns == 0);
    r = take(&l, "a", 1);
    CHECK(r.allowed && near(r.delay_ns, S));
    CHECK(admitted(&l, "a", 20) == 8);
    r = take(&l, "a", 1);
    CHECK(!r.allowed && r.remaining == 0 && near(r.retry_ns, S) && near(r.reset_ns, 10 * S));
    now += S - 1;
    CHECK(!take(&l, "a", 1).allowed);
    now += 1;
    CHECK(admitted(&l, "a", 5) == 1);
    now += 1000 * S;
    CHECK(admitted(&l, "a", 50) == 10);
    CHECK(admitted(&l, "b", 50) == 10);
    close_region();
}

TEST(gcra_over_a_long_time_keeps_the_rate)
{
    struct ml_limiter l = {0};
    unsigned n = 0;

    open_region(MIB);
    l = limiter(ML_LIMITER_GCRA, 7, 3, 1); /* 1/7 s is no whole number of nanoseconds */
    for (int i = 0; i < 100000; i++, now += S / 100)
        n += take(&l, "a", 1).allowed;
    CHECK(n <= 7 * 1000 + 3);
    CHECK(n >= 7 * 1000 - 7);
    close_region();
}

TEST(a_fixed_window_begins_with_the_first_request_of_its_key)
{
    struct ml_limiter l = {0};
    struct ml_limiter_result r;

    open_region(MIB);
    l = limiter(ML_LIMITER_FIXED, 5, 0, 2);
    r = take(&l, "a", 1);
    CHECK(r.allowed && r.remaining == 4 && near(r.reset_ns, 2 * S));
    now += S;
    CHECK(admitted(&l, "a", 10) == 4);
    r = take(&l, "a", 1);
    CHECK(!r.allowed && near(r.retry_ns, S) && near(r.reset_ns, S));
    CHECK(admitted(&l, "b", 1) == 1);
    now += S + 2000000;
    CHECK(admitted(&l, "a", 10) == 5);
    CHECK(admitted(&l, "b", 10) == 4);
    close_region();
}

TEST(a_sliding_window_lets_the_last_one_fade)
{
    struct ml_limiter l = {0};
    struct ml_limiter_result r;

    open_region(MIB);
    l = limiter(ML_LIMITER_SLIDING, 10, 0, 10);
    CHECK(admitted(&l, "a", 20) == 10);
    r = take(&l, "a", 1);
    CHECK(!r.allowed && r.retry_ns > 10 * S && near(r.retry_ns, 11 * S));
    now += 10 * S;
    CHECK(!take(&l, "a", 1).allowed);
    now += 5 * S;
    r = take(&l, "a", 0);
    CHECK(r.remaining == 4 || r.remaining == 5);
    CHECK(admitted(&l, "a", 20) >= 4);
    now += 20 * S;
    CHECK(admitted(&l, "a", 20) == 10);
    close_region();
}

/* Whoever comes again after retry_ns gets in, and not much earlier. */
static void check_retry(const struct ml_limiter *l, uint64_t cost)
{
    struct ml_limiter_result r = take(l, "r", cost);

    for (int i = 0; i < 100 && r.allowed; i++)
        r = take(l, "r", cost);
    CHECK(!r.allowed && r.retry_ns > 0);
    now += r.retry_ns - S / 500;
    CHECK(!take(l, "r", cost).allowed);
    now += S / 250;
    CHECK(take(l, "r", cost).allowed);
}

TEST(retry_says_when)
{
    struct ml_limiter list[3];

    open_region(MIB);
    list[0] = limiter(ML_LIMITER_GCRA, 10, 20, 3);
    list[1] = limiter(ML_LIMITER_FIXED, 10, 0, 3);
    list[2] = limiter(ML_LIMITER_SLIDING, 10, 0, 3);
    for (int k = 0; k < 3; k++)
        for (uint64_t cost = 1; cost < 10; cost += 3)
            check_retry(&list[k], cost);
    close_region();
}

TEST(costs_count_and_looking_does_not)
{
    struct ml_limiter l = {0};

    open_region(MIB);
    for (int kind = ML_LIMITER_GCRA; kind <= ML_LIMITER_CONCURRENCY; kind++) {
        l = limiter((enum ml_limiter_kind)kind, 10, 0, 60);
        CHECK(take(&l, "a", 0).remaining == 10);
        CHECK(take(&l, "a", 7).remaining == 3);
        CHECK(!take(&l, "a", 4).allowed);
        CHECK(take(&l, "a", 0).remaining == 3);
        CHECK(take(&l, "a", 3).allowed);
        CHECK(!take(&l, "a", 1).allowed);
        CHECK(!take(&l, "b", 11).allowed);
        CHECK(!take(&l, "b", UINT64_MAX).allowed);
        CHECK(take(&l, "b", 10).allowed);
    }
    close_region();
}

TEST(limiters_do_not_share_counters_unless_they_are_the_same)
{
    struct ml_limiter a, b;

    open_region(MIB);
    a = limiter(ML_LIMITER_FIXED, 5, 0, 60);
    b = a;
    b.identity = ml_limiter_identity(region, ML_STR("b"));
    CHECK(b.identity == ml_limiter_identity(region, ML_STR("b")));
    CHECK(admitted(&a, "k", 10) == 5);
    CHECK(admitted(&b, "k", 10) == 5);
    b = limiter(ML_LIMITER_FIXED, 8, 0, 60); /* the limit was raised by a reload */
    CHECK(admitted(&b, "k", 10) == 3);
    b = limiter(ML_LIMITER_FIXED, 2, 0, 60); /* or lowered */
    CHECK(!take(&b, "k", 1).allowed && take(&b, "k", 1).remaining == 0);
    close_region();
}

TEST(concurrency_counts_what_is_held)
{
    struct ml_limiter l = {0};
    uint64_t leases[3];

    open_region(MIB);
    l = limiter(ML_LIMITER_CONCURRENCY, 3, 0, 0);
    for (int i = 0; i < 3; i++)
        leases[i] = take(&l, "a", 1).lease;
    CHECK(!take(&l, "a", 1).allowed);
    ml_limiter_release(region, &l, ML_STR("a"), 1, leases[0], now);
    CHECK(admitted(&l, "a", 5) == 1);
    for (int s = 0; s < 60; s++) { /* two of them last for a minute */
        now += S;
        leases[1] = ml_limiter_renew(region, &l, ML_STR("a"), 1, leases[1], now);
        leases[2] = ml_limiter_renew(region, &l, ML_STR("a"), 1, leases[2], now);
    }
    CHECK(take(&l, "a", 0).remaining == 1); /* the third was not renewed */
    ml_limiter_release(region, &l, ML_STR("a"), 1, leases[1], now);
    ml_limiter_release(region, &l, ML_STR("a"), 1, leases[2], now);
    CHECK(take(&l, "a", 0).remaining == 3);
    ml_limiter_release(region, &l, ML_STR("a"), 1, leases[2], now); /* too much: no wrap */
    CHECK(take(&l, "a", 0).remaining == 3);
    CHECK(admitted(&l, "a", 9) == 3);
    now += 11 * S; /* their worker was killed */
    CHECK(admitted(&l, "a", 9) == 3);
    close_region();
}

TEST(numbers_that_do_not_fit_are_refused)
{
    struct ml_limiter l = {.kind = ML_LIMITER_GCRA};

    CHECK(ml_limiter_setup(&l, 0, 0, 1) != NULL);
    CHECK(ml_limiter_setup(&l, 1, 0, 0) != NULL);
    CHECK(ml_limiter_setup(&l, 1, 0, 1e9) != NULL);
    CHECK(ml_limiter_setup(&l, 1, 0, 0.0 / 0.0) != NULL);
    CHECK(ml_limiter_setup(&l, UINT64_MAX, 0, 1) != NULL);
    CHECK(ml_limiter_setup(&l, 1, 1 << 24, 1) != NULL);
    CHECK(ml_limiter_setup(&l, 1, 10000, 366 * 86400) != NULL);
    CHECK(ml_limiter_setup(&l, 1000, 1000, 366 * 86400) == NULL);
    l.kind = ML_LIMITER_FIXED;
    CHECK(ml_limiter_setup(&l, 1 << 24, 0, 1) != NULL);
    CHECK(ml_limiter_setup(&l, (1 << 24) - 1, 0, 1) == NULL);
    l.kind = ML_LIMITER_SLIDING;
    CHECK(ml_limiter_setup(&l, 1 << 18, 0, 1) != NULL);
    CHECK(ml_limiter_setup(&l, 10, 0, 1.5) != NULL);
    CHECK(ml_limiter_setup(&l, (1 << 18) - 1, 0, 2) == NULL);
    l.kind = ML_LIMITER_CONCURRENCY;
    CHECK(ml_limiter_setup(&l, 1 << 18, 0, 0) != NULL);
    CHECK(ml_limiter_setup(&l, 5, 0, 0) == NULL);
}

TEST(a_full_table_forgets_who_used_least)
{
    struct ml_limiter l = {0};
    char key[32];
    unsigned kept = 0;

    open_region(ML_LIMITER_BYTES_MIN);
    l = limiter(ML_LIMITER_FIXED, 10, 0, 3600);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "heavy %d", i);
        CHECK(take(&l, key, 10).allowed);
    }
    for (int i = 0; i < 100000; i++) { /* many more than there are slots */
        snprintf(key, sizeof key, "light %d", i);
        CHECK(take(&l, key, 1).allowed);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "heavy %d", i);
        kept += !take(&l, key, 1).allowed;
    }
    CHECK(kept == 100);
    close_region();
}

TEST(expired_slots_are_used_again)
{
    struct ml_limiter l = {0};
    char key[32];

    open_region(ML_LIMITER_BYTES_MIN);
    l = limiter(ML_LIMITER_GCRA, 1, 1, 1);
    for (int i = 0; i < 50000; i++, now += S / 100) { /* 100 of them matter at a time */
        snprintf(key, sizeof key, "k%d", i);
        CHECK(take(&l, key, 1).allowed);
        CHECK(!take(&l, key, 1).allowed);
    }
    close_region();
}

TEST(the_clock_of_another_worker_may_be_behind)
{
    struct ml_limiter l = {0};

    open_region(MIB);
    for (int kind = ML_LIMITER_GCRA; kind <= ML_LIMITER_SLIDING; kind++) {
        l = limiter((enum ml_limiter_kind)kind, 10, 0, 1);
        now += 100 * S;
        CHECK(admitted(&l, "a", 20) == 10);
        now -= 3 * S;
        CHECK(admitted(&l, "a", 20) == 0);
        now += 3 * S;
        CHECK(admitted(&l, "a", 20) == 0);
    }
    close_region();
}

/* ---- several processes ---- */

enum { PROCESSES = 4, KEYS = 50 };

struct board {
    _Atomic uint64_t admitted[KEYS], progress;
    _Atomic int go;
};

static struct board *board;

static void open_board(void)
{
    open_region(MIB);
    board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void close_board(void)
{
    munmap(board, sizeof *board);
    close_region();
}

/* Counts before it asks, so that a kill in between can not hide an admission. */
static void hammer(const struct ml_limiter *l, unsigned tries, bool real_time)
{
    struct ml_limiter_result r;
    char key[16];

    while (!atomic_load(&board->go))
        ;
    for (unsigned i = 0; i < tries; i++) {
        unsigned k = i % KEYS;

        atomic_fetch_add(&board->progress, 1);
        snprintf(key, sizeof key, "key %u", k);
        if (ml_limiter_take(region, l, ml_str_of(key), 1, real_time ? ml_clock_mono_ns() : now,
                            &r) == ML_OK &&
            r.allowed)
            atomic_fetch_add(&board->admitted[k], 1);
    }
}

static void start(pid_t pids[PROCESSES], const struct ml_limiter *l, unsigned tries, bool real_time)
{
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            hammer(l, tries, real_time);
            _exit(0);
        }
    }
    atomic_store(&board->go, 1);
}

/* Until the others have come so far. */
static void wait_for_progress(uint64_t steps)
{
    uint64_t goal = atomic_load(&board->progress) + steps;

    while (atomic_load(&board->progress) < goal)
        sched_yield();
}

static void wait_all(const pid_t pids[PROCESSES])
{
    for (int p = 0; p < PROCESSES; p++)
        while (waitpid(pids[p], NULL, 0) < 0)
            ;
}

TEST(processes_together_admit_exactly_the_limit)
{
    pid_t pids[PROCESSES];
    struct ml_limiter l;

    for (int kind = ML_LIMITER_GCRA; kind <= ML_LIMITER_CONCURRENCY; kind++) {
        open_board();
        l = limiter((enum ml_limiter_kind)kind, 1000, 0, 3600);
        start(pids, &l, 20000, false);
        wait_all(pids);
        /* KEYS * 1000 admissions need 50,000 of 80,000 tries */
        for (int k = 0; k < KEYS; k++)
            CHECK(atomic_load(&board->admitted[k]) == 1000);
        close_board();
    }
}

TEST(real_time_admits_no_more_than_rate_and_burst)
{
    uint64_t begin = ml_clock_mono_ns(), took_ns;
    pid_t pids[PROCESSES];
    struct ml_limiter l;

    open_board();
    l = limiter(ML_LIMITER_GCRA, 1000, 20, 1);
    start(pids, &l, 200000, true);
    wait_all(pids);
    took_ns = ml_clock_mono_ns() - begin;
    for (int k = 0; k < KEYS; k++) {
        uint64_t n = atomic_load(&board->admitted[k]);

        CHECK(n >= 20 && n <= 20 + took_ns / 1000000 + 1);
    }
    close_board();
}

/* Kills what counts, again and again: nothing may hang, and whoever is left gets what remains, less
 * than one for each kill. */
TEST(a_kill_at_any_instruction_leaves_nothing_behind)
{
    enum { ROUNDS = 150 };
    pid_t pids[PROCESSES];
    struct ml_limiter l;
    uint64_t sum = 0;
    unsigned rest = 0;
    char key[16];

    open_board();
    l = limiter(ML_LIMITER_FIXED, 100000, 0, 3600);
    for (int round = 0; round < ROUNDS; round++) {
        atomic_store(&board->go, 0);
        start(pids, &l, UINT32_MAX, false);
        wait_for_progress((uint64_t)round * 37 % 2000 + 1);
        for (int p = 0; p < PROCESSES; p++)
            kill(pids[p], SIGKILL);
        wait_all(pids);
    }
    for (int k = 0; k < KEYS; k++) {
        snprintf(key, sizeof key, "key %u", (unsigned)k);
        rest = (unsigned)take(&l, key, 0).remaining;
        sum = atomic_load(&board->admitted[k]);
        CHECK(sum + rest <= 100000);
        CHECK(sum + rest + ROUNDS * PROCESSES >= 100000);
    }
    close_board();
}

/* New keys are put in under a lock, whose owner may die. */
TEST(a_kill_while_new_keys_come_leaves_no_lock)
{
    struct ml_limiter l;
    char key[32];

    open_board();
    l = limiter(ML_LIMITER_GCRA, 1, 1, 3600);
    for (int round = 0; round < 200; round++) {
        pid_t pid = fork();

        if (pid == 0)
            for (unsigned i = 0;; i++) {
                snprintf(key, sizeof key, "%d/%u", round, i);
                take(&l, key, 1);
                atomic_fetch_add(&board->progress, 1);
            }
        wait_for_progress((uint64_t)round * 13 % 500 + 1);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0)
            ;
        for (unsigned i = 0; i < 2000; i++) {
            snprintf(key, sizeof key, "after %d/%u", round, i);
            CHECK(take(&l, key, 1).allowed);
        }
    }
    close_board();
}

TEST(a_key_has_one_slot_although_all_come_with_it_at_once)
{
    pid_t pids[PROCESSES];
    struct ml_limiter l;

    for (int round = 0; round < 100; round++) {
        open_board();
        l = limiter(ML_LIMITER_FIXED, 1, 0, 3600);
        start(pids, &l, KEYS, false);
        wait_all(pids);
        for (int k = 0; k < KEYS; k++)
            CHECK(atomic_load(&board->admitted[k]) == 1);
        close_board();
    }
}

TEST(the_shared_memory_has_one)
{
    struct ml_shm *shm = ml_shm_new_with(0, 1);
    struct ml_limiter l = limiter(ML_LIMITER_FIXED, 1, 0, 1);
    struct ml_limiter_result r;

    CHECK(ml_limiter_take(ml_shm_limiter(shm), &l, ML_STR("k"), 1, ml_clock_mono_ns(), &r) ==
          ML_OK);
    CHECK(r.allowed);
    CHECK(ml_limiter_take(ml_shm_limiter(shm), &l, ML_STR("k"), 1, ml_clock_mono_ns(), &r) ==
          ML_OK);
    CHECK(!r.allowed);
    ml_shm_free(&shm);
}
