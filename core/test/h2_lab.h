/* h2_lab.h - a client of HTTP/2 for the lab of conn_lab.h: nghttp2 on the other side.
 *
 * What it has got of each stream is in talk[] by stream id; raw frames can be pushed beside it. */
#ifndef ML_TEST_H2_LAB_H
#define ML_TEST_H2_LAB_H

#include "conn_lab.h"

#include <nghttp2/nghttp2.h>

enum { TALK_MAX = 256 };

struct talk {
    char fields[2048]; /* "name: value\n" ... of all field blocks; an empty line after each */
    size_t fields_len, body_len, sent, length;
    char body[256];
    bool ended, closed;
    uint32_t code; /* with closed */
    const char *upload;
    bool hold; /* the upload does not end yet */
};

struct h2_client {
    struct client c;
    nghttp2_session *session;
    struct talk talk[TALK_MAX];
    int goaways;
    uint32_t goaway_code;
    int32_t goaway_last[8];
    bool settled; /* the settings of the server came */
};

static bool h2_hold; /* requests are sent without their end */

static struct talk *talk_of(struct h2_client *h, int32_t id)
{
    if (id / 2 >= TALK_MAX)
        abort();
    return &h->talk[id / 2];
}

static void talk_add(struct talk *t, struct ml_str text)
{
    if (t->fields_len + text.len >= sizeof t->fields)
        abort();
    memcpy(t->fields + t->fields_len, text.p, text.len);
    t->fields_len += text.len;
    t->fields[t->fields_len] = '\0';
}

static int got_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user)
{
    struct talk *t = talk_of(user, frame->hd.stream_id);

    (void)session;
    (void)flags;
    talk_add(t, (struct ml_str){(const char *)name, name_len});
    talk_add(t, ML_STR(": "));
    talk_add(t, (struct ml_str){(const char *)value, value_len});
    talk_add(t, ML_STR("\n"));
    return 0;
}

static int got_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_client *h = user;

    (void)session;
    if (frame->hd.type == NGHTTP2_HEADERS)
        talk_add(talk_of(h, frame->hd.stream_id), ML_STR("\n"));
    if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        talk_of(h, frame->hd.stream_id)->ended = true;
    if (frame->hd.type == NGHTTP2_SETTINGS)
        h->settled = true;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        h->goaway_last[h->goaways++ % 8] = frame->goaway.last_stream_id;
        h->goaway_code = frame->goaway.error_code;
    }
    return 0;
}

static int got_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                    size_t len, void *user)
{
    struct talk *t = talk_of(user, id);

    (void)session;
    (void)flags;
    if (t->body_len + len <= sizeof t->body)
        memcpy(t->body + t->body_len, data, len);
    t->body_len += len;
    return 0;
}

static int got_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct talk *t = talk_of(user, id);

    (void)session;
    t->closed = true;
    t->code = code;
    return 0;
}

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct talk *t = source->ptr;
    size_t len = t->length - t->sent;

    (void)session;
    (void)id;
    (void)user;
    if (len == 0 && t->hold)
        return NGHTTP2_ERR_DEFERRED;
    if (len > max)
        len = max;
    if (t->upload != NULL)
        memcpy(buf, t->upload + t->sent, len);
    else
        memset(buf, 'u', len);
    t->sent += len;
    if (t->sent == t->length && !t->hold)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

/* Sends what the session wants to say. */
static void h2_flush(struct h2_client *h)
{
    const uint8_t *bytes;
    ssize_t n;

    while ((n = nghttp2_session_mem_send(h->session, &bytes)) > 0)
        client_push(&h->c, (struct ml_str){(const char *)bytes, (size_t)n});
}

static void h2_turn(struct h2_client *h)
{
    struct ml_buf *in = &h->c.in;

    lab_turn();
    if (ml_buf_len(in) > 0) {
        nghttp2_session_mem_recv(h->session, (const uint8_t *)ml_buf_str(in).p, ml_buf_len(in));
        ml_buf_consume(in, ml_buf_len(in));
    }
    h2_flush(h);
}

#define H2_AWAIT(h, what)                                                                          \
    do {                                                                                           \
        while (!(what))                                                                            \
            h2_turn(h);                                                                            \
    } while (0)

UNUSED static void h2_open_with(struct h2_client *h, bool no_windows)
{
    nghttp2_session_callbacks *cb;
    nghttp2_option *o;

    memset(h, 0, sizeof *h);
    client_open(&h->c);
    if (nghttp2_session_callbacks_new(&cb) != 0 || nghttp2_option_new(&o) != 0)
        abort();
    nghttp2_session_callbacks_set_on_header_callback(cb, got_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, got_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, got_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, got_close);
    nghttp2_option_set_no_auto_window_update(o, no_windows);
    nghttp2_option_set_no_http_messaging(o, 1);
    nghttp2_option_set_max_send_header_block_length(o, 1 << 20);
    if (nghttp2_session_client_new2(&h->session, cb, h, o) != 0)
        abort();
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(o);
    nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, NULL, 0);
    h2_flush(h);
}

UNUSED static void h2_open(struct h2_client *h)
{
    h2_open_with(h, false);
}

UNUSED static void h2_close(struct h2_client *h)
{
    client_close(&h->c);
    nghttp2_session_del(h->session);
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NO_COPY_NAME};
}

/* A request with more fields, "name", "value", ..., NULL; its id.  length < 0: without a body. */
UNUSED static int32_t h2_ask(struct h2_client *h, const char *method, const char *path,
                             const char *const *more, ssize_t length, const char *upload)
{
    nghttp2_nv fields[512] = {nv(":method", method), nv(":path", path), nv(":scheme", "http"),
                              nv(":authority", "a")};
    size_t n = 4;
    int32_t id = (int32_t)nghttp2_session_get_next_stream_id(h->session);
    struct talk *t = talk_of(h, id);
    nghttp2_data_provider body = {.source.ptr = t, .read_callback = give_body};

    for (; more != NULL && *more != NULL && n < 512; more += 2)
        fields[n++] = nv(more[0], more[1]);
    t->upload = upload;
    t->hold = h2_hold;
    t->length = length > 0 ? (size_t)length : 0;
    if (nghttp2_submit_request(h->session, NULL, fields, n, length < 0 ? NULL : &body, NULL) != id)
        abort();
    h2_flush(h);
    return id;
}

UNUSED static int32_t h2_get(struct h2_client *h, const char *path)
{
    return h2_ask(h, "GET", path, NULL, -1, NULL);
}

UNUSED static bool h2_has(struct h2_client *h, int32_t id, const char *line)
{
    return strstr(talk_of(h, id)->fields, line) != NULL;
}

/* A frame as it is. */
UNUSED static void h2_push(struct h2_client *h, int type, int flags, uint32_t id, struct ml_str s)
{
    char head[9] = {(char)(s.len >> 16), (char)(s.len >> 8), (char)s.len, (char)type, (char)flags};

    for (int i = 0; i < 4; i++)
        head[5 + i] = (char)(id >> (24 - 8 * i));
    client_push(&h->c, (struct ml_str){head, sizeof head});
    client_push(&h->c, s);
}

#endif
