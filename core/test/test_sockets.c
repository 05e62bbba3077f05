/* test_sockets.c - sockets are planned, committed and taken back, and nobody shares a port. */
#include "process/sockets.h"

#include "process/pack.h"
#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

enum { WORKERS = 3 };

static struct ml_summary summary;
static struct ml_sockets *sockets;
static struct ml_buf why;

/* A port that was free a moment ago. */
static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    close(fd);
    return ntohs(a.sin_port);
}

static bool can_connect(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ok = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;

    close(fd);
    return ok;
}

static void want(unsigned index, const char *host, int port)
{
    summary.listeners[index].host = ml_str_of(host);
    summary.listeners[index].port = port;
    summary.listener_count = index + 1;
}

static void setup(void)
{
    summary = (struct ml_summary){.listener_count = 0};
    sockets = ml_sockets_new(WORKERS);
}

static void teardown(void)
{
    ml_sockets_free(&sockets);
    ml_buf_release(&why);
}

TEST(hosts_are_addresses)
{
    struct ml_addr a;

    CHECK(ml_sockets_address(ML_STR("0.0.0.0"), 80, &a) && a.sa.sa_family == AF_INET);
    CHECK(ml_sockets_address(ML_STR("*"), 80, &a) && a.in.sin_addr.s_addr == INADDR_ANY);
    CHECK(ml_sockets_address(ML_STR(""), 80, &a) && ntohs(a.in.sin_port) == 80);
    CHECK(ml_sockets_address(ML_STR("localhost"), 80, &a) &&
          a.in.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(ml_sockets_address(ML_STR("::1"), 80, &a) && a.sa.sa_family == AF_INET6);
    CHECK(ml_sockets_address(ML_STR("[::]"), 443, &a) && ntohs(a.in6.sin6_port) == 443);
    CHECK(!ml_sockets_address(ML_STR("example.org"), 80, &a));
    CHECK(!ml_sockets_address(ML_STR("127.0.0.1.1"), 80, &a));
    CHECK(!ml_sockets_address(ML_STR("["), 80, &a));
    CHECK(!ml_sockets_address((struct ml_str){"127.0.0.1\0evil", 14}, 80, &a));
}

TEST(names_have_brackets_around_ipv6)
{
    struct ml_buf b = {0};

    ml_sockets_name(&b, ML_STR("127.0.0.1"), 80);
    ml_sockets_name(&b, ML_STR("::1"), 81);
    ml_sockets_name(&b, ML_STR("[::1]"), 82);
    CHECK(ml_str_eq(ml_buf_str(&b), ML_STR("127.0.0.1:80[::1]:81[::1]:82")));
    ml_buf_release(&b);
}

static unsigned count_of(enum ml_sockets_which which, unsigned worker)
{
    int fds[ML_SITE_LISTENERS_MAX];
    struct ml_buf names = {0};
    unsigned n = ml_sockets_of(sockets, which, worker, &names, fds);

    for (unsigned i = 0; i < n; i++)
        CHECK((fcntl(fds[i], F_GETFD) & FD_CLOEXEC) && (fcntl(fds[i], F_GETFL) & O_NONBLOCK));
    ml_buf_release(&names);
    return n;
}

TEST(each_worker_gets_its_own_socket)
{
    int a[ML_SITE_LISTENERS_MAX], b[ML_SITE_LISTENERS_MAX], port = free_port();
    struct ml_buf names = {0};

    setup();
    want(0, "127.0.0.1", port);
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    CHECK(count_of(ML_SOCKETS_PLANNED, 0) == 1 && count_of(ML_SOCKETS_OPEN, 0) == 0);
    ml_sockets_commit(sockets);
    CHECK(count_of(ML_SOCKETS_PLANNED, 0) == 0 && count_of(ML_SOCKETS_OPEN, 2) == 1);
    ml_sockets_of(sockets, ML_SOCKETS_OPEN, 0, &names, a);
    ml_sockets_of(sockets, ML_SOCKETS_OPEN, 1, &names, b);
    CHECK(a[0] != b[0] && can_connect(port));
    ml_sockets_close(sockets);
    CHECK(!can_connect(port));
    ml_buf_release(&names);
    teardown();
}

TEST(a_plan_can_be_taken_back)
{
    int first = free_port(), second = free_port();

    setup();
    want(0, "127.0.0.1", first);
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    ml_sockets_commit(sockets);
    want(0, "127.0.0.1", second);
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    CHECK(count_of(ML_SOCKETS_OPEN, 0) == 1 && count_of(ML_SOCKETS_PLANNED, 0) == 1);
    ml_sockets_rollback(sockets);
    CHECK(can_connect(first) && !can_connect(second));
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    ml_sockets_commit(sockets);
    CHECK(!can_connect(first) && can_connect(second));
    teardown();
}

TEST(a_port_of_somebody_else_fails_the_whole_plan)
{
    struct ml_sockets *other = ml_sockets_new(1);
    int first = free_port(), taken = free_port();
    char text[100];

    setup();
    want(0, "127.0.0.1", taken);
    CHECK(ml_sockets_plan(other, &summary, &why)); /* it has SO_REUSEPORT as well */
    want(0, "127.0.0.1", first);
    want(1, "127.0.0.1", taken);
    CHECK(!ml_sockets_plan(sockets, &summary, &why));
    snprintf(text, sizeof text,
             "cannot listen on 127.0.0.1:%d: the address is in use by another program", taken);
    CHECK(ml_str_eq(ml_buf_str(&why), ml_str_of(text)));
    CHECK(!can_connect(first) && count_of(ML_SOCKETS_OPEN, 0) == 0);
    ml_sockets_free(&other);
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    teardown();
}

TEST(the_wildcard_can_take_the_place_of_an_address_of_ours)
{
    struct ml_buf list = {0};
    int port = free_port();
    char text[40];

    setup();
    want(0, "127.0.0.1", port);
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    ml_sockets_commit(sockets);
    want(0, "0.0.0.0", port);
    CHECK(ml_sockets_plan(sockets, &summary, &why));
    ml_sockets_commit(sockets);
    CHECK(can_connect(port));
    ml_sockets_list(sockets, &list);
    snprintf(text, sizeof text, "0.0.0.0:%d\n", port);
    CHECK(ml_str_eq(ml_buf_str(&list), ml_str_of(text)));
    ml_buf_release(&list);
    teardown();
}
