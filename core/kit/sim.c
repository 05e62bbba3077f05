/* sim.c - the life of a simulated worker.  See sim.h for the picture. */
#include "kit/sim.h"

#include "base/log_event.h"
#include "inbound/account.h"
#include "kit/peers.h"
#include "outbound/upstream.h"
#include "process/page.h"
#include "process/status.h"
#include "transport/helper.h"

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LAST_TURNS = 200 };
static const uint64_t BEGIN_NS = UINT64_C(1000000000000);
static struct ml_sim *entered;

/* ---- what is simulated ---- */

static uint64_t mono_ns(void *ctx)
{
    return ((struct ml_sim *)ctx)->now_ns;
}

static double wall_s(void *ctx)
{
    struct ml_sim *sim = ctx;

    return sim->wall_begin_s + (double)(sim->now_ns - BEGIN_NS) / 1e9;
}

/* splitmix64: the same bytes in every run. */
static void draw(void *ctx, void *p, size_t len)
{
    struct ml_sim *sim = ctx;
    unsigned char *to = p;

    while (len > 0) {
        uint64_t z = sim->random += UINT64_C(0x9e3779b97f4a7c15);
        size_t n = len < sizeof z ? len : sizeof z;

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        memcpy(to, &z, n);
        to += n;
        len -= n;
    }
}

struct ml_sim *ml_sim_enter(struct ml_sim *sim)
{
    static struct ml_stream_source streams;
    static struct ml_resolver_source names;
    struct ml_sim *before = entered;

    entered = sim;
    streams = (struct ml_stream_source){ml_peers_connect, sim};
    names = (struct ml_resolver_source){ml_peers_find, sim};
    ml_clock_set_source(sim != NULL ? &sim->clock : NULL);
    ml_stream_set_source(sim != NULL ? &streams : NULL);
    ml_resolver_set_source(sim != NULL ? &names : NULL);
    ml_log_event_set_sink(sim != NULL ? sim->events : NULL);
    return before;
}

struct ml_sim *ml_sim_entered(void)
{
    return entered;
}

void ml_sim_leave(struct ml_sim *before)
{
    ml_sim_enter(before);
}

/* ---- exchanges ---- */

void ml_sim_record_clear(struct ml_sim_record *r)
{
    ml_buf_release(&r->trace);
    ml_buf_release(&r->id);
    ml_buf_release(&r->route);
    ml_buf_release(&r->upstream);
    ml_buf_release(&r->server);
    ml_buf_release(&r->user);
    *r = (struct ml_sim_record){0};
}

struct ml_sim_record *ml_sim_record_of(struct ml_sim *sim, const struct ml_exchange *ex)
{
    for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next)
        if (end->conn != NULL && end->record.serial == ex->serial)
            return &end->record;
    return NULL;
}

static void record_end(struct ml_sim *sim, const struct ml_exchange *ex)
{
    struct ml_sim_record *r = ml_sim_record_of(sim, ex);

    if (r == NULL)
        return;
    r->done = true;
    r->why = ex->notes.why;
    r->tries = ex->notes.tries;
    ml_buf_append(&r->id, ex->req.id);
    ml_buf_append(&r->route, ex->notes.route);
    ml_buf_append(&r->upstream, ex->notes.upstream);
    ml_buf_append(&r->server, ex->notes.server);
    ml_buf_append(&r->user, ex->notes.user_id);
}

/* A client of a listener with TLS is taken for one that has spoken it. */
static void start(void *ctx, struct ml_exchange *ex)
{
    const struct ml_listener_conf *conf = ex->server_conf;
    struct ml_sim *sim = ctx;

    if (conf != NULL && conf->tls != NULL)
        ex->req.scheme = ML_STR("https");
    for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next) {
        if (end->conn == NULL || end->fd < 0 || end->conn != ex->wire.ctx)
            continue;
        ml_sim_record_clear(&end->record);
        end->record.serial = ex->serial;
        break;
    }
    sim->inner.start(sim->inner.ctx, ex);
}

static void cancel(void *ctx, struct ml_exchange *ex)
{
    struct ml_sim *sim = ctx;

    record_end(sim, ex);
    sim->inner.cancel(sim->inner.ctx, ex);
}

static void done(void *ctx, struct ml_exchange *ex)
{
    struct ml_sim *sim = ctx;

    record_end(sim, ex);
    sim->inner.done(sim->inner.ctx, ex);
}

/* ---- time ---- */

void ml_sim_settle(struct ml_sim *sim)
{
    struct ml_sim *before = ml_sim_enter(sim);
    bool busy;

    do {
        busy = false;
        for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next)
            busy = ml_peers_write(end) || busy;
        while (ml_loop_step(sim->loop))
            busy = true;
        for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next)
            busy = ml_peers_read(end) || busy;
        busy = busy || ml_helper_wait(sim->loop); /* slow hashes take no simulated time */
    } while (busy);
    ml_sim_leave(before);
}

double ml_sim_next_s(struct ml_sim *sim)
{
    double due_s = ml_loop_next_s(sim->loop);

    return due_s - (double)sim->now_ns / 1e9;
}

void ml_sim_move(struct ml_sim *sim, double by_s)
{
    struct ml_sim *before = ml_sim_enter(sim);

    if (by_s > 0)
        sim->now_ns += (uint64_t)ceil(by_s * 1e9);
    ml_loop_fire_next(sim->loop);
    ml_sim_leave(before);
}

/* ---- life ---- */

static int open_log(struct ml_log **log)
{
    int fd = memfd_create("moonlatch-kit-log", MFD_CLOEXEC);

    if (fd < 0)
        abort();
    *log = ml_log_on_fd(fd);
    return fd;
}

static char *status_json(void *ctx)
{
    struct ml_sim *sim = ctx;
    struct ml_buf json = {0};
    char *copy;

    ml_status_json(sim->shm, &json);
    copy = strndup(ml_buf_str(&json).p, ml_buf_len(&json));
    ml_buf_release(&json);
    return copy;
}

static void metrics_text(void *ctx, enum ml_exposition format, struct ml_buf *out)
{
    struct ml_sim *sim = ctx;

    ml_page_write(sim->shm, sim->inbound.service, format, out);
}

void ml_sim_metrics(struct ml_sim *sim, struct ml_buf *out)
{
    struct ml_sim *before = ml_sim_enter(sim);

    metrics_text(sim, ML_PROMETHEUS, out);
    ml_sim_leave(before);
}

static void open_metrics(struct ml_sim *sim)
{
    sim->metrics = ml_metrics_open(ml_shm_metrics(sim->shm), 0);
    sim->inbound.metrics = ml_request_metrics_new(sim->metrics);
    ml_outbound_count(sim->outbound, sim->metrics);
    sim->host.metrics = sim->metrics;
    sim->host.metrics_region = ml_shm_metrics(sim->shm);
    sim->host.metrics_text = metrics_text;
}

static void sim_open(struct ml_sim *sim)
{
    sim->loop = ml_loop_new();
    ml_loop_simulate(sim->loop);
    sim->shm = ml_shm_new(0);
    sim->resolver = ml_resolver_new(sim->loop);
    sim->outbound = ml_outbound_new(sim->loop, sim->resolver, sim->shm, 0);
    sim->inner = ml_generation_handler(&sim->current);
    sim->handler = (struct ml_handler){start, cancel, done, sim};
    sim->inbound = (struct ml_inbound){
        .loop = sim->loop, .handler = &sim->handler, .stats = ml_shm_worker(sim->shm, 0)};
    sim->host = (struct ml_script_host){.loop = sim->loop,
                                        .outbound = sim->outbound,
                                        .shm = sim->shm,
                                        .started_s = sim->wall_begin_s,
                                        .status_json = status_json,
                                        .status_ctx = sim};
    open_metrics(sim);
    ml_listener_defaults(&sim->conf);
}

/* Hosts are known before the switch, so that the upstreams of a site answer. */
static void sim_serve(struct ml_sim *sim, struct ml_generation *g)
{
    const struct ml_site *site = ml_generation_site(g);
    enum ml_log_level level = ML_LOG_INFO;

    sim->inbound.service = site->settings.service;
    if (!ml_str_eq(site->settings.access_log, ML_STR("off")))
        sim->inbound.access_log = sim->access;
    if (ml_log_level_parse(site->settings.log_level, &level))
        ml_log_event_set_level(level);
    for (unsigned i = 0; i < site->listener_count; i++)
        sim->ports[i] = (struct ml_port){.in = &sim->inbound, .conf = &site->listeners[i]};
    sim->port_count = site->listener_count;
    if (sim->port_count == 0)
        sim->ports[sim->port_count++] = (struct ml_port){.in = &sim->inbound, .conf = &sim->conf};
    ml_generation_switch(&sim->current, g);
}

struct ml_sim *ml_sim_new(struct ml_snapshot **snapshot, double begin_s, uint64_t seed,
                          void (*extend)(lua_State *L, void *ctx), void *ctx, struct ml_buf *why)
{
    struct ml_sim *sim = calloc(1, sizeof *sim), *before;
    struct ml_generation *g;

    if (sim == NULL)
        abort();
    sim->clock = (struct ml_clock_source){mono_ns, wall_s, draw, sim};
    sim->now_ns = BEGIN_NS;
    sim->wall_begin_s = begin_s;
    sim->random = seed;
    sim->events_fd = open_log(&sim->events);
    sim->access_fd = open_log(&sim->access);
    before = ml_sim_enter(sim);
    sim_open(sim);
    sim->host.extend = extend;
    sim->host.extend_ctx = ctx;
    g = ml_generation_load(*snapshot, 1, &sim->host, why);
    ml_snapshot_free(snapshot);
    if (g != NULL)
        sim_serve(sim, g);
    ml_sim_leave(before);
    if (g == NULL)
        ml_sim_free(&sim);
    return sim;
}

/* False when a script does not end: its memory must stay then. */
static bool end_generation(struct ml_sim *sim)
{
    unsigned alive = ml_generation_alive();

    if (sim->current == NULL)
        return true;
    ml_generation_retire(&sim->current);
    for (int i = 0; i < LAST_TURNS && ml_generation_alive() == alive; i++) {
        while (ml_loop_step(sim->loop))
            ;
        if (ml_generation_alive() == alive && isfinite(ml_loop_next_s(sim->loop)))
            ml_sim_move(sim, fmax(ml_sim_next_s(sim), 0));
    }
    return ml_generation_alive() < alive;
}

static void sim_close(struct ml_sim *sim)
{
    for (unsigned i = 0; i < sim->port_count; i++)
        ml_conn_close_all(&sim->ports[i]);
    while (sim->ends != NULL) {
        struct ml_sim_end *end = sim->ends;

        ml_sim_end_close(&end);
    }
    if (!end_generation(sim))
        return;
    ml_outbound_free(&sim->outbound);
    ml_request_metrics_free(&sim->inbound.metrics);
    ml_metrics_close(&sim->metrics);
    ml_resolver_free(&sim->resolver);
    ml_loop_free(&sim->loop);
    ml_shm_free(&sim->shm);
}

void ml_sim_free(struct ml_sim **simp)
{
    struct ml_sim *sim = *simp, *before = ml_sim_enter(sim);
    bool ended;

    *simp = NULL;
    sim_close(sim);
    ended = sim->loop == NULL;
    ml_sim_leave(before);
    if (!ended)
        return;
    for (unsigned i = 0; i < sim->host_count; i++)
        free(sim->hosts[i].name);
    free(sim->hosts);
    ml_log_free(&sim->events);
    ml_log_free(&sim->access);
    close(sim->events_fd);
    close(sim->access_fd);
    free(sim);
}
