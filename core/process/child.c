/* child.c - the way from the supervisor's copy to a process of its own. */
#include "process/child.h"

#include "base/log_event.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEEP_MAX = 64 };

pid_t ml_child_fork(void)
{
    ml_log_event_flush();
    fflush(NULL);
    return fork();
}

static int by_number(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* The supervisor's loop, control socket, watch and channels to others are none of the child's
 * business, and a listening socket that it held would outlive its owner. */
static void close_others(const int *keep, unsigned count)
{
    int sorted[KEEP_MAX];
    unsigned first = STDERR_FILENO + 1;

    if (count > KEEP_MAX)
        abort();
    memcpy(sorted, keep, count * sizeof *keep);
    qsort(sorted, count, sizeof *sorted, by_number);
    for (unsigned i = 0; i < count; i++) {
        if (sorted[i] < (int)first)
            continue;
        if (sorted[i] > (int)first)
            close_range(first, (unsigned)sorted[i] - 1, 0);
        first = (unsigned)sorted[i] + 1;
    }
    close_range(first, ~0u, 0);
}

void ml_child_signals(void)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    sigset_t none;

    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void ml_child_begin(const int *keep, unsigned count)
{
    ml_log_event_forget();
    close_others(keep, count);
    ml_child_signals();
}

void ml_child_tie(pid_t parent, int signal)
{
    prctl(PR_SET_PDEATHSIG, signal);
    if (getppid() != parent)
        raise(signal);
}

const char *ml_child_status_text(int status, char *text, unsigned len)
{
    if (WIFSIGNALED(status))
        snprintf(text, len, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(text, len, "exit code %d", WEXITSTATUS(status));
    return text;
}
