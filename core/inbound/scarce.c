/* scarce.c - a pass over all connections finds the oldest idle ones; it happens only in need. */
#include "inbound/scarce.h"

#include "inbound/conn_parts.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 32, HEADROOM_SHARE = 16, HEADROOM_MAX = 256 };

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void ml_scarce_open(struct ml_inbound *in)
{
    struct rlimit limit;
    rlim_t headroom;

    in->reserve = open_reserve();
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    headroom = limit.rlim_cur / HEADROOM_SHARE;
    if (headroom > HEADROOM_MAX)
        headroom = HEADROOM_MAX;
    in->fd_max = (int)(limit.rlim_cur - headroom);
}

void ml_scarce_close(struct ml_inbound *in)
{
    if (in->reserve > 0)
        close(in->reserve);
    in->reserve = 0;
}

/* ---- idle connections ---- */

struct oldest {
    struct ml_conn *conns[BATCH]; /* sorted: the oldest first */
    unsigned count;
};

static bool is_idle(const struct ml_conn *c)
{
    return c->state == CONN_HEAD && !c->head_begun && c->requests > 0 && !c->running &&
           !c->readable && ml_buf_len(&c->in) == 0;
}

static void consider(struct oldest *o, struct ml_conn *c)
{
    unsigned at = o->count;

    if (o->count == BATCH && c->since_s >= o->conns[BATCH - 1]->since_s)
        return;
    if (o->count < BATCH)
        o->count++;
    else
        at = BATCH - 1;
    for (; at > 0 && o->conns[at - 1]->since_s > c->since_s; at--)
        o->conns[at] = o->conns[at - 1];
    o->conns[at] = c;
}

unsigned ml_scarce_reclaim(struct ml_inbound *in)
{
    struct oldest o = {.count = 0};

    for (const struct ml_port *port = in->ports; port != NULL; port = port->next)
        for (struct ml_conn *c = port->conns; c != NULL; c = c->next)
            if (is_idle(c))
                consider(&o, c);
    for (unsigned i = 0; i < o.count; i++)
        ml_conn_drop(o.conns[i], ML_CANCELLED);
    in->reclaimed += o.count;
    return o.count;
}

/* ---- clients ---- */

const char *ml_scarce_objection(struct ml_inbound *in, int fd)
{
    if (in->pressed && ml_scarce_reclaim(in) == 0)
        return "memory is short";
    if (in->fd_max > 0 && fd >= in->fd_max && ml_scarce_reclaim(in) == 0)
        return "file descriptors are short";
    return NULL;
}

int ml_scarce_accept(struct ml_inbound *in, int listener)
{
    ml_scarce_close(in);
    return accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void ml_scarce_restore(struct ml_inbound *in)
{
    if (in->reserve <= 0)
        in->reserve = open_reserve();
}
