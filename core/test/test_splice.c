/* test_splice.c - bytes from one socket to another through the kernel's pipe. */
#include "transport/splice.h"

#include "test.h"

#include <signal.h>
#include <sys/socket.h>

static int client[2], server[2]; /* [0] is what we splice, [1] is the peer */

static void setup(void)
{
    signal(SIGPIPE, SIG_IGN); /* a process with a loop does so */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, server) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, client) != 0)
        abort();
}

static void teardown(struct ml_splice **sp)
{
    ml_splice_free(sp);
    for (int i = 0; i < 2; i++) {
        close(server[i]);
        close(client[i]);
    }
}

static char byte_at(uint64_t i)
{
    return (char)(i * 7 + i / 251);
}

/* Sends what the socket takes of the bytes from *at to end. */
static void feed(uint64_t *at, uint64_t end)
{
    char piece[5000];
    size_t len = end - *at < sizeof piece ? (size_t)(end - *at) : sizeof piece;
    ssize_t n;

    for (size_t i = 0; i < len; i++)
        piece[i] = byte_at(*at + i);
    n = len > 0 ? send(server[1], piece, len, MSG_NOSIGNAL) : 0;
    *at += n > 0 ? (uint64_t)n : 0;
}

/* Receives what is there; false when a byte is not the one that belongs there. */
static bool drain(uint64_t *at, size_t max)
{
    char piece[8192];
    ssize_t n = recv(client[1], piece, max < sizeof piece ? max : sizeof piece, 0);

    for (ssize_t i = 0; i < n; i++)
        if (piece[i] != byte_at((*at)++))
            return false;
    return true;
}

TEST(ten_megabytes_arrive_whole_and_in_order)
{
    uint64_t len = 10u << 20, left = len, moved = 0, sent = 0, got = 0;
    bool want_read, want_write, good = true;
    enum ml_err err = ML_AGAIN;

    setup();
    struct ml_splice *sp = ml_splice_new();
    CHECK(sp != NULL);
    for (long round = 0; got < len && good && round < 10000000; round++) {
        feed(&sent, len);
        if (err == ML_AGAIN)
            err = ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write);
        good = (err == ML_OK || err == ML_AGAIN) && drain(&got, round % 3 ? 8192 : 100);
    }
    CHECK(good && err == ML_OK);
    CHECK(moved == len && left == 0 && got == len);
    teardown(&sp);
}

TEST(an_idle_source_makes_it_want_to_read)
{
    uint64_t left = 10, moved = 0;
    bool want_read, want_write;

    setup();
    struct ml_splice *sp = ml_splice_new();
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_AGAIN);
    CHECK(want_read && !want_write && left == 10 && moved == 0);
    CHECK(send(server[1], "abc", 3, 0) == 3);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_AGAIN);
    CHECK(want_read && !want_write && left == 7 && moved == 3);
    teardown(&sp);
}

TEST(never_more_than_left_is_taken)
{
    uint64_t left = 4, moved = 0;
    bool want_read, want_write;
    char rest[8];

    setup();
    struct ml_splice *sp = ml_splice_new();
    CHECK(send(server[1], "abcdefg", 7, 0) == 7);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_OK);
    CHECK(left == 0 && moved == 4);
    CHECK(recv(client[1], rest, sizeof rest, 0) == 4 && memcmp(rest, "abcd", 4) == 0);
    CHECK(recv(server[0], rest, sizeof rest, 0) == 3 && memcmp(rest, "efg", 3) == 0);
    teardown(&sp);
}

TEST(a_full_destination_stops_the_taking)
{
    uint64_t left = 10u << 20, moved = 0, sent = 0, got = 0, held_left;
    bool want_read = true, want_write = false;
    enum ml_err err = ML_AGAIN;

    setup();
    struct ml_splice *sp = ml_splice_new();
    for (int i = 0; i < 100000 && !want_write && err == ML_AGAIN; i++) {
        feed(&sent, left);
        err = ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write);
    }
    CHECK(err == ML_AGAIN && want_write && !want_read);
    CHECK(ml_splice_held(sp) > 0 && ml_splice_held(sp) <= 1 << 20);
    held_left = left;
    feed(&sent, 10u << 20);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_AGAIN);
    CHECK(left == held_left && want_write && !want_read);
    CHECK(drain(&got, 8192));
    teardown(&sp); /* with bytes in the pipe: it is not pooled */
}

TEST(an_early_end_is_eof_after_everything_before_it_was_given)
{
    uint64_t left = 100, moved = 0;
    bool want_read, want_write;
    char got[8];

    setup();
    struct ml_splice *sp = ml_splice_new();
    CHECK(send(server[1], "abc", 3, 0) == 3);
    shutdown(server[1], SHUT_WR);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_AGAIN);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_EOF);
    CHECK(left == 97 && moved == 3 && recv(client[1], got, sizeof got, 0) == 3);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_EOF);
    teardown(&sp);
}

TEST(a_destination_that_went_away_is_cancelled)
{
    uint64_t left = 100, moved = 0;
    bool want_read, want_write;

    setup();
    struct ml_splice *sp = ml_splice_new();
    CHECK(send(server[1], "abc", 3, 0) == 3);
    shutdown(client[1], SHUT_RDWR);
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_CANCELLED);
    teardown(&sp);
}

TEST(nothing_left_is_ok_at_once)
{
    uint64_t left = 0, moved = 0;
    bool want_read, want_write;

    setup();
    struct ml_splice *sp = ml_splice_new();
    CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read, &want_write) ==
          ML_OK);
    CHECK(!want_read && !want_write);
    teardown(&sp);
}

TEST(a_pooled_pipe_is_clean)
{
    uint64_t left = 100, moved = 0;
    bool want_read, want_write;
    char got[8];

    for (int i = 0; i < 40; i++) {
        setup();
        struct ml_splice *sp = ml_splice_new();
        left = 100;
        if (i % 2 == 0) { /* ended: the next user must not see it */
            shutdown(server[1], SHUT_WR);
            CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read,
                                 &want_write) == ML_EOF);
        } else {
            CHECK(send(server[1], "abc", 3, 0) == 3);
            CHECK(ml_splice_move(sp, server[0], client[0], &left, &moved, &want_read,
                                 &want_write) == ML_AGAIN);
            CHECK(recv(client[1], got, sizeof got, 0) == 3);
        }
        teardown(&sp);
    }
}
