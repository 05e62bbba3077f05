/* upgrade.c - both ends of the conversation of upgrade.h.
 *
 * The new process gets the sockets as a service manager would pass them (inherit.h), and one end of
 * a pair of sockets behind them, whose number is in MOONLATCH_UPGRADE. */
#include "process/upgrade.h"

#include "process/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST = 3, WORDS_MAX = 4096, ARGUMENTS_MAX = 64 };
static const double READY_S = 90, TAKEN_S = 15;
static const char variable[] = "MOONLATCH_UPGRADE";

static void say(int fd, const char *word, struct ml_str more)
{
    char text[WORDS_MAX];
    int n = snprintf(text, sizeof text, "%s%.*s", word,
                     (int)(more.len < WORDS_MAX / 2 ? more.len : WORDS_MAX / 2), more.p);

    (void)!send(fd, text, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL); /* its end tells as much */
}

/* ---- the command line of this process ---- */

/* The arguments as the kernel keeps them, split; false when they can not be read. */
static bool read_arguments(struct ml_buf *text, char **argv)
{
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;
    char *p, *end;
    int count = 0;

    while (fd >= 0 && n > 0) {
        n = read(fd, ml_buf_reserve(text, 4096), 4096);
        if (n > 0)
            ml_buf_commit(text, (size_t)n);
    }
    if (fd >= 0)
        close(fd);
    p = text->p + text->start;
    end = p + ml_buf_len(text);
    if (ml_buf_len(text) == 0 || end[-1] != '\0')
        return false;
    for (; p < end && count < ARGUMENTS_MAX; p += strlen(p) + 1)
        argv[count++] = p;
    argv[count] = NULL;
    return p == end;
}

/* ---- the new process, before it is one ---- */

/* Descriptors go where none of them has its place, and then to their places. */
static bool arrange(int *fds, unsigned count)
{
    int above = FIRST + (int)count;

    for (unsigned i = 0; i < count; i++)
        if ((fds[i] = fcntl(fds[i], F_DUPFD, above)) < 0)
            return false;
    for (unsigned i = 0; i < count; i++)
        if (dup2(fds[i], FIRST + (int)i) < 0)
            return false;
    close_range((unsigned)above, ~0u, 0);
    return true;
}

static void set_number(const char *name, long n)
{
    char text[24];

    snprintf(text, sizeof text, "%ld", n);
    setenv(name, text, 1);
}

static _Noreturn void become_new(char **argv, int *fds, unsigned count, int channel)
{
    char why[256];

    set_number("LISTEN_PID", (long)getpid());
    set_number("LISTEN_FDS", (long)count - 1);
    set_number(variable, FIRST + (long)count - 1);
    if (getenv("WATCHDOG_PID") != NULL)
        set_number("WATCHDOG_PID", (long)getpid());
    if (arrange(fds, count)) {
        channel = FIRST + (int)count - 1;
        execvp(argv[0], argv);
    }
    snprintf(why, sizeof why, "cannot run %s: %s", argv[0], strerror(errno));
    say(channel, "failed: ", ml_str_of(why));
    _exit(127);
}

/* ---- in the old one ---- */

struct ml_upgrade {
    struct ml_loop *loop; /* borrowed */
    struct ml_upgrade_handler handler;
    pid_t pid;   /* 0: there is none, or it is reaped */
    int channel; /* owned; -1: none */
    bool going, over;
    ev_io watcher;
    struct ml_timer deadline;
    struct ml_deferred late;
    struct ml_buf why;
};

static void finish(struct ml_upgrade *u, bool ok)
{
    pid_t pid = u->pid;

    if (u->over)
        return;
    u->over = true;
    ml_timer_stop(&u->deadline);
    ev_io_stop(ml_loop_ev(u->loop), &u->watcher);
    if (ok)
        u->pid = 0; /* it stays; whoever is its parent then reaps it */
    u->handler.done(u->handler.ctx, ok, pid, ml_buf_str(&u->why));
}

static void fail(struct ml_upgrade *u, const char *why)
{
    if (ml_buf_len(&u->why) == 0)
        ml_buf_append(&u->why, ml_str_of(why));
    finish(u, false);
}

static void heard(struct ml_upgrade *u, const char *text, size_t len)
{
    if (len == 5 && memcmp(text, "ready", 5) == 0 && !u->going) {
        u->going = true;
        ml_timer_set(&u->deadline, TAKEN_S);
        u->handler.handing(u->handler.ctx, u->pid);
        say(u->channel, "go", ML_STR(""));
    } else if (len == 5 && memcmp(text, "taken", 5) == 0 && u->going) {
        finish(u, true);
    } else if (len > 8 && memcmp(text, "failed: ", 8) == 0) {
        ml_buf_consume(&u->why, ml_buf_len(&u->why));
        ml_buf_append(&u->why, (struct ml_str){text + 8, len - 8});
        fail(u, "");
    }
}

static void on_channel(struct ev_loop *ev, ev_io *io, int events)
{
    struct ml_upgrade *u = io->data;
    char text[WORDS_MAX];
    ssize_t n = recv(u->channel, text, sizeof text, MSG_DONTWAIT);

    (void)events;
    if (n > 0)
        heard(u, text, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        ev_io_stop(ev, io); /* its end is what counts; SIGCHLD tells it */
}

static void on_deadline(void *ctx)
{
    fail(ctx, "it was not ready in time");
}

static void on_late(void *ctx)
{
    fail(ctx, "it can not be started");
}

static bool start(struct ml_upgrade *u, const int *sockets, unsigned count)
{
    int pair[2], *fds = calloc(count + 1, sizeof *fds);
    char *argv[ARGUMENTS_MAX + 1];
    struct ml_buf text = {0};
    bool ok = false;

    if (fds == NULL)
        abort();
    if (read_arguments(&text, argv) &&
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0) {
        if (count > 0)
            memcpy(fds, sockets, count * sizeof *fds);
        fds[count] = pair[1];
        u->channel = pair[0];
        u->pid = ml_child_fork();
        if (u->pid == 0) {
            ml_child_signals();
            become_new(argv, fds, count + 1, pair[1]);
        }
        close(pair[1]);
        ok = u->pid > 0;
    }
    free(fds);
    ml_buf_release(&text);
    return ok;
}

struct ml_upgrade *ml_upgrade_new(struct ml_loop *loop, const int *sockets, unsigned count,
                                  const struct ml_upgrade_handler *handler)
{
    struct ml_upgrade *u = calloc(1, sizeof *u);

    if (u == NULL)
        abort();
    u->loop = loop;
    u->handler = *handler;
    u->channel = -1;
    u->late = (struct ml_deferred){.fire = on_late, .ctx = u};
    ml_timer_init(&u->deadline, loop, on_deadline, u);
    ev_io_init(&u->watcher, on_channel, -1, EV_READ);
    u->watcher.data = u;
    if (!start(u, sockets, count)) {
        u->pid = u->pid > 0 ? u->pid : 0;
        ml_loop_defer(loop, &u->late);
        return u;
    }
    ev_io_set(&u->watcher, u->channel, EV_READ);
    ev_io_start(ml_loop_ev(loop), &u->watcher);
    ml_timer_set(&u->deadline, READY_S);
    return u;
}

void ml_upgrade_reap(struct ml_upgrade *u)
{
    char how[80], text[WORDS_MAX];
    int status;
    ssize_t n;

    if (u->pid <= 0 || waitpid(u->pid, &status, WNOHANG) != u->pid)
        return;
    u->pid = 0;
    while (!u->over && (n = recv(u->channel, text, sizeof text, MSG_DONTWAIT)) > 0)
        heard(u, text, (size_t)n); /* its last words */
    ml_child_status_text(status, how, sizeof how);
    snprintf(text, sizeof text, "it ended: %s", how);
    fail(u, text);
}

static void upgrade_release(void *p)
{
    struct ml_upgrade *u = p;

    ml_buf_release(&u->why);
    free(u);
}

void ml_upgrade_free(struct ml_upgrade **up)
{
    struct ml_upgrade *u = *up;

    if (u == NULL)
        return;
    *up = NULL;
    u->over = true;
    if (u->pid > 0) {
        kill(u->pid, SIGKILL);
        while (waitpid(u->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    ev_io_stop(ml_loop_ev(u->loop), &u->watcher);
    ml_timer_drop(&u->deadline);
    ml_loop_undefer(u->loop, &u->late);
    if (u->channel >= 0)
        close(u->channel);
    ml_loop_bury(u->loop, upgrade_release, u);
}

/* ---- in the new one ---- */

static struct {
    int channel; /* -1: nobody's place is taken */
    ev_io watcher;
    void (*go)(void *ctx);
    void (*lost)(void *ctx);
    void *ctx;
} heir = {.channel = -1};

bool ml_upgrade_inherit(void)
{
    const char *text = getenv(variable);
    int type = 0, fd = text != NULL ? (int)strtol(text, NULL, 10) : -1;
    socklen_t len = sizeof type;

    unsetenv(variable);
    if (fd < FIRST || getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0 ||
        type != SOCK_SEQPACKET)
        return false;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    heir.channel = fd;
    return true;
}

static void on_word(struct ev_loop *ev, ev_io *io, int events)
{
    char text[WORDS_MAX];
    ssize_t n = recv(heir.channel, text, sizeof text, MSG_DONTWAIT);

    (void)events;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    ev_io_stop(ev, io);
    if (n == 2 && memcmp(text, "go", 2) == 0)
        heir.go(heir.ctx);
    else
        heir.lost(heir.ctx);
}

void ml_upgrade_announce(struct ml_loop *loop, void (*go)(void *ctx), void (*lost)(void *ctx),
                         void *ctx)
{
    heir.go = go;
    heir.lost = lost;
    heir.ctx = ctx;
    ev_io_init(&heir.watcher, on_word, heir.channel, EV_READ);
    ev_io_start(ml_loop_ev(loop), &heir.watcher);
    say(heir.channel, "ready", ML_STR(""));
}

void ml_upgrade_taken(void)
{
    say(heir.channel, "taken", ML_STR(""));
    close(heir.channel);
    heir.channel = -1;
}

void ml_upgrade_failed(struct ml_str why)
{
    if (heir.channel >= 0)
        say(heir.channel, "failed: ", why);
}
