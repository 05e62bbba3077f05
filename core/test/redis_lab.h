/* redis_lab.h - a loop, Redis clients in it, and servers that say what the test says.
 *
 * Every wait is for a condition; the runner ends a test that waits for ever. */
#ifndef ML_TEST_REDIS_LAB_H
#define ML_TEST_REDIS_LAB_H

#include "base/log_event.h"
#include "outbound/redis.h"
#include "outbound/server.h"
#include "outbound/upstream.h"

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>

#define UNUSED __attribute__((unused))
#define PING "*1\r\n$4\r\nPING\r\n"

struct peer { /* a server with the connection it accepted last */
    int listener, fd, port;
    unsigned accepted;
    bool eof;
    struct ml_buf in;
};

struct ask { /* a call and what came of it */
    struct ml_redis_call *call;
    bool done;
    struct ml_str text; /* of the first reply */
    const char *why;
    enum ml_err err;
};

static struct {
    struct ml_loop *loop;
    struct ml_resolver *resolver;
    struct ml_outbound *o;
    struct ml_timer tick;
} lab;

static void lab_nothing(void *ctx)
{
    (void)ctx;
}

UNUSED static void lab_begin(void)
{
    ml_log_event_set_level(ML_LOG_ERROR);
    lab.loop = ml_loop_new();
    lab.resolver = ml_resolver_new(lab.loop);
    lab.o = ml_outbound_new(lab.loop, lab.resolver, NULL, 0);
    ml_timer_init(&lab.tick, lab.loop, lab_nothing, NULL);
}

UNUSED static void lab_end(void)
{
    ml_timer_drop(&lab.tick);
    ml_outbound_free(&lab.o);
    ml_resolver_free(&lab.resolver);
    ml_loop_free(&lab.loop);
}

UNUSED static void lab_turn(void)
{
    ml_timer_set(&lab.tick, 0.002);
    ml_loop_turn(lab.loop);
}

/* ---- servers ---- */

UNUSED static void peer_listen(struct peer *p, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                             .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof at;
    int on = 1;

    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(p->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(p->listener, (struct sockaddr *)&at, len) != 0 || listen(p->listener, 16) != 0)
        abort();
    getsockname(p->listener, (struct sockaddr *)&at, &len);
    p->port = ntohs(at.sin_port);
}

UNUSED static void peer_open(struct peer *p)
{
    *p = (struct peer){.fd = -1};
    peer_listen(p, 0);
}

UNUSED static void peer_hang_up(struct peer *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    ml_buf_release(&p->in);
}

UNUSED static void peer_close(struct peer *p)
{
    peer_hang_up(p);
    close(p->listener);
}

static void peer_poll(struct peer *p)
{
    int fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ssize_t n;

    if (fd >= 0) {
        peer_hang_up(p);
        p->fd = fd;
        p->eof = false;
        p->accepted++;
    }
    if (p->fd < 0)
        return;
    n = recv(p->fd, ml_buf_reserve(&p->in, 65536), 65536, MSG_DONTWAIT);
    if (n > 0)
        ml_buf_commit(&p->in, (size_t)n);
    p->eof |= n == 0;
}

/* Waits until exactly these bytes have come, and takes them. */
UNUSED static void peer_expect(struct peer *p, const char *text)
{
    size_t len = strlen(text);

    while (ml_buf_len(&p->in) < len) {
        lab_turn();
        peer_poll(p);
    }
    if (memcmp(p->in.p + p->in.start, text, len) != 0) {
        printf("# came: %.*s\n", (int)ml_buf_len(&p->in), p->in.p + p->in.start);
        CHECK(!"the bytes that were expected");
    }
    ml_buf_consume(&p->in, len);
}

UNUSED static void peer_say(struct peer *p, struct ml_str text)
{
    while (text.len > 0) {
        ssize_t n = send(p->fd, text.p, text.len, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n > 0) {
            text.p += n;
            text.len -= (size_t)n;
        } else if (n < 0 && errno != EAGAIN) {
            return; /* the client has had enough */
        } else {
            lab_turn();
        }
    }
}

#define SAY(peer, text) peer_say(peer, ML_STR(text))

UNUSED static void peer_hello(struct peer *p)
{
    peer_expect(p, PING);
    SAY(p, "+PONG\r\n");
}

UNUSED static void peer_wait_eof(struct peer *p)
{
    while (!p->eof) {
        lab_turn();
        peer_poll(p);
    }
}

/* ---- clients ---- */

UNUSED static struct ml_redis *client(double timeout_s, const char *format, ...)
{
    static struct ml_redis_conf conf;
    char url[256];
    va_list args;

    va_start(args, format);
    vsnprintf(url, sizeof url, format, args);
    va_end(args);
    if (ml_redis_conf_parse(ml_str_of(url), &conf) != NULL)
        abort();
    conf.timeout_s = timeout_s;
    conf.connect_timeout_s = 1;
    return ml_redis_hold(lab.o, &conf);
}

static void ask_done(void *ctx)
{
    struct ask *a = ctx;

    CHECK(!a->done);
    a->done = true;
    a->err = ml_redis_call_outcome(a->call, &a->why);
    if (a->err == ML_OK)
        a->text = ml_redis_reply_text(ml_redis_call_reply(a->call, 0));
}

static void ask_add(struct ask *a, const char *words)
{
    const char *v[16];
    size_t len[16];
    struct ml_redis_argv argv = {0, v, len};
    char copy[256];

    snprintf(copy, sizeof copy, "%s", words);
    for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
        v[argv.argc] = word;
        len[argv.argc++] = strlen(word);
    }
    if (!ml_redis_call_add(a->call, &argv))
        abort();
}

UNUSED static void ask_new(struct ask *a, struct ml_redis *r)
{
    *a = (struct ask){.call = ml_redis_call_new(r, ask_done, a)};
}

UNUSED static void ask_send(struct ask *a)
{
    if (ml_redis_call_send(a->call))
        ask_done(a);
}

UNUSED static void ask(struct ask *a, struct ml_redis *r, const char *words)
{
    ask_new(a, r);
    ask_add(a, words);
    ask_send(a);
}

UNUSED static void ask_wait(struct ask *a)
{
    while (!a->done)
        lab_turn();
}

/* Waits; frees the call. */
UNUSED static bool answers(struct ask *a, const char *text)
{
    bool same;

    ask_wait(a);
    same = a->err == ML_OK && ml_str_eq(a->text, ml_str_of(text));
    if (!same)
        printf("# got %s: %.*s %s\n", ml_err_word(a->err), (int)a->text.len, a->text.p, a->why);
    ml_redis_call_free(&a->call);
    return same;
}

UNUSED static bool fails(struct ask *a, enum ml_err err)
{
    ask_wait(a);
    if (a->err != err)
        printf("# got %s: %s\n", ml_err_word(a->err), a->why);
    ml_redis_call_free(&a->call);
    return a->err == err;
}

#endif
