/* fuzz_h2.c - a connection of HTTP/2 with all that can happen to it, over nghttp2 and a real
 * socket, in a time of its own.
 *
 * The input is a list of steps: a frame of the client, raw bytes, a look at what came, time that
 * passes, or something that the handler does with a request it has.  Whatever they are, output and
 * early bytes stay bounded, and at the end nothing is left. */
#include "base/clock.h"
#include "fuzz.h"
#include "inbound/h2_parts.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HELD = 16, OUT_MAX = 256 << 10 };

static struct lab {
    struct ml_loop *loop;
    struct ml_handler handler;
    struct ml_inbound in;
    struct ml_listener_conf conf;
    struct ml_port port;
    struct ml_exchange *held[HELD];
    unsigned count;
    int fd; /* the client's end */
} lab;

static uint64_t now_ms = 1000000;

struct input {
    struct ml_str left;
};

static unsigned next_byte(struct input *in)
{
    if (in->left.len == 0)
        return 0;
    in->left.len--;
    return (unsigned char)*in->left.p++;
}

static struct ml_str next_bytes(struct input *in, size_t len)
{
    struct ml_str s = {in->left.p, len < in->left.len ? len : in->left.len};

    in->left.p += s.len;
    in->left.len -= s.len;
    return s;
}

/* ---- the handler ---- */

static void forget(struct ml_exchange *ex)
{
    for (unsigned i = 0; i < lab.count; i++)
        if (lab.held[i] == ex)
            lab.held[i--] = lab.held[--lab.count];
}

static void text(struct ml_exchange *ex, int status, struct ml_str bytes)
{
    ex->res.status = status;
    ex->res.bytes = bytes;
    ml_exchange_respond(ex);
}

static void start(void *ctx, struct ml_exchange *ex)
{
    MUST(ex->req.major == 2 && ex->req.path.len > 0 && !ex->responded);
    MUST(ex->req.upgrade.len == 0 || ex->req.body == NULL);
    if (lab.count == HELD || ml_str_eq(ex->req.path, ML_STR("/now")))
        text(ex, 200, ML_STR("now"));
    else
        lab.held[lab.count++] = ex;
}

static void gone(void *ctx, struct ml_exchange *ex)
{
    forget(ex);
}

static struct ml_pipe *pipe_new(struct ml_exchange *ex)
{
    return ml_arena_zalloc(ex->arena, sizeof(struct ml_pipe));
}

/* As ml_upstream_tunnel_begin does it. */
static void tunnel(struct ml_exchange *ex)
{
    if (ex->req.upgrade.len > 0)
        ex->req.body = pipe_new(ex);
    ex->res.status = 101;
    ex->res.body = pipe_new(ex);
    ml_exchange_respond(ex);
}

static void stream(struct ml_exchange *ex, unsigned how)
{
    ex->res.status = how % 2 ? 200 : 304;
    ex->res.body = pipe_new(ex);
    ex->res.has_length = how / 2 % 2;
    ex->res.length = how / 4;
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("X-Fuzz"), ML_STR("1"));
    ml_exchange_respond(ex);
}

static void take_body(struct ml_exchange *ex, unsigned how)
{
    struct ml_pipe *p = ex->req.body;
    size_t len;

    ml_exchange_ask_body(ex);
    if (p == NULL)
        return;
    len = ml_buf_len(&p->buf) * (how % 8) / 7;
    ml_buf_consume(&p->buf, len);
    if (len > 0)
        ml_pipe_took(p, len);
    if (how == 255)
        ml_pipe_abort(p, ML_CANCELLED);
}

static void send_body(struct ml_exchange *ex, unsigned how)
{
    static const char zeros[5000];
    struct ml_pipe *p = ex->res.body;

    if (!ex->responded || p == NULL || p->state != ML_PIPE_OPEN)
        return;
    if (how % 4 == 0)
        ml_pipe_eof(p);
    else if (how % 4 == 1)
        ml_pipe_abort(p, ML_UP_CLOSED);
    else if (!ml_pipe_full(p))
        ml_pipe_put(p, (struct ml_str){zeros, how * 16});
}

static void act(struct input *in)
{
    unsigned which = next_byte(in), what = next_byte(in), how = next_byte(in);
    struct ml_exchange *ex;

    if (lab.count == 0)
        return;
    ex = lab.held[which % lab.count];
    if (what % 7 == 0)
        take_body(ex, how);
    else if (what % 7 == 1)
        send_body(ex, how);
    else if (ex->responded)
        return;
    else if (what % 7 == 2)
        text(ex, 200 + (int)how, ML_STR("text"));
    else if (what % 7 == 3)
        stream(ex, how);
    else if (what % 7 == 4)
        tunnel(ex);
    else if (what % 7 == 5)
        ex->wire.interim(ex->wire.ctx, ex, 103, &ex->req.headers);
    else
        ml_exchange_fail(ex, ML_UP_TIMEOUT);
}

/* ---- the connection ---- */

static void check(void)
{
    const struct ml_h2 *h = lab.port.h2s;

    if (h == NULL)
        return;
    MUST(ml_buf_len(&h->out) <= OUT_MAX);
    for (const struct h2_stream *s = h->streams; s != NULL; s = s->next)
        MUST(ml_buf_len(&s->body.early) <= H2_STREAM_WINDOW);
}

static void turns(void)
{
    int idle = 0;

    for (int i = 0; i < 200 && idle < 3; i++) {
        idle = ml_loop_step(lab.loop) ? 0 : idle + 1;
        check();
    }
}

static void say(struct ml_str s)
{
    if (lab.fd >= 0 && s.len > 0)
        (void)!send(lab.fd, s.p, s.len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void say_frame(struct input *in)
{
    char head[ML_HTTP2_FRAME_HEAD] = {0};
    unsigned type = next_byte(in), flags = next_byte(in), id = next_byte(in), len = next_byte(in);
    struct ml_str payload = next_bytes(in, len);

    head[2] = (char)payload.len;
    head[3] = (char)(type % 12);
    head[4] = (char)flags;
    head[8] = (char)id;
    say((struct ml_str){head, sizeof head});
    say(payload);
}

static void hear(void)
{
    char bytes[4096];

    while (lab.fd >= 0 && recv(lab.fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        continue;
}

static void pass(unsigned ms)
{
    now_ms += ms;
    for (int i = 0; i < 50 && ml_loop_next_s(lab.loop) <= (double)now_ms / 1000; i++) {
        ml_loop_step(lab.loop);
        ml_loop_fire_next(lab.loop);
    }
    turns();
}

static void step(struct input *in)
{
    unsigned op = next_byte(in);

    switch (op % 10) {
    case 0:
    case 1:
    case 2:
    case 3:
        say_frame(in);
        break;
    case 4:
        say(next_bytes(in, next_byte(in)));
        break;
    case 5:
        hear();
        break;
    case 6:
        pass(next_byte(in) * 50);
        break;
    case 7:
        if (op == 7) {
            lab.in.draining = true;
            ml_h2_leave_all(&lab.port);
        } else if (op == 17 && lab.fd >= 0) {
            shutdown(lab.fd, SHUT_WR);
        }
        break;
    default:
        act(in);
        return; /* several of them in one turn */
    }
    turns();
}

/* ---- one run ---- */

static uint64_t mono_ns(void *ctx)
{
    return now_ms * 1000000;
}

static double wall_s(void *ctx)
{
    return (double)now_ms / 1000;
}

static void no_random(void *ctx, void *p, size_t len)
{
    memset(p, 7, len);
}

static void begin(void)
{
    struct ml_address peer = {.port = 1};
    struct ml_buf none = {0};
    struct ml_stream *s;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    lab.fd = fds[0];
    lab.count = 0;
    lab.in.draining = false;
    s = ml_stream_new(lab.loop, fds[1]);
    ml_h2_new(&lab.port, &s, &peer, &none);
    say(ML_STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"));
    turns();
}

static void end(void)
{
    ml_h2_close_all(&lab.port);
    close(lab.fd);
    turns();
    MUST(lab.count == 0 && lab.in.connections == 0 && lab.port.h2s == NULL);
}

static void once(void)
{
    static const struct ml_clock_source source = {mono_ns, wall_s, no_random, NULL};

    if (lab.loop != NULL)
        return;
    signal(SIGPIPE, SIG_IGN);
    ml_clock_set_source(&source);
    lab.loop = ml_loop_new();
    ml_loop_simulate(lab.loop);
    lab.handler = (struct ml_handler){start, gone, gone, NULL};
    lab.in = (struct ml_inbound){.loop = lab.loop, .handler = &lab.handler};
    ml_listener_defaults(&lab.conf);
    lab.conf.http2_streams = 10;
    lab.conf.trailers_pass = true;
    lab.port = (struct ml_port){.in = &lab.in, .conf = &lab.conf};
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct input in = {{(const char *)bytes, len}};

    once();
    begin();
    while (in.left.len > 0)
        step(&in);
    end();
    return 0;
}
