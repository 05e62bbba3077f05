/* inherit.c - descriptors are believed only after the kernel has said what they are. */
#include "process/inherit.h"

#include "base/log_event.h"
#include "transport/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FIRST = 3, MAX = 4096, NAME_MAX_LEN = 64 };

static struct {
    struct {
        int fd; /* owned */
        struct ml_addr addr;
        bool claimed;
        char name[NAME_MAX_LEN]; /* of LISTEN_FDNAMES */
    } * sockets;                 /* owned */
    unsigned count;
} pool;

static bool option_is(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t len = sizeof value;

    return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 && value == wanted;
}

static bool is_listener(int fd, struct ml_addr *addr)
{
    addr->len = sizeof addr->storage;
    return getsockname(fd, &addr->sa, &addr->len) == 0 &&
           (addr->sa.sa_family == AF_INET || addr->sa.sa_family == AF_INET6) &&
           option_is(fd, SO_TYPE, SOCK_STREAM) && option_is(fd, SO_ACCEPTCONN, 1);
}

static void prepare(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* The next name of a list with colons; *list moves on. */
static void next_name(const char **list, char *name)
{
    size_t len = *list != NULL ? strcspn(*list, ":") : 0;

    snprintf(name, NAME_MAX_LEN, "%.*s", (int)(len < NAME_MAX_LEN ? len : NAME_MAX_LEN - 1),
             *list != NULL ? *list : "");
    if (*list != NULL)
        *list += len + ((*list)[len] == ':');
}

static unsigned long number(const char *text)
{
    char *end;
    unsigned long n;

    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    n = strtoul(text, &end, 10);
    return *end == '\0' ? n : 0;
}

void ml_inherit_take(void)
{
    const char *names = getenv("LISTEN_FDNAMES");
    unsigned long count = number(getenv("LISTEN_FDS"));

    if (number(getenv("LISTEN_PID")) != (unsigned long)getpid())
        count = 0;
    if (count > MAX)
        count = MAX;
    pool.sockets = calloc(count + 1, sizeof *pool.sockets);
    if (pool.sockets == NULL)
        abort();
    for (int fd = FIRST; fd < FIRST + (int)count; fd++) {
        struct ml_addr addr;
        char name[NAME_MAX_LEN];

        next_name(&names, name);
        if (is_listener(fd, &addr)) {
            prepare(fd);
            pool.sockets[pool.count].fd = fd;
            pool.sockets[pool.count].addr = addr;
            memcpy(pool.sockets[pool.count++].name, name, sizeof name);
        } else {
            ml_log_event(ML_LOG_WARN, "what was passed is no listening socket", ML_KV("fd", fd),
                         ML_KV("name", (const char *)name));
            close(fd);
        }
    }
    unsetenv("LISTEN_PID"); /* they are nobody else's */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
}

static bool is_dual(unsigned i)
{
    int only = 1;
    socklen_t len = sizeof only;

    return pool.sockets[i].addr.sa.sa_family == AF_INET6 &&
           IN6_IS_ADDR_UNSPECIFIED(&pool.sockets[i].addr.in6.sin6_addr) &&
           getsockopt(pool.sockets[i].fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &len) == 0 && only == 0;
}

static bool same(const struct ml_addr *a, const struct ml_addr *b)
{
    if (a->sa.sa_family != b->sa.sa_family)
        return false;
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return a->in6.sin6_port == b->in6.sin6_port &&
           memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

static bool covers(unsigned i, const struct ml_addr *addr)
{
    return addr->sa.sa_family == AF_INET && addr->in.sin_addr.s_addr == htonl(INADDR_ANY) &&
           is_dual(i) && pool.sockets[i].addr.in6.sin6_port == addr->in.sin_port;
}

unsigned ml_inherit_claim(const struct ml_addr *addr, int *fds, unsigned max)
{
    unsigned n = 0;

    for (int dual = 0; dual < 2 && n == 0; dual++)
        for (unsigned i = 0; i < pool.count && n < max; i++) {
            if (dual ? !covers(i, addr) : !same(&pool.sockets[i].addr, addr))
                continue;
            fds[n] = fcntl(pool.sockets[i].fd, F_DUPFD_CLOEXEC, FIRST);
            pool.sockets[i].claimed = true;
            if (fds[n] >= 0)
                n++;
        }
    return n;
}

void ml_inherit_settle(bool keep)
{
    for (unsigned i = 0; i < pool.count; i++) {
        if (keep && !pool.sockets[i].claimed)
            ml_log_event(ML_LOG_WARN, "no listener of the site is at a socket that was passed",
                         ML_KV("name", (const char *)pool.sockets[i].name),
                         ML_KV("fd", pool.sockets[i].fd));
        if (!keep)
            close(pool.sockets[i].fd);
    }
    if (!keep)
        pool.count = 0;
}
