/* test_resolver.c - names asked from a small DNS server inside this program. */
#include "transport/resolver.h"

#include "test.h"

#include <arpa/inet.h>

struct record { /* what the server knows of one name */
    const char *name;
    const char *v4[3], *v6;
    unsigned ttl_s;
    int rcode;
    bool silent;
    int asked; /* questions for A */
};

static struct record zone[8];
static struct { /* the answer section for SRV, as bytes, of that many records */
    const char *bytes;
    size_t len;
    int count;
} srv;
static struct ml_loop *loop;
static struct ml_resolver *resolver;
static struct ml_timer guard;
static ev_io server;

static void too_long(void *ctx)
{
    (void)ctx;
    printf("# an event is missing\n");
    exit(1);
}

/* The dotted name of a question; returns the offset behind it. */
static size_t question_name(const unsigned char *q, size_t len, char *name)
{
    size_t at = 12;

    *name = '\0';
    while (at < len && q[at] != 0) {
        strncat(name, (const char *)q + at + 1, q[at]);
        strcat(name, ".");
        at += q[at] + 1u;
    }
    if (*name != '\0')
        name[strlen(name) - 1] = '\0';
    return at + 1;
}

static size_t put_answer(unsigned char *out, int family, const char *address, unsigned ttl_s)
{
    size_t len = family == AF_INET ? 4 : 16;
    /* the name is the question's, at offset 12; then type, class, TTL, length */
    const unsigned char head[] = {0xc0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, (unsigned char)len};

    memcpy(out, head, sizeof head);
    out[3] = family == AF_INET ? 1 : 28;
    out[9] = (unsigned char)ttl_s;
    inet_pton(family, address, out + sizeof head);
    return sizeof head + len;
}

static struct record *zone_find(const char *name)
{
    for (size_t i = 0; i < sizeof zone / sizeof *zone; i++)
        if (zone[i].name != NULL && strcasecmp(zone[i].name, name) == 0)
            return &zone[i];
    return NULL;
}

/* Turns the question in m into its answer; returns the length, 0 for silence. */
static size_t answer(unsigned char *m, size_t len)
{
    char name[256];
    size_t at = question_name(m, len, name);
    int type = m[at] << 8 | m[at + 1];
    struct record *r = zone_find(name);

    at += 4;
    m[2] = 0x81; /* a response; recursion was desired and is available */
    m[3] = (unsigned char)(0x80 | (r == NULL ? 3 : r->rcode));
    memset(m + 6, 0, 6); /* no answers, authorities, additional records yet */
    if (r != NULL && type == 1)
        r->asked++;
    if (r == NULL || r->rcode != 0)
        return at;
    if (r->silent)
        return 0;
    if (type == 33) {
        memcpy(m + at, srv.bytes, srv.len);
        m[7] = (unsigned char)srv.count;
        return at + srv.len;
    }
    for (int i = 0; type == 1 && i < 3 && r->v4[i] != NULL; i++, m[7]++)
        at += put_answer(m + at, AF_INET, r->v4[i], r->ttl_s);
    if (type == 28 && r->v6 != NULL) {
        at += put_answer(m + at, AF_INET6, r->v6, r->ttl_s);
        m[7]++;
    }
    return at;
}

static void serve(struct ev_loop *ev, ev_io *io, int events)
{
    unsigned char m[1024];
    struct sockaddr_storage from;
    socklen_t from_len = sizeof from;
    ssize_t n = recvfrom(io->fd, m, 512, 0, (struct sockaddr *)&from, &from_len);

    (void)ev;
    (void)events;
    if (n < 12)
        return;
    size_t len = answer(m, (size_t)n);
    if (len > 0)
        CHECK(sendto(io->fd, m, len, 0, (struct sockaddr *)&from, from_len) == (ssize_t)len);
}

static void setup(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char csv[32];

    if (bind(fd, (struct sockaddr *)&a, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    memset(zone, 0, sizeof zone);
    loop = ml_loop_new();
    ml_timer_init(&guard, loop, too_long, NULL);
    ml_timer_set(&guard, 30);
    ev_io_init(&server, serve, fd, EV_READ);
    ev_io_start(ml_loop_ev(loop), &server);
    snprintf(csv, sizeof csv, "127.0.0.1:%d", ntohs(a.sin_port));
    setenv("MOONLATCH_DNS", csv, 1);
    resolver = ml_resolver_new(loop);
}

static void teardown(void)
{
    ml_resolver_free(&resolver);
    ev_io_stop(ml_loop_ev(loop), &server);
    close(server.fd);
    ml_timer_drop(&guard);
    ml_loop_free(&loop);
}

static struct ml_name *watch(const char *host, int port)
{
    return ml_resolver_watch(resolver, ml_str_of(host), port);
}

static enum ml_err state_of(struct ml_name *n)
{
    const struct ml_addr *addrs;
    enum ml_err err;

    ml_name_addresses(n, &addrs, &err);
    return err;
}

static enum ml_err settle(struct ml_name *n)
{
    while (state_of(n) == ML_AGAIN)
        ml_loop_turn(loop);
    return state_of(n);
}

/* The i-th address as "1.2.3.4:5", "[::1]:5" or a path; "-" when there is none. */
static const char *address(struct ml_name *n, unsigned i)
{
    static char text[160];
    char ip[INET6_ADDRSTRLEN];
    const struct ml_addr *a;
    enum ml_err err;
    unsigned count = ml_name_addresses(n, &a, &err);

    if (i >= count)
        return "-";
    a += i;
    if (a->sa.sa_family == AF_UNIX)
        snprintf(text, sizeof text, "%s", a->un.sun_path);
    else if (a->sa.sa_family == AF_INET)
        snprintf(text, sizeof text, "%s:%d", inet_ntop(AF_INET, &a->in.sin_addr, ip, sizeof ip),
                 ntohs(a->in.sin_port));
    else
        snprintf(text, sizeof text, "[%s]:%d",
                 inet_ntop(AF_INET6, &a->in6.sin6_addr, ip, sizeof ip), ntohs(a->in6.sin6_port));
    return text;
}

static bool is(struct ml_name *n, unsigned i, const char *expected)
{
    return strcmp(address(n, i), expected) == 0;
}

TEST(literals_are_their_own_answer_at_once)
{
    const char *hosts[] = {"127.0.0.1",     "::1",         "[::1]",
                           "[2001:db8::7]", "/run/x.sock", "unix:/run/y.sock"};
    const char *addresses[] = {"127.0.0.1:80",     "[::1]:80",    "[::1]:80",
                               "[2001:db8::7]:80", "/run/x.sock", "/run/y.sock"};

    setup();
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct ml_name *n = watch(hosts[i], 80);

        CHECK(state_of(n) == ML_OK);
        CHECK(is(n, 0, addresses[i]) && is(n, 1, "-"));
        ml_name_release(&n);
        CHECK(n == NULL);
    }
    teardown();
}

TEST(a_name_gets_all_its_addresses_ipv4_first)
{
    setup();
    zone[0] = (struct record){"two.test", {"127.0.0.2", "127.0.0.3"}, "::1", 60, 0, false, 0};
    struct ml_name *n = watch("two.test", 8080);

    CHECK(state_of(n) == ML_AGAIN && is(n, 0, "-"));
    CHECK(settle(n) == ML_OK);
    CHECK(is(n, 0, "127.0.0.2:8080"));
    CHECK(is(n, 1, "127.0.0.3:8080"));
    CHECK(is(n, 2, "[::1]:8080") || is(n, 2, "-")); /* "-" on a machine without IPv6 */
    ml_name_release(&n);
    teardown();
}

static int told;

static void on_done(void *ctx)
{
    (void)ctx;
    told++;
}

TEST(waiters_are_told_once_and_never_from_inside_a_call)
{
    setup();
    zone[0] = (struct record){"w.test", {"127.0.0.2"}, NULL, 60, 0, false, 0};
    struct ml_name_waiter a = {.done = on_done}, b = {.done = on_done}, gone = {.done = on_done};
    struct ml_name *n = watch("w.test", 1);

    told = 0;
    ml_name_wait(n, &a);
    ml_name_wait(n, &gone);
    ml_name_wait(n, &b);
    ml_name_unwait(&gone);
    ml_name_unwait(&gone);
    while (told < 2)
        ml_loop_turn(loop);
    CHECK(state_of(n) == ML_OK && told == 2);
    ml_name_unwait(&a); /* allowed after it was told */
    ml_name_release(&n);
    teardown();
}

TEST(an_unknown_name_fails_and_tells_its_waiters)
{
    setup();
    struct ml_name_waiter w = {.done = on_done};
    struct ml_name *n = watch("no.test", 1);

    told = 0;
    ml_name_wait(n, &w);
    while (told == 0)
        ml_loop_turn(loop);
    CHECK(state_of(n) == ML_UP_RESOLVE && is(n, 0, "-"));
    ml_name_release(&n);
    teardown();
}

TEST(equal_names_share_one_query)
{
    setup();
    zone[0] = (struct record){"s.test", {"127.0.0.2"}, NULL, 60, 0, false, 0};
    struct ml_name *a = watch("s.test", 1), *b = watch("s.test", 1), *c = watch("s.test", 2);

    CHECK(a == b && a != c);
    CHECK(settle(a) == ML_OK && settle(c) == ML_OK);
    CHECK(zone[0].asked == 2);
    ml_name_release(&a);
    CHECK(is(b, 0, "127.0.0.2:1"));
    ml_name_release(&b);
    ml_name_release(&c);
    teardown();
}

TEST(a_name_is_asked_again_when_its_ttl_ends_and_keeps_its_addresses_when_that_fails)
{
    setup();
    zone[0] = (struct record){"ttl.test", {"127.0.0.2"}, NULL, 0, 0, false, 0};
    struct ml_name *n = watch("ttl.test", 1);

    CHECK(settle(n) == ML_OK && is(n, 0, "127.0.0.2:1"));
    zone[0].v4[0] = "127.0.0.9";
    while (is(n, 0, "127.0.0.2:1"))
        ml_loop_turn(loop);
    CHECK(is(n, 0, "127.0.0.9:1") && is(n, 1, "-"));
    zone[0].rcode = 3; /* NXDOMAIN */
    for (int asked = zone[0].asked; zone[0].asked == asked;)
        ml_loop_turn(loop);
    struct ml_name *other = watch("nothing.test", 1); /* the answer is in when this one's is */
    CHECK(settle(other) == ML_UP_RESOLVE);
    CHECK(state_of(n) == ML_OK && is(n, 0, "127.0.0.9:1"));
    ml_name_release(&n);
    ml_name_release(&other);
    teardown();
}

TEST(a_name_may_be_released_while_it_is_asked_for)
{
    setup();
    zone[0] = (struct record){"r.test", {"127.0.0.2"}, NULL, 60, 0, false, 0};
    zone[1] = (struct record){"mute.test", {"127.0.0.2"}, NULL, 60, 0, true, 0};
    struct ml_name *n = watch("r.test", 1), *mute = watch("mute.test", 1);

    ml_name_release(&n);
    ml_name_release(&mute); /* its query is still open when the resolver goes */
    n = watch("r.test", 1);
    CHECK(settle(n) == ML_OK);
    ml_name_release(&n);
    teardown();
}

TEST(a_server_that_never_answers_becomes_a_failure)
{
    setup();
    zone[0] = (struct record){"mute.test", {"127.0.0.2"}, NULL, 60, 0, true, 0};
    struct ml_name *n = watch("mute.test", 1);

    CHECK(settle(n) == ML_UP_RESOLVE);
    CHECK(zone[0].asked == 2);
    ml_name_release(&n);
    teardown();
}

TEST(etc_hosts_counts)
{
    setup();
    struct ml_name *n = watch("localhost", 7);

    CHECK(settle(n) == ML_OK);
    CHECK(is(n, 0, "127.0.0.1:7"));
    ml_name_release(&n);
    teardown();
}

/* ---- SRV ---- */

#define SRV(ttl, len, data) "\xc0\x0c\0\x21\0\1\0\0\0" ttl "\0" len data

static struct ml_name *watch_srv(const char *bytes, size_t len, int count)
{
    struct ml_name *n;
    const struct ml_srv *targets;
    enum ml_err err;

    zone[0] = (struct record){.name = "_http._tcp.a.test"};
    srv.bytes = bytes;
    srv.len = len;
    srv.count = count;
    n = ml_resolver_watch_srv(resolver, ML_STR("_http._tcp.a.test"));
    while (ml_name_targets(n, &targets, &err) == 0 && err == ML_AGAIN)
        ml_loop_turn(loop);
    return n;
}

static int changes;

static void count_change(void *ctx)
{
    (void)ctx;
    changes++;
}

TEST(srv_records_come_in_the_order_of_priority)
{
    static const char first[] = SRV("\1", "\x0d", "\0\2\0\5\x1f\x90\3two\1b\0")
        SRV("\1", "\x0d", "\0\1\0\7\0\x50\3one\1b\0");
    static const char second[] = SRV("\1", "\x0d", "\0\1\0\7\0\x50\3one\1b\0");
    struct ml_name_watcher watcher = {.changed = count_change};
    const struct ml_srv *t;
    enum ml_err err;

    setup();
    struct ml_name *n = watch_srv(first, sizeof first - 1, 2);
    CHECK(ml_name_targets(n, &t, &err) == 2 && err == ML_OK);
    CHECK(strcmp(t[0].host, "one.b") == 0 && t[0].port == 80 && t[0].weight == 7);
    CHECK(strcmp(t[1].host, "two.b") == 0 && t[1].port == 8080 && t[1].priority == 2);
    ml_name_watch(n, &watcher);
    ml_loop_turn(loop); /* the first answer is told of */
    srv.bytes = second;
    srv.len = sizeof second - 1;
    srv.count = 1;
    changes = 0;
    while (changes == 0)
        ml_loop_turn(loop);
    CHECK(ml_name_targets(n, &t, &err) == 1 && strcmp(t[0].host, "one.b") == 0);
    ml_name_unwatch(&watcher);
    ml_name_release(&n);
    teardown();
}

TEST(malformed_srv_records_are_no_answer)
{
    static const struct {
        const char *bytes;
        size_t len;
        int count;
    } wrong[] = {
#define ROW(text, n) {text, sizeof text - 1, n}
        ROW(SRV("\1", "\x0d", "\0\2\0\5\x1f\x90\3two\1b\0"), 2), /* one is missing */
        ROW(SRV("\1", "\xff", "\0\2\0\5\x1f\x90\3two\1b\0"), 1), /* longer than the packet */
        ROW(SRV("\1", "\6", "\0\2\0\5\x1f\x90"), 1),             /* no target */
        ROW(SRV("\1", "\x0a", "\0\2\0\5\x1f\x90\x3ftwo"), 1),    /* a label past the end */
        ROW(SRV("\1", "\x08", "\0\2\0\5\x1f\x90\xff\xff"), 1),   /* a pointer past the end */
        ROW(SRV("\1", "\7", "\0\2\0\5\x1f\x90\0"), 1),           /* "." : there is no service */
        ROW(SRV("\1", "\x0d", "\0\2\0\5\0\0\3two\1b\0"), 1),     /* port 0 */
        ROW("", 0),
    };
    const struct ml_srv *t;
    enum ml_err err;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setup();
        struct ml_name *n = watch_srv(wrong[i].bytes, wrong[i].len, wrong[i].count);
        CHECK(ml_name_targets(n, &t, &err) == 0 && err == ML_UP_RESOLVE);
        ml_name_release(&n);
        teardown();
    }
}

TEST(who_waits_for_a_name_hears_when_it_is_released)
{
    struct ml_name_waiter a = {.done = on_done}, b = {.done = on_done};

    setup();
    zone[0] = (struct record){.name = "mute.test", .v4 = {"127.0.0.2"}, .silent = true};
    struct ml_name *n = watch("mute.test", 80);
    told = 0;
    ml_name_wait(n, &a);
    ml_name_wait(n, &b);
    ml_name_release(&n);
    CHECK(told == 0);
    ml_loop_turn(loop);
    CHECK(told == 2 && a.name == NULL && b.name == NULL);
    teardown();
}
