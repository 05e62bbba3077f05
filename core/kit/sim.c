/* sim.c - the life of a simulated worker.  See sim.h for the picture.
 *
 * Addresses are made up: host number i is 198.18.(i / 256).(i % 256), from the range that RFC 2544
 * keeps for tests, so the address that the core connects to says which host was meant. */
#include "kit/sim.h"

#include "base/log_event.h"
#include "outbound/upstream.h"
#include "process/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LAST_TURNS = 200, READ_MAX = 65536, HOSTS_MAX = 65536 };
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

static void find_name(void *ctx, struct ml_str host, int port, struct ml_addr *out)
{
    unsigned index = ml_sim_host(ctx, host, port);

    *out = (struct ml_addr){.len = sizeof out->in};
    out->in.sin_family = AF_INET;
    out->in.sin_port = htons((uint16_t)port);
    out->in.sin_addr.s_addr = htonl(0xc6120000u + index);
}

static struct ml_sim_end *end_new(struct ml_sim *sim, int fd)
{
    struct ml_sim_end *end = calloc(1, sizeof *end);

    if (end == NULL)
        abort();
    end->sim = sim;
    end->fd = fd;
    end->next = sim->ends;
    sim->ends = end;
    return end;
}

static void make_pair(int fds[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
}

static int connect_to(void *ctx, const struct ml_addr *addr)
{
    struct ml_sim *sim = ctx;
    unsigned index = ntohl(addr->in.sin_addr.s_addr) - 0xc6120000u;
    int fds[2];

    if (index >= sim->host_count || sim->hosts[index].mode == ML_SIM_REFUSE)
        return -1;
    make_pair(fds);
    end_new(sim, fds[1])->host = index;
    return fds[0];
}

struct ml_sim *ml_sim_enter(struct ml_sim *sim)
{
    static struct ml_stream_source streams;
    static struct ml_resolver_source names;
    struct ml_sim *before = entered;

    entered = sim;
    streams = (struct ml_stream_source){connect_to, sim};
    names = (struct ml_resolver_source){find_name, sim};
    ml_clock_set_source(sim != NULL ? &sim->clock : NULL);
    ml_stream_set_source(sim != NULL ? &streams : NULL);
    ml_resolver_set_source(sim != NULL ? &names : NULL);
    ml_log_event_set_sink(sim != NULL ? sim->events : NULL);
    return before;
}

void ml_sim_leave(struct ml_sim *before)
{
    ml_sim_enter(before);
}

unsigned ml_sim_host(struct ml_sim *sim, struct ml_str name, int port)
{
    struct ml_sim_host *hosts;

    for (unsigned i = 0; i < sim->host_count; i++)
        if (sim->hosts[i].port == port && ml_str_eq(ml_str_of(sim->hosts[i].name), name))
            return i;
    if (sim->host_count == HOSTS_MAX)
        abort();
    hosts = realloc(sim->hosts, (sim->host_count + 1) * sizeof *hosts);
    if (hosts == NULL)
        abort();
    sim->hosts = hosts;
    hosts[sim->host_count] = (struct ml_sim_host){strndup(name.p, name.len), port, ML_SIM_REFUSE};
    return sim->host_count++;
}

/* ---- exchanges ---- */

static void record_clear(struct ml_sim_record *r)
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

static void start(void *ctx, struct ml_exchange *ex)
{
    struct ml_sim *sim = ctx;

    for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next) {
        if (end->conn == NULL || end->fd < 0 || end->conn != ex->wire.ctx)
            continue;
        record_clear(&end->record);
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

/* ---- the test's ends ---- */

/* What comes from a host that resets its connections stays unread: closing says RST then. */
static bool end_read(struct ml_sim_end *end)
{
    bool peek = end->conn == NULL && end->sim->hosts[end->host].mode == ML_SIM_RESET;
    ssize_t n;

    if (end->fd < 0 || end->eof || (peek && ml_buf_len(&end->in) > 0))
        return false;
    n = recv(end->fd, ml_buf_reserve(&end->in, READ_MAX), READ_MAX, peek ? MSG_PEEK : 0);
    if (n > 0) {
        ml_buf_commit(&end->in, (size_t)n);
        return true;
    }
    if (ml_buf_len(&end->in) == 0)
        ml_buf_release(&end->in);
    if (n < 0 && errno == EAGAIN)
        return false;
    end->eof = true;
    end->broken = n < 0;
    return true;
}

static bool end_write(struct ml_sim_end *end)
{
    ssize_t n;

    if (end->fd < 0 || ml_buf_len(&end->out) == 0)
        return false;
    n = send(end->fd, end->out.p + end->out.start, ml_buf_len(&end->out), MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) { /* nobody reads it any more */
        ml_buf_release(&end->out);
        return true;
    }
    if (n > 0)
        ml_buf_consume(&end->out, (size_t)n);
    return n > 0;
}

void ml_sim_end_close(struct ml_sim_end **endp)
{
    struct ml_sim_end *end = *endp, **at = &end->sim->ends;

    *endp = NULL;
    while (*at != end)
        at = &(*at)->next;
    *at = end->next;
    if (end->fd >= 0)
        close(end->fd);
    record_clear(&end->record);
    ml_buf_release(&end->in);
    ml_buf_release(&end->out);
    free(end);
}

struct ml_sim_end *ml_sim_client(struct ml_sim *sim, const struct ml_address *from, int port)
{
    struct ml_sim *before;
    struct ml_stream *stream;
    struct ml_sim_end *end;
    unsigned i = 0;
    int fds[2];

    while (port != 0 && i < sim->port_count && sim->ports[i].conf->port != port)
        i++;
    if (i == sim->port_count)
        return NULL;
    before = ml_sim_enter(sim);
    make_pair(fds);
    stream = ml_stream_new(sim->loop, fds[0]);
    end = end_new(sim, fds[1]);
    end->conn = ml_conn_new(&sim->ports[i], &stream, from);
    ml_sim_leave(before);
    return end;
}

/* ---- time ---- */

void ml_sim_settle(struct ml_sim *sim)
{
    struct ml_sim *before = ml_sim_enter(sim);
    bool busy;

    do {
        busy = false;
        for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next)
            busy = end_write(end) || busy;
        while (ml_loop_step(sim->loop))
            busy = true;
        for (struct ml_sim_end *end = sim->ends; end != NULL; end = end->next)
            busy = end_read(end) || busy;
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
