/* conn_lab.h - what the tests of connections share: a listener on loopback, clients in the same
 * loop, and a handler whose answers the test makes.
 *
 * With `bytewise` set, clients send one byte per turn of the loop.  Paths say what the handler
 * does: see lab_start.  Every wait is for a condition and ends the program when it takes too long.
 */
#ifndef ML_TEST_CONN_LAB_H
#define ML_TEST_CONN_LAB_H

#include "inbound/listener.h"
#include "collect.h"

#include "test.h"

#include <arpa/inet.h>
#include <fcntl.h>

#define UNUSED __attribute__((unused))

/* A test that runs twice: requests sent as they are, and byte by byte. */
#define TEST_SPLIT(id)                                                                             \
    static void split_##id(void);                                                                  \
    TEST(id)                                                                                       \
    {                                                                                              \
        bytewise = false;                                                                          \
        split_##id();                                                                              \
    }                                                                                              \
    TEST(id##_byte_by_byte)                                                                        \
    {                                                                                              \
        bytewise = true;                                                                           \
        split_##id();                                                                              \
        bytewise = false;                                                                          \
    }                                                                                              \
    static void split_##id(void)

#define AWAIT(what)                                                                                \
    do {                                                                                           \
        while (!(what))                                                                            \
            lab_turn();                                                                            \
    } while (0)

enum { LAB_HELD = 64 };

static bool bytewise;

static struct lab {
    struct ml_loop *loop;
    struct ml_timer guard, tick;
    struct ml_handler handler;
    struct ml_inbound in;
    struct ml_listener_conf conf;
    struct ml_listener *listener;
    int fd, port;
    struct ml_exchange *held[LAB_HELD]; /* "/later", in order */
    unsigned held_count;
    unsigned starts, cancels, dones;
    char last_ip[64];
    enum ml_err body_err; /* how the last collected body ended */
    size_t body_len;
    bool body_has_length;
} lab;

struct client {
    struct ml_stream *s;
    struct ml_buf in, out;
    bool eof, reset, deaf; /* deaf: reads nothing */
};

static void lab_too_long(void *ctx)
{
    (void)ctx;
    printf("not ok: an event is missing\n");
    fflush(stdout);
    abort();
}

static void lab_nothing(void *ctx)
{
    (void)ctx;
}

/* One turn that waits for a moment at most. */
UNUSED static void lab_turn(void)
{
    ml_timer_set(&lab.tick, 0.002);
    ml_loop_turn(lab.loop);
}

/* ---- the handler ---- */

static void lab_text(struct ml_exchange *ex, int status, struct ml_str body)
{
    ex->res.status = status;
    ex->res.bytes = body;
    ex->res.from = ML_FROM_SCRIPT;
    ml_exchange_respond(ex);
}

static void lab_collected(void *ctx, enum ml_err err, struct ml_str bytes)
{
    struct ml_exchange *ex = ctx;

    lab.body_err = err;
    lab.body_len = bytes.len;
    if (ex->responded)
        return;
    if (err != ML_OK)
        ml_exchange_fail(ex, err);
    else
        lab_text(ex, 200, ml_arena_dup(ex->arena, bytes));
}

static bool lab_path_is(const struct ml_exchange *ex, const char *path)
{
    return ml_str_eq(ex->req.path, ml_str_of(path));
}

/* /now answers at once, /echo with the body, /204 and /304 with these; all others are held. */
static void lab_start(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    lab.starts++;
    lab.body_has_length = ex->req.has_length;
    snprintf(lab.last_ip, sizeof lab.last_ip, "%.*s", (int)ex->req.ip.len, ex->req.ip.p);
    if (lab_path_is(ex, "/now")) {
        lab_text(ex, 200, ML_STR("now"));
    } else if (lab_path_is(ex, "/204")) {
        lab_text(ex, 204, ML_STR(""));
    } else if (lab_path_is(ex, "/304")) {
        lab_text(ex, 304, ML_STR(""));
    } else if (lab_path_is(ex, "/echo")) {
        ml_exchange_collect(ex, ex->req.body, 1 << 20, lab_collected, ex);
    } else {
        if (lab.held_count == LAB_HELD)
            abort();
        lab.held[lab.held_count++] = ex;
    }
}

static void lab_cancel(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
    lab.cancels++;
}

static void lab_done(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
    lab.dones++;
}

/* ---- the server ---- */

/* The kernel holds some hundred KiB between a client and its connection, whatever it would like to.
 */
static void lab_small_buffers(int fd)
{
    int len = 64 << 10;

    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &len, sizeof len) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &len, sizeof len) != 0)
        abort();
}

static void lab_listen(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    lab.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    lab_small_buffers(lab.fd); /* which its connections inherit */
    if (lab.fd < 0 || bind(lab.fd, (struct sockaddr *)&a, len) != 0 || listen(lab.fd, 64) != 0 ||
        getsockname(lab.fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    lab.port = ntohs(a.sin_port);
}

/* The defaults, which a test may change before its first client. */
UNUSED static void lab_setup(void)
{
    lab = (struct lab){.loop = ml_loop_new()};
    lab.handler = (struct ml_handler){lab_start, lab_cancel, lab_done, NULL};
    lab.in =
        (struct ml_inbound){.loop = lab.loop, .handler = &lab.handler, .service = ML_STR("test")};
    ml_listener_defaults(&lab.conf);
    ml_timer_init(&lab.guard, lab.loop, lab_too_long, NULL);
    ml_timer_init(&lab.tick, lab.loop, lab_nothing, NULL);
    ml_timer_set(&lab.guard, 30);
    lab_listen();
    lab.listener = ml_listener_new(&lab.in, lab.fd, &lab.conf);
}

UNUSED static void lab_teardown(void)
{
    ml_inbound_abort(&lab.in);
    ml_listener_free(&lab.listener);
    CHECK(lab.in.connections == 0);
    ml_timer_drop(&lab.guard);
    ml_timer_drop(&lab.tick);
    ml_loop_free(&lab.loop);
    close(lab.fd);
}

/* ---- clients ---- */

static void client_read(struct client *c)
{
    enum ml_err err = ML_OK;

    while (err == ML_OK && !c->deaf)
        err = ml_stream_read(c->s, &c->in, 65536, NULL);
    c->eof |= err == ML_EOF;
    c->reset |= err == ML_RESET;
    if (c->deaf || c->eof || c->reset)
        ml_stream_want_read(c->s, false);
}

static void client_ready(void *ctx, int what)
{
    struct client *c = ctx;

    if (what & ML_STREAM_READ)
        client_read(c);
    if (what & ML_STREAM_WRITE)
        (void)ml_stream_write(c->s, &c->out);
}

UNUSED static void client_open(struct client *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)lab.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    lab_small_buffers(fd);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        abort();
    *c = (struct client){.s = ml_stream_new(lab.loop, fd)};
    ml_stream_listen_to(c->s, client_ready, c);
}

UNUSED static void client_listen_again(struct client *c)
{
    c->deaf = false;
    ml_stream_want_read(c->s, true);
    client_read(c);
}

UNUSED static void client_close(struct client *c)
{
    ml_stream_close(&c->s);
    ml_buf_release(&c->in);
    ml_buf_release(&c->out);
}

/* Sends in one piece, whatever `bytewise` says; what the kernel does not take follows later. */
UNUSED static void client_push(struct client *c, struct ml_str bytes)
{
    ml_buf_append(&c->out, bytes);
    (void)ml_stream_write(c->s, &c->out);
}

UNUSED static void client_say(struct client *c, const char *text)
{
    if (!bytewise) {
        client_push(c, ml_str_of(text));
        return;
    }
    for (; *text != '\0'; text++) {
        client_push(c, (struct ml_str){text, 1});
        lab_turn();
    }
}

UNUSED static bool client_has(const struct client *c, const char *text)
{
    struct ml_str s = ml_buf_str(&c->in);

    return s.len > 0 && memmem(s.p, s.len, text, strlen(text)) != NULL;
}

/* Has it got exactly this, with a Date field of any value? */
UNUSED static bool client_got(struct client *c, const char *want)
{
    struct ml_str s = ml_buf_str(&c->in);

    while (*want != '\0') {
        size_t line = strcspn(want, "\n") + 1;

        if (strncmp(want, "Date", 4) == 0 && s.len > 37 && memcmp(s.p, "Date: ", 6) == 0)
            s = (struct ml_str){s.p + 37, s.len - 37};
        else if (s.len >= strnlen(want, line) && memcmp(s.p, want, strnlen(want, line)) == 0)
            s = (struct ml_str){s.p + strnlen(want, line), s.len - strnlen(want, line)};
        else
            return false;
        want += strnlen(want, line);
    }
    return s.len == 0;
}

/* Waits for this, and forgets it. */
#define CLIENT_EXPECT(c, want)                                                                     \
    do {                                                                                           \
        while (!client_got(c, want) && !(c)->eof && !(c)->reset)                                   \
            lab_turn();                                                                            \
        CHECK(client_got(c, want));                                                                \
        if (!client_got(c, want))                                                                  \
            printf("# got: %.*s\n", (int)ml_buf_len(&(c)->in), (c)->in.p + (c)->in.start);         \
        ml_buf_consume(&(c)->in, ml_buf_len(&(c)->in));                                            \
    } while (0)

#endif
