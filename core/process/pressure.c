/* pressure.c - reads two or three small files of the kernel's.
 *
 * Of a cgroup's memory the page cache that nobody uses does not count: the kernel drops it first.
 */
#include "process/pressure.h"

#include "base/arena.h"
#include "base/log_event.h"
#include "inbound/scarce.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { COLLECT_TICKS = 10 };
static const double GROUP_HIGH = 0.95, LOW = 0.9; /* of the limit: on above, off below */

/* ---- the kernel's files ---- */

static int open_file(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* The first number of it; 0: there is none ("max"). */
static uint64_t read_number(int fd)
{
    char text[64];
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtoull(text, NULL, 10);
}

static uint64_t resident(int fd)
{
    char text[128];
    ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
    unsigned long long size, pages;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    return sscanf(text, "%llu %llu", &size, &pages) == 2 ? pages * (uint64_t)sysconf(_SC_PAGESIZE)
                                                         : 0;
}

static uint64_t unused_cache(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned long long n = 0;
    char line[128];

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "inactive_file %llu", &n) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return n;
}

/* Version 2, whose line in /proc/self/cgroup begins with "0::". */
static void find_group(struct ml_pressure *p)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[256], path[300];

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3) != 0)
            continue;
        snprintf(path, sizeof path, "/sys/fs/cgroup%.200s/memory.max", line + 3);
        p->max = open_file(path);
        snprintf(path, sizeof path, "/sys/fs/cgroup%.200s/memory.current", line + 3);
        p->current = open_file(path);
        snprintf(p->stat_path, sizeof p->stat_path, "/sys/fs/cgroup%.200s/memory.stat", line + 3);
    }
    if (f != NULL)
        fclose(f);
}

void ml_pressure_open(struct ml_pressure *p)
{
    *p = (struct ml_pressure){.current = -1, .max = -1};
    p->statm = open_file("/proc/self/statm");
    find_group(p);
}

void ml_pressure_close(struct ml_pressure *p)
{
    int fds[] = {p->statm, p->current, p->max};

    for (unsigned i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *p = (struct ml_pressure){.statm = -1, .current = -1, .max = -1};
}

/* ---- the verdict ---- */

static bool own_is_high(const struct ml_pressure *p, uint64_t limit, uint64_t *used)
{
    *used = resident(p->statm);
    return (double)*used > (double)limit * (p->on ? LOW : 1);
}

static bool group_is_high(const struct ml_pressure *p, uint64_t *used)
{
    double limit = (double)read_number(p->max) * GROUP_HIGH * (p->on ? LOW : 1);

    *used = limit > 0 ? read_number(p->current) : 0;
    if (limit <= 0 || (double)*used <= limit)
        return false;
    *used -= unused_cache(p->stat_path);
    return (double)*used > limit;
}

/* A full collection may take a tenth of a second, so not at each tick. */
static void give_back(struct ml_pressure *p, struct ml_inbound *in, struct ml_generation *g)
{
    ml_scarce_reclaim(in);
    if (p->ticks++ % COLLECT_TICKS == 0)
        ml_generation_collect(g);
    ml_buf_trim();
    ml_arena_trim();
    malloc_trim(0);
}

void ml_pressure_tick(struct ml_pressure *p, struct ml_inbound *in, struct ml_generation *g)
{
    uint64_t limit = ml_generation_site(g)->settings.memory_limit, used;
    bool high = limit > 0 ? own_is_high(p, limit, &used) : group_is_high(p, &used);

    if (high) {
        give_back(p, in, g);
        high = limit > 0 ? own_is_high(p, limit, &used) : group_is_high(p, &used);
    }
    if (high != p->on)
        ml_log_event(high ? ML_LOG_ERROR : ML_LOG_INFO,
                     high ? "memory is short: new work is refused" : "memory is free again",
                     ML_KV("bytes", used), ML_KV("limit", limit),
                     ML_KV("connections", in->connections));
    if (!high)
        p->ticks = 0;
    p->on = in->pressed = high;
}
