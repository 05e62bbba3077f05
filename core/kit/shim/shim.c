/* shim.c - preloaded into the real program when a test runs it: functions of the C library that ask
 * the test's world (world.h) for the time, for random bytes, and for where connections lead.
 *
 * Time stands still until the test moves it.  A wait for events looks at the file descriptors in
 * short slices of real time, and ends when one is ready or when the test's clock has reached its
 * end; meanwhile it says so, which is how the test knows that nothing more will happen by itself.
 */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define MONO_BEGIN_NS UINT64_C(1000000000000)
enum { SLICE_NS = 150000, SPINS = 8, STEP_NS = 1000 };

static struct ml_world *world;
static uint64_t skew_ns; /* of the monotonic clock of this process */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("MOONLATCH_WORLD");
    int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *p = MAP_FAILED;

    if (fd >= 0)
        p = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        close(fd);
    world = p != MAP_FAILED ? p : NULL;
}

/* ---- time ---- */

static uint64_t wall_ns(void)
{
    return atomic_load(&world->wall_begin_us) * 1000 + atomic_load(&world->now_ns);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
    uint64_t ns;

    if (world == NULL)
        return (int)syscall(SYS_clock_gettime, clock, t);
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        ns = wall_ns();
        break;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        ns = MONO_BEGIN_NS + atomic_load(&world->now_ns) + skew_ns;
        break;
    default: /* the CPU's time is what it is */
        return (int)syscall(SYS_clock_gettime, clock, t);
    }
    t->tv_sec = (time_t)(ns / 1000000000);
    t->tv_nsec = (long)(ns % 1000000000);
    return 0;
}

time_t time(time_t *out)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    if (out != NULL)
        *out = t.tv_sec;
    return t.tv_sec;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec t;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &t);
    tv->tv_sec = t.tv_sec;
    tv->tv_usec = t.tv_nsec / 1000;
    return 0;
}

/* ---- randomness ---- */

/* splitmix64: the same bytes in every run with the same seed. */
ssize_t getrandom(void *p, size_t len, unsigned flags)
{
    static uint64_t drawn;
    unsigned char *to = p;

    if (world == NULL)
        return syscall(SYS_getrandom, p, len, flags);
    for (size_t at = 0; at < len; at += 8) {
        uint64_t z = atomic_load(&world->seed) + (drawn += UINT64_C(0x9e3779b97f4a7c15));

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        z ^= z >> 31;
        memcpy(to + at, &z, len - at < 8 ? len - at : 8);
    }
    return (ssize_t)len;
}

/* ---- waiting ---- */

/* The entry of this process, or NULL when there are too many. */
static struct ml_world_process *own_entry(void)
{
    static struct ml_world_process *entry;
    int pid = getpid();

    if (entry != NULL && atomic_load(&entry->pid) == pid)
        return entry;
    for (int i = 0; i < ML_WORLD_PROCESSES; i++) {
        int nobody = 0;

        entry = &world->processes[i];
        if (atomic_load(&entry->pid) == pid ||
            atomic_compare_exchange_strong(&entry->pid, &nobody, pid))
            return entry;
    }
    return entry = NULL;
}

static int look(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
    return (int)syscall(SYS_epoll_pwait, epoll, events, max, timeout_ms, NULL, 8);
}

/* Waits for a slice of real time. */
static int look_for_a_while(int epoll, struct epoll_event *events, int max)
{
#ifdef SYS_epoll_pwait2
    static const struct timespec slice = {.tv_nsec = SLICE_NS};
    int count = (int)syscall(SYS_epoll_pwait2, epoll, events, max, &slice, NULL, 8);

    if (count >= 0 || errno != ENOSYS)
        return count;
#endif
    return look(epoll, events, max, 1);
}

static int found(struct ml_world_process *me, int count)
{
    atomic_store(&me->waiting, 0);
    atomic_fetch_add(&me->found, 1);
    return count;
}

/* libev fires a timer when its time is over, not when it has come, and until then looks again and
 * again without waiting: time must not stand still at that very moment. */
static int look_again(int epoll, struct epoll_event *events, int max)
{
    static int spins;
    int count = look(epoll, events, max, 0);

    spins = count == 0 ? spins + 1 : 0;
    if (spins == SPINS) {
        skew_ns += STEP_NS;
        spins = 0;
    }
    return count;
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
    struct ml_world_process *me = world != NULL && timeout_ms != 0 ? own_entry() : NULL;
    uint64_t deadline_ns = UINT64_MAX;

    if (world != NULL && timeout_ms == 0)
        return look_again(epoll, events, max);
    if (me == NULL)
        return look(epoll, events, max, timeout_ms);
    if (timeout_ms > 0)
        deadline_ns = atomic_load(&world->now_ns) + (uint64_t)timeout_ms * 1000000 + STEP_NS;
    atomic_store(&me->deadline_ns, deadline_ns);
    for (;;) {
        uint64_t turn = atomic_load(&world->turn);
        int count = look(epoll, events, max, 0);

        if (count != 0)
            return found(me, count);
        if (atomic_load(&world->now_ns) >= deadline_ns)
            return found(me, 0);
        atomic_store(&me->waiting, 1);
        atomic_store(&me->seen, turn);
        count = look_for_a_while(epoll, events, max);
        if (count != 0)
            return found(me, count);
    }
}

/* ---- connections ---- */

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;

    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

static uint16_t find_place(uint32_t address, uint16_t port)
{
    unsigned count = atomic_load(&world->place_count);

    for (unsigned i = 0; i < count; i++)
        if (world->places[i].address == address && world->places[i].port == port)
            return atomic_load(&world->places[i].leads_to);
    return 0;
}

/* Nothing leads out of the test's world. */
int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    struct sockaddr_in to;
    uint16_t port = 0;

    if (world == NULL || !is_stream(fd) ||
        (address->sa_family != AF_INET && address->sa_family != AF_INET6))
        return (int)syscall(SYS_connect, fd, address, len);
    if (address->sa_family == AF_INET) {
        memcpy(&to, address, sizeof to);
        port = find_place(ntohl(to.sin_addr.s_addr), ntohs(to.sin_port));
    }
    if (port == 0) {
        errno = ECONNREFUSED;
        return -1;
    }
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    return (int)syscall(SYS_connect, fd, &to, sizeof to);
}

/* The address that the test says its end has. */
static void rename_client(struct sockaddr *address, socklen_t *len)
{
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    const struct ml_world_client *client;
    uint8_t family;

    if (address == NULL || *len < sizeof *in || address->sa_family != AF_INET)
        return;
    client = &world->clients[ntohs(in->sin_port)];
    family = atomic_load(&client->family);
    if (family == 4) {
        memcpy(&in->sin_addr, client->address, 4);
    } else if (family == 6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = in->sin_port};

        memcpy(&in6.sin6_addr, client->address, 16);
        memcpy(address, &in6, sizeof in6);
        *len = sizeof in6;
    }
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    socklen_t room = len != NULL ? *len : 0;
    int accepted = (int)syscall(SYS_accept4, fd, address, len, flags);

    if (accepted >= 0 && world != NULL && room >= sizeof(struct sockaddr_in6))
        rename_client(address, len);
    return accepted;
}
