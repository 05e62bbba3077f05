/* vitals.c - getrusage, /proc/self. */
#include "process/vitals.h"

#include "base/clock.h"
#include "base/lines.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const double PAUSE_S = 1, SLOW_PAUSE_S = 10;

struct ml_vitals {
    struct ml_slot *user, *system, *cpu;                              /* counters */
    struct ml_slot *resident, *virtual_size, *fds, *fds_max, *heap;   /* gauges */
    struct ml_slot *lua_heap, *lag, *access_dropped, *events_dropped; /* of workers */
    const struct ml_metric *lag_metric;
    double user_s, system_s; /* as counted already */
    uint64_t access, events;
    double due_s, slow_due_s;
};

static struct ml_metric *metric(struct ml_metrics *m, enum ml_metric_kind kind, const char *name,
                                const char *help, const char *label)
{
    struct ml_metric_def def = {.kind = kind, .name = name, .help = help, .labels = {label}};
    struct ml_metric *made = ml_metric_register(m, &def, NULL);

    if (made == NULL)
        abort(); /* nobody else may register these */
    return made;
}

static struct ml_slot *plain(struct ml_metrics *m, enum ml_metric_kind kind, const char *name,
                             const char *help)
{
    return ml_metric_slot_of(metric(m, kind, name, help, NULL), NULL, NULL, NULL, NULL);
}

static void open_process(struct ml_vitals *v, struct ml_metrics *m)
{
    v->user = plain(m, ML_COUNTER, "process_cpu_user_seconds_total",
                    "Total user CPU time spent in seconds.");
    v->system = plain(m, ML_COUNTER, "process_cpu_system_seconds_total",
                      "Total system CPU time spent in seconds.");
    v->cpu = plain(m, ML_COUNTER, "process_cpu_seconds_total",
                   "Total user and system CPU time spent in seconds.");
    v->resident =
        plain(m, ML_GAUGE, "process_resident_memory_bytes", "Resident memory size in bytes.");
    v->virtual_size =
        plain(m, ML_GAUGE, "process_virtual_memory_bytes", "Virtual memory size in bytes.");
    v->heap = plain(m, ML_GAUGE, "process_heap_bytes", "Process heap size in bytes.");
    v->fds = plain(m, ML_GAUGE, "process_open_fds", "Number of open file descriptors.");
    v->fds_max = plain(m, ML_GAUGE, "process_max_fds", "Maximum number of open file descriptors.");
}

static void open_worker(struct ml_vitals *v, struct ml_metrics *m, int worker)
{
    static const struct ml_metric_def lag = {
        .kind = ML_HISTOGRAM,
        .name = "moonlatch_loop_lag_seconds",
        .help = "How late the event loops are, asked five times a second in each worker",
        .buckets = {0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5},
        .bucket_count = 10};
    struct ml_metric *dropped = ml_metric_register(m, &ml_lines_dropped_def, NULL);
    char text[12];

    snprintf(text, sizeof text, "%d", worker);
    v->lua_heap = ml_metric_slot_of(metric(m, ML_GAUGE, "moonlatch_lua_heap_bytes",
                                           "Memory of the Lua values of a worker", "worker"),
                                    text, NULL, NULL, NULL);
    v->lag_metric = ml_metric_register(m, &lag, NULL);
    if (v->lag_metric == NULL || dropped == NULL)
        abort();
    v->lag = ml_metric_slot_of((struct ml_metric *)v->lag_metric, NULL, NULL, NULL, NULL);
    v->access_dropped = ml_metric_slot_of(dropped, "access", NULL, NULL, NULL);
    v->events_dropped = ml_metric_slot_of(dropped, "error", NULL, NULL, NULL);
}

struct ml_vitals *ml_vitals_new(struct ml_metrics *m, int worker)
{
    struct ml_vitals *v = calloc(1, sizeof *v);

    if (v == NULL)
        abort();
    open_process(v, m);
    if (worker >= 0)
        open_worker(v, m, worker);
    return v;
}

void ml_vitals_free(struct ml_vitals **v)
{
    free(*v);
    *v = NULL;
}

/* ---- the process ---- */

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

static void read_cpu(struct ml_vitals *v)
{
    struct rusage usage;
    double user_s, system_s;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return;
    user_s = seconds(usage.ru_utime);
    system_s = seconds(usage.ru_stime);
    ml_metric_add(v->user, user_s - v->user_s);
    ml_metric_add(v->system, system_s - v->system_s);
    ml_metric_add(v->cpu, user_s - v->user_s + system_s - v->system_s);
    v->user_s = user_s;
    v->system_s = system_s;
}

static void read_memory(struct ml_vitals *v)
{
    unsigned long size, resident, shared, text, library, data;
    double page = (double)sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");

    if (f == NULL)
        return;
    if (fscanf(f, "%lu %lu %lu %lu %lu %lu", &size, &resident, &shared, &text, &library, &data) ==
        6) {
        ml_gauge_set(v->virtual_size, (double)size * page);
        ml_gauge_set(v->resident, (double)resident * page);
        ml_gauge_set(v->heap, (double)data * page);
    }
    fclose(f);
}

static void count_fds(struct ml_vitals *v)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    if (dir == NULL)
        return;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    ml_gauge_set(v->fds, count > 3 ? count - 3 : 0); /* ".", ".." and the one that read it */
}

/* Newer kernels say how many there are; others must be asked for all of them, which takes
 * milliseconds when there are many. */
static void read_fds(struct ml_vitals *v, double now_s)
{
    struct rlimit limit;
    struct stat st;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        ml_gauge_set(v->fds_max, (double)limit.rlim_cur);
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) {
        ml_gauge_set(v->fds, (double)st.st_size);
    } else if (now_s >= v->slow_due_s) {
        v->slow_due_s = now_s + SLOW_PAUSE_S;
        count_fds(v);
    }
}

void ml_vitals_update(struct ml_vitals *v)
{
    double now_s = ml_clock_mono_s();

    if (now_s < v->due_s)
        return;
    v->due_s = now_s + PAUSE_S;
    read_cpu(v);
    read_memory(v);
    read_fds(v, now_s);
}

/* ---- workers ---- */

void ml_vitals_lag(struct ml_vitals *v, double late_s)
{
    ml_histogram_observe(v->lag_metric, v->lag, late_s > 0 ? late_s : 0);
}

void ml_vitals_heap(struct ml_vitals *v, size_t bytes)
{
    ml_gauge_set(v->lua_heap, (double)bytes);
}

static void count_new(struct ml_slot *slot, uint64_t *counted, uint64_t now)
{
    uint64_t more = now >= *counted ? now - *counted : now; /* another log begins with 0 */

    if (more > 0)
        ml_metric_add(slot, (double)more);
    *counted = now;
}

void ml_vitals_dropped(struct ml_vitals *v, uint64_t access, uint64_t events)
{
    count_new(v->access_dropped, &v->access, access);
    count_new(v->events_dropped, &v->events, events);
}
