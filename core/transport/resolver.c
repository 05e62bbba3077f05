/* resolver.c - c-ares on our loop, and the names that are watched.
 *
 *   watch -> ASKING --answer--> known for its TTL --> asked again, the old addresses still serve
 *               \----failure--> RETRY_S later asked again; what was known before stays known
 *
 * c-ares answers from /etc/hosts inside ares_getaddrinfo itself; waiters hear of every answer by
 * deferred work, so nobody is called back from inside a call of his own. */
#include "transport/resolver_parts.h"

#include "base/hash.h"

#include <ares.h>
#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TTL_MIN_S = 1,
    TTL_MAX_S = 300,
    TTL_FILE_S = 10, /* /etc/hosts has no TTL */
    RETRY_S = 5,
    QUERY_MS = 2000, /* of the first try; c-ares doubles it for the second */
    TRIES = 2,
    ADDRS_MAX = 64
};

struct ml_resolver_sock { /* a socket of c-ares */
    ev_io io;
    struct ml_resolver *r;
    struct ml_resolver_sock *next;
};

static void *zalloc(size_t len)
{
    void *p = calloc(1, len);

    if (p == NULL)
        abort();
    return p;
}

/* c-ares */

static void channel_wait(struct ml_resolver *r)
{
    struct timeval room, *tv = ares_timeout(r->channel, NULL, &room);

    if (tv == NULL) {
        ml_timer_stop(&r->timer);
        return;
    }
    double after_s = (double)tv->tv_sec + (double)tv->tv_usec * 1e-6;
    ml_timer_set(&r->timer, after_s > 0.001 ? after_s : 0.001);
}

static void channel_timeout(void *ctx)
{
    struct ml_resolver *r = ctx;

    ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    channel_wait(r);
}

static void sock_ready(struct ev_loop *ev, ev_io *io, int events)
{
    struct ml_resolver_sock *s = io->data;
    struct ml_resolver *r = s->r; /* c-ares may close the socket, and s goes with it */

    (void)ev;
    ares_process_fd(r->channel, events & EV_READ ? io->fd : ARES_SOCKET_BAD,
                    events & EV_WRITE ? io->fd : ARES_SOCKET_BAD);
    channel_wait(r);
}

static void sock_close(struct ml_resolver *r, struct ml_resolver_sock **at)
{
    struct ml_resolver_sock *s = *at;

    *at = s->next;
    ev_io_stop(ml_loop_ev(r->loop), &s->io);
    ml_loop_bury(r->loop, free, s);
}

static struct ml_resolver_sock *sock_open(struct ml_resolver *r, int fd)
{
    struct ml_resolver_sock *s = zalloc(sizeof *s);

    ev_io_init(&s->io, sock_ready, fd, 0);
    s->io.data = s;
    s->r = r;
    s->next = r->socks;
    return r->socks = s;
}

/* c-ares says what it waits for on fd; nothing: it is about to close it. */
static void sock_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct ml_resolver *r = ctx;
    struct ml_resolver_sock **at = &r->socks, *s;

    while (*at != NULL && (*at)->io.fd != fd)
        at = &(*at)->next;
    if (!readable && !writable) {
        if (*at != NULL)
            sock_close(r, at);
        return;
    }
    s = *at != NULL ? *at : sock_open(r, fd);
    ev_io_stop(ml_loop_ev(r->loop), &s->io);
    ev_io_set(&s->io, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
    ev_io_start(ml_loop_ev(r->loop), &s->io);
}

struct ml_resolver *ml_resolver_new(struct ml_loop *loop)
{
    struct ml_resolver *r = zalloc(sizeof *r);
    struct ares_options options = {.timeout = QUERY_MS,
                                   .tries = TRIES,
                                   .lookups = "fb", /* files, then DNS */
                                   .sock_state_cb = sock_state,
                                   .sock_state_cb_data = r};
    const char *servers = getenv("MOONLATCH_DNS");

    r->loop = loop;
    ml_timer_init(&r->timer, loop, channel_timeout, r);
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
        abort();
    if (ares_init_options(&r->channel, &options,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                              ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
        r->channel = NULL;
    if (r->channel != NULL && servers != NULL && *servers != '\0')
        ares_set_servers_ports_csv(r->channel, servers);
    return r;
}

void ml_resolver_free(struct ml_resolver **resolver)
{
    struct ml_resolver *r = *resolver;

    if (r == NULL)
        return;
    assert(r->names == NULL);
    if (r->channel != NULL)
        ares_destroy(r->channel); /* answers what is still asked, closes the sockets */
    while (r->socks != NULL)
        sock_close(r, &r->socks);
    ml_timer_drop(&r->timer);
    ares_library_cleanup();
    ml_loop_bury(r->loop, free, r);
    *resolver = NULL;
}

/* Addresses */

static void addr_set_port(struct ml_addr *a, int port)
{
    if (a->sa.sa_family == AF_INET)
        a->in.sin_port = htons((uint16_t)port);
    else
        a->in6.sin6_port = htons((uint16_t)port);
}

/* Whether the kernel has a route: without one an IPv6 address of a dual-stack name only costs a
 * failed try.  Connecting a datagram socket sends nothing. */
static bool addr_has_route(const struct ml_addr *a)
{
    int fd = socket(a->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool has = fd >= 0 && connect(fd, &a->sa, a->len) == 0;

    if (fd >= 0)
        close(fd);
    return has;
}

/* Appends the addresses of one family. */
static unsigned copy_family(const struct ares_addrinfo_node *n, int family, int port, bool routed,
                            struct ml_addr *out, unsigned count)
{
    for (; n != NULL && count < ADDRS_MAX; n = n->ai_next) {
        struct ml_addr a = {.len = n->ai_addrlen};

        if (n->ai_family != family || n->ai_addrlen > sizeof a.storage)
            continue;
        memcpy(&a.storage, n->ai_addr, n->ai_addrlen);
        addr_set_port(&a, port);
        if (!routed || addr_has_route(&a))
            out[count++] = a;
    }
    return count;
}

/* IPv4 first: a "localhost" that listens on one family mostly listens on that one. */
static unsigned copy_addrs(const struct ares_addrinfo *info, int port, struct ml_addr *out)
{
    unsigned count = copy_family(info->nodes, AF_INET, port, true, out, 0);

    count = copy_family(info->nodes, AF_INET6, port, true, out, count);
    if (count == 0) { /* no route to any: let connect say so */
        count = copy_family(info->nodes, AF_INET, port, false, out, 0);
        count = copy_family(info->nodes, AF_INET6, port, false, out, count);
    }
    return count;
}

static double ttl_s(const struct ares_addrinfo *info)
{
    int ttl = TTL_MAX_S;

    for (const struct ares_addrinfo_node *n = info->nodes; n != NULL; n = n->ai_next)
        if (n->ai_ttl < ttl)
            ttl = n->ai_ttl;
    for (const struct ares_addrinfo_cname *c = info->cnames; c != NULL; c = c->next)
        if (c->ttl < ttl)
            ttl = c->ttl;
    return ttl < TTL_MIN_S ? TTL_MIN_S : ttl;
}

/* Names */

static void name_forget(struct ml_name *n)
{
    ml_timer_drop(&n->refresh);
    ml_loop_undefer(n->r->loop, &n->tell);
    ml_loop_bury(n->r->loop, free, n->addrs);
    ml_resolver_srv_free(n);
    ml_loop_bury(n->r->loop, free, n->host);
    ml_loop_bury(n->r->loop, free, n);
}

/* Nobody holds it, and nobody waits. */
static void name_leave(struct ml_name *n)
{
    if (n->asking) /* c-ares cannot forget it: its answer buries it */
        ml_timer_stop(&n->refresh);
    else
        name_forget(n);
}

static void name_tell(void *ctx)
{
    struct ml_name *n = ctx; /* stays valid: a release inside done() only buries it */

    while (n->waiters != NULL) {
        struct ml_name_waiter *w = n->waiters;

        ml_name_unwait(w);
        w->done(w->ctx);
    }
    if (n->leaving) {
        n->leaving = false;
        name_leave(n);
        return;
    }
    if (!n->changed)
        return;
    n->changed = false;
    for (struct ml_name_watcher *w = n->watchers, *next; w != NULL; w = next) {
        next = w->next;
        w->changed(w->ctx);
    }
}

static bool has_key(const struct ml_addr *addrs, unsigned count, uint64_t key)
{
    for (unsigned i = 0; i < count; i++)
        if (addrs[i].key == key)
            return true;
    return false;
}

/* Servers of DNS turn the order with each answer; that changes nothing. */
static bool same_addrs(const struct ml_addr *a, unsigned a_count, const struct ml_addr *b,
                       unsigned b_count)
{
    for (unsigned i = 0; i < a_count; i++)
        if (!has_key(b, b_count, a[i].key))
            return false;
    return a_count == b_count;
}

static void name_learn(struct ml_name *n, const struct ml_addr *addrs, unsigned count)
{
    struct ml_addr *old = n->addrs;
    unsigned old_count = n->count;

    ml_loop_bury(n->r->loop, free, old); /* somebody may look at them in this turn */
    n->addrs = zalloc(count * sizeof *addrs);
    memcpy(n->addrs, addrs, count * sizeof *addrs);
    for (unsigned i = 0; i < count; i++)
        n->addrs[i].key = ml_hash_bytes((struct ml_hash_seed){{0, 0}},
                                        (struct ml_str){(char *)&addrs[i].sa, addrs[i].len});
    n->count = count;
    n->err = ML_OK;
    n->changed |= !same_addrs(old, old_count, n->addrs, count);
}

static void name_answered(struct ml_name *n, bool ok, double after_s)
{
    if (n->count == 0 && !ok)
        n->err = ML_UP_RESOLVE;
    ml_timer_set(&n->refresh, ok && after_s > 0 ? after_s : RETRY_S);
    ml_loop_defer(n->r->loop, &n->tell);
}

static void answered(void *ctx, int status, int timeouts, struct ares_addrinfo *info)
{
    struct ml_name *n = ctx;
    struct ml_addr addrs[ADDRS_MAX];
    double again_s = RETRY_S;
    unsigned count = 0;

    (void)timeouts;
    n->asking = false;
    if (n->refs > 0 && status == ARES_SUCCESS) {
        count = copy_addrs(info, n->port, addrs);
        again_s = n->inside_call ? TTL_FILE_S : ttl_s(info);
    }
    if (info != NULL)
        ares_freeaddrinfo(info);
    if (n->refs == 0) {
        if (!n->leaving)
            name_forget(n);
        return;
    }
    if (count > 0)
        name_learn(n, addrs, count);
    name_answered(n, count > 0, again_s);
}

static void srv_answered(struct ml_name *n, bool ok, double ttl_s)
{
    n->asking = false;
    if (n->refs > 0)
        name_answered(n, ok, ttl_s);
    else if (!n->leaving)
        name_forget(n);
}

static void name_ask(void *ctx)
{
    struct ml_name *n = ctx;
    struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    if (n->r->channel == NULL) {
        name_answered(n, false, 0);
        return;
    }
    n->asking = true;
    n->inside_call = true;
    if (n->srv)
        ml_resolver_srv_ask(n);
    else
        ares_getaddrinfo(n->r->channel, n->host, NULL, &hints, answered, n);
    n->inside_call = false;
    channel_wait(n->r);
}

static struct ml_name *name_find(struct ml_resolver *r, struct ml_str host, int port, bool srv)
{
    for (struct ml_name *n = r->names; n != NULL; n = n->next)
        if (n->port == port && n->srv == srv && ml_str_eq(ml_str_of(n->host), host))
            return n;
    return NULL;
}

static struct ml_name *name_new(struct ml_resolver *r, struct ml_str host, int port, bool srv)
{
    struct ml_name *n = zalloc(sizeof *n);

    n->r = r;
    n->host = zalloc(host.len + 1);
    memcpy(n->host, host.p, host.len);
    n->port = port;
    n->srv = srv;
    n->srv_done = srv_answered;
    n->refs = 1;
    n->err = ML_AGAIN;
    n->tell.fire = name_tell;
    n->tell.ctx = n;
    ml_timer_init(&n->refresh, r->loop, name_ask, n);
    n->next = r->names;
    r->names = n;
    return n;
}

struct ml_name *ml_resolver_watch(struct ml_resolver *r, struct ml_str host, int port)
{
    struct ml_name *n = name_find(r, host, port, false);
    struct ml_addr literal;

    if (n != NULL) {
        n->refs++;
        return n;
    }
    n = name_new(r, host, port, false);
    n->literal = resolver_known_at_once(n->host, port, &literal);
    if (n->literal)
        name_learn(n, &literal, 1);
    else
        name_ask(n);
    return n;
}

struct ml_name *ml_resolver_watch_srv(struct ml_resolver *r, struct ml_str host)
{
    struct ml_name *n = name_find(r, host, 0, true);

    if (n != NULL) {
        n->refs++;
        return n;
    }
    n = name_new(r, host, 0, true);
    n->literal = resolver_is_simulated(); /* a test: the records lead to the name itself */
    if (n->literal) {
        n->targets = zalloc(sizeof *n->targets);
        *n->targets = (struct ml_srv){.port = 80, .weight = 1};
        memcpy(n->targets->host, host.p, host.len < 254 ? host.len : 254);
        n->count = 1;
        n->err = ML_OK;
    } else {
        name_ask(n);
    }
    return n;
}

void ml_name_release(struct ml_name **name)
{
    struct ml_name *n = *name;

    if (n == NULL)
        return;
    *name = NULL;
    if (--n->refs > 0)
        return;
    assert(n->watchers == NULL);
    for (struct ml_name **at = &n->r->names; *at != NULL; at = &(*at)->next)
        if (*at == n) {
            *at = n->next;
            break;
        }
    if (n->waiters == NULL) {
        name_leave(n);
        return;
    }
    n->leaving = true; /* its waiters are told first, but not from inside of this call */
    ml_loop_defer(n->r->loop, &n->tell);
}
