/* greeting.c - looks at what a socket holds before taking it.
 *
 * What was looked at is taken when it is all header, so that the socket is not ready for ever; when
 * the header is complete, only its own part is. */
#include "inbound/greeting.h"

#include "protocol/proxy_protocol.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct ml_greeting {
    struct ml_greeting *next, **link; /* in port->greetings */
    struct ml_port *port;
    const struct ml_greeting_handler *handler;
    struct ml_address peer;
    struct ml_timer timer;
    struct ml_buf in; /* all that was taken belongs to the header */
    ev_io io;
    int fd; /* owned until it is given away */
};

static void count(struct ml_port *port, int by)
{
    port->in->connections += (unsigned)by;
    if (port->in->stats != NULL)
        atomic_fetch_add_explicit(&port->in->stats->connections, (uint32_t)by,
                                  memory_order_relaxed);
}

static void end(struct ml_greeting *g)
{
    *g->link = g->next;
    if (g->next != NULL)
        g->next->link = g->link;
    ev_io_stop(ml_loop_ev(g->port->in->loop), &g->io);
    ml_timer_drop(&g->timer);
    ml_buf_release(&g->in);
    if (g->fd >= 0)
        close(g->fd);
    count(g->port, -1);
    ml_loop_bury(g->port->in->loop, free, g);
}

/* why NULL: it left before it said anything, as a balancer's own checks do. */
static void refuse(struct ml_greeting *g, const char *why)
{
    struct ml_port *port = g->port;
    const struct ml_greeting_handler *handler = g->handler;

    end(g);
    if (why != NULL)
        handler->refused(port, why);
}

static void accept_as(struct ml_greeting *g, const struct ml_proxy_header *h)
{
    struct ml_port *port = g->port;
    const struct ml_greeting_handler *handler = g->handler;
    struct ml_address peer = g->peer;
    int fd = g->fd;

    if (h->known) {
        memcpy(peer.bytes, h->source.bytes, sizeof peer.bytes);
        peer.port = h->source.port;
    }
    g->fd = -1;
    end(g);
    handler->done(port, fd, &peer);
}

/* Takes bytes that were looked at.  False: the socket has them no more, which can not be. */
static bool take(struct ml_greeting *g, size_t len)
{
    char *to = ml_buf_reserve(&g->in, len);

    if (len > 0 && recv(g->fd, to, len, MSG_DONTWAIT) != (ssize_t)len)
        return false;
    ml_buf_commit(&g->in, len);
    return true;
}

/* The bytes that were taken, and those that are only looked at. */
static enum ml_err read_header(struct ml_greeting *g, const char *seen, size_t len,
                               struct ml_proxy_header *h, size_t *used)
{
    char all[ML_PROXY_MAX];
    size_t have = ml_buf_len(&g->in);

    if (have == 0)
        return ml_proxy_protocol_read(seen, len, h, used);
    memcpy(all, ml_buf_str(&g->in).p, have);
    memcpy(all + have, seen, len);
    return ml_proxy_protocol_read(all, have + len, h, used);
}

static void look(struct ml_greeting *g)
{
    char seen[ML_PROXY_MAX];
    struct ml_proxy_header h;
    size_t have = ml_buf_len(&g->in), used = 0;
    ssize_t n = recv(g->fd, seen, sizeof seen - have, MSG_PEEK | MSG_DONTWAIT);
    enum ml_err err;

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) {
        refuse(g, have > 0 ? "the PROXY header is cut off" : NULL);
        return;
    }
    err = read_header(g, seen, (size_t)n, &h, &used);
    if (err == ML_AGAIN)
        err = take(g, (size_t)n) ? ML_AGAIN : ML_RESET;
    else if (err == ML_OK && !take(g, used - have))
        err = ML_RESET;
    if (err == ML_OK)
        accept_as(g, &h);
    else if (err != ML_AGAIN)
        refuse(g, "there is no PROXY header, or it is malformed");
}

static void on_ready(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    (void)events;
    look(io->data);
}

static void on_late(void *ctx)
{
    refuse(ctx, "the PROXY header did not come in time");
}

void ml_greeting_new(struct ml_port *port, int fd, const struct ml_address *peer,
                     const struct ml_greeting_handler *handler)
{
    struct ml_greeting *g = calloc(1, sizeof *g);

    if (g == NULL)
        abort();
    g->port = port;
    g->handler = handler;
    g->peer = *peer;
    g->fd = fd;
    g->next = port->greetings;
    g->link = &port->greetings;
    if (g->next != NULL)
        g->next->link = &g->next;
    port->greetings = g;
    count(port, 1);
    ml_timer_init(&g->timer, port->in->loop, on_late, g);
    ml_timer_set(&g->timer, port->conf->header_timeout);
    ev_io_init(&g->io, on_ready, fd, EV_READ);
    g->io.data = g;
    ev_io_start(ml_loop_ev(port->in->loop), &g->io);
    look(g); /* it is there already as a rule */
}

void ml_greeting_close_all(struct ml_port *port)
{
    while (port->greetings != NULL)
        end(port->greetings);
}
