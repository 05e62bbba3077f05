/* sockets.c - opens, plans, closes.
 *
 * SO_REUSEPORT would let a second gateway of the same user take half of the clients without a word.
 * So a port that is new to us is first bound without it: that fails when anybody holds the port. */
#include "process/sockets.h"

#include "process/inherit.h"
#include "process/pack.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

enum { BACKLOG = 4096, ENTRIES_MAX = 2 * ML_SITE_LISTENERS_MAX };

enum state { KEPT, ADDED, DROPPED }; /* what the plan means for an entry */

struct entry {
    char *name; /* owned; "host:port" */
    struct ml_addr addr;
    enum state state;
    int *fds; /* owned; one per worker */
};

struct ml_sockets {
    unsigned workers, count;
    struct entry entries[ENTRIES_MAX];
};

struct ml_sockets *ml_sockets_new(unsigned workers)
{
    struct ml_sockets *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->workers = workers;
    return s;
}

/* ---- names and addresses ---- */

void ml_sockets_name(struct ml_buf *out, struct ml_str host, int port)
{
    bool v6 = memchr(host.p, ':', host.len) != NULL && host.p[0] != '[';

    ml_buf_printf(out, v6 ? "[%.*s]:%d" : "%.*s:%d", (int)host.len, host.p, port);
}

static struct ml_str bare_host(struct ml_str host)
{
    if (host.len >= 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
        return (struct ml_str){host.p + 1, host.len - 2};
    if (host.len == 0 || ml_str_eq(host, ML_STR("*")))
        return ML_STR("0.0.0.0");
    return ml_str_eq(host, ML_STR("localhost")) ? ML_STR("127.0.0.1") : host;
}

bool ml_sockets_address(struct ml_str host, int port, struct ml_addr *addr)
{
    struct ml_str bare = bare_host(host);
    char text[64];

    if (bare.len >= sizeof text || memchr(bare.p, '\0', bare.len) != NULL)
        return false;
    memcpy(text, bare.p, bare.len);
    text[bare.len] = '\0';
    memset(addr, 0, sizeof *addr);
    if (inet_pton(AF_INET, text, &addr->in.sin_addr) == 1) {
        addr->in.sin_family = AF_INET;
        addr->in.sin_port = htons((uint16_t)port);
        addr->len = sizeof addr->in;
        return true;
    }
    if (inet_pton(AF_INET6, text, &addr->in6.sin6_addr) == 1) {
        addr->in6.sin6_family = AF_INET6;
        addr->in6.sin6_port = htons((uint16_t)port);
        addr->len = sizeof addr->in6;
        return true;
    }
    return false;
}

static in_port_t port_of(const struct ml_addr *addr)
{
    return addr->sa.sa_family == AF_INET ? addr->in.sin_port : addr->in6.sin6_port;
}

/* ---- opening ---- */

/* Accepted connections inherit these.  SO_KEEPALIVE finds out about clients that vanished without a
 * word from tunnels in which nobody speaks. */
static bool set_live_options(int fd)
{
    int on = 1;

    return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0 &&
           setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0;
}

static bool set_options(int fd, const struct ml_addr *addr, bool shared)
{
    int on = 1;

    return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
           (!shared || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) == 0) &&
           (addr->sa.sa_family != AF_INET6 ||
            setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0) &&
           set_live_options(fd);
}

/* A listening socket, or -1 with errno. */
static int open_socket(const struct ml_addr *addr, bool shared)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), saved;

    if (fd >= 0 && set_options(fd, addr, shared) && bind(fd, &addr->sa, addr->len) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    saved = errno;
    if (fd >= 0)
        close(fd);
    errno = saved;
    return -1;
}

/* Nobody else listens there.  A port that we hold already cannot be asked for so. */
static bool probe(const struct ml_sockets *s, const struct ml_addr *addr)
{
    int fd;

    for (unsigned i = 0; i < s->count; i++)
        if (port_of(&s->entries[i].addr) == port_of(addr))
            return true;
    fd = open_socket(addr, false);
    if (fd < 0)
        return false;
    close(fd);
    return true;
}

static void close_entry(const struct ml_sockets *s, struct entry *e)
{
    for (unsigned w = 0; w < s->workers; w++)
        if (e->fds[w] >= 0)
            close(e->fds[w]);
    free(e->fds);
    free(e->name);
}

/* Sockets that were passed come first.  Workers for which there is none get one of their own beside
 * them, if whoever made them allows that, or share one. */
static bool inherit_entry(const struct ml_sockets *s, struct entry *e)
{
    unsigned have = ml_inherit_claim(&e->addr, e->fds, s->workers);

    for (unsigned w = 0; w < have; w++)
        if (!set_live_options(e->fds[w]) || listen(e->fds[w], BACKLOG) != 0)
            return false;
    for (unsigned w = have; have > 0 && w < s->workers; w++) {
        e->fds[w] = open_socket(&e->addr, true);
        if (e->fds[w] < 0)
            e->fds[w] = fcntl(e->fds[w % have], F_DUPFD_CLOEXEC, 0);
        if (e->fds[w] < 0)
            return false;
    }
    return have > 0;
}

static bool open_entry(const struct ml_sockets *s, struct entry *e)
{
    e->fds = malloc(s->workers * sizeof *e->fds);
    if (e->fds == NULL)
        abort();
    for (unsigned w = 0; w < s->workers; w++)
        e->fds[w] = -1;
    if (inherit_entry(s, e))
        return true;
    if (!probe(s, &e->addr))
        return false;
    for (unsigned w = 0; w < s->workers; w++)
        if ((e->fds[w] = open_socket(&e->addr, true)) < 0)
            return false;
    return true;
}

/* ---- plans ---- */

static struct entry *find(struct ml_sockets *s, const char *name)
{
    for (unsigned i = 0; i < s->count; i++)
        if (strcmp(s->entries[i].name, name) == 0)
            return &s->entries[i];
    return NULL;
}

static const char *bind_problem(int error)
{
    return error == EADDRINUSE ? "the address is in use by another program" : strerror(error);
}

static bool add_entry(struct ml_sockets *s, char **name, struct ml_str host, int port,
                      struct ml_buf *why)
{
    struct entry e = {.name = *name, .state = ADDED};

    assert(s->count < ENTRIES_MAX); /* all that are open and all that are planned */
    *name = NULL;
    if (!ml_sockets_address(host, port, &e.addr)) {
        ml_buf_printf(why, "cannot listen on %s: that is no IP address", e.name);
        free(e.name);
        return false;
    }
    if (!open_entry(s, &e)) {
        ml_buf_printf(why, "cannot listen on %s: %s", e.name, bind_problem(errno));
        close_entry(s, &e);
        return false;
    }
    s->entries[s->count++] = e;
    return true;
}

static bool plan_listener(struct ml_sockets *s, struct ml_str host, int port, struct ml_buf *why)
{
    struct ml_buf text = {0};
    struct entry *e;
    char *name;
    bool ok = true;

    ml_sockets_name(&text, host, port);
    name = strndup(ml_buf_str(&text).p, ml_buf_len(&text));
    ml_buf_release(&text);
    if (name == NULL)
        abort();
    e = find(s, name);
    if (e == NULL)
        ok = add_entry(s, &name, host, port, why);
    else if (e->state == DROPPED)
        e->state = KEPT;
    free(name);
    return ok;
}

bool ml_sockets_plan(struct ml_sockets *s, const struct ml_summary *summary, struct ml_buf *why)
{
    for (unsigned i = 0; i < s->count; i++)
        s->entries[i].state = DROPPED;
    for (unsigned i = 0; i < summary->listener_count; i++)
        if (!plan_listener(s, summary->listeners[i].host, summary->listeners[i].port, why)) {
            ml_sockets_rollback(s);
            return false;
        }
    return true;
}

/* Closes the entries of one state; the others are kept. */
static void close_state(struct ml_sockets *s, enum state state)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->count; i++) {
        if (s->entries[i].state == state) {
            close_entry(s, &s->entries[i]);
        } else {
            s->entries[kept] = s->entries[i];
            s->entries[kept++].state = KEPT;
        }
    }
    s->count = kept;
}

void ml_sockets_commit(struct ml_sockets *s)
{
    close_state(s, DROPPED);
}

void ml_sockets_rollback(struct ml_sockets *s)
{
    close_state(s, ADDED);
}

void ml_sockets_close(struct ml_sockets *s)
{
    for (unsigned i = 0; i < s->count; i++)
        close_entry(s, &s->entries[i]);
    s->count = 0;
}

void ml_sockets_free(struct ml_sockets **s)
{
    if (*s == NULL)
        return;
    ml_sockets_close(*s);
    free(*s);
    *s = NULL;
}

/* ---- asking ---- */

unsigned ml_sockets_all(const struct ml_sockets *s, int **fds)
{
    unsigned n = 0;

    *fds = malloc((s->count * s->workers + 1) * sizeof **fds);
    if (*fds == NULL)
        abort();
    for (unsigned i = 0; i < s->count; i++)
        for (unsigned w = 0; w < s->workers; w++)
            (*fds)[n++] = s->entries[i].fds[w];
    return n;
}

unsigned ml_sockets_of(const struct ml_sockets *s, enum ml_sockets_which which, unsigned worker,
                       struct ml_buf *names, int *fds)
{
    unsigned n = 0;

    assert(worker < s->workers);
    for (unsigned i = 0; i < s->count; i++) {
        const struct entry *e = &s->entries[i];

        if ((e->state == ADDED) != (which == ML_SOCKETS_PLANNED))
            continue;
        assert(n < ML_SITE_LISTENERS_MAX);
        ml_pack_str(names, ml_str_of(e->name));
        fds[n++] = e->fds[worker];
    }
    return n;
}

void ml_sockets_list(const struct ml_sockets *s, struct ml_buf *out)
{
    for (unsigned i = 0; i < s->count; i++)
        ml_buf_printf(out, "%s\n", s->entries[i].name);
}
