/* stream.c - a non-blocking socket and its two watchers.
 *
 *   connect --> CONNECTING --WRITE, ml_stream_connected--> OPEN --ml_stream_close--> buried
 *                                     ml_stream_new ------^
 *
 * The read watcher stays on while the stream is open, the write watcher only from a write that the
 * kernel did not take whole until its event.  One call here is one system call: a short read or
 * write already says that the kernel has no more, so nothing is tried until EAGAIN.
 *
 * With TLS (stream_tls.c) the watchers serve two masters: the owner, who wants to read or write
 * bytes, and the protocol, which may have to read before it can write and the other way round. */
#include "transport/stream_parts.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL, ROOM_MIN = 2048 };

static void on_read(struct ev_loop *ev, ev_io *w, int events)
{
    struct ml_stream *s = w->data;

    (void)ev;
    (void)events;
    assert(s->ready != NULL);
    if (s->tls != NULL)
        stream_tls_readable(s);
    else
        s->ready(s->ctx, ML_STREAM_READ);
}

static void on_write(struct ev_loop *ev, ev_io *w, int events)
{
    struct ml_stream *s = w->data;

    (void)events;
    ev_io_stop(ev, w); /* when the owner waits again at once, libev makes no system call */
    assert(s->ready != NULL);
    if (s->tls != NULL)
        stream_tls_writable(s);
    else
        s->ready(s->ctx, ML_STREAM_WRITE);
}

static struct ml_stream *stream_alloc(struct ml_loop *loop, int fd)
{
    struct ml_stream *s = calloc(1, sizeof *s);
    int on = 1;

    if (s == NULL)
        abort();
    s->loop = loop;
    ev_io_init(&s->rd, on_read, fd, EV_READ);
    ev_io_init(&s->wr, on_write, fd, EV_WRITE);
    s->rd.data = s->wr.data = s;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a unix socket */
    return s;
}

struct ml_stream *ml_stream_new(struct ml_loop *loop, int fd)
{
    struct ml_stream *s = stream_alloc(loop, fd);

    ev_io_start(ml_loop_ev(loop), &s->rd);
    return s;
}

static const struct ml_stream_source *source;

void ml_stream_start_tls(struct ml_stream *s, struct ml_tls *tls, const char *name)
{
    if (source == NULL) /* connections of a test are plain */
        stream_tls_begin(s, tls, name);
}

bool ml_stream_has_source(void)
{
    return source != NULL;
}

void ml_stream_set_source(const struct ml_stream_source *replacement)
{
    source = replacement;
}

/* A socket on its way to addr, or -1. */
static int connect_socket(const struct ml_addr *addr)
{
    int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    /* EAGAIN comes from a unix socket whose backlog is full: nothing would follow it */
    if (fd < 0 || connect(fd, &addr->sa, addr->len) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

enum ml_err ml_stream_connect(struct ml_loop *loop, const struct ml_addr *addr,
                              struct ml_stream **out)
{
    int fd = source != NULL ? source->connect(source->ctx, addr) : connect_socket(addr);

    if (fd < 0)
        return ML_UP_CONNECT;
    *out = stream_alloc(loop, fd);
    (*out)->connecting = true;
    ml_stream_want_write(*out);
    return ML_OK;
}

enum ml_err ml_stream_connected(struct ml_stream *s)
{
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer, len = sizeof(int);
    int error = 0;

    if (!s->connecting)
        return ML_OK;
    if (getsockopt(s->rd.fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        return ML_UP_CONNECT;
    if (getpeername(s->rd.fd, (struct sockaddr *)&peer, &peer_len) != 0)
        return ML_AGAIN; /* no error and no peer: still on its way */
    s->connecting = false;
    ml_stream_want_read(s, true);
    return ML_OK;
}

void ml_stream_listen_to(struct ml_stream *s, ml_stream_ready *ready, void *ctx)
{
    s->ready = ready;
    s->ctx = ctx;
}

/* Where and how much to read: what is left of the buffer when that is worth a system call. */
static char *read_room(struct ml_buf *in, size_t *len)
{
    size_t max = *len, room = ml_buf_room(in);

#ifdef ML_HARD
    max = 1;
#endif
    if (room < max && room < ROOM_MIN)
        room = max < ML_BUF_BLOCK ? max : ML_BUF_BLOCK;
    *len = room < max ? room : max;
    return ml_buf_reserve(in, *len);
}

enum ml_err ml_stream_read(struct ml_stream *s, struct ml_buf *in, size_t max, bool *more)
{
    size_t len = max;
    ssize_t n;

    assert(max > 0);
    char *to = read_room(in, &len);
    if (s->tls != NULL)
        return stream_tls_read(s, in, to, len, more);
    do
        n = recv(s->rd.fd, to, len, FLAGS);
    while (n < 0 && errno == EINTR);
    if (more != NULL)
        *more = n == (ssize_t)len;
    if (n > 0) {
        ml_buf_commit(in, (size_t)n);
        return ML_OK;
    }
    if (ml_buf_len(in) == 0)
        ml_buf_release(in); /* a waiting connection holds no memory */
    if (n == 0)
        return ML_EOF;
    return errno == EAGAIN ? ML_AGAIN : ML_RESET;
}

/* ML_HARD: every other write is cut to its first half, rounded up. */
static size_t write_len(struct ml_stream *s, size_t len)
{
#ifdef ML_HARD
    s->hard_half = !s->hard_half && len > 1;
    return s->hard_half ? (len + 1) / 2 : len;
#else
    (void)s;
    return len;
#endif
}

/* The end of a write that had len bytes to send and sent n of them. */
static enum ml_err wrote(struct ml_stream *s, ssize_t n, size_t len)
{
    if (n < 0 && errno != EAGAIN)
        return ML_RESET;
    if (n >= 0 && (size_t)n == len)
        return ML_OK;
    ml_stream_want_write(s);
    return ML_AGAIN;
}

enum ml_err ml_stream_write(struct ml_stream *s, struct ml_buf *out)
{
    size_t len = ml_buf_len(out);
    ssize_t n;

    if (s->tls != NULL)
        return stream_tls_write(s, out, NULL);
    if (len == 0)
        return ML_OK;
    do
        n = send(s->rd.fd, out->p + out->start, write_len(s, len), FLAGS);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        ml_buf_consume(out, (size_t)n);
    return wrote(s, n, len);
}

static ssize_t send_two(struct ml_stream *s, struct ml_buf *a, struct ml_buf *b)
{
    size_t a_len = ml_buf_len(a), len = write_len(s, a_len + ml_buf_len(b));
    struct iovec iov[2] = {{a->p + a->start, len < a_len ? len : a_len},
                           {b->p + b->start, len < a_len ? 0 : len - a_len}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
    ssize_t n;

    do
        n = sendmsg(s->rd.fd, &msg, FLAGS);
    while (n < 0 && errno == EINTR);
    return n;
}

enum ml_err ml_stream_write2(struct ml_stream *s, struct ml_buf *out, struct ml_buf *body)
{
    size_t out_len = ml_buf_len(out), body_len = ml_buf_len(body);

    if (s->tls != NULL)
        return stream_tls_write(s, out, body);
    if (body_len == 0)
        return ml_stream_write(s, out);
    if (out_len == 0)
        return ml_stream_write(s, body);
    ssize_t n = send_two(s, out, body);
    if (n > 0) {
        size_t of_out = (size_t)n < out_len ? (size_t)n : out_len;

        ml_buf_consume(out, of_out);
        if ((size_t)n > of_out)
            ml_buf_consume(body, (size_t)n - of_out);
    }
    return wrote(s, n, out_len + body_len);
}

void ml_stream_want_read(struct ml_stream *s, bool on)
{
    if (s->connecting) /* reading begins with the connection */
        return;
    if (s->tls != NULL)
        stream_tls_want_read(s, on);
    else if (on)
        ev_io_start(ml_loop_ev(s->loop), &s->rd);
    else
        ev_io_stop(ml_loop_ev(s->loop), &s->rd);
}

void ml_stream_want_write(struct ml_stream *s)
{
    if (s->tls != NULL)
        s->tls->wants_write = true;
    ev_io_start(ml_loop_ev(s->loop), &s->wr);
}

int ml_stream_splice_fd(const struct ml_stream *s)
{
    return s->tls != NULL ? -1 : s->rd.fd;
}

bool ml_stream_is_reset(const struct ml_stream *s)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    return getsockopt(s->rd.fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           info.tcpi_state == TCP_CLOSE;
}

bool ml_stream_peer(const struct ml_stream *s, struct ml_addr *out)
{
    struct ml_addr a = {.len = sizeof a.storage};

    if (getpeername(s->rd.fd, &a.sa, &a.len) != 0)
        return false;
    if (a.sa.sa_family != AF_INET && a.sa.sa_family != AF_INET6)
        return false;
    *out = a;
    return true;
}

void ml_stream_shutdown(struct ml_stream *s)
{
    if (s->tls != NULL)
        ml_tls_link_bye(s->tls->link);
    (void)shutdown(s->rd.fd, SHUT_WR); /* fails when the peer is gone already */
}

void ml_stream_poison(struct ml_stream *s)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(s->rd.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    s->poisoned = true;
}

void ml_stream_close(struct ml_stream **stream)
{
    struct ml_stream *s = *stream;

    if (s == NULL)
        return;
    *stream = NULL;
    ev_io_stop(ml_loop_ev(s->loop), &s->rd); /* pending events go too */
    ev_io_stop(ml_loop_ev(s->loop), &s->wr);
    stream_tls_end(s);
    close(s->rd.fd);
    s->ready = NULL;
    ml_loop_bury(s->loop, free, s);
}
