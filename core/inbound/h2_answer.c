/* h2_answer.c - the answer of a stream: its fields for nghttp2, its body when nghttp2 asks for it.
 *
 * The body is not copied into nghttp2: it says how much of it makes a frame, and the frame's head
 * and those bytes go into the connection's output.  The producer of the body learns of the room
 * afterwards, outside of nghttp2. */
#include "inbound/h2_parts.h"

#include "base/decimal.h"
#include "inbound/date.h"
#include "inbound/grpc.h"

#include <assert.h>

/* A request whose answer is complete may go on for that long: some clients take the reset of a
 * stream for the loss of its answer (RFC 9113 section 8.1 wants them not to). */
static const double DRAIN_S = 1;

static void wake(void *stream) /* callback of the pipe */
{
    ml_h2_stream_queue(stream);
}

/* ---- fields ---- */

static nghttp2_nv nv_of(struct ml_str name, struct ml_str value, uint8_t flags)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.len,
                        value.len, flags};
}

enum { BORROWED = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE };

/* RFC 9113 section 8.2.1: no upper-case letters in names. */
static struct ml_str lower(struct ml_arena *arena, struct ml_str name)
{
    char *p;
    size_t i = 0;

    while (i < name.len && name.p[i] == ml_lower(name.p[i]))
        i++;
    if (i == name.len)
        return name;
    p = ml_arena_alloc(arena, name.len);
    for (i = 0; i < name.len; i++)
        p[i] = ml_lower(name.p[i]);
    return (struct ml_str){p, name.len};
}

/* A server of HTTP/2 and a client of it: trailers are no surprise to either. */
static bool trailers_pass(const struct h2_stream *s)
{
    return s->conf->trailers_pass || s->ex->res.trailers_pass;
}

/* Fields that belong to a connection of HTTP/1.1 (RFC 9113 section 8.2.2), or that are ours. */
static bool left_out(const struct h2_stream *s, const struct ml_field *f)
{
    switch (f->id) {
    case ML_H_CONNECTION:
    case ML_H_KEEP_ALIVE:
    case ML_H_PROXY_CONNECTION:
    case ML_H_TRANSFER_ENCODING:
    case ML_H_UPGRADE:
    case ML_H_CONTENT_LENGTH:
        return true;
    case ML_H_TRAILER:
        return !trailers_pass(s);
    default: /* RFC 8441 section 5.1: the key was ours too */
        return s->tunnel && ml_str_ieq(f->name, ML_STR("sec-websocket-accept"));
    }
}

static struct ml_str digits(struct ml_arena *arena, uint64_t n)
{
    char *p = ml_arena_alloc(arena, ML_DECIMAL_CAP);

    return (struct ml_str){p, ml_decimal(p, n)};
}

static struct ml_str status_text(struct ml_arena *arena, int status)
{
    return status == 200 ? ML_STR("200") : digits(arena, (uint64_t)status);
}

/* What is different in every answer would only push useful entries out of the table of HPACK. */
static uint8_t flags_of(enum ml_header_id id)
{
    return id == ML_H_X_REQUEST_ID ? BORROWED | NGHTTP2_NV_FLAG_NO_INDEX : BORROWED;
}

/* An answer of gRPC that ends with its head has no length: RFC 9110 section 8.6 leaves it open. */
static bool tells_length(const struct h2_stream *s)
{
    const struct ml_response *res = &s->ex->res;

    if (res->trailers_pass && res->length == 0 && ml_grpc_is(&s->ex->req))
        return false;
    return res->has_length && res->status != 204 && !s->tunnel;
}

static bool is_of_body(const struct ml_field *f)
{
    return f->id == ML_H_CONTENT_TYPE || ml_str_ieq(f->name, ML_STR("content-encoding"));
}

/* A client of gRPC looks at nothing else. */
static size_t grpc_fields(struct h2_stream *s, nghttp2_nv *nv)
{
    struct ml_exchange *ex = s->ex;
    struct ml_str message = ml_grpc_message(ex);

    nv[0] = nv_of(ML_STR("content-type"), ML_STR("application/grpc"), BORROWED);
    nv[1] = nv_of(ML_STR("grpc-status"),
                  digits(ex->arena, (uint64_t)ml_grpc_status(ex->res.status)), BORROWED);
    nv[2] = nv_of(ML_STR("grpc-message"), message, BORROWED);
    return message.len > 0 ? 3 : 2;
}

/* All of it lives in the arena, as long as the stream does. */
static nghttp2_nv *fields(struct h2_stream *s, bool grpc, size_t *count)
{
    const struct ml_response *res = &s->ex->res;
    struct ml_arena *arena = s->ex->arena;
    nghttp2_nv *nv = ml_arena_alloc(arena, (res->headers.count + 6) * sizeof *nv);
    int status = s->tunnel || grpc ? 200 : res->status;
    bool has_date = false;
    size_t n = 0;

    nv[n++] = nv_of(ML_STR(":status"), status_text(arena, status), BORROWED);
    for (uint32_t i = 0; i < res->headers.count; i++) {
        const struct ml_field *f = &res->headers.v[i];

        if (left_out(s, f) || (grpc && is_of_body(f)))
            continue;
        has_date |= f->id == ML_H_DATE;
        nv[n++] = nv_of(f->id != ML_H_OTHER ? ml_header_name(f->id) : lower(arena, f->name),
                        f->value, flags_of(f->id));
    }
    if (!has_date) /* RFC 9110 section 6.6.1 */
        nv[n++] = nv_of(ML_STR("date"), ml_arena_dup(arena, ml_date_http()), BORROWED);
    if (grpc)
        n += grpc_fields(s, nv + n);
    else if (tells_length(s))
        nv[n++] = nv_of(ML_STR("content-length"), digits(arena, res->length), BORROWED);
    *count = n;
    return nv;
}

/* ---- the wire of the exchange ---- */

static void wire_respond(void *ctx, struct ml_exchange *ex)
{
    ml_h2_stream_queue(ctx);
}

static void wire_interim(void *ctx, struct ml_exchange *ex, int status, const struct ml_headers *h)
{
    struct h2_stream *s = ctx;
    size_t n = 0, count = h != NULL ? h->count : 0;
    nghttp2_nv *nv;

    if (ex->responded || s->closed || s->reset || status < 100 || status > 199 || status == 101)
        return; /* RFC 9113 section 8.6: 101 has no meaning here */
    nv = ml_arena_alloc(ex->arena, (count + 1) * sizeof *nv);
    nv[n++] = nv_of(ML_STR(":status"), digits(ex->arena, (uint64_t)status), 0);
    for (size_t i = 0; i < count; i++)
        if (!left_out(s, &h->v[i]))
            nv[n++] = nv_of(h->v[i].name, h->v[i].value, 0); /* not ours: nghttp2 copies it */
    nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n, NULL);
    ml_h2_wake(s->h2);
}

/* RFC 9110 section 10.1.1: only to who asked, not after the final answer, not when the body is on
 * its way already. */
static void wire_ask_body(void *ctx, struct ml_exchange *ex)
{
    struct h2_stream *s = ctx;

    if (!s->head.expect || ex->responded)
        return;
    s->head.expect = false;
    s->body.seen_s = s->body.begin_s = h2_now_s(s->h2);
    wire_interim(ctx, ex, 100, NULL);
}

const struct ml_wire ml_h2_answer_wire = {wire_respond, wire_ask_body, wire_interim, NULL};

/* ---- the body ---- */

/* The lines of the pipe's trailers, which dechunking has left in this one form. */
static bool has_trailers(struct h2_stream *s)
{
    struct h2_answer *a = &s->answer;
    struct ml_str text = ml_buf_str(&s->ex->res.body->trailers);
    const char *p = text.p, *end = p + text.len;
    size_t lines = 0;

    if (!trailers_pass(s) || text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++)
        lines += text.p[i] == '\n';
    a->trailers = ml_arena_alloc(s->ex->arena, lines * sizeof *a->trailers);
    while (p < end) {
        const char *colon = memchr(p, ':', (size_t)(end - p));
        const char *eol = memchr(p, '\r', (size_t)(end - p));
        struct ml_str name = {p, (size_t)(colon - p)},
                      value = {colon + 2, (size_t)(eol - colon - 2)};

        a->trailers[a->trailer_count++] = nv_of(lower(s->ex->arena, name), value, BORROWED);
        p = eol + 2;
    }
    return true;
}

static ssize_t break_off(struct h2_stream *s, enum ml_err why)
{
    s->reset = true;
    if (s->why == ML_OK)
        s->why = why;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* RST_STREAM */
}

/* What can be sent of the body; *last: nothing follows.  < 0: as nghttp2 wants it said. */
static ssize_t measure(struct h2_stream *s, bool *last)
{
    struct h2_answer *a = &s->answer;
    struct ml_pipe *p = s->ex->res.body;
    size_t len;

    if (p == NULL) {
        *last = true;
        return (ssize_t)(s->ex->res.bytes.len - a->taken);
    }
    len = ml_buf_len(&p->buf);
    /* behind the last byte of a known length trailers may still come */
    *last = a->known ? len == a->left && !(p->state == ML_PIPE_OPEN && trailers_pass(s))
                     : p->state == ML_PIPE_EOF;
    if (*last)
        return (ssize_t)len; /* an abort behind the last byte does no harm */
    if (p->state == ML_PIPE_ABORTED)
        return break_off(s, p->why);
    if (a->known && (len > a->left || p->state == ML_PIPE_EOF))
        return break_off(s, ML_LIMIT); /* more or less than was announced */
    if (len > 0)
        return (ssize_t)len;
    a->deferred = true;
    return NGHTTP2_ERR_DEFERRED;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = source->ptr;
    bool last = false;
    ssize_t len = measure(s, &last);

    if (len < 0)
        return len;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (len > (ssize_t)max)
        return (ssize_t)max;
    if (!last)
        return len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->ex->res.body != NULL && !s->tunnel && has_trailers(s)) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, s->answer.trailers, s->answer.trailer_count);
    }
    return len;
}

void ml_h2_answer_data(struct h2_stream *s, const uint8_t *head, size_t len)
{
    struct h2_answer *a = &s->answer;
    struct ml_buf *out = &s->h2->out;
    struct ml_pipe *p = s->ex->res.body;
    struct ml_str from = p != NULL ? ml_buf_str(&p->buf) : s->ex->res.bytes;
    char *to = ml_buf_reserve(out, ML_HTTP2_FRAME_HEAD + len);

    if (p == NULL)
        from.p += a->taken;
    memcpy(to, head, ML_HTTP2_FRAME_HEAD);
    if (len > 0)
        memcpy(to + ML_HTTP2_FRAME_HEAD, from.p, len);
    ml_buf_commit(out, ML_HTTP2_FRAME_HEAD + len);
    if (p != NULL) {
        ml_buf_consume(&p->buf, len);
        a->took += len;
        ml_h2_stream_queue(s);
    }
    a->taken += len;
    a->left -= a->known ? len : 0;
    a->unmarked += len;
    if (a->unmarked >= H2_PROGRESS) {
        a->unmarked = 0;
        a->progress_s = h2_now_s(s->h2);
    }
    s->ex->notes.bytes_out += len;
    ml_http2_patience_earn(&s->h2->patience, (double)len / 1024 * ML_HTTP2_PER_KIB);
    /* messages are small, and some clients acknowledge each */
    if ((s->tunnel || s->ex->conversation) && len > 0)
        ml_http2_patience_earn(&s->h2->patience, ML_HTTP2_PER_MESSAGE);
}

/* ---- the begin ---- */

/* Whether there is a body, and its length (RFC 9110 sections 6.4.1 and 8.6). */
static void settle_length(struct h2_stream *s)
{
    struct ml_response *res = &s->ex->res;
    struct ml_pipe *p = res->body;
    bool untold = res->no_body && res->bytes.len == 0 && !res->has_length;
    bool pass = trailers_pass(s);

    res->no_body =
        res->status == 204 || res->status == 304 || ml_str_eq(s->ex->req.method, ML_STR("HEAD"));
    if (p == NULL && !(res->no_body && res->has_length)) {
        res->length = res->bytes.len;
        res->has_length = res->status != 304 && !untold;
    } else if (p != NULL && !res->has_length && p->state == ML_PIPE_EOF && !res->no_body &&
               !(pass && ml_buf_len(&p->trailers) > 0)) {
        res->length = ml_buf_len(&p->buf); /* it was short and is here already */
        res->has_length = true;
    }
    s->answer.known = res->has_length;
    s->answer.left = res->length;
}

/* What can not be said: 101 by an upstream or a script that was not asked to switch protocols, and
 * 2xx to who asks for a tunnel, for it would mean that there is one. */
static enum ml_err judge(const struct h2_stream *s)
{
    int status = s->ex->res.status;

    if (s->tunnel)
        return ML_OK;
    if (status < 200)
        return ML_UP_PROTOCOL;
    return s->connect && status < 300 ? ML_NOT_IMPLEMENTED : ML_OK;
}

/* The answer is an error instead when nothing else can be said any more. */
static void settle_answer(struct h2_stream *s)
{
    struct ml_exchange *ex = s->ex;
    struct ml_pipe *p = ex->res.body;
    enum ml_err err;

    s->tunnel = s->connect && ex->res.status == 101 && p != NULL;
    err = p != NULL && p->state == ML_PIPE_ABORTED ? p->why : judge(s);
    if (err == ML_OK)
        return;
    s->tunnel = false;
    ml_exchange_error_response(ex, err);
}

static void begin_tunnel(struct h2_stream *s)
{
    ml_h2_body_tunnel(s);
    if (s->h2->port->in->draining)
        ml_exchange_leave(s->ex);
}

static bool is_empty(const struct ml_response *res)
{
    return res->no_body || (res->has_length && res->length == 0);
}

static void begin(struct h2_stream *s)
{
    struct ml_exchange *ex = s->ex;
    struct ml_pipe *p;
    nghttp2_data_provider provider = {.source.ptr = s, .read_callback = read_body};
    bool empty = false, grpc;
    size_t count;
    nghttp2_nv *nv;

    settle_answer(s);
    p = ex->res.body;
    if (s->tunnel) {
        begin_tunnel(s);
    } else {
        settle_length(s);
        empty = is_empty(&ex->res);
    }
    grpc = !s->tunnel && ml_grpc_translates(ex);
    empty |= grpc;
    if (ml_intake_says_close(&ex->res.headers))
        ml_h2_leave(s->h2);
    nv = fields(s, grpc, &count);
    s->answer.submitted = true;
    s->answer.progress_s = h2_now_s(s->h2);
    ml_h2_due(s->h2, s->answer.progress_s + s->conf->send_timeout);
    if (nghttp2_submit_response(s->h2->session, s->id, nv, count, empty ? NULL : &provider) != 0) {
        ml_h2_stream_reset(s, NGHTTP2_INTERNAL_ERROR, ML_LIMIT);
        return;
    }
    if (p != NULL && empty) {
        ml_pipe_abort(p, ML_CANCELLED);
    } else if (p != NULL) {
        p->on_data = wake;
        p->data_ctx = s;
    }
}

void ml_h2_answer_work(struct h2_stream *s)
{
    struct h2_answer *a = &s->answer;
    struct ml_pipe *p = s->ex->res.body;

    if (!s->ex->responded || s->reset)
        return;
    if (!a->submitted) {
        begin(s);
        return;
    }
    if (a->took > 0 && p != NULL) {
        size_t took = a->took;

        a->took = 0;
        ml_pipe_took(p, took);
    }
    if (s->tunnel && p->state == ML_PIPE_ABORTED && ml_buf_len(&p->buf) == 0) {
        ml_h2_stream_reset(s, NGHTTP2_CANCEL, p->why); /* RFC 8441 section 5 */
        return;
    }
    if (a->deferred && (ml_buf_len(&p->buf) > 0 || p->state != ML_PIPE_OPEN)) {
        a->deferred = false;
        a->progress_s = h2_now_s(s->h2);
        a->unmarked = 0;
        ml_h2_due(s->h2, a->progress_s + s->conf->send_timeout);
        nghttp2_session_resume_data(s->h2->session, s->id);
    }
}

double ml_h2_answer_due_s(const struct h2_stream *s)
{
    const struct h2_answer *a = &s->answer;

    if (a->complete)
        return s->body.ended ? 0 : a->progress_s + DRAIN_S;
    if (!a->submitted || a->deferred)
        return 0;
    return a->progress_s + s->conf->send_timeout;
}
