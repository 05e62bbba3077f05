/* h2_frames.c - what nghttp2 tells of frames: notes it at the stream, and queues the stream.
 *
 * Nothing here calls a handler or a pipe.  nghttp2 judges frames and sends resets and GOAWAY for
 * what is wrong with them by itself. */
#include "inbound/h2_parts.h"

#include <assert.h>
#include <stdlib.h>

enum { CONTINUATIONS = 8, SEND_BLOCK_MAX = 1 << 20 };

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(session, id);
}

/* ---- received ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct ml_h2 *h = user;

    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        h->receiving = ml_h2_stream_new(h, frame->hd.stream_id);
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, h->receiving);
    } else {
        h->receiving = stream_of(session, frame->hd.stream_id);
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    struct ml_h2 *h = user;
    struct h2_stream *s = h->receiving;

    if (s == NULL || s->reset)
        return 0;
    if (ml_h2_head_field(s, name, value) == ML_OK)
        return 0;
    h->too_long = true;
    s->why = ML_HEADERS_TOO_LARGE;
    return NGHTTP2_ERR_CALLBACK_FAILURE; /* the rest is not even decoded */
}

/* Any field that is wrong makes the request wrong (RFC 9113 section 8.1.1). */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    if (s == NULL)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS && !s->head.complete)
        ml_h2_head_complete(s, end);
    else if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && end)
        ml_h2_body_end(s);
    else if (frame->hd.type == NGHTTP2_RST_STREAM && s->why == ML_OK)
        s->why = ML_RESET;
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct h2_stream *s = stream_of(session, id);
    struct ml_h2 *h = user;

    if (s != NULL)
        ml_h2_body_data(s, (struct ml_str){(const char *)data, len});
    else
        nghttp2_session_consume_connection(session, len);
    ml_http2_patience_earn(&h->patience, (double)len / 1024 * ML_HTTP2_PER_KIB);
    return 0;
}

/* ---- sent ---- */

/* nghttp2 resets a stream for what its client did, or we do for reasons of our own. */
static void reset_sent(struct ml_h2 *h, struct h2_stream *s, uint32_t code)
{
    if (s != NULL && (s->reset || s->answer.complete))
        return;
    if (s != NULL && s->why == ML_OK)
        s->why = code == NGHTTP2_REFUSED_STREAM ? ML_OVERLOAD : ML_BAD_REQUEST;
    if (!ml_http2_patience_pay(&h->patience, ML_HTTP2_PROVOKED, h2_now_s(h)) && !h->calm_down) {
        h->calm_down = true;
        h->toll = ML_HTTP2_PROVOKED;
    }
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        if (s != NULL && end) {
            s->answer.complete = true;
            ml_h2_stream_queue(s);
        }
        return 0;
    case NGHTTP2_RST_STREAM:
        reset_sent(user, s, frame->rst_stream.error_code);
        return 0;
    default:
        return 0;
    }
}

/* Fields that are too much even for us: the client must not wait for ever. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int why, void *user)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);

    if (s != NULL && frame->hd.type == NGHTTP2_HEADERS)
        ml_h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, ML_LIMIT);
    return 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                     size_t len, nghttp2_data_source *source, void *user)
{
    struct ml_h2 *h = user;

    assert(frame->data.padlen == 0); /* we never ask for any */
    if (ml_buf_len(&h->out) >= H2_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    ml_h2_answer_data(source->ptr, head, len);
    return 0;
}

static int on_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_stream *s = stream_of(session, id);

    if (s == NULL)
        return 0;
    s->closed = true;
    ml_h2_stream_queue(s);
    return 0;
}

/* ---- the session ---- */

static nghttp2_session_callbacks *callbacks(void)
{
    static nghttp2_session_callbacks *c;

    if (c != NULL)
        return c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        abort();
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(c, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(c, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_not_sent);
    nghttp2_session_callbacks_set_send_data_callback(c, send_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_closed);
    return c;
}

static nghttp2_option *options(const struct ml_listener_conf *conf)
{
    nghttp2_option *o;

    if (nghttp2_option_new(&o) != 0)
        abort();
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_send_header_block_length(o, SEND_BLOCK_MAX);
    /* it counts each piece in which the head of such a frame comes */
    nghttp2_option_set_max_continuations(o, ML_HTTP2_FRAME_HEAD *
                                                (CONTINUATIONS + conf->limits.head_max / 16384));
    nghttp2_option_set_stream_reset_rate_limit(o, 1000000, 1000000); /* patience is ours */
    return o;
}

nghttp2_session *ml_h2_frames_session(struct ml_h2 *h)
{
    const struct ml_listener_conf *conf = h->port->conf;
    nghttp2_option *o = options(conf);
    nghttp2_session *session;
    nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, conf->http2_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, (uint32_t)conf->limits.head_max},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    size_t count = sizeof settings / sizeof *settings - !conf->http2_websockets;

    if (nghttp2_session_server_new3(&session, callbacks(), h, o, ml_h2_memory()) != 0 ||
        nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, count) != 0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW) != 0)
        abort();
    nghttp2_option_del(o);
    return session;
}
