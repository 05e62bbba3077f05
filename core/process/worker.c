/* worker.c - the life of a serving process.
 *
 *   START --its generation is live--> SERVE --told to, or the supervisor is gone--> DRAIN
 *     \--cannot--> exit code 1          ^ LOAD, SWITCH: the next generation            \--> end
 *
 * What the supervisor says comes in order, so a SWITCH always finds what the LOAD before it left;
 * if it does not, the two disagree and this process ends: its successor begins with what is
 * committed. */
#include "process/worker_parts.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "inbound/scarce.h"
#include "process/child.h"
#include "process/counts.h"
#include "process/crash.h"
#include "process/logs.h"
#include "process/message.h"
#include "process/ports.h"
#include "process/pressure.h"
#include "process/rest.h"
#include "process/spans.h"
#include "process/status.h"
#include "process/trace.h"
#include "script/generation.h"
#include "script/record.h"
#include "script/recycle.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const double TICK_S = 0.2, ALONE_S = 1, LOOK_S = 1;

/* The supervisor reads at once, so a full channel means that it is gone or stuck. */
static void tell(struct worker *w, enum ml_message_type type, uint32_t number, uint32_t attempt,
                 struct ml_str text)
{
    struct ml_message m = {.type = type, .number = number, .attempt = attempt, .text = text};

    if (!ml_message_send(w->boot->channel, &m) && w->state != DRAIN) {
        ml_log_event(ML_LOG_ERROR, "cannot talk to the supervisor",
                     ML_KV("error", strerror(errno)));
        ml_worker_drain(w);
    }
}

/* ---- generations ---- */

/* NULL with a sentence in why.  fd stays the caller's. */
static struct ml_generation *load_generation(struct worker *w, int fd, uint32_t number,
                                             struct ml_buf *why)
{
    struct ml_snapshot *snapshot = ml_snapshot_open(fd, why);
    struct ml_generation *g = NULL;

    if (snapshot != NULL)
        g = ml_generation_load(snapshot, number, &w->host, why);
    ml_snapshot_free(&snapshot);
    return g;
}

void ml_worker_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void ml_worker_discard(struct worker *w)
{
    if (w->loaded.generation != NULL)
        ml_generation_retire(&w->loaded.generation);
    ml_logs_free(&w->loaded.logs);
    ml_worker_close_fd(&w->loaded.snapshot);
    ml_ports_discard(w->ports);
}

static bool load(struct worker *w, int fd, uint32_t number, struct ml_buf *why)
{
    const struct ml_settings *settings;

    w->loaded.generation = load_generation(w, fd, number, why);
    if (w->loaded.generation == NULL)
        return false;
    settings = &ml_generation_site(w->loaded.generation)->settings;
    w->loaded.logs = ml_logs_open(settings, NULL, why);
    return w->loaded.logs != NULL;
}

static void set_service(struct worker *w, struct ml_str service)
{
    free(w->service);
    w->service = strndup(service.p, service.len);
    if (w->service == NULL)
        abort();
    w->inbound.service = ml_str_of(w->service);
}

static void use_logs(struct worker *w, const struct ml_settings *settings)
{
    ml_logs_use(&w->logs, &w->loaded.logs);
    ml_logs_redact(settings);
    ml_ships_use(w->ships, settings->ships, settings->ship_count);
    ml_log_event_set_tap(ml_ships_logs(w->ships));
    w->inbound.access_log = ml_logs_access(w->logs);
    w->inbound.access = &settings->access;
    w->inbound.access_pretty = ml_logs_access_pretty(w->logs, settings);
    w->inbound.tap = ml_ships_logs(w->ships);
    w->tracing = settings->tracing;
    w->spans.tap = ml_ships_spans(w->ships);
}

/* What was loaded is live from here on. */
static void switch_over(struct worker *w)
{
    struct ml_generation *next = w->loaded.generation;
    const struct ml_site *site = ml_generation_site(next);

    w->loaded.generation = NULL;
    if (w->loaded.snapshot >= 0) { /* else it is the one that w has */
        ml_worker_close_fd(&w->snapshot);
        w->snapshot = w->loaded.snapshot;
        w->loaded.snapshot = -1;
    }
    use_logs(w, &site->settings);
    set_service(w, site->settings.service);
    ml_generation_switch(&w->current, next);
    ml_ports_apply(w->ports, site);
    ml_counts_site(w->counts, site);
    atomic_store(&w->stats->generation, ml_generation_number(next));
}

/* ---- messages ---- */

static void on_load(struct worker *w, struct ml_message *m)
{
    unsigned sockets = m->fd_count > 0 ? m->fd_count - 1 : 0;
    struct ml_buf why = {0};
    bool ok = m->fd_count > 0;

    ml_worker_discard(w);
    w->loaded.attempt = m->attempt;
    if (ok && !ml_ports_add(w->ports, m->text, m->fds + 1, sockets))
        ok = false;
    if (!ok)
        ml_buf_append(&why, ML_STR("the order to load makes no sense"));
    else
        ok = load(w, m->fds[0], m->number, &why);
    if (m->fd_count > 0)
        w->loaded.snapshot = m->fds[0];
    if (!ok)
        ml_worker_discard(w);
    tell(w, ok ? ML_MESSAGE_LOADED : ML_MESSAGE_FAILED, m->number, m->attempt, ml_buf_str(&why));
    ml_buf_release(&why);
}

static void on_switch(struct worker *w, const struct ml_message *m)
{
    if (w->state == DRAIN)
        return;
    if (w->loaded.generation == NULL || w->loaded.attempt != m->attempt) {
        ml_log_event(ML_LOG_ERROR, "told to switch to what is not loaded",
                     ML_KV("generation", m->number));
        ml_worker_stop(w, 1);
        return;
    }
    switch_over(w);
    tell(w, ML_MESSAGE_SWITCHED, m->number, m->attempt, ML_STR(""));
}

static void on_message(struct worker *w, struct ml_message *m)
{
    switch (m->type) {
    case ML_MESSAGE_LOAD:
        on_load(w, m);
        return;
    case ML_MESSAGE_SWITCH:
        on_switch(w, m);
        return;
    case ML_MESSAGE_DISCARD:
        ml_worker_discard(w);
        return;
    case ML_MESSAGE_CLOSING:
        w->inbound.draining = true;
        ml_timer_stop(&w->alone);
        return;
    case ML_MESSAGE_DRAIN:
        w->patience_s = m->number;
        ml_worker_drain(w);
        return;
    case ML_MESSAGE_REOPEN:
        ml_logs_reopen(w->logs);
        return;
    default:
        ml_message_close_fds(m, 0);
        return;
    }
}

/* One message per event: an old generation that a message retired is gone before the next. */
static void on_channel(struct ev_loop *ev, ev_io *io, int events)
{
    struct worker *w = io->data;
    struct ml_message m;
    enum ml_err err = ml_message_receive(w->boot->channel, &w->scratch, &m);

    (void)events;
    if (err == ML_OK) {
        on_message(w, &m);
    } else if (err != ML_AGAIN) { /* the supervisor is gone */
        ev_io_stop(ev, io);
        ml_worker_drain(w);
    }
}

/* Service managers send SIGTERM to all processes at once, but when to stop accepting is the
 * supervisor's decision.  Only when it does not speak was this process meant alone. */
static void on_terminate(struct worker *w)
{
    if (!w->inbound.draining)
        ml_timer_set(&w->alone, ALONE_S);
}

static void on_alone(void *ctx)
{
    ml_worker_drain(ctx);
}

static void on_signal(struct ev_loop *ev, ev_io *io, int events)
{
    struct worker *w = io->data;
    struct signalfd_siginfo info;

    (void)ev;
    (void)events;
    if (read(w->signals, &info, sizeof info) != (ssize_t)sizeof info)
        return;
    if (info.ssi_signo == SIGUSR1)
        ml_logs_reopen(w->logs);
    else
        on_terminate(w);
}

/* ---- time ---- */

/* A fresh VM of the same generation, as a reload would make it; exchanges end with the old one. */
static void recycle(struct worker *w)
{
    double now_s = ml_clock_mono_s(), heap = (double)ml_generation_heap(w->current);
    struct ml_buf error = {0};
    const char *why;

    if (w->state != SERVE || w->loaded.generation != NULL)
        return;
    why = ml_recycle_due(&w->recycle, w->current, w->boot->index, now_s);
    if (why == NULL)
        return;
    ml_recycle_done(&w->recycle, now_s);
    if (load(w, w->snapshot, ml_generation_number(w->current), &error)) {
        switch_over(w);
        ml_counts_recycled(w->counts, why);
        ml_log_event(ML_LOG_WARN, "script VM replaced", ML_KV("reason", why), ML_KV("heap", heap),
                     ML_KV("generation", ml_generation_number(w->current)),
                     ML_KV("ms", (ml_clock_mono_s() - now_s) * 1000));
    } else {
        ml_worker_discard(w);
        ml_log_event(ML_LOG_ERROR, "a VM can not be replaced", ML_KV("reason", why),
                     ML_KV("error", ml_buf_str(&error)));
    }
    ml_buf_release(&error);
}

/* For `generations`. */
static void publish_in_hand(struct worker *w)
{
    for (unsigned i = 0; i < ML_SHM_OLD_MAX; i++) {
        uint32_t number = 0;
        unsigned tasks = 0;

        ml_generation_at(i, &number, &tasks);
        atomic_store_explicit(&w->stats->in_hand[i].exchanges, tasks, memory_order_relaxed);
        atomic_store_explicit(&w->stats->in_hand[i].number, number, memory_order_relaxed);
    }
}

static void on_tick(void *ctx)
{
    struct worker *w = ctx;
    atomic_store(&w->stats->beat_ms, ml_clock_mono_ms());
    ml_outbound_tick(w->outbound);
    if (w->logs != NULL)
        ml_logs_flush(w->logs);
    if (w->logs != NULL && ml_clock_mono_s() - w->looked_s >= LOOK_S) {
        w->looked_s = ml_clock_mono_s();
        ml_logs_look(w->logs);
    }
    ml_ships_tick(w->ships);
    if (w->inbound.access_log != NULL)
        atomic_store(&w->stats->log_dropped, ml_log_dropped(w->inbound.access_log));
    ml_pressure_tick(&w->pressure, &w->inbound, w->current);
    recycle(w);
    ml_counts_tick(w->counts, w->current, TICK_S);
    publish_in_hand(w);
    ml_rest_tick(&w->rest, atomic_load(&w->stats->requests), w->current);
    ml_timer_set(&w->tick, TICK_S);
}

/* ---- life ---- */

static char *status_json(void *ctx)
{
    struct worker *w = ctx;
    struct ml_buf json = {0};
    char *copy;

    ml_status_json(w->boot->shm, &json);
    copy = strndup(ml_buf_str(&json).p, ml_buf_len(&json));
    if (copy == NULL)
        abort();
    ml_buf_release(&json);
    return copy;
}

static void metrics_text(void *ctx, enum ml_exposition format, struct ml_buf *out)
{
    struct worker *w = ctx;

    ml_counts_page(w->counts, format, out);
}

/* A terminal's signals reach the whole process group, but only the supervisor acts on them. */
static int open_signals(void)
{
    sigset_t set;
    int fd;

    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a log at its limit is a full disk */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        abort();
    return fd;
}

static void watch_fd(struct worker *w, ev_io *io, int fd,
                     void (*ready)(struct ev_loop *, ev_io *, int))
{
    ev_io_init(io, ready, fd, EV_READ);
    io->data = w;
    ev_io_start(ml_loop_ev(w->loop), io);
}

static void worker_open(struct worker *w, const struct ml_worker_boot *boot)
{
    struct ml_shm_gateway facts;

    ml_shm_gateway_read(boot->shm, &facts);
    w->boot = boot;
    w->snapshot = w->loaded.snapshot = -1;
    w->stats = ml_shm_worker(boot->shm, boot->index);
    w->signals = open_signals();
    w->loop = ml_loop_new();
    w->resolver = ml_resolver_new(w->loop);
    w->outbound = ml_outbound_new(w->loop, w->resolver, boot->shm, boot->index);
    w->ships = ml_ships_new(w->outbound);
    w->handler = ml_generation_handler(&w->current);
    w->inbound = (struct ml_inbound){
        .loop = w->loop, .handler = &w->handler, .stats = w->stats, .draining = boot->closing};
    w->recorder = (struct ml_recorder){ml_shm_rings(boot->shm), boot->index};
    w->inbound.record = ml_record_exchange;
    w->inbound.record_ctx = &w->recorder;
    w->inbound.traced = ml_spans_write;
    w->inbound.traced_ctx = &w->spans;
    w->ports = ml_ports_new(&w->inbound);
    ml_scarce_open(&w->inbound);
    ml_pressure_open(&w->pressure);
    w->host = (struct ml_script_host){.loop = w->loop,
                                      .outbound = w->outbound,
                                      .shm = boot->shm,
                                      .worker = boot->index,
                                      .tracing = &w->tracing,
                                      .metrics_text = metrics_text,
                                      .started_s = facts.started_s,
                                      .status_json = status_json,
                                      .status_ctx = w};
    ml_trace_install(&w->host, &w->handler);
    w->counts = ml_counts_open(boot->shm, boot->index, &w->inbound, w->outbound, &w->host);
    ml_timer_init(&w->tick, w->loop, on_tick, w);
    ml_timer_init(&w->drained, w->loop, ml_worker_on_drained, w);
    ml_timer_init(&w->deadline, w->loop, ml_worker_on_deadline, w);
    ml_timer_init(&w->alone, w->loop, on_alone, w);
    watch_fd(w, &w->channel_watcher, boot->channel, on_channel);
    watch_fd(w, &w->signals_watcher, w->signals, on_signal);
}

static bool worker_start(struct worker *w, struct ml_buf *why)
{
    const struct ml_worker_boot *boot = w->boot;

    if (!ml_ports_add(w->ports, ml_buf_str(&boot->names), boot->sockets, boot->socket_count)) {
        ml_buf_append(why, ML_STR("the sockets make no sense"));
        return false;
    }
    if (!load(w, boot->snapshot, boot->generation, why))
        return false;
    w->snapshot = boot->snapshot;
    switch_over(w);
    w->state = SERVE;
    on_tick(w);
    tell(w, ML_MESSAGE_SWITCHED, boot->generation, 0, ML_STR(""));
    return true;
}

static void give_up(const struct ml_worker_boot *boot, struct ml_buf *why)
{
    struct ml_message m = {
        .type = ML_MESSAGE_FAILED, .number = boot->generation, .text = ml_buf_str(why)};

    if (!ml_message_send(boot->channel, &m))
        ml_log_event(ML_LOG_ERROR, "worker cannot start", ML_KV("error", ml_buf_str(why)));
}

static void forget_parent(const struct ml_worker_boot *boot)
{
    int keep[ML_SITE_LISTENERS_MAX + 2];
    unsigned count = 0;

    keep[count++] = boot->channel;
    keep[count++] = boot->snapshot;
    for (unsigned i = 0; i < boot->socket_count; i++)
        keep[count++] = boot->sockets[i];
    ml_child_begin(keep, count);
}

int ml_worker_run(const struct ml_worker_boot *boot, pid_t parent)
{
    static struct worker worker; /* one per process */
    struct ml_buf why = {0};
    bool started = false;

    forget_parent(boot);
    if (!ml_user_become(&boot->user, &why)) {
        give_up(boot, &why);
        return 1;
    }
    ml_child_tie(parent, SIGTERM); /* after the change of user, which clears it */
    ml_crash_install(boot->crash, boot->index, ml_shm_worker(boot->shm, boot->index));
    worker_open(&worker, boot);
    started = worker_start(&worker, &why);
    if (started)
        ml_loop_run(worker.loop);
    else
        give_up(boot, &why);
    ml_buf_release(&why);
    ml_worker_close(&worker);
    ml_log_event_flush();
    return started ? worker.exit_code : 1;
}
