/* test_stream.c - streams over loopback TCP and unix sockets. */
#include "transport/stream.h"

#include "test.h"

#include <arpa/inet.h>
#include <malloc.h>

static struct ml_loop *loop;
static struct ml_timer guard;

struct side { /* one end: a stream and what it was told */
    struct ml_stream *s;
    struct ml_buf in, out;
    int ready;  /* all events so far */
    int events; /* how many */
    bool close_in_callback;
};

static void too_long(void *ctx)
{
    (void)ctx;
    printf("# an event is missing\n");
    exit(1);
}

static void setup(void)
{
    loop = ml_loop_new();
    ml_timer_init(&guard, loop, too_long, NULL);
    ml_timer_set(&guard, 20);
}

static void on_ready(void *ctx, int what)
{
    struct side *side = ctx;

    side->ready |= what;
    side->events++;
    if (side->close_in_callback)
        ml_stream_close(&side->s);
}

static void side_free(struct side *side)
{
    ml_stream_close(&side->s);
    ml_buf_release(&side->in);
    ml_buf_release(&side->out);
}

static void teardown(struct side *a, struct side *b)
{
    side_free(a);
    side_free(b);
    ml_timer_drop(&guard);
    ml_loop_free(&loop);
}

static void await(struct side *side, int what)
{
    side->ready = 0;
    while (!(side->ready & what))
        ml_loop_turn(loop);
}

static struct ml_addr loopback(int port)
{
    struct ml_addr a = {.len = sizeof a.in};

    a.in.sin_family = AF_INET;
    a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.in.sin_port = htons((uint16_t)port);
    return a;
}

/* Binds a TCP socket to a free port and says which in *addr. */
static int bind_tcp(struct ml_addr *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *addr = loopback(0);
    if (bind(fd, &addr->sa, addr->len) != 0 || getsockname(fd, &addr->sa, &addr->len) != 0)
        abort();
    return fd;
}

static int listen_tcp(struct ml_addr *addr)
{
    int fd = bind_tcp(addr);

    if (listen(fd, 8) != 0)
        abort();
    return fd;
}

static void adopt(struct side *side, int fd)
{
    side->s = ml_stream_new(loop, fd);
    ml_stream_listen_to(side->s, on_ready, side);
}

static void unix_pair(struct side *a, struct side *b)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    adopt(a, fds[0]);
    adopt(b, fds[1]);
}

/* Connects a to a new listener; b is the accepted end. */
static void tcp_pair(struct side *a, struct side *b)
{
    struct ml_addr addr;
    int listener = listen_tcp(&addr);

    CHECK(ml_stream_connect(loop, &addr, &a->s) == ML_OK);
    ml_stream_listen_to(a->s, on_ready, a);
    await(a, ML_STREAM_WRITE);
    CHECK(ml_stream_connected(a->s) == ML_OK);
    adopt(b, accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    close(listener);
}

/* Writes all of a's out, reading it at b meanwhile, until b has len bytes. */
static void pump(struct side *a, struct side *b, size_t len)
{
    enum ml_err err = ml_stream_write(a->s, &a->out);

    a->ready = b->ready = 0;
    while (ml_buf_len(&b->in) < len) {
        ml_loop_turn(loop);
        if (b->ready & ML_STREAM_READ)
            CHECK(ml_stream_read(b->s, &b->in, SIZE_MAX, NULL) == ML_OK);
        if (err == ML_AGAIN && (a->ready & ML_STREAM_WRITE))
            err = ml_stream_write(a->s, &a->out);
        CHECK(err == ML_OK || err == ML_AGAIN);
        a->ready = b->ready = 0;
    }
    CHECK(err == ML_OK && ml_buf_len(&a->out) == 0);
}

static void fill(struct ml_buf *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        *ml_buf_reserve(b, 1) = (char)(i * 7 + i / 251);
        ml_buf_commit(b, 1);
    }
}

static bool filled(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] != (char)(i * 7 + i / 251))
            return false;
    return true;
}

TEST(bytes_arrive_both_ways_over_tcp)
{
    struct side a = {0}, b = {0};

    setup();
    tcp_pair(&a, &b);
    ml_buf_append(&a.out, ML_STR("ping"));
    pump(&a, &b, 4);
    CHECK(ml_str_eq(ml_buf_str(&b.in), ML_STR("ping")));
    ml_buf_append(&b.out, ML_STR("pong!"));
    pump(&b, &a, 5);
    CHECK(ml_str_eq(ml_buf_str(&a.in), ML_STR("pong!")));
    teardown(&a, &b);
}

TEST(a_refused_connection_says_so)
{
    struct side a = {0}, none = {0};
    struct ml_addr addr;
    int bound;

    setup();
    bound = bind_tcp(&addr); /* bound and not listening: refuses */
    if (ml_stream_connect(loop, &addr, &a.s) == ML_OK) {
        ml_stream_listen_to(a.s, on_ready, &a);
        await(&a, ML_STREAM_WRITE);
        CHECK(ml_stream_connected(a.s) == ML_UP_CONNECT);
    }
    close(bound);
    teardown(&a, &none);
}

TEST(a_connection_still_on_its_way_is_again)
{
    struct side a = {0}, none = {0};
    struct ml_addr addr = {.len = sizeof addr.in};

    setup();
    addr.in.sin_family = AF_INET;
    addr.in.sin_addr.s_addr = htonl(0xC0000201); /* 192.0.2.1, RFC 5737: nobody answers */
    addr.in.sin_port = htons(9);
    if (ml_stream_connect(loop, &addr, &a.s) == ML_OK) { /* else: no route, said at once */
        enum ml_err err = ml_stream_connected(a.s);

        CHECK(err == ML_AGAIN || err == ML_UP_CONNECT);
    }
    teardown(&a, &none);
}

TEST(a_missing_unix_socket_is_refused_at_once)
{
    struct side a = {0}, none = {0};
    struct ml_addr addr = {.len = sizeof addr.un};

    setup();
    addr.un.sun_family = AF_UNIX;
    strcpy(addr.un.sun_path, "/nonexistent/socket");
    CHECK(ml_stream_connect(loop, &addr, &a.s) == ML_UP_CONNECT);
    CHECK(a.s == NULL);
    teardown(&a, &none);
}

TEST(a_unix_socket_connects_and_has_no_peer_address)
{
    struct side a = {0}, b = {0};
    struct ml_addr addr = {.len = sizeof addr.un}, peer;
    char dir[] = "/tmp/moonlatch-test-XXXXXX";
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    setup();
    CHECK(mkdtemp(dir) != NULL);
    addr.un.sun_family = AF_UNIX;
    snprintf(addr.un.sun_path, sizeof addr.un.sun_path, "%s/s", dir);
    CHECK(bind(listener, &addr.sa, addr.len) == 0 && listen(listener, 8) == 0);
    CHECK(ml_stream_connect(loop, &addr, &a.s) == ML_OK);
    ml_stream_listen_to(a.s, on_ready, &a);
    await(&a, ML_STREAM_WRITE);
    CHECK(ml_stream_connected(a.s) == ML_OK);
    adopt(&b, accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC));
    ml_buf_append(&a.out, ML_STR("x"));
    pump(&a, &b, 1);
    CHECK(!ml_stream_peer(b.s, &peer));
    close(listener);
    unlink(addr.un.sun_path);
    rmdir(dir);
    teardown(&a, &b);
}

TEST(the_peer_of_a_tcp_stream_is_known)
{
    struct side a = {0}, b = {0};
    struct ml_addr peer;

    setup();
    tcp_pair(&a, &b);
    CHECK(ml_stream_peer(b.s, &peer));
    CHECK(peer.sa.sa_family == AF_INET && peer.in.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(peer.len == sizeof peer.in);
    teardown(&a, &b);
}

TEST(reading_nothing_is_again_and_holds_no_memory)
{
    struct side a = {0}, b = {0};
    bool more = true;

    setup();
    unix_pair(&a, &b);
    CHECK(ml_stream_read(a.s, &a.in, 100, &more) == ML_AGAIN);
    CHECK(!more && a.in.p == NULL);
    teardown(&a, &b);
}

TEST(a_read_keeps_to_max_and_says_when_more_may_wait)
{
    struct side a = {0}, b = {0};
    bool more = false;
    size_t got = 0;

    setup();
    unix_pair(&a, &b);
    CHECK(send(ml_stream_splice_fd(a.s), "0123456789", 10, 0) == 10);
    await(&b, ML_STREAM_READ);
    CHECK(ml_stream_read(b.s, &b.in, 4, &more) == ML_OK);
    CHECK(more && ml_buf_len(&b.in) <= 4);
    while (more) {
        got = ml_buf_len(&b.in);
        if (ml_stream_read(b.s, &b.in, 100, &more) != ML_OK)
            break;
    }
    CHECK(!more && ml_buf_len(&b.in) == 10 && got < 11);
    CHECK(ml_str_eq(ml_buf_str(&b.in), ML_STR("0123456789")));
    teardown(&a, &b);
}

TEST(a_writer_faster_than_its_reader_waits_and_loses_nothing)
{
    struct side a = {0}, b = {0};
    size_t len = 300000;
    int small = 4096, fd;

    setup();
    unix_pair(&a, &b);
    fd = ml_stream_splice_fd(a.s);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    fill(&a.out, len);
    CHECK(ml_stream_write(a.s, &a.out) == ML_AGAIN);
    CHECK(ml_buf_len(&a.out) > 0);
    pump(&a, &b, len);
    CHECK(filled(ml_buf_str(&b.in)));
    teardown(&a, &b);
}

TEST(two_buffers_arrive_in_order_however_they_are_cut)
{
    for (size_t head = 0; head < 4; head++) {
        struct side a = {0}, b = {0};
        struct ml_buf all = {0}, body = {0};
        size_t len = 70000;
        enum ml_err err;
        int small = 4096;

        setup();
        unix_pair(&a, &b);
        setsockopt(ml_stream_splice_fd(a.s), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        fill(&all, len);
        size_t cut = head * 23333; /* 0 ... almost all */
        ml_buf_append(&a.out, (struct ml_str){all.p + all.start, cut});
        ml_buf_append(&body, (struct ml_str){all.p + all.start + cut, len - cut});
        while ((err = ml_stream_write2(a.s, &a.out, &body)) == ML_AGAIN) {
            await(&b, ML_STREAM_READ);
            CHECK(ml_stream_read(b.s, &b.in, SIZE_MAX, NULL) == ML_OK);
        }
        CHECK(err == ML_OK && ml_buf_len(&a.out) == 0 && ml_buf_len(&body) == 0);
        while (ml_buf_len(&b.in) < len)
            CHECK(ml_stream_read(b.s, &b.in, SIZE_MAX, NULL) == ML_OK);
        CHECK(filled(ml_buf_str(&b.in)));
        ml_buf_release(&all);
        ml_buf_release(&body);
        teardown(&a, &b);
    }
}

TEST(writing_nothing_is_ok)
{
    struct side a = {0}, b = {0};

    setup();
    unix_pair(&a, &b);
    CHECK(ml_stream_write(a.s, &a.out) == ML_OK);
    CHECK(ml_stream_write2(a.s, &a.out, &a.in) == ML_OK);
    teardown(&a, &b);
}

TEST(a_shutdown_is_the_peers_eof_and_the_other_way_stays_open)
{
    struct side a = {0}, b = {0};

    setup();
    tcp_pair(&a, &b);
    ml_stream_shutdown(a.s);
    await(&b, ML_STREAM_READ);
    CHECK(ml_stream_read(b.s, &b.in, 100, NULL) == ML_EOF);
    ml_stream_want_read(b.s, false); /* an end is reported again and again */
    ml_buf_append(&b.out, ML_STR("late"));
    pump(&b, &a, 4);
    teardown(&a, &b);
}

TEST(a_poisoned_stream_ends_in_reset)
{
    struct side a = {0}, b = {0};

    setup();
    tcp_pair(&a, &b);
    ml_stream_poison(a.s);
    ml_stream_close(&a.s);
    CHECK(a.s == NULL);
    await(&b, ML_STREAM_READ);
    CHECK(ml_stream_read(b.s, &b.in, 100, NULL) == ML_RESET);
    ml_buf_append(&b.out, ML_STR("x"));
    CHECK(ml_stream_write(b.s, &b.out) == ML_RESET); /* and no SIGPIPE */
    teardown(&a, &b);
}

TEST(a_stream_can_be_closed_in_its_own_callback)
{
    struct side a = {0}, b = {0};

    setup();
    unix_pair(&a, &b);
    b.close_in_callback = true;
    ml_stream_want_write(b.s); /* so that two events are pending at once */
    CHECK(send(ml_stream_splice_fd(a.s), "x", 1, 0) == 1);
    ml_loop_turn(loop);
    CHECK(b.s == NULL && b.events == 1);
    teardown(&a, &b);
}

TEST(a_stream_that_does_not_want_to_read_hears_nothing_until_it_does)
{
    struct side a = {0}, b = {0};

    setup();
    unix_pair(&a, &b);
    ml_stream_want_read(b.s, false);
    ml_stream_want_read(b.s, false);
    CHECK(send(ml_stream_splice_fd(a.s), "x", 1, 0) == 1);
    ml_stream_want_write(a.s);
    await(&a, ML_STREAM_WRITE);
    CHECK(b.events == 0);
    ml_stream_want_read(b.s, true);
    await(&b, ML_STREAM_READ);
    CHECK(b.events == 1);
    teardown(&a, &b);
}

TEST(write_readiness_is_told_once)
{
    struct side a = {0}, b = {0};

    setup();
    unix_pair(&a, &b);
    ml_stream_want_write(a.s);
    await(&a, ML_STREAM_WRITE);
    CHECK(send(ml_stream_splice_fd(b.s), "x", 1, 0) == 1);
    a.events = 0;
    await(&a, ML_STREAM_READ);
    CHECK(a.events == 1);
    teardown(&a, &b);
}

TEST(a_new_socket_with_the_number_of_a_closed_one_gets_its_own_events)
{
    struct side a = {0}, b = {0};

    setup();
    for (int i = 0; i < 20; i++) { /* the numbers repeat */
        unix_pair(&a, &b);
        ml_stream_want_write(a.s);
        if (i % 2)
            await(&a, ML_STREAM_WRITE);
        ml_buf_append(&a.out, ML_STR("hello"));
        pump(&a, &b, 5);
        side_free(&a);
        side_free(&b);
    }
    teardown(&a, &b);
}

TEST(an_idle_stream_is_small)
{
    struct side a = {0}, b = {0};

    setup();
    unix_pair(&a, &b);
    CHECK(malloc_usable_size(a.s) < 180);
    teardown(&a, &b);
}
