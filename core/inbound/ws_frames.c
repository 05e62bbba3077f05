/* ws_frames.c - a client's frames become messages in the inbox.
 *
 *   head -> payload, unmasked where it lies -> control frame | part of a message -> message
 *
 * What no client may send, and text that is no UTF-8, ends the socket as soon as it is seen. */
#include "inbound/ws_parts.h"

/* ---- whole messages and control frames ---- */

static void deliver(struct ml_ws *ws)
{
    struct entry e = {ml_buf_len(&ws->part), ws->binary};

    ml_buf_append(&ws->inbox, (struct ml_str){(const char *)&e, sizeof e});
    ml_buf_append(&ws->inbox, ml_buf_str(&ws->part));
    ml_buf_release(&ws->part);
    ws->in_message = false;
}

static void control_came(struct ml_ws *ws)
{
    struct ml_str payload = {ws->control, ws->control_len}, reason;
    int code;
    bool ok;

    switch (ws->frame.opcode) {
    case ML_WEBSOCKET_PING:
        memcpy(ws->pong, ws->control, ws->control_len);
        ws->pong_len = ws->control_len;
        ws->pong_due = true;
        ml_ws_answer_ping(ws);
        return;
    case ML_WEBSOCKET_CLOSE:
        ok = ml_websocket_read_close(payload, &code, &reason);
        ml_ws_came_to_end(ws, code, ok ? reason : ML_STR(""));
        return;
    default:
        return; /* a pong: it was heard */
    }
}

/* ---- frames ---- */

static void mistake(struct ml_ws *ws, int code, const char *what)
{
    ml_ws_came_to_end(ws, code, ml_str_of(what));
}

/* What was packed may be a little longer than its message. */
static bool too_large(const struct ml_ws *ws, const struct ml_websocket_frame *f)
{
    bool packed = f->opcode == ML_WEBSOCKET_MORE ? ws->packed : f->packed;

    if (packed)
        return f->length > ws->conf.message_max + ws->conf.message_max / 8 + 64;
    return f->length + ml_buf_len(&ws->part) > ws->conf.message_max;
}

/* A head was read: may this frame be here (RFC 6455 sections 5.1, 5.4)? */
static void frame_begins(struct ml_ws *ws)
{
    const struct ml_websocket_frame *f = &ws->frame;

    ws->in_frame = true;
    ws->left = f->length;
    ws->control_len = 0;
    if (!f->masked) {
        mistake(ws, ML_WEBSOCKET_PROTOCOL, "a frame is not masked");
    } else if (ml_websocket_is_control(f->opcode)) {
        return;
    } else if ((f->opcode == ML_WEBSOCKET_MORE) != ws->in_message) {
        mistake(ws, ML_WEBSOCKET_PROTOCOL,
                ws->in_message ? "a message inside of another" : "nothing to continue");
    } else if (too_large(ws, f)) {
        mistake(ws, ML_WEBSOCKET_TOO_LARGE, "the message is too large");
    } else if (f->opcode != ML_WEBSOCKET_MORE) {
        ws->in_message = true;
        ws->binary = f->opcode == ML_WEBSOCKET_BINARY;
        ws->packed = f->packed;
        ws->text = (struct ml_utf8){0};
    }
}

/* Bytes of a message; last: it ends with them. */
static void data_came(struct ml_ws *ws, struct ml_str bytes, bool last)
{
    size_t before = ml_buf_len(&ws->part);
    enum ml_err err = ML_OK;

    if (ws->packed)
        err = ml_websocket_unpack(ws->zip, bytes, last, &ws->part, ws->conf.message_max);
    else
        ml_buf_append(&ws->part, bytes);
    if (err == ML_LIMIT) {
        mistake(ws, ML_WEBSOCKET_TOO_LARGE, "the message is too large");
    } else if (err != ML_OK) {
        mistake(ws, ML_WEBSOCKET_BAD_DATA, "the message can not be unpacked");
    } else if (!ws->binary &&
               (!ml_utf8_feed(&ws->text, (struct ml_str){ws->part.p + ws->part.start + before,
                                                         ml_buf_len(&ws->part) - before}) ||
                (last && !ml_utf8_whole(&ws->text)))) {
        mistake(ws, ML_WEBSOCKET_BAD_DATA, "the text is not UTF-8");
    } else if (last) {
        deliver(ws);
    }
}

/* len bytes of the frame's payload are at the front of the pipe. */
static void payload_came(struct ml_ws *ws, size_t len)
{
    struct ml_buf *buf = &ws->in->buf;
    char *p = buf->p + buf->start;
    bool ends = ws->left == len;

    ml_websocket_mask(p, len, ws->frame.mask, ws->frame.length - ws->left);
    ws->left -= len;
    if (ml_websocket_is_control(ws->frame.opcode)) {
        if (len > 0)
            memcpy(ws->control + ws->control_len, p, len);
        ws->control_len = (unsigned char)(ws->control_len + len);
    } else {
        data_came(ws, (struct ml_str){p, len}, ends && ws->frame.fin);
    }
    ml_buf_consume(buf, len);
    if (!ends)
        return;
    ws->in_frame = false;
    if (ml_websocket_is_control(ws->frame.opcode) && !ws->shut && !ws->ending)
        control_came(ws);
}

bool ml_ws_frames_step(struct ml_ws *ws)
{
    struct ml_str bytes = ml_buf_str(&ws->in->buf);
    size_t used = 0;
    enum ml_err err;

    if (ws->in_frame) {
        if (bytes.len == 0 && ws->left > 0)
            return false;
        payload_came(ws, ws->left < bytes.len ? (size_t)ws->left : bytes.len);
        return true;
    }
    err = ml_websocket_head(bytes, ws->zip != NULL, &ws->frame, &used);
    if (err == ML_AGAIN)
        return false;
    if (err != ML_OK) {
        mistake(ws, ML_WEBSOCKET_PROTOCOL, "a frame is malformed");
        return false;
    }
    ml_buf_consume(&ws->in->buf, used);
    frame_begins(ws);
    return true;
}
