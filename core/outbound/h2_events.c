/* h2_events.c - what nghttp2 tells of frames: notes it at the call, and queues the call.
 *
 * nghttp2 judges frames, and resets streams for what is wrong with them by itself: pseudo-fields,
 * fields of a connection, bodies that are longer or shorter than announced (RFC 9113
 * section 8.1.1). An answer of which anything is wrong is no answer, as in HTTP/1.1. */
#include "outbound/h2_parts.h"

#include <assert.h>
#include <stdlib.h>

enum { CONTINUATIONS = 8, SEND_BLOCK_MAX = 1 << 20, BLOCK_MAX = 256 << 10, PER_FRAME = 10 };

static struct ml_h2_call *call_of(nghttp2_session *session, int32_t id)
{
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(session, id);
}

static void wrong(struct ml_h2_call *c, enum ml_err why)
{
    if (c->wrong == ML_OK)
        c->wrong = why;
}

/* ---- fields ---- */

static struct ml_str str_of(nghttp2_rcbuf *rc)
{
    nghttp2_vec v = nghttp2_rcbuf_get_buf(rc);

    return (struct ml_str){(const char *)v.base, v.len};
}

/* Entries of HPACK's static table need no copy. */
static struct ml_str keep(struct ml_h2_call *c, nghttp2_rcbuf *rc)
{
    return nghttp2_rcbuf_is_static(rc) ? str_of(rc) : ml_arena_dup(c->arena, str_of(rc));
}

/* nghttp2 has seen that these are digits. */
static uint64_t number(struct ml_str s)
{
    uint64_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n = n * 10 + (uint64_t)(s.p[i] - '0');
    return n;
}

static bool trailer(struct ml_h2_call *c, struct ml_str name, struct ml_str value)
{
    struct ml_buf *to = c->down != NULL ? &c->down->trailers : NULL;

    if (to == NULL || !ml_http1_may_trail(name))
        return true;
    if (ml_buf_len(to) + name.len + value.len + 4 > ML_H2_TRAILERS_MAX) {
        wrong(c, ML_UP_TOO_LARGE);
        return false;
    }
    ml_buf_append(to, name);
    ml_buf_append(to, ML_STR(": "));
    ml_buf_append(to, value);
    ml_buf_append(to, ML_STR("\r\n"));
    return true;
}

static bool field(struct ml_h2_call *c, nghttp2_rcbuf *name, nghttp2_rcbuf *value)
{
    struct ml_http1_response *r = &c->block;

    if (c->block_len > c->limits->head_max || r->headers.count >= c->limits->fields_max) {
        wrong(c, ML_UP_TOO_LARGE);
        return false;
    }
    if (ml_str_eq(str_of(name), ML_STR(":status"))) {
        r->status = (int)number(str_of(value));
        return true;
    }
    ml_headers_add(&r->headers, c->arena, keep(c, name), keep(c, value));
    if (r->headers.v[r->headers.count - 1].id == ML_H_CONTENT_LENGTH) {
        r->has_length = true;
        r->length = number(str_of(value));
    }
    return true;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);
    struct ml_h2_link *link = user;

    link->block_len = 0;
    if (c != NULL) {
        c->block = (struct ml_http1_response){0};
        c->block_len = 0;
    }
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);
    struct ml_h2_link *link = user;
    size_t len = str_of(name).len + str_of(value).len + 4;

    (void)flags;
    link->block_len += len;
    if (link->block_len > BLOCK_MAX + (c != NULL ? c->limits->head_max : 0)) {
        if (c != NULL)
            wrong(c, ML_UP_TOO_LARGE);
        link->broken = "a head without end";
        return NGHTTP2_ERR_CALLBACK_FAILURE; /* the rest is not even decoded */
    }
    if (c == NULL || c->wrong != ML_OK)
        return 0;
    c->block_len += len;
    if (c->head_done ? trailer(c, str_of(name), str_of(value)) : field(c, name, value))
        return 0;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);

    (void)name;
    (void)value;
    (void)flags;
    (void)user;
    if (c != NULL)
        wrong(c, ML_UP_PROTOCOL);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* ---- frames ---- */

static bool is_empty(const struct ml_h2_call *c, int status)
{
    return status == 204 || status == 304 || ml_str_eq(c->method, ML_STR("HEAD"));
}

static void head_came(struct ml_h2_call *c, bool end)
{
    struct ml_http1_response *r = &c->block;

    r->minor = 1;
    if (r->status < 200) {
        if (c->interim_count < ML_H2_INTERIMS_MAX) {
            c->interims[c->interim_count++] = *r;
            return;
        }
        wrong(c, ML_UP_PROTOCOL);
        nghttp2_submit_rst_stream(c->link->session, NGHTTP2_FLAG_NONE, c->id,
                                  NGHTTP2_ENHANCE_YOUR_CALM);
        return;
    }
    if (is_empty(c, r->status))
        r->framing = ML_BODY_NONE;
    else if (end || r->has_length)
        r->framing = ML_BODY_LENGTH;
    else
        r->framing = ML_BODY_CHUNKED;
    c->head = *r;
    c->head_done = true;
    if (!end)
        c->down = ml_arena_zalloc(c->arena, sizeof *c->down);
}

static void reset_came(struct ml_h2_link *link, struct ml_h2_call *c, uint32_t code)
{
    if (c == NULL)
        return;
    c->why = ML_UP_CLOSED;
    if (code == NGHTTP2_REFUSED_STREAM)
        link->refusing = true; /* until one of its calls has ended well */
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);
    struct ml_h2_link *link = user;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        link->settled = true;
        ml_h2_set_news(link->set, ML_OK); /* there may be more room now */
        return 0;
    case NGHTTP2_GOAWAY:
        link->leaving = true;
        return 0;
    case NGHTTP2_RST_STREAM:
        reset_came(link, c, frame->rst_stream.error_code);
        return 0;
    case NGHTTP2_HEADERS:
        if (c != NULL && !c->head_done && c->wrong == ML_OK)
            head_came(c, end);
        break;
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    if (c == NULL)
        return 0;
    c->got_bytes = true;
    c->heard_s = h2_link_now_s(link);
    c->ended |= end && c->wrong == ML_OK;
    ml_h2_call_queue(c);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *user)
{
    struct ml_h2_call *c = call_of(session, id);
    struct ml_h2_link *link = user;

    (void)flags;
    nghttp2_session_consume_connection(session, len); /* no call holds up another */
    ml_http2_patience_earn(&link->patience, (double)len / 1024 * ML_HTTP2_PER_KIB);
    if (c == NULL || c->down == NULL || c->wrong != ML_OK)
        return 0;
    c->heard_s = h2_link_now_s(link);
    c->received += len;
    if (c->down->state == ML_PIPE_OPEN) {
        ml_buf_append(&c->down->buf, (struct ml_str){(const char *)data, len});
        c->added += len;
    }
    ml_h2_call_queue(c);
    return 0;
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);
    struct ml_h2_link *link = user;

    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    ml_http2_patience_earn(&link->patience, PER_FRAME); /* WINDOW_UPDATE may answer to it */
    if (c == NULL)
        return 0;
    c->begun = true;
    c->sent_s = h2_link_now_s(link);
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        c->sent = true;
    ml_h2_call_queue(c);
    return 0;
}

/* A GOAWAY came first; or what came is no HTTP/2 at all; or the head is too much even for us. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int why, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);
    const struct ml_h2_link *link = user;

    if (c == NULL || frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (!c->begun && why == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED && link->settled)
        c->refused = true;
    else if (!link->settled)
        wrong(c, ML_UP_PROTOCOL);
    else
        wrong(c, ML_UP_TOO_LARGE);
    return 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                     size_t len, nghttp2_data_source *source, void *user)
{
    struct ml_h2_call *c = call_of(session, frame->hd.stream_id);
    struct ml_h2_link *link = user;

    (void)source;
    assert(frame->data.padlen == 0); /* we never ask for any */
    if (c == NULL || len > ml_buf_len(&c->up->buf))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (ml_buf_len(&link->out) >= H2_OUT_HIGH)
        return NGHTTP2_ERR_WOULDBLOCK;
    ml_h2_call_data(c, head, len);
    return 0;
}

static int on_closed(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct ml_h2_call *c = call_of(session, id);
    struct ml_h2_link *link = user;

    assert(link->open > 0);
    if (--link->open == 0) {
        link->idle_s = h2_link_now_s(link);
        link->leaving |= link->refusing; /* it refused the only one that it had */
    }
    ml_h2_set_news(link->set, ML_OK);
    if (c == NULL)
        return 0;
    c->closed = true;
    c->refused |= code == NGHTTP2_REFUSED_STREAM && c->wrong == ML_OK && !c->got_bytes;
    if (c->wrong != ML_OK)
        c->why = c->wrong;
    else if (c->refused)
        c->why = ML_UP_CONNECT;
    else if (c->why == ML_OK) /* the server did not reset it: nghttp2 did, and had a reason */
        c->why = ML_UP_PROTOCOL;
    ml_h2_call_queue(c);
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

static nghttp2_option *options(void)
{
    nghttp2_option *o;

    if (nghttp2_option_new(&o) != 0)
        abort();
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_send_header_block_length(o, SEND_BLOCK_MAX);
    nghttp2_option_set_max_continuations(o, CONTINUATIONS + BLOCK_MAX / 16384);
    nghttp2_option_set_max_reserved_remote_streams(o, 0);
    return o;
}

nghttp2_session *ml_h2_events_session(struct ml_h2_link *link)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, ML_H2_WINDOW},
    };
    nghttp2_option *o = options();
    nghttp2_session *session;

    if (nghttp2_session_client_new2(&session, callbacks(), link, o) != 0 ||
        nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof *settings) != 0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, H2_CONN_WINDOW) != 0)
        abort();
    nghttp2_option_del(o);
    return session;
}
