/* systemd.c - one datagram per change.
 *
 * A socket is made for each message: there are few, and a manager that was started anew has another
 * socket at the same name. */
#include "process/systemd.h"

#include "base/clock.h"
#include "base/log_event.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const double WATCHDOG_MIN_S = 0.01;

struct ml_systemd {
    struct ml_loop *loop; /* borrowed */
    bool (*alive)(void *ctx);
    void *ctx;
    struct sockaddr_un address;
    socklen_t address_len; /* 0: nobody is told */
    bool ready, silent;    /* silent: the manager has not been told of a failure twice */
    char status[512];      /* the last one that was told */
    double period_s;       /* of the watchdog; 0: none */
    struct ml_timer watchdog;
};

/* ---- telling ---- */

static bool deliver(const struct ml_systemd *s, const char *text, size_t len)
{
    const struct timeval patience = {.tv_usec = 500 * 1000};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), saved;
    bool ok;

    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    ok = sendto(fd, text, len, MSG_NOSIGNAL, (const struct sockaddr *)&s->address,
                s->address_len) == (ssize_t)len;
    saved = errno;
    close(fd);
    errno = saved;
    return ok;
}

static void tell(struct ml_systemd *s, const char *text)
{
    bool ok;

    if (s->address_len == 0)
        return;
    ok = deliver(s, text, strlen(text));
    if (!ok && !s->silent)
        ml_log_event(ML_LOG_WARN, "the service manager can not be told",
                     ML_KV("error", strerror(errno)));
    s->silent = !ok;
}

void ml_systemd_ready(struct ml_systemd *s, const char *status)
{
    char text[sizeof s->status + 64];

    if (s->ready && strncmp(s->status, status, sizeof s->status - 1) == 0)
        return;
    snprintf(s->status, sizeof s->status, "%s", status);
    snprintf(text, sizeof text, "%sSTATUS=%s", s->ready ? "" : "READY=1\n", s->status);
    if (!s->ready && s->period_s > 0)
        ml_timer_set(&s->watchdog, 0);
    s->ready = true;
    tell(s, text);
}

void ml_systemd_reloading(struct ml_systemd *s)
{
    char text[128];

    if (!s->ready)
        return;
    s->ready = false;
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=reloading",
             (unsigned long long)(ml_clock_mono_s() * 1e6));
    tell(s, text);
}

void ml_systemd_stopping(struct ml_systemd *s)
{
    s->ready = false;
    tell(s, "STOPPING=1\nSTATUS=finishing what is in flight");
}

void ml_systemd_hand_over(struct ml_systemd *s, int pid)
{
    char text[64];

    snprintf(text, sizeof text, "MAINPID=%d", pid);
    tell(s, text);
    s->address_len = 0;
    ml_timer_stop(&s->watchdog);
}

/* ---- watchdog ---- */

static void on_watchdog(void *ctx)
{
    struct ml_systemd *s = ctx;

    if (s->alive(s->ctx))
        tell(s, "WATCHDOG=1");
    ml_timer_set(&s->watchdog, s->period_s);
}

/* WATCHDOG_PID, when there is one, names whom the manager watches. */
static double watchdog_period_s(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    double period_s = usec != NULL ? strtod(usec, NULL) / 2e6 : 0;

    if (pid != NULL && strtol(pid, NULL, 10) != (long)getpid())
        return 0;
    if (!(period_s > 0))
        return 0;
    return period_s > WATCHDOG_MIN_S ? period_s : WATCHDOG_MIN_S;
}

/* ---- life ---- */

static void find_address(struct ml_systemd *s)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t len = path != NULL ? strlen(path) : 0;

    if (len < 2 || len >= sizeof s->address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    s->address.sun_family = AF_UNIX;
    memcpy(s->address.sun_path, path, len);
    if (path[0] == '@')
        s->address.sun_path[0] = '\0';
    s->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

struct ml_systemd *ml_systemd_new(struct ml_loop *loop, bool (*alive)(void *ctx), void *ctx)
{
    struct ml_systemd *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->loop = loop;
    s->alive = alive;
    s->ctx = ctx;
    find_address(s);
    s->period_s = s->address_len > 0 ? watchdog_period_s() : 0;
    ml_timer_init(&s->watchdog, loop, on_watchdog, s);
    return s;
}

void ml_systemd_free(struct ml_systemd **sp)
{
    struct ml_systemd *s = *sp;

    if (s == NULL)
        return;
    *sp = NULL;
    ml_timer_drop(&s->watchdog);
    free(s);
}
