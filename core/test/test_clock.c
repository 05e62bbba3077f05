/* test_clock.c - time goes on, can be replaced, and forked processes draw different bytes. */
#include "base/clock.h"
#include "test.h"

#include <stdbool.h>
#include <sys/wait.h>
#include <time.h>

static uint64_t fake_mono_ns(void *ctx)
{
    return *(uint64_t *)ctx;
}

static double fake_wall_s(void *ctx)
{
    return (double)*(uint64_t *)ctx / 1e9 + 1000;
}

static void fake_random(void *ctx, void *p, size_t len)
{
    (void)ctx;
    memset(p, 0xab, len);
}

TEST(monotonic_time_does_not_go_back)
{
    double last = ml_clock_mono_s();

    for (int i = 0; i < 1000; i++) {
        double now = ml_clock_mono_s();

        CHECK(now >= last);
        last = now;
    }
    CHECK(ml_clock_mono_ms() >= (uint64_t)(last * 1000));
}

TEST(wall_time_is_the_time_of_the_system)
{
    double before = (double)time(NULL) - 1, now = ml_clock_wall_s();

    CHECK(now >= before && now < before + 60);
}

TEST(a_simulated_source_replaces_time_and_randomness)
{
    uint64_t now_ns = 5500000000u;
    struct ml_clock_source fake = {fake_mono_ns, fake_wall_s, fake_random, &now_ns};
    char hex[9];

    ml_clock_set_source(&fake);
    CHECK(ml_clock_mono_s() == 5.5);
    CHECK(ml_clock_mono_ms() == 5500);
    CHECK(ml_clock_wall_s() == 1005.5);
    ml_random_hex(hex, 4);
    CHECK(strcmp(hex, "abababab") == 0);
    ml_clock_set_source(NULL);
    CHECK(ml_clock_wall_s() > 1e9);
}

TEST(random_bytes_of_all_lengths_stay_within_bounds_and_differ)
{
    static unsigned char a[10002], b[10002];

    for (size_t len = 1; len <= 10000; len += len < 40 ? 1 : 997) {
        memset(a, 0, sizeof a);
        memset(b, 0, sizeof b);
        ml_random_bytes(a + 1, len);
        ml_random_bytes(b + 1, len);
        CHECK(a[0] == 0 && a[len + 1] == 0);
        CHECK(len < 8 || memcmp(a, b, sizeof a) != 0);
    }
}

TEST(hex_has_two_digits_per_byte_and_an_end)
{
    char hex[512];

    memset(hex, '!', sizeof hex);
    ml_random_hex(hex, 100);
    CHECK(strlen(hex) == 200 && strspn(hex, "0123456789abcdef") == 200);
    CHECK(hex[201] == '!');
    ml_random_hex(hex, 0);
    CHECK(hex[0] == '\0');
}

/* What a forked child draws first; the parent's stock is full at the time of the fork. */
static bool child_draws(char hex[33])
{
    int ends[2], status;
    bool whole;
    pid_t pid;

    if (pipe(ends) != 0 || (pid = fork()) < 0)
        return false;
    if (pid == 0) {
        ml_random_hex(hex, 16);
        _exit(write(ends[1], hex, 33) != 33);
    }
    close(ends[1]);
    whole = read(ends[0], hex, 33) == 33;
    close(ends[0]);
    return waitpid(pid, &status, 0) == pid && status == 0 && whole;
}

TEST(a_forked_child_does_not_repeat_its_parent_or_sibling)
{
    char parent[33], one[33], two[33];

    ml_random_bytes(parent, 1);
    CHECK(child_draws(one));
    CHECK(child_draws(two));
    ml_random_hex(parent, 16);
    CHECK(strcmp(one, two) != 0 && strcmp(one, parent) != 0 && strcmp(two, parent) != 0);
}
