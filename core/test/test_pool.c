#include "outbound/pool.h"

#include "test.h"

#include <sys/socket.h>

static struct ml_loop *loop;
static struct ml_pool pool;
static int peers[16];
static unsigned peer_count;

static void begin(unsigned idle_max, double timeout_s)
{
    loop = ml_loop_new();
    ml_pool_init(&pool, loop);
    ml_pool_configure(&pool, idle_max, timeout_s);
    peer_count = 0;
}

static void finish(void)
{
    ml_pool_drop(&pool);
    for (unsigned i = 0; i < peer_count; i++)
        close(peers[i]);
    ml_loop_free(&loop);
}

static void busy_ready(void *ctx, int what)
{
    *(int *)ctx |= what;
}

/* A connection whose other end is the latest of peers. */
static struct ml_link *connect_one(void)
{
    static int ready;
    int fd[2];
    struct ml_stream *s;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) != 0)
        abort();
    s = ml_stream_new(loop, fd[0]);
    ml_stream_listen_to(s, busy_ready, &ready);
    peers[peer_count++] = fd[1];
    return ml_pool_adopt(&pool, &s, 7);
}

/* Does the peer see its connection closed? */
static bool closed(unsigned peer)
{
    char byte;

    return recv(peers[peer], &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(the_newest_idle_connection_is_taken_first)
{
    begin(8, 60);
    struct ml_link *a = connect_one(), *b = connect_one(), *a_was = a, *b_was = b;

    CHECK(ml_pool_take(&pool, 7) == NULL);
    ml_pool_give(&a, 0);
    ml_pool_give(&b, 0);
    CHECK(a == NULL && b == NULL && pool.idle == 2);
    b = ml_pool_take(&pool, 7);
    a = ml_pool_take(&pool, 7);
    CHECK(b == b_was && a == a_was && a->served == 1);
    CHECK(ml_pool_take(&pool, 7) == NULL && pool.idle == 0);
    ml_pool_close(&a);
    ml_pool_close(&b);
    CHECK(closed(0) && closed(1));
    finish();
}

TEST(a_connection_to_another_address_is_not_taken)
{
    begin(8, 60);
    struct ml_link *a = connect_one();

    ml_pool_give(&a, 0);
    CHECK(ml_pool_take(&pool, 8) == NULL && pool.idle == 1);
    a = ml_pool_take(&pool, 7);
    CHECK(a != NULL);
    ml_pool_close(&a);
    finish();
}

TEST(over_the_cap_the_oldest_is_closed)
{
    begin(2, 60);
    for (unsigned i = 0; i < 3; i++) {
        struct ml_link *link = connect_one();

        ml_pool_give(&link, 0);
    }
    CHECK(pool.idle == 2);
    CHECK(closed(0) && !closed(1) && !closed(2));
    ml_pool_configure(&pool, 1, 60);
    CHECK(closed(1) && !closed(2));
    finish();
}

TEST(without_a_cap_nothing_is_kept)
{
    begin(0, 60);
    struct ml_link *link = connect_one();

    ml_pool_give(&link, 0);
    CHECK(link == NULL && closed(0));
    finish();
}

TEST(an_idle_connection_that_the_peer_closes_is_gone_at_once)
{
    begin(8, 60);
    struct ml_link *link = connect_one();

    ml_pool_give(&link, 0);
    shutdown(peers[0], SHUT_RDWR);
    ml_loop_turn(loop);
    CHECK(pool.idle == 0 && ml_pool_take(&pool, 7) == NULL);
    finish();
}

TEST(an_idle_connection_that_sends_unasked_bytes_is_closed_at_once)
{
    begin(8, 60);
    struct ml_link *link = connect_one();

    ml_pool_give(&link, 0);
    CHECK(send(peers[0], "HTTP/1.1 200 OK\r\n", 17, 0) == 17);
    ml_loop_turn(loop);
    CHECK(pool.idle == 0 && ml_pool_take(&pool, 7) == NULL);
    finish();
}

TEST(idle_connections_grow_old)
{
    begin(8, 0.03);
    struct ml_link *a = connect_one(), *b = connect_one();
    double start_s = ml_loop_now_s(loop);

    ml_pool_give(&a, 0);
    ml_pool_give(&b, 0.01); /* the peer promised less */
    while (pool.idle > 1)
        ml_loop_turn(loop);
    CHECK(closed(1) && !closed(0));
    while (pool.idle > 0)
        ml_loop_turn(loop);
    CHECK(closed(0));
    CHECK(ml_loop_now_s(loop) - start_s < 5);
    finish();
}

TEST(a_connection_too_old_is_never_taken)
{
    begin(8, 0.001);
    struct ml_link *link = connect_one();

    ml_pool_give(&link, 0);
    usleep(3000);
    ml_loop_turn(loop); /* a new time; the pool's timer may or may not have fired */
    CHECK(ml_pool_take(&pool, 7) == NULL);
    finish();
}
