/* upstream_lab.h - what the tests of requests to servers share: a loop, servers on loopback in the
 * same loop that say raw bytes, and exchanges without a client.
 *
 * A server either answers every head with the same text (`answer`) or says what the test says.
 * Every wait is for a condition and ends the program when it takes too long. */
#ifndef ML_TEST_UPSTREAM_LAB_H
#define ML_TEST_UPSTREAM_LAB_H

#include "base/log_event.h"
#include "outbound/group.h"

#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define UNUSED __attribute__((unused))

#define AWAIT(what)                                                                                \
    do {                                                                                           \
        while (!(what))                                                                            \
            lab_turn();                                                                            \
    } while (0)

#define OK_TEXT "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

enum { PEERS = 4, LINKS = 64 };

struct link { /* one connection as its server sees it */
    struct ml_stream *s;
    struct ml_buf in, out;
    struct peer *peer;
    bool eof, reset, deaf; /* deaf: reads nothing */
    unsigned requests;
};

struct peer { /* a server */
    int fd, port;
    char url[160], path[64]; /* path: of a unix socket */
    ev_io accepting;
    struct link links[LINKS];
    unsigned count, requests;
    const char *answer; /* to every head; NULL: the test speaks */
    char head[16384];   /* the last head that was answered */
};

struct call { /* an exchange without a client */
    struct ml_exchange *ex;
    struct ml_buf body; /* what came of the answer's */
    bool told, eof, broken, asked;
    bool hold;       /* does not take the answer's body */
    enum ml_err err; /* what head() said */
    enum ml_err why; /* with broken */
    struct ml_forward f;
    unsigned heads;
    char interims[256]; /* what was passed on before the answer: "103 name=value;" */
};

static struct lab {
    struct ml_loop *loop;
    struct ml_resolver *resolver;
    struct ml_outbound *o;
    struct ml_timer guard, tick;
    struct ml_handler handler;
    struct peer peers[PEERS];
    unsigned peer_count;
    struct ml_group *group;
} lab;

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

UNUSED static void lab_turns(int count)
{
    while (count-- > 0)
        lab_turn();
}

/* As the functions of stream.h, but whole even in the hard build, which cuts them short. */
UNUSED static enum ml_err lab_read(struct ml_stream *s, struct ml_buf *in)
{
    ssize_t n = recv(ml_stream_splice_fd(s), ml_buf_reserve(in, 65536), 65536, MSG_DONTWAIT);

    if (n > 0)
        ml_buf_commit(in, (size_t)n);
    if (n == 0)
        return ML_EOF;
    return n > 0 ? ML_OK : errno == EAGAIN ? ML_AGAIN : ML_RESET;
}

UNUSED static void lab_write(struct ml_stream *s, struct ml_buf *out)
{
    ssize_t n = send(ml_stream_splice_fd(s), out->p + out->start, ml_buf_len(out),
                     MSG_DONTWAIT | MSG_NOSIGNAL);

    if (n > 0)
        ml_buf_consume(out, (size_t)n);
    if (ml_buf_len(out) > 0)
        ml_stream_want_write(s);
}

/* ---- servers ---- */

static void link_close(struct link *l)
{
    ml_stream_close(&l->s);
    ml_buf_release(&l->in);
    ml_buf_release(&l->out);
}

UNUSED static void link_reset(struct link *l)
{
    ml_stream_poison(l->s);
    link_close(l);
}

UNUSED static void link_push(struct link *l, struct ml_str bytes)
{
    ml_buf_append(&l->out, bytes);
    lab_write(l->s, &l->out);
}

UNUSED static void link_say(struct link *l, const char *text)
{
    link_push(l, ml_str_of(text));
}

UNUSED static bool link_has(const struct link *l, const char *text)
{
    struct ml_str s = ml_buf_str(&l->in);

    return s.len > 0 && memmem(s.p, s.len, text, strlen(text)) != NULL;
}

/* Takes one whole head out of what came. */
static bool link_take_head(struct link *l)
{
    struct ml_str s = ml_buf_str(&l->in);
    const char *end = s.len > 0 ? memmem(s.p, s.len, "\r\n\r\n", 4) : NULL;
    size_t len = end != NULL ? (size_t)(end - s.p) + 4 : 0;

    if (end == NULL || len >= sizeof l->peer->head)
        return false;
    memcpy(l->peer->head, s.p, len);
    l->peer->head[len] = '\0';
    ml_buf_consume(&l->in, len);
    return true;
}

static void link_answer(struct link *l)
{
    while (l->s != NULL && l->peer->answer != NULL && link_take_head(l)) {
        l->requests++;
        l->peer->requests++;
        link_say(l, l->peer->answer);
    }
}

static void link_read(struct link *l)
{
    enum ml_err err = l->deaf ? ML_AGAIN : lab_read(l->s, &l->in);

    l->eof |= err == ML_EOF;
    l->reset |= err == ML_RESET;
    if (l->deaf || l->eof || l->reset)
        ml_stream_want_read(l->s, false);
    link_answer(l);
}

static void link_ready(void *ctx, int what)
{
    struct link *l = ctx;

    if (what & ML_STREAM_READ)
        link_read(l);
    if ((what & ML_STREAM_WRITE) && l->s != NULL)
        lab_write(l->s, &l->out);
}

UNUSED static void link_hear(struct link *l)
{
    l->deaf = false;
    ml_stream_want_read(l->s, true);
}

static void peer_accept(struct ev_loop *ev, ev_io *io, int events)
{
    struct peer *p = io->data;
    int fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct link *l = &p->links[p->count];

    (void)ev;
    (void)events;
    if (fd < 0)
        return;
    if (p->count++ == LINKS)
        abort();
    *l = (struct link){.s = ml_stream_new(lab.loop, fd), .peer = p};
    ml_stream_listen_to(l->s, link_ready, l);
}

static void peer_bind(struct peer *p, const struct ml_addr *a)
{
    struct ml_addr got = {.len = sizeof got.storage};

    p->fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || bind(p->fd, &a->sa, a->len) != 0 || getsockname(p->fd, &got.sa, &got.len) != 0)
        abort();
    p->port = a->sa.sa_family == AF_INET ? ntohs(got.in.sin_port) : 0;
}

/* Takes connections from now on. */
static void peer_listen(struct peer *p)
{
    if (listen(p->fd, 128) != 0)
        abort();
    ev_io_init(&p->accepting, peer_accept, p->fd, EV_READ);
    p->accepting.data = p;
    ev_io_start(ml_loop_ev(lab.loop), &p->accepting);
}

/* A server at a port that nobody else has; it does not listen yet, so connections are refused. */
UNUSED static struct peer *peer_reserve(const char *prefix)
{
    struct ml_addr a = {.len = sizeof a.in};
    struct peer *p = &lab.peers[lab.peer_count++];

    a.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    peer_bind(p, &a);
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%d%s", p->port, prefix);
    return p;
}

UNUSED static struct peer *peer_open(const char *answer)
{
    struct peer *p = peer_reserve("");

    p->answer = answer;
    peer_listen(p);
    return p;
}

UNUSED static struct peer *peer_open_unix(const char *answer)
{
    struct ml_addr a = {.len = sizeof a.un};
    struct peer *p = &lab.peers[lab.peer_count++];

    snprintf(p->path, sizeof p->path, "/tmp/ml-upstream-%d-%u.sock", (int)getpid(), lab.peer_count);
    (void)unlink(p->path);
    a.un.sun_family = AF_UNIX;
    strcpy(a.un.sun_path, p->path);
    peer_bind(p, &a);
    strcpy(p->url, "unix:");
    strcat(p->url, p->path);
    p->answer = answer;
    peer_listen(p);
    return p;
}

/* Fills the backlog of a server that accepts nothing: the next SYN stays without an answer. */
UNUSED static void fill_backlog(struct peer *p, int *fds, int count)
{
    struct ml_addr a = {.len = sizeof a.storage};

    if (getsockname(p->fd, &a.sa, &a.len) != 0 || listen(p->fd, 0) != 0)
        abort();
    for (int i = 0; i < count; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], &a.sa, a.len); /* EINPROGRESS */
    }
}

static void peer_close(struct peer *p)
{
    for (unsigned i = 0; i < p->count; i++)
        if (p->links[i].s != NULL)
            link_close(&p->links[i]);
    if (p->accepting.data != NULL)
        ev_io_stop(ml_loop_ev(lab.loop), &p->accepting);
    close(p->fd);
    if (p->path[0] != '\0')
        (void)unlink(p->path);
}

/* ---- the group ---- */

UNUSED static void lab_setup(void)
{
    lab = (struct lab){.loop = ml_loop_new()};
    ml_log_event_set_level(ML_LOG_ERROR); /* servers fail all the time here */
    ml_timer_init(&lab.guard, lab.loop, lab_too_long, NULL);
    ml_timer_init(&lab.tick, lab.loop, lab_nothing, NULL);
    ml_timer_set(&lab.guard, 30);
    lab.resolver = ml_resolver_new(lab.loop);
    lab.o = ml_outbound_new(lab.loop, lab.resolver, NULL, 0);
}

/* A group of all servers that were opened; weights are those of the servers, NULL: 1 each. */
UNUSED static void lab_group(struct ml_group_conf conf, const unsigned *weights)
{
    struct ml_server_conf servers[PEERS];

    for (unsigned i = 0; i < lab.peer_count; i++)
        servers[i] = (struct ml_server_conf){.url = ml_str_of(lab.peers[i].url),
                                             .weight = weights != NULL ? weights[i] : 1};
    conf.name = ML_STR("test");
    conf.servers = servers;
    conf.server_count = lab.peer_count;
    lab.group = ml_group_new(lab.o, &conf);
}

UNUSED static void lab_teardown(void)
{
    ml_group_release(&lab.group);
    CHECK(lab.o->servers == NULL); /* no request holds the group any more */
    for (unsigned i = 0; i < lab.peer_count; i++)
        peer_close(&lab.peers[i]);
    ml_outbound_free(&lab.o);
    ml_resolver_free(&lab.resolver);
    ml_timer_drop(&lab.guard);
    ml_timer_drop(&lab.tick);
    ml_loop_free(&lab.loop);
}

/* ---- exchanges ---- */

static void call_cancelled(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_upstream_cancel(ex);
}

static void call_responds(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
}

static void call_asks(void *ctx, struct ml_exchange *ex)
{
    struct call *c = ctx;

    (void)ex;
    c->asked = true;
}

static void call_interim(void *ctx, struct ml_exchange *ex, int status, const struct ml_headers *h)
{
    struct call *c = ctx;
    size_t at = strlen(c->interims);

    (void)ex;
    at += (size_t)snprintf(c->interims + at, sizeof c->interims - at, "%d", status);
    for (uint32_t i = 0; i < h->count && at < sizeof c->interims; i++)
        at += (size_t)snprintf(c->interims + at, sizeof c->interims - at, " %.*s=%.*s",
                               (int)h->v[i].name.len, h->v[i].name.p, (int)h->v[i].value.len,
                               h->v[i].value.p);
    CHECK(at + 2 < sizeof c->interims);
    memcpy(c->interims + at, ";", 2);
}

UNUSED static void call_begin(struct call *c, const char *method, const char *target)
{
    const char *query = strchr(target, '?');
    struct ml_request *r;

    *c = (struct call){0};
    lab.handler = (struct ml_handler){NULL, call_cancelled, call_cancelled, NULL};
    c->ex = ml_exchange_new(lab.loop, &lab.handler,
                            (struct ml_wire){call_responds, call_asks, call_interim, c});
    r = &c->ex->req;
    r->method = ml_arena_dup(c->ex->arena, ml_str_of(method));
    r->path = ml_arena_dup(c->ex->arena, ml_str_of(target));
    if (query != NULL) {
        r->path.len = (size_t)(query - target);
        r->has_query = true;
        r->query = ml_arena_dup(c->ex->arena, ml_str_of(query + 1));
    }
    r->scheme = ML_STR("http");
    r->host = ML_STR("gw.test");
    r->authority = ML_STR("gw.test:8080");
    r->major = r->minor = 1;
    r->peer_ip = r->ip = ML_STR("192.0.2.1");
    r->id = ML_STR("0123456789abcdef0123456789abcdef");
}

UNUSED static void call_header(struct call *c, const char *name, const char *value)
{
    ml_headers_add(&c->ex->req.headers, c->ex->arena, ml_arena_dup(c->ex->arena, ml_str_of(name)),
                   ml_arena_dup(c->ex->arena, ml_str_of(value)));
}

/* The request has a body; length -1: of unknown length. */
UNUSED static struct ml_pipe *call_with_body(struct call *c, long length)
{
    struct ml_pipe *p = ml_arena_zalloc(c->ex->arena, sizeof *p);

    c->ex->req.body = p;
    c->ex->req.has_length = length >= 0;
    c->ex->req.length = length >= 0 ? (uint64_t)length : 0;
    return p;
}

static void call_data(void *ctx)
{
    struct call *c = ctx;
    struct ml_pipe *p = c->ex->res.body;
    struct ml_str s = ml_buf_str(&p->buf);

    if (c->hold)
        return;
    if (s.len > 0) {
        ml_buf_append(&c->body, s);
        ml_buf_consume(&p->buf, s.len);
        ml_pipe_took(p, s.len);
    }
    c->eof |= p->state == ML_PIPE_EOF && ml_buf_len(&p->buf) == 0;
    if (p->state == ML_PIPE_ABORTED) {
        c->broken = true;
        c->why = p->why;
    }
}

static void call_head(void *ctx, enum ml_err err)
{
    struct call *c = ctx;

    c->told = true;
    c->heads++;
    c->err = err;
    if (err != ML_OK)
        return;
    if (c->ex->res.body == NULL) {
        ml_buf_append(&c->body, c->ex->res.bytes);
        c->eof = true;
        return;
    }
    c->ex->res.body->on_data = call_data;
    c->ex->res.body->data_ctx = c;
    call_data(c);
}

UNUSED static void call_go(struct call *c)
{
    c->f.head = call_head;
    c->f.ctx = c;
    ml_upstream_forward(lab.group, c->ex, &c->f);
}

UNUSED static void call_end(struct call *c)
{
    if (c->ex != NULL)
        ml_exchange_cancel(&c->ex, ML_CANCELLED);
    ml_buf_release(&c->body);
    lab_turn();
}

static bool call_over(const struct call *c)
{
    return c->told && (c->err != ML_OK || c->eof || c->broken);
}

/* From the begin to the end of the answer. */
UNUSED static void call_run(struct call *c)
{
    call_go(c);
    AWAIT(call_over(c));
}

UNUSED static bool call_body_is(const struct call *c, const char *text)
{
    return ml_str_eq(ml_buf_str(&c->body), ml_str_of(text));
}

/* A whole GET; the status, or 0 and *err. */
UNUSED static int lab_get(const char *target, enum ml_err *err)
{
    struct call c;
    int status;

    call_begin(&c, "GET", target);
    call_run(&c);
    status = c.err == ML_OK ? c.ex->res.status : 0;
    if (err != NULL)
        *err = c.err;
    call_end(&c);
    return status;
}

UNUSED static struct ml_str call_field(const struct call *c, const char *name)
{
    const struct ml_field *f = ml_headers_find(&c->ex->res.headers, ml_str_of(name));

    return f != NULL ? f->value : ML_STR_NONE;
}

#endif
