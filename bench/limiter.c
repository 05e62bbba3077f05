/* limiter.c - nanoseconds that one decision of core/base/limiter.c costs.
 *
 *   cmake --build build --target bench-limiter
 *
 * The time includes reading the clock and hashing the key ("192.0.2.17"-like).  "new keys" takes a
 * lock and a free slot for each decision. */
#include "base/limiter.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUND = 1 << 20, BYTES = 32 << 20, KEY_CAP = 16 };

static struct ml_limiter_region *region;
static char (*keys)[KEY_CAP];

static void make_keys(void)
{
    keys = malloc((size_t)ROUND * KEY_CAP);
    if (keys == NULL)
        abort();
    for (unsigned i = 0; i < ROUND; i++)
        snprintf(keys[i], KEY_CAP, "10.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
}

static void fresh_region(void)
{
    void *p = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        abort();
    region = ml_limiter_init(p, BYTES);
}

static double decisions_ns(const struct ml_limiter *l, unsigned distinct)
{
    uint64_t begin = ml_clock_mono_ns();
    struct ml_limiter_result r;

    for (unsigned i = 0; i < ROUND; i++)
        ml_limiter_take(region, l, ml_str_of(keys[i % distinct]), 1, ml_clock_mono_ns(), &r);
    return (double)(ml_clock_mono_ns() - begin) / ROUND;
}

static struct ml_limiter limiter(enum ml_limiter_kind kind)
{
    struct ml_limiter l = {.kind = kind, .identity = 1};

    if (ml_limiter_setup(&l, 200000, 0, 60) != NULL)
        abort();
    return l;
}

static void one_process(const char *name, enum ml_limiter_kind kind)
{
    struct ml_limiter l = limiter(kind);
    double cold, hot;

    fresh_region();
    cold = decisions_ns(&l, ROUND);
    fresh_region();
    decisions_ns(&l, 10000);
    hot = decisions_ns(&l, 10000);
    printf("%-12s %6.1f ns  10,000 keys %6.1f ns  new keys\n", name, hot, cold);
}

static void two_processes(unsigned distinct)
{
    struct ml_limiter l = limiter(ML_LIMITER_GCRA);
    pid_t pid;
    double ns;

    fresh_region();
    fflush(stdout);
    pid = fork();
    ns = decisions_ns(&l, distinct);
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    printf("gcra         %6.1f ns  %u keys, two processes at once\n", ns, distinct);
}

int main(void)
{
    make_keys();
    one_process("gcra", ML_LIMITER_GCRA);
    one_process("fixed", ML_LIMITER_FIXED);
    one_process("sliding", ML_LIMITER_SLIDING);
    two_processes(10000);
    two_processes(1);
    free(keys);
    return 0;
}
