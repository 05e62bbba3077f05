/* host.c - limits and signals of the supervisor. */
#include "process/host.h"

#include "base/shm.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

unsigned ml_host_cpus(void)
{
    cpu_set_t set;
    int n = 1;

    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    return n > 0 ? (unsigned)n : 1;
}

unsigned ml_host_workers(unsigned asked, unsigned site)
{
    unsigned n = asked != 0 ? asked : site != 0 ? site : ml_host_cpus();

    return n < ML_SHM_WORKERS_MAX ? n : ML_SHM_WORKERS_MAX;
}

/* A connection takes a descriptor or two; the usual soft limit is 1024. */
void ml_host_raise_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int ml_host_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGCHLD);
    signal(SIGCHLD, SIG_DFL); /* an ignored one would reap our children by itself */
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}
