/* h2_call.c - one request on a connection: its body goes out, and it ends.
 *
 * The body is not copied into nghttp2, see inbound/h2_answer.c.  A call may end at any moment while
 * nghttp2 still knows its stream: the stream then has no user data, and nobody looks at the call.
 */
#include "outbound/h2_parts.h"

#include <assert.h>

/* ---- the queue ---- */

void ml_h2_call_queue(struct ml_h2_call *c)
{
    struct ml_h2_link *link = c->link;

    if (c->w_prev != NULL)
        return;
    c->w_prev = link->woken_end;
    c->w_next = NULL;
    *link->woken_end = c;
    link->woken_end = &c->w_next;
    ml_h2_link_wake(link);
}

static void unqueue(struct ml_h2_call *c)
{
    if (c->w_prev == NULL)
        return;
    *c->w_prev = c->w_next;
    if (c->w_next != NULL)
        c->w_next->w_prev = c->w_prev;
    else
        c->link->woken_end = c->w_prev;
    c->w_prev = NULL;
}

void ml_h2_call_work(struct ml_h2_link *link)
{
    while (link->woken != NULL) {
        struct ml_h2_call *c = link->woken;

        unqueue(c);
        c->wake(c->ctx);
    }
}

/* ---- the body of the request ---- */

/* What can be sent of it; *last: nothing follows. */
static size_t measure(const struct ml_h2_call *c, bool *last)
{
    size_t len = ml_buf_len(&c->up->buf);

    *last = c->known ? len >= c->left : c->up->state == ML_PIPE_EOF;
    return c->known && len > c->left ? (size_t)c->left : len;
}

static void add_trailers(nghttp2_session *session, struct ml_h2_call *c, uint32_t *flags)
{
    struct ml_str lines = ml_buf_str(&c->up->trailers);
    nghttp2_nv *nv;
    size_t count = 0;

    for (size_t i = 0; i < lines.len; i++)
        count += lines.p[i] == '\n';
    if (count == 0)
        return;
    nv = ml_arena_alloc(c->arena, count * sizeof *nv);
    count = ml_h2_fields_trailers(lines, nv);
    if (nghttp2_submit_trailer(session, c->id, nv, count) == 0)
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
}

ssize_t ml_h2_call_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                        uint32_t *flags, nghttp2_data_source *source, void *user)
{
    struct ml_h2_call *c = nghttp2_session_get_stream_user_data(session, id);
    bool last = false;
    size_t len;

    (void)buf;
    (void)source;
    (void)user;
    if (c == NULL)
        return NGHTTP2_ERR_DEFERRED; /* its reset is on the way */
    len = measure(c, &last);
    if (c->up->state == ML_PIPE_ABORTED || (len == 0 && !last)) {
        c->waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (len > max)
        return (ssize_t)max;
    if (!last)
        return (ssize_t)len;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (c->up->state == ML_PIPE_EOF)
        add_trailers(session, c, flags);
    return (ssize_t)len;
}

void ml_h2_call_data(struct ml_h2_call *c, const uint8_t *head, size_t len)
{
    struct ml_buf *out = &c->link->out;
    char *to = ml_buf_reserve(out, ML_HTTP2_FRAME_HEAD + len);

    assert(len <= ml_buf_len(&c->up->buf));
    memcpy(to, head, ML_HTTP2_FRAME_HEAD);
    if (len > 0)
        memcpy(to + ML_HTTP2_FRAME_HEAD, ml_buf_str(&c->up->buf).p, len);
    ml_buf_commit(out, ML_HTTP2_FRAME_HEAD + len);
    ml_buf_consume(&c->up->buf, len);
    c->left -= c->known ? len : 0;
    c->taken |= len > 0;
    c->took += len;
    c->sent_s = h2_link_now_s(c->link);
    ml_h2_call_queue(c);
}

void ml_h2_call_resume(struct ml_h2_call *c)
{
    bool last = false;

    if (!c->waiting || c->closed || c->link == NULL)
        return;
    if (measure(c, &last) == 0 && !last)
        return;
    c->waiting = false;
    c->sent_s = h2_link_now_s(c->link);
    nghttp2_session_resume_data(c->link->session, c->id);
    ml_h2_link_wake(c->link);
}

/* ---- the body of the answer ---- */

void ml_h2_call_credit(struct ml_h2_call *c)
{
    uint64_t held = c->down != NULL ? ml_buf_len(&c->down->buf) : 0;
    uint64_t taken = c->received > held ? c->received - held : 0;

    if (c->link == NULL || c->closed || taken <= c->credited)
        return;
    nghttp2_session_consume_stream(c->link->session, c->id, (size_t)(taken - c->credited));
    c->credited = taken;
    c->heard_s = h2_link_now_s(c->link); /* it may have waited for room */
    ml_h2_link_wake(c->link);
}

/* ---- the end ---- */

static void forget(struct ml_h2_call *c)
{
    unqueue(c);
    *c->prev = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    c->link = NULL;
}

void ml_h2_call_end(struct ml_h2_call *c)
{
    struct ml_h2_link *link = c->link;

    if (link == NULL)
        return;
    forget(c);
    if (c->ended && c->wrong == ML_OK) {
        link->answered++;
        link->refusing = false;
    }
    if (link->alone)
        link->leaving = true;
    if (!c->closed) {
        if (nghttp2_session_set_stream_user_data(link->session, c->id, NULL) != 0)
            abort(); /* it would go on looking at the call */
        nghttp2_submit_rst_stream(link->session, NGHTTP2_FLAG_NONE, c->id, NGHTTP2_CANCEL);
    }
    ml_h2_link_wake(link);
}

void ml_h2_call_lose(struct ml_h2_link *link)
{
    while (link->calls != NULL) {
        struct ml_h2_call *c = link->calls;

        forget(c);
        if (!c->closed) {
            c->closed = c->lost = true;
            c->why = c->wrong != ML_OK ? c->wrong : link->why;
        }
        c->wake(c->ctx);
    }
}
