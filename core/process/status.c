/* status.c - one object; numbers are plain, times are seconds or RFC 3339. */
#include "process/status.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "base/log_event.h"
#include "base/version.h"
#include "process/upstreams.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <unistd.h>

static void text(struct ml_buf *out, const char *key, struct ml_str s)
{
    ml_buf_printf(out, "\"%s\":", key);
    ml_json_string(out, s);
}

static struct ml_str text_of(const char *z, size_t cap)
{
    return (struct ml_str){z, strnlen(z, cap)};
}

#define TEXT_OF(array) text_of(array, sizeof array)

static void wall_time(struct ml_buf *out, const char *key, double wall_s)
{
    ml_buf_printf(out, "\"%s\":", key);
    if (wall_s <= 0) {
        ml_buf_append(out, ML_STR("null"));
        return;
    }
    ml_buf_append(out, ML_STR("\""));
    ml_log_timestamp(out, wall_s);
    ml_buf_append(out, ML_STR("\""));
}

/* An array of the lines of s. */
static void lines(struct ml_buf *out, const char *key, struct ml_str s)
{
    bool first = true;

    ml_buf_printf(out, "\"%s\":[", key);
    while (s.len > 0) {
        const char *end = memchr(s.p, '\n', s.len);
        size_t len = end != NULL ? (size_t)(end - s.p) : s.len, used = end != NULL ? len + 1 : len;

        if (!first)
            ml_buf_append(out, ML_STR(","));
        first = false;
        ml_json_string(out, (struct ml_str){s.p, len});
        s = (struct ml_str){s.p + used, s.len - used};
    }
    ml_buf_append(out, ML_STR("]"));
}

static void gateway(struct ml_buf *out, const struct ml_shm_gateway *g)
{
    double uptime_s = fmax(ml_clock_wall_s() - g->started_s, 0);

    text(out, "version", ml_str_of(ml_version));
    ml_buf_printf(out, ",\"pid\":%d,\"uptime\":%.3f,\"generation\":%u,", (int)g->pid, uptime_s,
                  g->generation);
    text(out, "hash", TEXT_OF(g->hash));
    ml_buf_append(out, ML_STR(","));
    wall_time(out, "loadedAt", g->committed_s);
    ml_buf_printf(out, ",\"stopping\":%s,", g->closing ? "true" : "false");
    ml_buf_printf(out, "\"reloads\":%" PRIu64 ",\"reloadFailures\":%" PRIu64 ",", g->reloads,
                  g->reload_failures);
}

static void last_reload(struct ml_buf *out, const struct ml_shm_gateway *g)
{
    if (g->last_s <= 0) {
        ml_buf_append(out, ML_STR("\"lastReload\":null,"));
        return;
    }
    ml_buf_printf(out, "\"lastReload\":{\"ok\":%s,", g->last_ok ? "true" : "false");
    wall_time(out, "at", g->last_s);
    ml_buf_append(out, ML_STR(","));
    if (g->last_ok)
        ml_buf_append(out, ML_STR("\"error\":null"));
    else
        text(out, "error", TEXT_OF(g->last_error));
    ml_buf_append(out, ML_STR("},"));
}

static const char *state_name(uint8_t state)
{
    static const char *const names[] = {"none", "starting", "serving", "draining", "waiting"};

    return state < sizeof names / sizeof *names ? names[state] : "none";
}

/* CPU time that a process has used; < 0: it is gone. */
static double cpu_s(int pid)
{
    unsigned long user, system;
    char path[40], line[512];
    const char *end;
    double s = -1;
    size_t n;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    f = pid > 0 ? fopen(path, "re") : NULL;
    if (f == NULL)
        return -1;
    n = fread(line, 1, sizeof line - 1, f);
    line[n] = '\0';
    end = strrchr(line, ')'); /* the name may hold anything */
    if (end != NULL && sscanf(end + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                              &system) == 2)
        s = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    fclose(f);
    return s;
}

static void worker(struct ml_buf *out, struct ml_shm *shm, const struct ml_shm_gateway *g,
                   unsigned index)
{
    struct ml_shm_worker *w = ml_shm_worker(shm, index);

    ml_buf_printf(out, "{\"index\":%u,\"pid\":", index);
    if (g->workers[index].pid > 0)
        ml_buf_printf(out, "%d,\"cpuSeconds\":%.2f", (int)g->workers[index].pid,
                      fmax(cpu_s(g->workers[index].pid), 0));
    else
        ml_buf_append(out, ML_STR("null,\"cpuSeconds\":null"));
    ml_buf_printf(out,
                  ",\"generation\":%u,\"connections\":%u,\"websockets\":%u,\"requests\":%" PRIu64,
                  atomic_load(&w->generation), atomic_load(&w->connections),
                  atomic_load(&w->websockets), atomic_load(&w->requests));
    ml_buf_printf(out,
                  ",\"http2Calmed\":%" PRIu64 ",\"restarts\":%u,\"logDropped\":%" PRIu64
                  ",\"state\":\"%s\"}",
                  atomic_load(&w->h2_calmed), g->workers[index].restarts,
                  atomic_load(&w->log_dropped), state_name(g->workers[index].state));
}

static void workers(struct ml_buf *out, struct ml_shm *shm, const struct ml_shm_gateway *g)
{
    ml_buf_append(out, ML_STR("\"workers\":["));
    for (unsigned i = 0; i < g->worker_count && i < ML_SHM_WORKERS_MAX; i++) {
        if (i > 0)
            ml_buf_append(out, ML_STR(","));
        worker(out, shm, g, i);
    }
    ml_buf_append(out, ML_STR("],"));
}

/* Who makes the health checks. */
static void checker(struct ml_buf *out, struct ml_shm *shm)
{
    unsigned who = ml_shm_prober_who(shm);

    if (who > 0)
        ml_buf_printf(out, ",\"checkedBy\":%u", who - 1);
    else
        ml_buf_append(out, ML_STR(",\"checkedBy\":null"));
}

void ml_status_json(struct ml_shm *shm, struct ml_buf *out)
{
    struct ml_shm_gateway g;

    ml_shm_gateway_read(shm, &g);
    ml_buf_append(out, ML_STR("{"));
    gateway(out, &g);
    last_reload(out, &g);
    lines(out, "notes", TEXT_OF(g.notes));
    ml_buf_append(out, ML_STR(","));
    lines(out, "listeners", TEXT_OF(g.listeners));
    ml_buf_append(out, ML_STR(","));
    workers(out, shm, &g);
    ml_buf_append(out, ML_STR("\"upstreams\":"));
    ml_upstreams_json(shm, out);
    checker(out, shm);
    ml_buf_append(out, ML_STR("}"));
}
