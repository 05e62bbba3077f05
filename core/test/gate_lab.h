/* gate_lab.h - a gateway of one listener that forwards everything to the group of upstream_lab.h,
 * and a client of it.  Bodies are byte_at(0), byte_at(1) and so on, so that any loss shows. */
#ifndef ML_TEST_GATE_LAB_H
#define ML_TEST_GATE_LAB_H

#include "upstream_lab.h"

#include "inbound/listener.h"

#ifdef ML_HARD
enum { LARGE = 4 << 20 }; /* in pieces of one page */
#else
enum { LARGE = 10 << 20 };
#endif

static struct gate { /* the gateway between them */
    struct ml_inbound in;
    struct ml_handler handler;
    struct ml_listener_conf conf;
    struct ml_listener *listener;
    int fd, port;
    unsigned cancels, dones;
    bool spliced_up, spliced_down; /* seen at the end of an exchange */
    struct ml_exchange *ex;        /* the last one, while it lives */
} gate;

static struct client {
    struct ml_stream *s;
    struct ml_buf in, out;
    uint64_t fed, feed, got; /* bytes sent of those to send; of the body received */
    bool eof, reset, deaf, good, headed;
    char head[4096];
} client;

static char byte_at(uint64_t i)
{
    return (char)(i * 7 + i / 251);
}

/* ---- the gateway ---- */

static void gate_head(void *ctx, enum ml_err err)
{
    struct ml_exchange *ex = ctx;

    if (err == ML_OK)
        ml_exchange_respond(ex);
    else
        ml_exchange_fail(ex, err);
}

static void gate_start(void *ctx, struct ml_exchange *ex)
{
    struct ml_forward f = {.head = gate_head, .ctx = ex};

    (void)ctx;
    gate.ex = ex;
    ml_upstream_forward(lab.group, ex, &f);
}

static void gate_forget(struct ml_exchange *ex)
{
    gate.spliced_up |= ex->req.body != NULL && ex->req.body->splice != NULL;
    gate.spliced_down |= ex->res.body != NULL && ex->res.body->splice != NULL;
    gate.ex = NULL;
    ml_upstream_cancel(ex);
}

static void gate_cancel(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    gate.cancels++;
    gate_forget(ex);
}

static void gate_done(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    gate.dones++;
    gate_forget(ex);
}

UNUSED static void gate_open(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    gate = (struct gate){.handler = {gate_start, gate_cancel, gate_done, NULL}};
    gate.in =
        (struct ml_inbound){.loop = lab.loop, .handler = &gate.handler, .service = ML_STR("test")};
    ml_listener_defaults(&gate.conf);
    gate.conf.body_max = 64 << 20;
    gate.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(gate.fd, (struct sockaddr *)&a, len) != 0 || listen(gate.fd, 64) != 0 ||
        getsockname(gate.fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    gate.port = ntohs(a.sin_port);
    gate.listener = ml_listener_new(&gate.in, gate.fd, &gate.conf);
}

/* ---- the client ---- */

static void client_feed(void)
{
    char piece[16384];

    while (client.fed < client.feed && ml_buf_len(&client.out) < 4 * sizeof piece) {
        uint64_t left = client.feed - client.fed;
        size_t len = left < sizeof piece ? (size_t)left : sizeof piece;

        for (size_t i = 0; i < len; i++)
            piece[i] = byte_at(client.fed + i);
        client.fed += len;
        ml_buf_append(&client.out, (struct ml_str){piece, len});
    }
    lab_write(client.s, &client.out);
}

/* Takes the head, then compares the bytes of the body, which is not chunked. */
static void client_check(void)
{
    struct ml_str s = ml_buf_str(&client.in);

    if (!client.headed) {
        const char *end = s.len > 0 ? memmem(s.p, s.len, "\r\n\r\n", 4) : NULL;

        if (end == NULL)
            return;
        client.headed = true;
        snprintf(client.head, sizeof client.head, "%.*s", (int)(end - s.p + 4), s.p);
        ml_buf_consume(&client.in, (size_t)(end - s.p) + 4);
        s = ml_buf_str(&client.in);
    }
    if (strstr(client.head, "chunked") != NULL)
        return;
    for (size_t i = 0; i < s.len; i++)
        client.good &= s.p[i] == byte_at(client.got++);
    ml_buf_consume(&client.in, s.len);
}

static void client_ready(void *ctx, int what)
{
    enum ml_err err;

    (void)ctx;
    if (what & ML_STREAM_WRITE)
        client_feed();
    if (!(what & ML_STREAM_READ))
        return;
    err = client.deaf ? ML_AGAIN : lab_read(client.s, &client.in);
    client.eof |= err == ML_EOF;
    client.reset |= err == ML_RESET;
    if (client.deaf || client.eof || client.reset)
        ml_stream_want_read(client.s, false);
    client_check();
}

UNUSED static void client_open(const char *head, uint64_t body)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)gate.port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        abort();
    client = (struct client){.s = ml_stream_new(lab.loop, fd), .feed = body, .good = true};
    ml_stream_listen_to(client.s, client_ready, NULL);
    ml_buf_append(&client.out, ml_str_of(head));
    client_feed();
}

UNUSED static void client_hear(void)
{
    client.deaf = false;
    ml_stream_want_read(client.s, true);
}

UNUSED static void client_close(void)
{
    ml_stream_close(&client.s);
    ml_buf_release(&client.in);
    ml_buf_release(&client.out);
}

#endif
