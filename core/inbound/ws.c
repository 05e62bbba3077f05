/* ws.c - frames become messages, messages become frames.
 *
 *   OPEN --Close frame of either side, end of the connection, mistake--> SHUT
 *
 * What came in front of a Close frame, or of a mistake, may be answered first: the end waits until
 * the owner has taken it and asks for more.
 *
 * The side that is told of the end answers and everything is over: a server need not wait for more
 * (RFC 6455 section 7.1.1); the connection lingers until the client has seen our last frame.
 *
 *   req.body -> head? payload -> part (one message) -> inbox -> owner
 *   owner -> res.body
 *
 * Everything in front of the inbox is in ws_frames.c. */
#include "inbound/ws_parts.h"

#include <assert.h>
#include <stdlib.h>

static const double ANSWER_S = 1; /* for what came before a Close frame */

/* ---- the end ---- */

static void told(struct ml_ws *ws)
{
    ws->owner.came(ws->owner.ctx);
    ws->owner.room(ws->owner.ctx);
}

static void set_reason(struct ml_ws *ws, int code, struct ml_str reason)
{
    ws->code = code;
    if (reason.len > REASON_MAX)
        reason.len = REASON_MAX;
    if (reason.len > 0)
        memmove(ws->reason, reason.p, reason.len);
    ws->reason_len = (unsigned char)reason.len;
}

static void set_end(struct ml_ws *ws, int code, struct ml_str reason)
{
    ws->shut = true;
    set_reason(ws, code, reason);
    ml_timer_stop(&ws->timer);
    ml_buf_release(&ws->part);
    ml_websocket_zip_free(&ws->zip);
}

/* Says so to the client, then to the owner. */
static void shut(struct ml_ws *ws, int code, struct ml_str reason)
{
    size_t before = ml_buf_len(&ws->out->buf);

    if (ws->shut)
        return;
    set_end(ws, code, reason);
    ml_websocket_put_close(&ws->out->buf, code, reason, NULL);
    ml_pipe_filled(ws->out, ml_buf_len(&ws->out->buf) - before);
    ml_pipe_eof(ws->out);
    told(ws);
}

static void shut_as_found(struct ml_ws *ws)
{
    shut(ws, ws->code, ml_ws_reason(ws));
}

void ml_ws_came_to_end(struct ml_ws *ws, int code, struct ml_str reason)
{
    if (ws->shut || ws->ending)
        return;
    set_reason(ws, code, reason);
    ws->ending = true;
    if (ml_buf_len(&ws->inbox) == 0 && !ws->answering)
        shut_as_found(ws);
    else
        ml_timer_set(&ws->timer, ANSWER_S);
}

/* There is nobody to say anything to. */
static void lost(struct ml_ws *ws)
{
    if (ws->shut)
        return;
    set_end(ws, ML_WEBSOCKET_LOST, ML_STR(""));
    ml_pipe_eof(ws->out);
    told(ws);
}

static void put(struct ml_ws *ws, enum ml_websocket_opcode opcode, bool packed, struct ml_str bytes)
{
    size_t before = ml_buf_len(&ws->out->buf);

    ml_websocket_put(&ws->out->buf, opcode, true, packed, NULL, bytes);
    ml_pipe_filled(ws->out, ml_buf_len(&ws->out->buf) - before);
}

/* RFC 6455 section 5.5.3: only the last ping must be answered, so a client that does not read can
 * not make us keep more. */
void ml_ws_answer_ping(struct ml_ws *ws)
{
    if (!ws->pong_due || ml_pipe_full(ws->out) || ws->shut)
        return;
    ws->pong_due = false;
    put(ws, ML_WEBSOCKET_PONG, false, (struct ml_str){ws->pong, ws->pong_len});
}

/* ---- events ---- */

static bool inbox_full(const struct ml_ws *ws)
{
    return ml_buf_len(&ws->inbox) >= INBOX_MAX;
}

static void set_timer(struct ml_ws *ws)
{
    double now_s = ml_loop_now_s(ws->ex->loop), due_s = 0, heard_s = ws->heard_s;

    if (ws->conf.idle > 0)
        due_s = heard_s + ws->conf.idle;
    if (ws->conf.ping > 0) {
        double ask_s = (heard_s > ws->asked_s ? heard_s : ws->asked_s) + ws->conf.ping;

        if (due_s == 0 || ask_s < due_s)
            due_s = ask_s;
    }
    if (due_s > 0)
        ml_timer_set(&ws->timer, due_s > now_s ? due_s - now_s : 0.001);
}

static void on_timer(void *ctx)
{
    struct ml_ws *ws = ctx;
    double now_s = ml_loop_now_s(ws->ex->loop) + 0.001;

    if (ws->shut)
        return;
    if (ws->ending) {
        shut_as_found(ws);
        return;
    }
    if (inbox_full(ws)) /* it is we who do not listen */
        ws->heard_s = now_s;
    if (ws->conf.idle > 0 && now_s >= ws->heard_s + ws->conf.idle) {
        ml_ws_came_to_end(ws, ML_WEBSOCKET_AWAY, ML_STR("silent for too long"));
        return;
    }
    if (ws->conf.ping > 0 && now_s >= ws->heard_s + ws->conf.ping &&
        now_s >= ws->asked_s + ws->conf.ping) {
        ws->asked_s = now_s;
        if (!ml_pipe_full(ws->out))
            put(ws, ML_WEBSOCKET_PING, false, ML_STR(""));
    }
    set_timer(ws);
}

/* Reads frames as long as there is room for what they bring. */
static void read_frames(struct ml_ws *ws)
{
    size_t before = ml_buf_len(&ws->in->buf);
    bool full = ml_pipe_full(ws->in);

    while (!ws->shut && !ws->ending && !inbox_full(ws) && ml_ws_frames_step(ws))
        ;
    if (before == ml_buf_len(&ws->in->buf))
        return;
    ws->heard_s = ml_loop_now_s(ws->ex->loop);
    if (ws->shut || ws->ending)
        return;
    if (ml_buf_len(&ws->in->buf) == 0)
        ml_buf_release(&ws->in->buf); /* it may be silent from now on */
    set_timer(ws);
    if ((full && !ml_pipe_full(ws->in)) || ws->in->metered)
        ml_pipe_took(ws->in, 1);
}

static void run(struct ml_ws *ws)
{
    if (ws->running)
        return;
    ws->running = true;
    read_frames(ws);
    if (!ws->shut &&
        (ws->in->state == ML_PIPE_ABORTED || (ws->in->state == ML_PIPE_EOF && !inbox_full(ws))))
        lost(ws);
    ws->running = false;
}

static void on_data(void *ctx)
{
    struct ml_ws *ws = ctx;
    bool had = ml_buf_len(&ws->inbox) > 0;

    run(ws);
    if (!had && !ws->shut && ml_buf_len(&ws->inbox) > 0)
        ws->owner.came(ws->owner.ctx);
}

static void on_room(void *ctx)
{
    struct ml_ws *ws = ctx;

    if (ws->out->state == ML_PIPE_ABORTED) {
        lost(ws);
        return;
    }
    ml_ws_answer_ping(ws);
    if (!ml_ws_full(ws))
        ws->owner.room(ws->owner.ctx);
}

/* ---- the owner's side ---- */

/* A policy may have set some body meanwhile: nobody wants it. */
static struct ml_pipe *fresh_pipe(struct ml_exchange *ex, struct ml_pipe *old)
{
    if (old != NULL) {
        old->on_data = NULL;
        ml_pipe_abort(old, ML_CANCELLED);
        ml_pipe_free(old);
    }
    return ml_arena_zalloc(ex->arena, sizeof(struct ml_pipe));
}

struct ml_ws *ml_ws_new(struct ml_exchange *ex, const struct ml_ws_conf *conf,
                        struct ml_ws_owner owner)
{
    struct ml_ws *ws = calloc(1, sizeof *ws);

    if (ws == NULL)
        abort();
    ws->ex = ex;
    ws->conf = *conf;
    ws->owner = owner;
    ws->in = ex->req.body = fresh_pipe(ex, ex->req.body);
    ws->out = ex->res.body = fresh_pipe(ex, ex->res.body);
    ws->in->on_data = on_data;
    ws->in->data_ctx = ws;
    ws->out->on_room = on_room;
    ws->out->room_ctx = ws;
    if (conf->pack)
        ws->zip = ml_websocket_zip_new(&conf->agreed, conf->level);
    ml_timer_init(&ws->timer, ex->loop, on_timer, ws);
    ws->heard_s = ws->asked_s = ml_loop_now_s(ex->loop);
    set_timer(ws);
    return ws;
}

void ml_ws_free(struct ml_ws **socket)
{
    struct ml_ws *ws = *socket;

    *socket = NULL;
    if (ws == NULL)
        return;
    if (ws->in->data_ctx == ws)
        ws->in->on_data = NULL;
    if (ws->out->room_ctx == ws)
        ws->out->on_room = NULL;
    if (!ws->shut)
        ml_pipe_eof(ws->out);
    ml_timer_drop(&ws->timer);
    ml_buf_release(&ws->inbox);
    ml_buf_release(&ws->part);
    ml_websocket_zip_free(&ws->zip);
    ml_loop_bury(ws->ex->loop, free, ws);
}

enum ml_err ml_ws_message(struct ml_ws *ws, struct ml_str *bytes, bool *binary)
{
    struct entry e;
    struct ml_str all = ml_buf_str(&ws->inbox);

    if (all.len == 0 && ws->ending)
        shut_as_found(ws);
    if (all.len == 0) {
        ws->answering = false;
        return ws->shut ? ML_EOF : ML_AGAIN;
    }
    memcpy(&e, all.p, sizeof e);
    *bytes = (struct ml_str){all.p + sizeof e, e.len};
    *binary = e.binary;
    return ML_OK;
}

void ml_ws_took(struct ml_ws *ws)
{
    struct ml_str bytes;
    bool binary, was_full = inbox_full(ws);
    enum ml_err err = ml_ws_message(ws, &bytes, &binary);

    assert(err == ML_OK);
    (void)err;
    ml_buf_consume(&ws->inbox, sizeof(struct entry) + bytes.len);
    if (ml_buf_len(&ws->inbox) == 0)
        ml_buf_release(&ws->inbox);
    ws->answering = true;
    if (was_full && !ws->shut)
        run(ws);
}

bool ml_ws_open(const struct ml_ws *ws)
{
    return !ws->shut;
}

int ml_ws_code(const struct ml_ws *ws)
{
    return ws->code;
}

struct ml_str ml_ws_reason(const struct ml_ws *ws)
{
    return (struct ml_str){ws->reason, ws->reason_len};
}

bool ml_ws_full(const struct ml_ws *ws)
{
    return !ws->shut && ml_pipe_full(ws->out);
}

void ml_ws_send(struct ml_ws *ws, enum ml_websocket_opcode opcode, struct ml_str bytes)
{
    if (ws->shut)
        return;
    if (ws->zip == NULL || ml_websocket_is_control(opcode) || bytes.len < ws->conf.pack_min) {
        put(ws, opcode, false, bytes);
        return;
    }
    ml_websocket_pack(ws->zip, bytes, &ws->zipped);
    put(ws, opcode, true, ml_buf_str(&ws->zipped));
    ml_buf_release(&ws->zipped);
}

void ml_ws_close(struct ml_ws *ws, int code, struct ml_str reason)
{
    shut(ws, code, reason);
}
