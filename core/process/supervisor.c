/* supervisor.c - from the first load of the site to the end of the last worker.
 *
 *   STAGE --the site loads--> START --all workers serve, "ready"--> SERVE
 *     \--it does not--> exit 1   \________________________________/ told to stop
 *                                                v
 *                     CLOSE --shutdown_delay--> DRAIN --no worker is left--> END, exit 0
 *
 * In CLOSE clients are still accepted, but every answer says Connection: close.  Signals come as
 * events (signalfd), so nothing here is interrupted. */
#include "process/supervisor_parts.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "process/host.h"
#include "process/inherit.h"
#include "process/pid_file.h"
#include "process/status.h"
#include "process/tickets.h"
#include "process/upstreams.h"
#include "transport/tls_make.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const double STAGE_S = 30;

/* The first reason counts. */
void ml_supervisor_finish(struct supervisor *s, int exit_code)
{
    if (s->state == END)
        return;
    s->served = s->state >= CLOSE;
    s->state = END;
    s->exit_code = exit_code;
    ml_loop_stop(s->loop);
}

/* A person reads this, before there is any log. */
static void refuse(struct supervisor *s, int exit_code, struct ml_str why)
{
    fprintf(stderr, "moonlatch: %.*s\n", (int)why.len, why.p);
    ml_upgrade_failed(why);
    ml_supervisor_finish(s, exit_code);
}

/* ---- status ---- */

static void tell_systemd(struct supervisor *s, const struct ml_shm_gateway *g)
{
    char status[256];

    if (s->state != SERVE || s->heir || s->fleet == NULL)
        return;
    if (ml_reload_busy(s->reload)) {
        ml_systemd_reloading(s->systemd);
        return;
    }
    snprintf(status, sizeof status, "generation %u, %u of %u workers serve%s%.120s", g->generation,
             ml_fleet_serving(s->fleet), ml_fleet_count(s->fleet),
             g->last_s > 0 && !g->last_ok ? "; the last reload failed: " : "",
             g->last_s > 0 && !g->last_ok ? g->last_error : "");
    status[strcspn(status, "\n")] = '\0';
    ml_systemd_ready(s->systemd, status);
}

void ml_supervisor_publish(void *ctx)
{
    static struct ml_shm_gateway g; /* large */
    struct supervisor *s = ctx;
    struct ml_buf list = {0};

    memset(&g, 0, sizeof g);
    g.pid = (int32_t)getpid();
    g.started_s = s->started_s;
    g.closing = s->state >= CLOSE;
    ml_reload_describe(s->reload, &g);
    if (s->fleet != NULL)
        ml_fleet_describe(s->fleet, &g);
    ml_sockets_list(s->sockets, &list);
    ml_shm_text(g.listeners, sizeof g.listeners, ml_buf_str(&list));
    ml_buf_release(&list);
    ml_shm_gateway_publish(s->shm, &g);
    tell_systemd(s, &g);
}

/* All is well as long as this loop turns and one worker at least does, and those that do not are
 * dealt with (fleet.h). */
static bool is_alive(void *ctx)
{
    struct supervisor *s = ctx;

    return s->fleet == NULL || s->state >= CLOSE || ml_fleet_alive(s->fleet);
}

static void on_status(void *ctx, struct ml_buf *json)
{
    struct supervisor *s = ctx;

    ml_status_json(s->shm, json);
}

static bool on_drain(void *ctx, struct ml_str group, struct ml_str server, bool on,
                     struct ml_buf *json)
{
    struct supervisor *s = ctx;

    return ml_upstreams_drain(s->shm, group, server, on, json);
}

static void on_upgrade(void *ctx, struct ml_control_waiter *w)
{
    ml_supervisor_upgrade(ctx, w);
}

/* Because somebody asks for it: the watch need not ask for the same content once more. */
static void reload(struct supervisor *s, struct ml_control_waiter *w)
{
    if (s->watch != NULL)
        ml_watch_reported(s->watch);
    ml_reload_ask(s->reload, w);
}

static void on_reload(void *ctx, struct ml_control_waiter *w)
{
    struct supervisor *s = ctx;

    if (s->state >= CLOSE)
        ml_control_reply(w, false, ML_STR("{\"error\":\"the gateway is stopping\"}"));
    else
        reload(s, w);
}

static void on_rollback(void *ctx, uint32_t number, struct ml_control_waiter *w)
{
    struct supervisor *s = ctx;

    if (s->state != SERVE)
        ml_control_reply(w, false, ML_STR("{\"error\":\"the gateway is starting or stopping\"}"));
    else
        ml_reload_rollback(s->reload, number, w);
}

static void on_call(void *ctx, const struct ml_admin_request *request, struct ml_control_waiter *w)
{
    struct supervisor *s = ctx;

    ml_admin_call(s->admin, request, w);
}

static bool listen_tcp(struct supervisor *s, struct ml_buf *why)
{
    const struct ml_settings *settings = &ml_reload_summary(s->reload)->settings;

    return s->control == NULL ||
           ml_control_listen(s->control, settings->admin_listen, settings->admin_token, why);
}

/* A reload is not taken back for it. */
static void follow_admin(struct supervisor *s)
{
    struct ml_buf why = {0};

    if (!listen_tcp(s, &why))
        ml_log_event(ML_LOG_ERROR, "the admin API stays where it is",
                     ML_KV("error", ml_buf_str(&why)));
    ml_buf_release(&why);
}

/* ---- generations ---- */

static void on_changed_files(void *ctx)
{
    struct supervisor *s = ctx;

    if (s->state == SERVE)
        ml_reload_ask(s->reload, NULL);
}

static void on_committed(void *ctx)
{
    struct supervisor *s = ctx;
    const struct ml_summary *summary = ml_reload_summary(s->reload);

    ml_fleet_set_heartbeat(s->fleet, summary->settings.heartbeat_timeout);
    follow_admin(s);
    if (s->watch == NULL)
        return;
    ml_watch_set_poll(s->watch, summary->settings.poll_interval);
    if (ml_reload_is_rollback(s->reload))
        return; /* what is on disk is old news: the next change counts */
    ml_watch_set_more(s->watch, summary->more);
    ml_watch_committed(s->watch, summary->hash.p);
}

static void start_watch(struct supervisor *s)
{
    const struct ml_summary *summary = ml_reload_summary(s->reload);

    if (s->conf->no_watch)
        return;
    s->watch =
        ml_watch_new(s->loop, s->conf->dir, summary->settings.poll_interval, on_changed_files, s);
    ml_watch_set_more(s->watch, summary->more);
    ml_watch_committed(s->watch, summary->hash.p);
}

/* ---- workers ---- */

static void log_ready(struct supervisor *s)
{
    const struct ml_summary *summary = ml_reload_summary(s->reload);
    struct ml_buf list = {0};
    char *p;

    ml_sockets_list(s->sockets, &list);
    p = list.p + list.start;
    for (size_t i = 0; i < ml_buf_len(&list); i++)
        if (p[i] == '\n')
            p[i] = i + 1 < ml_buf_len(&list) ? ' ' : '\0';
    ml_log_event(ML_LOG_INFO, "ready", ML_KV("generation", ml_reload_number(s->reload)),
                 ML_KV("hash", summary->hash), ML_KV("workers", ml_fleet_count(s->fleet)),
                 ML_KV("listeners", (const char *)(ml_buf_len(&list) > 0 ? p : "")));
    ml_buf_release(&list);
}

static void on_all_serve(struct supervisor *s)
{
    s->state = SERVE;
    ml_inherit_settle(!s->heir);
    start_watch(s);
    if (s->heir)
        ml_supervisor_inherit(s);
    else
        ml_pid_file_write(s->conf->pid_file);
    ml_supervisor_publish(s);
    log_ready(s); /* last: whoever reads it finds all of the above done */
}

static void on_worker_message(void *ctx, unsigned index, const struct ml_message *m)
{
    struct supervisor *s = ctx;

    if (m->type == ML_MESSAGE_FAILED && m->attempt == 0) {
        ml_log_event(ML_LOG_ERROR, "worker cannot start", ML_KV("worker", index),
                     ML_KV("error", m->text));
        if (s->state == START)
            refuse(s, ML_EXIT_SITE, m->text);
        return;
    }
    if (s->state == START && ml_fleet_serving(s->fleet) == ml_fleet_count(s->fleet))
        on_all_serve(s);
    ml_reload_heard(s->reload, index, m);
}

static void on_worker_ended(void *ctx, unsigned index)
{
    struct supervisor *s = ctx;

    ml_reload_lost(s->reload, index);
    if (s->state == DRAIN && ml_fleet_running(s->fleet) == 0)
        ml_supervisor_finish(s, ML_EXIT_OK);
}

static void boot_worker(void *ctx, unsigned index, struct ml_worker_boot *boot)
{
    struct supervisor *s = ctx;

    boot->snapshot = ml_reload_snapshot(s->reload);
    boot->generation = ml_reload_number(s->reload);
    boot->user = s->user;
    boot->closing = s->state >= CLOSE;
    boot->socket_count =
        ml_sockets_of(s->sockets, ML_SOCKETS_OPEN, index, &boot->names, boot->sockets);
}

/* ---- signals ---- */

static void reopen(struct supervisor *s)
{
    if (s->reload == NULL)
        return;
    ml_logs_reopen(ml_reload_logs(s->reload));
    ml_supervisor_send_all(s, ML_MESSAGE_REOPEN, 0);
}

static void reap(struct supervisor *s)
{
    if (s->fleet != NULL)
        ml_fleet_reap(s->fleet);
    if (s->upgrade != NULL)
        ml_upgrade_reap(s->upgrade);
}

static void act(struct supervisor *s, int number)
{
    if (number == SIGCHLD)
        reap(s);
    else if (number == SIGINT && (s->state == CLOSE || s->state == DRAIN))
        ml_supervisor_stop_at_once(s);
    else if (number == SIGINT || number == SIGTERM)
        ml_supervisor_stop(s, number == SIGINT ? "INT" : "TERM");
    else if (number == SIGUSR1)
        reopen(s);
    else if (number == SIGUSR2)
        ml_supervisor_upgrade(s, NULL);
    else if (number == SIGHUP && (s->state == START || s->state == SERVE))
        reload(s, NULL);
}

static void on_signal(struct ev_loop *ev, ev_io *io, int events)
{
    struct supervisor *s = io->data;
    struct signalfd_siginfo info;

    (void)ev;
    (void)events;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info)
        act(s, (int)info.ssi_signo);
}

/* ---- starting ---- */

bool ml_supervisor_open_control(struct supervisor *s, struct ml_buf *why)
{
    struct ml_control_handler handler = {.status = on_status,
                                         .reload = on_reload,
                                         .upgrade = on_upgrade,
                                         .drain = on_drain,
                                         .call = on_call,
                                         .ctx = s};

    s->control = ml_control_new(s->loop, s->conf->control, &handler, why);
    return s->control != NULL && listen_tcp(s, why);
}

static void open_calls(struct supervisor *s)
{
    struct ml_admin_conf conf = {.loop = s->loop,
                                 .shm = s->shm,
                                 .reload = s->reload,
                                 .user = &s->user,
                                 .ask_reload = on_reload,
                                 .ask_rollback = on_rollback,
                                 .ctx = s};

    s->admin = ml_admin_new(&conf);
}

/* The fallible part of the start, cheapest first. */
static bool open_all(struct supervisor *s, struct ml_stage_result *first, struct ml_buf *why)
{
    const struct ml_settings *settings = &first->summary->settings;
    struct ml_reload_conf conf = {.loop = s->loop,
                                  .dir = s->conf->dir,
                                  .user = &s->user,
                                  .metrics = ml_shm_metrics(s->shm),
                                  .changed = ml_supervisor_publish,
                                  .committed = on_committed,
                                  .ctx = s};
    struct ml_logs *logs;

    if (!ml_user_find(settings->user, &s->user, why))
        return false;
    s->sockets = ml_sockets_new(ml_host_workers(s->conf->workers, settings->workers));
    if (!ml_sockets_plan(s->sockets, first->summary, why))
        return false;
    ml_sockets_commit(s->sockets);
    logs = ml_logs_open(settings, &s->user, why);
    if (logs == NULL)
        return false;
    conf.sockets = s->sockets;
    s->reload = ml_reload_new(&conf, first, &logs);
    open_calls(s);
    return s->heir || ml_supervisor_open_control(s, why);
}

static void start_workers(struct supervisor *s)
{
    const struct ml_settings *settings = &ml_reload_summary(s->reload)->settings;
    struct ml_fleet_conf conf = {.loop = s->loop,
                                 .shm = s->shm,
                                 .count = ml_host_workers(s->conf->workers, settings->workers),
                                 .boot = boot_worker,
                                 .message = on_worker_message,
                                 .ended = on_worker_ended,
                                 .changed = ml_supervisor_publish,
                                 .ctx = s};

    s->fleet = ml_fleet_new(&conf);
    ml_reload_set_fleet(s->reload, s->fleet);
    ml_fleet_set_heartbeat(s->fleet, settings->heartbeat_timeout);
    s->state = START;
    s->counts =
        ml_counts_open_alone(s->loop, s->shm, ml_host_workers(s->conf->workers, settings->workers));
    ml_supervisor_publish(s);
    ml_fleet_start(s->fleet);
    ml_supervisor_publish(s);
}

static void on_first_stage(void *ctx, struct ml_stage_result *first)
{
    struct supervisor *s = ctx;
    struct ml_buf why = {0};

    if (first->summary == NULL) {
        refuse(s, ML_EXIT_SITE, first->error);
        return;
    }
    s->shm = ml_shm_new_for(first->summary->settings.shared_memory,
                            first->summary->settings.limiter_memory,
                            ml_host_workers(s->conf->workers, first->summary->settings.workers) +
                                1); /* and this process */
    if (open_all(s, first, &why))
        start_workers(s);
    else
        refuse(s, ML_EXIT_START, ml_buf_str(&why));
    ml_buf_release(&why);
    ml_stage_free(&s->stage);
}

static void on_old_key(void *ctx)
{
    struct supervisor *s = ctx;

    ml_tickets_rotate();
    ml_timer_set(&s->tickets, ML_TICKETS_ROTATE_S);
}

static bool open_signals(struct supervisor *s)
{
    s->signals = ml_host_signals();
    if (s->signals < 0)
        return false;
    ev_io_init(&s->signals_watcher, on_signal, s->signals, EV_READ);
    s->signals_watcher.data = s;
    ev_io_start(ml_loop_ev(s->loop), &s->signals_watcher);
    return true;
}

static void supervisor_close(struct supervisor *s)
{
    ml_watch_free(&s->watch);
    ml_upgrade_free(&s->upgrade);
    ml_stage_free(&s->stage);
    if (s->reload != NULL)
        ml_reload_stop(s->reload);
    ml_control_free(&s->control);
    ml_admin_free(&s->admin);
    ml_fleet_free(&s->fleet);
    ml_reload_free(&s->reload);
    ml_sockets_free(&s->sockets);
    ml_counts_close(&s->counts);
    ml_systemd_free(&s->systemd);
    ml_shm_free(&s->shm);
    ml_timer_drop(&s->end);
    ml_timer_drop(&s->tickets);
    ml_tickets_close();
    ev_io_stop(ml_loop_ev(s->loop), &s->signals_watcher);
    close(s->signals);
    ml_loop_free(&s->loop);
}

int ml_supervisor_run(const struct ml_supervisor_conf *conf)
{
    static struct supervisor s; /* one per process */
    struct ml_stage_conf first = {
        .dir = conf->dir, .number = 1, .deadline_s = STAGE_S, .done = on_first_stage, .ctx = &s};

    s = (struct supervisor){.conf = conf, .started_s = ml_clock_wall_s(), .loop = ml_loop_new()};
    first.loop = s.loop;
    ml_host_raise_files();
    if (conf->development)
        ml_site_develop();
    ml_timer_init(&s.end, s.loop, ml_supervisor_on_end, &s);
    if (!open_signals(&s)) {
        perror("moonlatch: signalfd");
        ml_loop_free(&s.loop);
        return ML_EXIT_START;
    }
    ml_timer_init(&s.tickets, s.loop, on_old_key, &s);
    ml_timer_set(&s.tickets, ML_TICKETS_ROTATE_S);
    ml_tickets_open();
    (void)ml_tls_development(); /* so that all processes show the same one */
    ml_inherit_take();
    s.heir = ml_upgrade_inherit();
    s.systemd = ml_systemd_new(s.loop, is_alive, &s);
    s.stage = ml_stage_new(&first);
    ml_loop_run(s.loop);
    if (s.served)
        ml_log_event(ML_LOG_INFO, "stopped", ML_KV("exit", s.exit_code));
    ml_log_event_flush();
    if (!s.heir)
        ml_pid_file_remove(s.conf->pid_file);
    supervisor_close(&s);
    return s.exit_code;
}
