/* upstream_run.c - the request goes out, the answer comes in, both at the same time.
 *
 * The request is written from the client's pipe, the answer is read into the response's pipe.  A
 * server may answer before it has seen all of the request: the answer passes at once, and the rest
 * of the request still goes out until the answer is complete.
 * An answer that came whole with its head is complete before anybody is told of it, and its
 * connection is idle again by then. */
#include "outbound/upstream_parts.h"

enum { INTERIM_MAX = 8, SMALL_BODY = 4096, READS_PER_RUN = 4 };

static const double LOST_S = 1; /* for the answer of a server that stopped reading */

/* ---- the request ---- */

void ml_upstream_run_head(struct ml_upstream *u)
{
    const struct ml_group_conf *c = &u->group->conf;
    struct ml_request *req = &u->ex->req;
    const struct ml_server_url *url = &u->server->url;
    struct ml_head_conf head = {.prefix = url->prefix,
                                .host = url->authority,
                                .via = !c->via_off,
                                .no_real_ip = c->real_ip_off,
                                .forwarded_port = c->forwarded_port,
                                .close = c->keepalive == 0 || u->f.once,
                                .client = c->client,
                                .upgrade = u->upgrade};

    if (u->f.host.len > 0)
        head.host = u->f.host;
    else if (c->preserve_host && req->authority.len > 0)
        head.host = req->authority;
    ml_upstream_head_write(&u->out, u->ex, &head);
}

/* The connection is there: makes the head, asks for the body. */
void ml_upstream_run_begin(struct ml_upstream *u)
{
    struct ml_request *req = &u->ex->req;

    ml_upstream_run_head(u);
    u->head_len = ml_buf_len(&u->out);
    ml_body_out_init(&u->send, req->body, req->has_length, req->length);
    u->state = RUN;
    if (req->body != NULL) {
        req->body->on_data = u->wake;
        req->body->data_ctx = u;
        ml_exchange_ask_body(u->ex);
    }
}

static enum next sent(struct ml_upstream *u)
{
    double first_s = u->f.timeout > 0 ? u->f.timeout : u->group->conf.first_byte_timeout;

    u->sent = true;
    ml_upstream_try_note(u)->sent_s = upstream_now_s(u);
    u->head_due_s = upstream_now_s(u) + first_s;
    ml_buf_release(&u->out);
    return WAIT;
}

static enum next step_send(struct ml_upstream *u)
{
    enum ml_err err = u->tunnel ? ml_upstream_tunnel_send(u)
                                : ml_body_out_send(&u->send, u->link->stream, &u->out, &u->blocked);
    bool broken = u->send.pipe != NULL && u->send.pipe->state == ML_PIPE_ABORTED;

    if (u->state != RUN)
        return MORE; /* cancelled by the client's side */
    if (err == ML_AGAIN)
        return WAIT;
    if (err == ML_OK)
        return sent(u);
    if (err != ML_RESET || broken) /* by the client: the server did nothing wrong */
        return ml_upstream_try_give_up(u, broken ? u->send.pipe->why : err);
    if (u->link->served > 0 && ml_upstream_try_took_nothing(u)) /* what it said is no answer */
        return ml_upstream_try_failed(u, ML_UP_CLOSED);
    u->lost = u->readable = true; /* it may have answered before it closed: the read will tell */
    u->head_due_s = upstream_now_s(u) + LOST_S;
    return WAIT;
}

/* ---- the answer ---- */

/* All was read: the connection becomes idle if nothing speaks against it. */
static void release_link(struct ml_upstream *u)
{
    struct ml_link *link = u->link;
    bool keep = u->keep_alive && !u->f.once && u->sent && ml_buf_len(&link->in) == 0 && !u->tunnel;

    if (keep && u->readable) /* the last read was filled: is there more that nobody asked for? */
        keep = ml_stream_read(link->stream, &link->in, 1, NULL) == ML_AGAIN;
    if (keep)
        ml_pool_give(&u->link, u->keep_s);
}

/* The answer is complete. */
static enum next finish(struct ml_upstream *u)
{
    struct ml_pipe *up = u->send.pipe, *down = u->recv.pipe;
    struct ml_forward f = u->f;
    bool told = u->told, unsent = !u->sent;

    release_link(u);
    ml_body_in_tell(&u->recv);
    ml_upstream_try_end(u);
    if (down != NULL)
        ml_pipe_eof(down);
    if (!told)
        f.head(f.ctx, ML_OK);
    if (unsent && up != NULL && up->on_data == NULL)
        ml_pipe_abort(up, ML_CANCELLED); /* nobody wants the rest of the client's body */
    return WAIT;
}

static struct ml_pipe *new_pipe(struct ml_upstream *u)
{
    struct ml_pipe *p = ml_arena_zalloc(u->ex->arena, sizeof *p);

    p->on_room = u->wake;
    p->room_ctx = u;
    return p;
}

void ml_upstream_run_answered(struct ml_upstream *u, int status)
{
    struct ml_exchange *ex = u->ex;

    ex->notes.upstream_s = upstream_now_s(u) - u->begin_s;
    if (u->group->metrics.head_slot != NULL)
        ml_histogram_observe(u->group->metrics.head, u->group->metrics.head_slot,
                             ex->notes.upstream_s);
    ml_upstream_try_good(u);
    ml_upstream_try_note(u)->end_s = upstream_now_s(u);
    ml_upstream_try_note(u)->status = status;
}

/* res is to have the answer.  bytes: head and what came with it, head_len of them the head. */
static enum next begin_answer(struct ml_upstream *u, struct ml_http1_response *r,
                              struct ml_str bytes, size_t head_len)
{
    struct ml_exchange *ex = u->ex;
    struct ml_buf *in = &u->link->in;
    bool whole = r->framing == ML_BODY_LENGTH && r->length <= bytes.len - head_len;

    u->answered = true;
    u->keep_alive = r->keep_alive && r->framing != ML_BODY_CLOSE;
    u->keep_s = ml_upstream_head_keep_s(r);
    ml_upstream_run_answered(u, r->status);
    u->recv = (struct ml_body_in){.framing = r->framing, .left = r->length};
    ml_upstream_head_take(ex, r);
    ml_buf_consume(in, head_len);
    if (r->status == 101)
        ml_upstream_tunnel_begin(u);
    if (whole) {
        ex->res.bytes = (struct ml_str){bytes.p + head_len, (size_t)r->length};
        ml_buf_consume(in, (size_t)r->length);
        return finish(u);
    }
    if (u->tunnel)
        u->recv.framing = ML_BODY_CLOSE;
    if (u->recv.framing == ML_BODY_NONE)
        return finish(u);
    ex->res.body = u->recv.pipe = new_pipe(u);
    return MORE;
}

/* The first part of the body, which came with the head, then the news of the head. */
static enum next tell_head(struct ml_upstream *u)
{
    struct ml_forward f = u->f;
    enum ml_err err = ml_body_in_take(&u->recv, &u->link->in);

    if (err == ML_OK)
        return finish(u);
    if (err != ML_AGAIN)
        return ml_upstream_try_failed(u, err);
    if (u->tunnel)
        ml_upstream_tunnel_came(u);
    ml_body_in_tell(&u->recv);
    u->told = true;
    f.head(f.ctx, ML_OK);
    return MORE;
}

/* What an unusable head means to the client. */
static enum ml_err head_error(enum ml_err err)
{
    return err == ML_HEADERS_TOO_LARGE || err == ML_URI_TOO_LONG || err == ML_UP_TOO_LARGE
               ? ML_UP_TOO_LARGE
               : ML_UP_PROTOCOL;
}

/* One whole head is at the front of the buffer. */
static enum next take_head(struct ml_upstream *u, size_t head_len)
{
    struct ml_buf *in = &u->link->in;
    struct ml_http1_response r;
    size_t len = ml_buf_len(in);
    struct ml_str copy; /* a small body comes along: then this is its only copy */
    enum ml_err err;

    if (len > head_len + SMALL_BODY)
        len = head_len + SMALL_BODY;
    copy = ml_arena_dup(u->ex->arena, (struct ml_str){in->p + in->start, len});
    err = ml_http1_parse_response(copy.p, head_len, u->ex->req.method, u->ex->arena,
                                  &u->group->conf.limits, &r);
    if (err != ML_OK)
        return ml_upstream_try_failed(u, head_error(err));
    if (r.status == 101 && (!u->upgrade || !ml_upstream_head_switched(&r, &u->ex->req)))
        return ml_upstream_try_failed(u, ML_UP_PROTOCOL);
    if (r.status >= 200 || r.status == 101)
        return begin_answer(u, &r, copy, head_len);
    if (++u->interims > INTERIM_MAX)
        return ml_upstream_try_failed(u, ML_UP_PROTOCOL);
    ml_upstream_head_interim(u->ex, &r);
    ml_buf_consume(in, head_len);
    u->scan = (struct ml_http1_scan){0};
    return MORE;
}

/* Garbage need not wait for the end of a line that may never come. */
static bool begins_well(struct ml_str bytes)
{
    static const char http[] = "HTTP/1.";
    size_t len = bytes.len < sizeof http - 1 ? bytes.len : sizeof http - 1;

    return memcmp(bytes.p, http, len) == 0;
}

static enum next step_head(struct ml_upstream *u)
{
    struct ml_buf *in = &u->link->in;
    bool more = false;
    enum ml_err err = ml_stream_read(u->link->stream, in, ML_BUF_BLOCK, &more);
    size_t head_len;

    u->readable = more;
    if (err == ML_AGAIN)
        return WAIT;
    if (err != ML_OK)
        return ml_upstream_try_failed(u, ML_UP_CLOSED);
    u->got_bytes = true;
    while (u->state == RUN && !u->answered && ml_buf_len(in) > 0) {
        if (!begins_well(ml_buf_str(in)))
            return ml_upstream_try_failed(u, ML_UP_PROTOCOL);
        err = ml_http1_scan(&u->scan, &u->group->conf.limits, in->p + in->start, ml_buf_len(in),
                            &head_len);
        if (err == ML_AGAIN)
            return WAIT;
        if (err != ML_OK)
            return ml_upstream_try_failed(u, head_error(err));
        if (take_head(u, head_len) == WAIT)
            return WAIT;
        if (u->state != RUN)
            return MORE;
    }
    return u->answered ? tell_head(u) : WAIT;
}

static enum next step_tunnel(struct ml_upstream *u)
{
    if (ml_upstream_tunnel_read(u) != ML_AGAIN)
        return finish(u); /* whoever ends a tunnel ends it for both */
    ml_body_in_tell(&u->recv);
    return MORE;
}

static enum next step_body(struct ml_upstream *u)
{
    bool more = false;
    enum ml_err err = ml_body_in_read(&u->recv, u->link->stream, &u->link->in, &more);

    u->readable = more;
    if (err == ML_OK)
        return finish(u);
    ml_body_in_tell(&u->recv);
    if (err != ML_AGAIN && u->state == RUN)
        return ml_upstream_try_failed(u, err);
    return MORE;
}

/* Reads no more than the consumer takes. */
static bool has_room(struct ml_upstream *u)
{
    bool full = u->answered && ml_pipe_full(u->recv.pipe);

    if (full != u->paused) {
        u->paused = full;
        ml_stream_want_read(u->link->stream, !full);
    }
    return !full;
}

static bool may_read(const struct ml_upstream *u)
{
    return u->readable || (u->answered && ml_pipe_pending(u->recv.pipe));
}

/* What it waits for, and how long. */
static void arm(struct ml_upstream *u)
{
    const struct ml_group_conf *c = &u->group->conf;
    double now_s = upstream_now_s(u);

    if (u->tunnel)
        ml_upstream_try_arm(u, ml_upstream_tunnel_patience_s(u));
    else if (u->blocked)
        ml_upstream_try_arm(u, c->send_timeout);
    else if (u->answered)
        ml_upstream_try_arm(u, u->paused ? 0 : c->read_timeout);
    else if (u->sent || u->lost)
        ml_upstream_try_arm(u, u->head_due_s > now_s ? u->head_due_s - now_s : 0.001);
    else
        ml_upstream_try_arm(u, 0); /* the client's body is awaited; its own limits apply */
}

void ml_upstream_run_late(struct ml_upstream *u)
{
    bool clients_turn = !u->sent && !u->lost && !u->blocked && !u->answered;

    if (u->tunnel && !ml_upstream_tunnel_late(u))
        return; /* the run that follows writes */
    if (u->tunnel)
        finish(u);
    else if (clients_turn)
        ml_upstream_try_give_up(u, ML_UP_TIMEOUT);
    else
        ml_upstream_try_failed(u, ML_UP_TIMEOUT);
}

/* A stream that takes nothing does not keep a client's failure back. */
static bool may_send(const struct ml_upstream *u)
{
    if (u->sent || u->lost)
        return false;
    return !u->blocked || (u->send.pipe != NULL && u->send.pipe->state == ML_PIPE_ABORTED);
}

static void read_some(struct ml_upstream *u)
{
    int reads = READS_PER_RUN;

    while (u->state == RUN && has_room(u) && may_read(u)) {
        if (reads-- == 0) {
            u->readable = false; /* others first; the socket stays readable, so an event comes */
            return;
        }
        if (u->answered && u->recv.pipe->state == ML_PIPE_ABORTED)
            return;
        if (u->tunnel)
            step_tunnel(u);
        else if (u->answered)
            step_body(u);
        else
            step_head(u);
    }
}

void ml_upstream_run_step(struct ml_upstream *u)
{
    if (may_send(u) && step_send(u) == MORE)
        return;
    read_some(u);
    if (u->state == RUN && u->told && u->recv.pipe->state == ML_PIPE_ABORTED)
        ml_upstream_try_end(u); /* the client went away */
    if (u->state == RUN)
        arm(u);
}
