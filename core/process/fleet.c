/* fleet.c - one slot per worker.
 *
 *   NONE --start--> STARTING --"switched"--> SERVING --told to drain--> DRAINING
 *    ^                  \________________________\______________________/ ends
 *    |                                                                  v
 *    +------------- retired ------------------------------- WAITING --delay, not held--> STARTING
 *
 * A process is declared ended only by waitpid; before that, what it still said is read. */
#include "process/fleet.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "process/backoff.h"
#include "process/child.h"
#include "process/crash.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const double CHECK_S = 0.25, UNKILLABLE_S = 5;

struct slot {
    struct ml_fleet *fleet;
    unsigned index;
    enum ml_shm_state state;
    pid_t pid;   /* 0: no process */
    int channel; /* owned; -1: none */
    unsigned restarts;
    double started_s; /* monotonic */
    bool due;         /* WAITING: the delay is over, only the hold keeps it */
    struct ml_backoff backoff;
    struct ml_timer respawn;
    ev_io watcher;
};

struct ml_fleet {
    struct ml_fleet_conf conf;
    struct ml_buf scratch;
    struct ml_timer check;
    double heartbeat_s, checked_s;
    struct ml_crash *crash; /* owned */
    bool held, retired;
    struct slot slots[]; /* conf.count */
};

/* ---- starting ---- */

static void on_channel(struct ev_loop *ev, ev_io *io, int events);

static _Noreturn void be_worker(struct ml_worker_boot *boot, pid_t parent)
{
    int code = ml_worker_run(boot, parent);

    ml_buf_release(&boot->names);
    exit(code);
}

static bool fork_worker(struct slot *s)
{
    struct ml_fleet *f = s->fleet;
    struct ml_worker_boot boot = {.shm = f->conf.shm, .crash = f->crash, .index = s->index, .snapshot = -1};
    pid_t parent = getpid();
    int pair[2], saved;

    if (!ml_message_pair(pair))
        return false;
    f->conf.boot(f->conf.ctx, s->index, &boot);
    boot.channel = pair[1];
    s->pid = ml_child_fork();
    if (s->pid == 0)
        be_worker(&boot, parent);
    saved = errno;
    ml_buf_release(&boot.names);
    close(pair[1]);
    if (s->pid < 0) {
        s->pid = 0;
        close(pair[0]);
        errno = saved;
        return false;
    }
    s->channel = pair[0];
    return true;
}

static void wait_for(struct slot *s, double delay_s)
{
    s->state = ML_SHM_WAITING;
    s->due = false;
    ml_timer_set(&s->respawn, delay_s);
}

static void spawn(struct slot *s)
{
    struct ml_fleet *f = s->fleet;

    atomic_store(&ml_shm_worker(f->conf.shm, s->index)->beat_ms, ml_clock_mono_ms());
    s->started_s = ml_clock_mono_s();
    s->due = false;
    if (!fork_worker(s)) {
        ml_log_event(ML_LOG_ERROR, "cannot start a worker", ML_KV("worker", s->index),
                     ML_KV("error", strerror(errno)));
        ml_backoff_died(&s->backoff, 0);
        wait_for(s, ml_backoff_died(&s->backoff, 0));
        return;
    }
    s->state = ML_SHM_STARTING;
    ev_io_set(&s->watcher, s->channel, EV_READ);
    ev_io_start(ml_loop_ev(f->conf.loop), &s->watcher);
}

static void on_respawn(void *ctx)
{
    struct slot *s = ctx;
    struct ml_fleet *f = s->fleet;

    if (s->state != ML_SHM_WAITING || f->retired)
        return;
    s->due = true;
    if (f->held)
        return;
    s->restarts++;
    spawn(s);
    f->conf.changed(f->conf.ctx);
}

void ml_fleet_hold(struct ml_fleet *f, bool on)
{
    f->held = on;
    for (unsigned i = 0; !on && i < f->conf.count; i++)
        if (f->slots[i].due)
            on_respawn(&f->slots[i]);
}

/* ---- the end of a process ---- */

static void close_channel(struct slot *s)
{
    if (s->channel < 0)
        return;
    ev_io_stop(ml_loop_ev(s->fleet->conf.loop), &s->watcher);
    close(s->channel);
    s->channel = -1;
}

static void log_end(const struct slot *s, int status, double uptime_s, double delay_s)
{
    bool meant = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    char how[80];

    ml_child_status_text(status, how, sizeof how);
    if (s->fleet->retired)
        ml_log_event(meant ? ML_LOG_DEBUG : ML_LOG_WARN, "worker ended", ML_KV("worker", s->index),
                     ML_KV("workerPid", s->pid), ML_KV("how", how));
    else
        ml_log_event(meant ? ML_LOG_WARN : ML_LOG_ERROR, "worker died", ML_KV("worker", s->index),
                     ML_KV("workerPid", s->pid), ML_KV("how", how), ML_KV("uptime", uptime_s),
                     ML_KV("restartIn", delay_s));
}

static bool receive(struct slot *s)
{
    struct ml_fleet *f = s->fleet;
    struct ml_message m;
    enum ml_err err = ml_message_receive(s->channel, &f->scratch, &m);

    if (err == ML_BAD_FRAMING) {
        ml_log_event(ML_LOG_ERROR, "a worker says what makes no sense", ML_KV("worker", s->index));
        ml_fleet_kill(f, s->index);
    }
    if (err != ML_OK)
        return false;
    ml_message_close_fds(&m, 0); /* workers have none to give */
    if (m.type == ML_MESSAGE_SWITCHED && s->state == ML_SHM_STARTING)
        s->state = ML_SHM_SERVING;
    f->conf.message(f->conf.ctx, s->index, &m);
    return true;
}

static void ended(struct slot *s, int status)
{
    struct ml_fleet *f = s->fleet;
    double uptime_s = ml_clock_mono_s() - s->started_s;
    double delay_s = ml_backoff_died(&s->backoff, uptime_s);

    while (s->channel >= 0 && receive(s))
        continue;
    close_channel(s);
    ml_crash_log(f->crash, s->index, s->pid);
    log_end(s, status, uptime_s, delay_s);
    s->pid = 0;
    ml_shm_worker_died(f->conf.shm, s->index);
    s->state = ML_SHM_NONE;
    if (!f->retired)
        wait_for(s, delay_s);
    f->conf.ended(f->conf.ctx, s->index);
    if (s->state == ML_SHM_WAITING && delay_s == 0)
        on_respawn(s);
    f->conf.changed(f->conf.ctx);
}

void ml_fleet_reap(struct ml_fleet *f)
{
    for (unsigned i = 0; i < f->conf.count; i++) {
        struct slot *s = &f->slots[i];
        int status;

        if (s->pid > 0 && waitpid(s->pid, &status, WNOHANG) == s->pid)
            ended(s, status);
    }
}

static void on_channel(struct ev_loop *ev, ev_io *io, int events)
{
    struct slot *s = io->data;

    (void)events;
    if (receive(s))
        s->fleet->conf.changed(s->fleet->conf.ctx);
    else
        ev_io_stop(ev, io); /* the end of the process is what counts; SIGCHLD tells it */
}

/* ---- heartbeat ---- */

static void check_slot(struct slot *s, uint64_t now_ms)
{
    struct ml_shm_worker *w = ml_shm_worker(s->fleet->conf.shm, s->index);
    uint64_t beat_ms = atomic_load(&w->beat_ms);
    char script[sizeof w->script];

    if (s->pid == 0 || now_ms <= beat_ms ||
        (double)(now_ms - beat_ms) < s->fleet->heartbeat_s * 1000)
        return;
    memcpy(script, w->script, sizeof script);
    script[sizeof script - 1] = '\0';
    ml_log_event(ML_LOG_ERROR, "worker stuck", ML_KV("worker", s->index),
                 ML_KV("workerPid", s->pid), ML_KV("silent", (double)(now_ms - beat_ms) / 1000),
                 ML_KV("script", (const char *)script));
    ml_fleet_kill(s->fleet, s->index);
}

/* When this process itself has not run for a while, perhaps nobody has: they get their turn first.
 */
static void on_check(void *ctx)
{
    struct ml_fleet *f = ctx;
    double now_s = ml_clock_mono_s();
    bool late = now_s - f->checked_s > 4 * CHECK_S;

    f->checked_s = now_s;
    for (unsigned i = 0; i < f->conf.count && !late && f->heartbeat_s > 0; i++)
        check_slot(&f->slots[i], ml_clock_mono_ms());
    ml_timer_set(&f->check, CHECK_S);
}

void ml_fleet_set_heartbeat(struct ml_fleet *f, double timeout_s)
{
    f->heartbeat_s = timeout_s;
}

/* ---- talking ---- */

void ml_fleet_kill(struct ml_fleet *f, unsigned index)
{
    if (f->slots[index].pid > 0)
        kill(f->slots[index].pid, SIGKILL);
}

void ml_fleet_kill_all(struct ml_fleet *f)
{
    for (unsigned i = 0; i < f->conf.count; i++)
        ml_fleet_kill(f, i);
}

bool ml_fleet_send(struct ml_fleet *f, unsigned index, const struct ml_message *m)
{
    struct slot *s = &f->slots[index];

    if (s->pid == 0 || s->channel < 0)
        return false;
    if (!ml_message_send(s->channel, m)) {
        if (errno == EPIPE || errno == ECONNRESET)
            return false; /* it has just ended, which SIGCHLD will tell */
        ml_log_event(ML_LOG_ERROR, "worker takes no orders", ML_KV("worker", index),
                     ML_KV("workerPid", s->pid), ML_KV("error", strerror(errno)));
        ml_fleet_kill(f, index);
        return false;
    }
    if (m->type == ML_MESSAGE_DRAIN)
        s->state = ML_SHM_DRAINING;
    return true;
}

void ml_fleet_send_all(struct ml_fleet *f, const struct ml_message *m)
{
    for (unsigned i = 0; i < f->conf.count; i++)
        ml_fleet_send(f, i, m);
}

/* ---- life ---- */

struct ml_fleet *ml_fleet_new(const struct ml_fleet_conf *conf)
{
    struct ml_fleet *f = calloc(1, sizeof *f + conf->count * sizeof f->slots[0]);

    if (f == NULL)
        abort();
    assert(conf->count >= 1 && conf->count <= ML_SHM_WORKERS_MAX);
    f->conf = *conf;
    f->crash = ml_crash_new(conf->count);
    for (unsigned i = 0; i < conf->count; i++) {
        struct slot *s = &f->slots[i];

        *s = (struct slot){.fleet = f, .index = i, .channel = -1};
        ml_timer_init(&s->respawn, conf->loop, on_respawn, s);
        ev_io_init(&s->watcher, on_channel, -1, EV_READ);
        s->watcher.data = s;
    }
    ml_timer_init(&f->check, conf->loop, on_check, f);
    return f;
}

void ml_fleet_start(struct ml_fleet *f)
{
    for (unsigned i = 0; i < f->conf.count; i++)
        spawn(&f->slots[i]);
    f->checked_s = ml_clock_mono_s();
    ml_timer_set(&f->check, CHECK_S);
}

void ml_fleet_retire(struct ml_fleet *f)
{
    f->retired = true;
    for (unsigned i = 0; i < f->conf.count; i++) {
        ml_timer_stop(&f->slots[i].respawn);
        if (f->slots[i].state == ML_SHM_WAITING)
            f->slots[i].state = ML_SHM_NONE;
    }
}

static void slot_close(struct slot *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    close_channel(s);
    ml_timer_drop(&s->respawn);
}

void ml_fleet_free(struct ml_fleet **fleet)
{
    struct ml_fleet *f = *fleet;

    if (f == NULL)
        return;
    *fleet = NULL;
    for (unsigned i = 0; i < f->conf.count; i++)
        slot_close(&f->slots[i]);
    ml_timer_drop(&f->check);
    ml_buf_release(&f->scratch);
    ml_crash_free(&f->crash);
    free(f);
}

/* ---- asking ---- */

unsigned ml_fleet_count(const struct ml_fleet *f)
{
    return f->conf.count;
}

bool ml_fleet_serves(const struct ml_fleet *f, unsigned index)
{
    return f->slots[index].state == ML_SHM_SERVING;
}

unsigned ml_fleet_running(const struct ml_fleet *f)
{
    unsigned n = 0;

    for (unsigned i = 0; i < f->conf.count; i++)
        n += f->slots[i].pid > 0;
    return n;
}

unsigned ml_fleet_serving(const struct ml_fleet *f)
{
    unsigned n = 0;

    for (unsigned i = 0; i < f->conf.count; i++)
        n += ml_fleet_serves(f, i);
    return n;
}

bool ml_fleet_alive(const struct ml_fleet *f)
{
    uint64_t now_ms = ml_clock_mono_ms();
    unsigned fresh = 0;

    for (unsigned i = 0; i < f->conf.count; i++) {
        uint64_t beat_ms = atomic_load(&ml_shm_worker(f->conf.shm, i)->beat_ms);
        double silent_s = now_ms > beat_ms ? (double)(now_ms - beat_ms) / 1000 : 0;

        if (f->slots[i].pid == 0)
            continue;
        if (f->heartbeat_s > 0 && silent_s > f->heartbeat_s + UNKILLABLE_S)
            return false;
        fresh += f->heartbeat_s <= 0 || silent_s <= f->heartbeat_s;
    }
    return fresh > 0;
}

void ml_fleet_describe(const struct ml_fleet *f, struct ml_shm_gateway *g)
{
    g->worker_count = f->conf.count;
    for (unsigned i = 0; i < f->conf.count; i++) {
        g->workers[i].pid = (int32_t)f->slots[i].pid;
        g->workers[i].restarts = f->slots[i].restarts;
        g->workers[i].state = (uint8_t)f->slots[i].state;
    }
}
