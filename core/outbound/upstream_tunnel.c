/* upstream_tunnel.c - after a 101: bytes of WebSocket frames flow both ways, as they are.
 *
 *   client -> req.body -> server        up
 *   client <- res.body <- server        down
 *
 *   OPEN --leave: the process ends, or nothing was said for too long--> LEAVING --> ends
 *
 * Only the ends of frames are followed, so that in LEAVING each side can be told good-bye by a
 * Close frame of ours, which may stand between any two frames (RFC 6455 section 5.5).  What comes
 * behind it is dropped.  The server's own Close, or a moment of waiting for it, ends the tunnel. */
#include "outbound/upstream_parts.h"

#include "base/clock.h"

static const double LEAVE_S = 1;

static void count(struct ml_upstream *u, int by)
{
    struct ml_shm *shm = u->o->shm;

    if (shm != NULL)
        atomic_fetch_add_explicit(&ml_shm_worker(shm, u->o->worker)->websockets, (uint32_t)by,
                                  memory_order_relaxed);
}

/* ---- good-bye ---- */

/* The server is to be told: the frame goes out behind the one that is on its way. */
static void part_up(struct ml_upstream *u)
{
    struct ml_upstream_tunnel *t = &u->passing;
    unsigned char mask[4];

    if (t->up_parted || !ml_websocket_at_end(&t->up))
        return;
    t->up_parted = true;
    ml_random_bytes(mask, sizeof mask);
    if (!t->up.closed)
        ml_websocket_put_close(&u->out, ML_WEBSOCKET_AWAY, ML_STR(""), mask);
}

static void part_down(struct ml_upstream *u)
{
    struct ml_upstream_tunnel *t = &u->passing;
    struct ml_pipe *p = u->recv.pipe;
    size_t before = ml_buf_len(&p->buf);

    if (t->down_parted || !ml_websocket_at_end(&t->down))
        return;
    t->down_parted = true;
    if (!t->down.closed)
        ml_websocket_put_close(&p->buf, ML_WEBSOCKET_AWAY, ML_STR(""), NULL);
    u->recv.added += ml_buf_len(&p->buf) - before;
}

static void begin_leaving(struct ml_upstream *u)
{
    struct ml_upstream_tunnel *t = &u->passing;

    if (t->leaving)
        return;
    t->leaving = true;
    t->due_s = upstream_now_s(u) + LEAVE_S;
    part_up(u);
    part_down(u);
    ml_body_in_tell(&u->recv);
}

static void leave(void *ctx)
{
    struct ml_upstream *u = ctx;

    begin_leaving(u);
    u->wake(u);
}

/* ---- its beginning and its end ---- */

void ml_upstream_tunnel_begin(struct ml_upstream *u)
{
    struct ml_pipe *up = ml_arena_zalloc(u->ex->arena, sizeof *up);

    u->tunnel = true;
    u->ex->res.tunnel = (struct ml_tunnel){.leave = leave, .ctx = u};
    u->ex->res.no_body = false;
    u->ex->res.has_length = false;
    u->ex->req.body = up;
    up->on_data = u->wake;
    up->data_ctx = u;
    ml_body_out_init(&u->send, up, true, UINT64_MAX);
    u->sent = false;
    u->total_due_s = 0;
    count(u, 1);
}

void ml_upstream_tunnel_end(struct ml_upstream *u)
{
    if (!u->tunnel)
        return;
    count(u, -1);
    if (u->ex->res.tunnel.ctx == u)
        u->ex->res.tunnel = (struct ml_tunnel){0};
}

double ml_upstream_tunnel_patience_s(const struct ml_upstream *u)
{
    const struct ml_upstream_tunnel *t = &u->passing;
    double left_s;

    if (t->leaving) {
        left_s = t->due_s - upstream_now_s(u);
        return left_s > 0.001 ? left_s : 0.001;
    }
    if (u->sent) /* half of it is closed: the other half must end too */
        return u->group->conf.read_timeout;
    return u->f.tunnel_idle > 0 ? u->f.tunnel_idle : u->group->conf.tunnel_idle;
}

bool ml_upstream_tunnel_late(struct ml_upstream *u)
{
    if (u->passing.leaving || u->sent)
        return true;
    begin_leaving(u);
    return false;
}

/* ---- up ---- */

/* How much of the pipe may go: all, or when leaving what belongs to a frame that has begun. */
static size_t passable(const struct ml_upstream *u, struct ml_str bytes)
{
    struct ml_websocket_track t = u->passing.up;

    if (!u->passing.leaving)
        return bytes.len;
    return u->passing.up_parted ? 0 : ml_websocket_track(&t, bytes, true);
}

static enum ml_err write_up(struct ml_upstream *u)
{
    struct ml_buf *buf = &u->send.pipe->buf;
    struct ml_str bytes = ml_buf_str(buf);
    struct ml_buf view = *buf; /* a window on the pipe's bytes */
    bool full = ml_pipe_full(u->send.pipe);
    size_t len = passable(u, bytes), taken;
    enum ml_err err;

    view.end = view.start + len;
    err = ml_stream_write2(u->link->stream, &u->out, &view);
    taken = len - ml_buf_len(&view);
    ml_websocket_track(&u->passing.up, (struct ml_str){bytes.p, taken}, false);
    ml_buf_consume(buf, taken);
    if (ml_buf_len(buf) == 0)
        ml_buf_release(buf); /* a tunnel is silent for most of the time */
    if (u->passing.leaving)
        part_up(u);
    if (taken > 0 && (full || u->send.pipe->metered))
        ml_pipe_took(u->send.pipe, taken);
    return err;
}

enum ml_err ml_upstream_tunnel_send(struct ml_upstream *u)
{
    struct ml_pipe *p = u->send.pipe;
    enum ml_err err;

    if (p->state == ML_PIPE_ABORTED)
        return p->why;
    do
        err = write_up(u);
    while (err == ML_OK && u->state == RUN && ml_buf_len(&u->out) > 0);
    u->blocked = err == ML_AGAIN;
    if (err != ML_OK || u->state != RUN)
        return err;
    if (u->passing.up_parted || (p->state == ML_PIPE_EOF && ml_buf_len(&p->buf) == 0)) {
        ml_stream_shutdown(u->link->stream); /* all was said in this direction */
        return ML_OK;
    }
    return ML_AGAIN;
}

/* ---- down ---- */

void ml_upstream_tunnel_came(struct ml_upstream *u)
{
    struct ml_upstream_tunnel *t = &u->passing;
    struct ml_buf *buf = &u->recv.pipe->buf;
    size_t added = u->recv.added, passed;

    passed =
        ml_websocket_track(&t->down, (struct ml_str){buf->p + buf->end - added, added}, t->leaving);
    buf->end -= added - passed;
    u->recv.added = passed;
    if (t->leaving)
        part_down(u);
}

/* Behind our Close frame nothing counts but the end. */
static enum ml_err read_dropped(struct ml_upstream *u, bool *more)
{
    struct ml_buf *in = &u->link->in;
    enum ml_err err = ml_stream_read(u->link->stream, in, ML_BUF_BLOCK, more);

    ml_buf_release(in);
    return err == ML_OK || err == ML_AGAIN ? ML_AGAIN : ML_OK;
}

enum ml_err ml_upstream_tunnel_read(struct ml_upstream *u)
{
    bool more = false;
    enum ml_err err;

    if (u->passing.down_parted) {
        err = read_dropped(u, &more);
    } else {
        err = ml_body_in_read(&u->recv, u->link->stream, &u->link->in, &more);
        ml_upstream_tunnel_came(u);
    }
    u->readable = more;
    return err;
}
