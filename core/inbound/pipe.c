/* pipe.c - the body of a message between its producer and its consumer.
 *
 * Both ends are told through callbacks that the other one may cause in the middle of its own work.
 * An abort tells both ends: the one that caused it guards itself by its `running` flag, and neither
 * has to say who it is. */
#include "inbound/pipe.h"

#include <assert.h>
#include <errno.h>
#include <sys/sendfile.h>

static void tell_consumer(struct ml_pipe *p)
{
    if (p->on_data != NULL)
        p->on_data(p->data_ctx);
}

static void tell_producer(struct ml_pipe *p)
{
    if (p->on_room != NULL)
        p->on_room(p->room_ctx);
}

void ml_pipe_free(struct ml_pipe *p)
{
    p->on_data = p->on_room = NULL;
    ml_buf_release(&p->buf);
    ml_buf_release(&p->trailers);
    ml_splice_free(&p->splice);
}

void ml_pipe_put(struct ml_pipe *p, struct ml_str bytes)
{
    if (p->state != ML_PIPE_OPEN || bytes.len == 0)
        return;
    ml_buf_append(&p->buf, bytes);
    ml_pipe_filled(p, bytes.len);
}

void ml_pipe_filled(struct ml_pipe *p, size_t len)
{
    p->passed += len;
    tell_consumer(p);
}

void ml_pipe_eof(struct ml_pipe *p)
{
    if (p->state != ML_PIPE_OPEN)
        return;
    p->state = ML_PIPE_EOF;
    p->splice_to = NULL;
    tell_consumer(p);
}

void ml_pipe_abort(struct ml_pipe *p, enum ml_err why)
{
    assert(why != ML_OK);
    if (p->state != ML_PIPE_OPEN)
        return;
    p->state = ML_PIPE_ABORTED;
    p->why = why;
    p->splice_to = NULL;
    ml_splice_free(&p->splice);
    tell_consumer(p);
    tell_producer(p);
}

void ml_pipe_took(struct ml_pipe *p, size_t len)
{
    (void)len; /* passed was counted when the bytes came in */
    if (p->state == ML_PIPE_OPEN)
        tell_producer(p);
}

/* ---- splice ---- */

void ml_pipe_offer(struct ml_pipe *p, struct ml_stream *to, uint64_t length, uint64_t left)
{
    if (p->splice_off || left == 0)
        return;
    if (!p->from_file && (length < ML_PIPE_SPLICE_MIN || left < ML_PIPE_CAP))
        return;
    if (p->state == ML_PIPE_OPEN && ml_buf_len(&p->buf) == 0 && ml_stream_splice_fd(to) >= 0)
        p->splice_to = to;
}

void ml_pipe_withdraw(struct ml_pipe *p)
{
    p->splice_to = NULL;
    p->splice_blocked = false;
    if (ml_pipe_pending(p))
        ml_pipe_abort(p, ML_CANCELLED);
}

uint64_t ml_pipe_given(struct ml_pipe *p)
{
    uint64_t given = p->splice_given;

    p->splice_given = 0;
    return given;
}

void ml_pipe_writable(struct ml_pipe *p)
{
    if (!p->splice_blocked)
        return;
    p->splice_blocked = false;
    if (p->state == ML_PIPE_OPEN)
        tell_producer(p);
}

bool ml_pipe_pending(const struct ml_pipe *p)
{
    return p->splice != NULL && ml_splice_held(p->splice) > 0;
}

/* No kernel pipe, or a stream whose bytes pass through this process: as ever, then. */
static bool can_splice(struct ml_pipe *p, struct ml_stream *from)
{
    if (p->splice == NULL && ml_stream_splice_fd(from) >= 0)
        p->splice = ml_splice_new();
    if (p->splice != NULL)
        return true;
    p->splice_off = true;
    p->splice_to = NULL;
    return false;
}

enum ml_err ml_pipe_splice(struct ml_pipe *p, struct ml_stream *from, uint64_t *left)
{
    uint64_t given = 0;
    bool want_read, want_write;
    enum ml_err err;

    assert(ml_pipe_splices(p) && p->state == ML_PIPE_OPEN);
    if (!can_splice(p, from))
        return ML_LIMIT;
    err = ml_splice_move(p->splice, ml_stream_splice_fd(from), ml_stream_splice_fd(p->splice_to),
                         left, &given, &want_read, &want_write);
    p->splice_given += given;
    p->passed += given;
    p->splice_blocked = want_write;
    p->splice_broken = err == ML_CANCELLED;
    if (want_write)
        ml_stream_want_write(p->splice_to);
    if (given > 0 || want_write || p->splice_broken)
        tell_consumer(p);
    return err == ML_CANCELLED ? ML_AGAIN : err; /* the consumer will say so itself */
}

/* ---- sendfile ---- */

static ssize_t send_some(int to, int fd, uint64_t *offset, uint64_t left)
{
    off_t at = (off_t)*offset;
    size_t len = left < ML_PIPE_SENDFILE_MAX ? (size_t)left : ML_PIPE_SENDFILE_MAX;
    ssize_t n;

#ifdef ML_HARD
    len = len < 4093 ? len : 4093;
#endif
    do
        n = sendfile(to, fd, &at, len);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        *offset += (uint64_t)n;
    return n;
}

/* More would go, but not now: the stream says when, which is at once when only others wait. */
static enum ml_err send_later(struct ml_pipe *p)
{
    p->splice_blocked = true;
    ml_stream_want_write(p->splice_to);
    tell_consumer(p);
    return ML_AGAIN;
}

enum ml_err ml_pipe_sendfile(struct ml_pipe *p, int fd, uint64_t *offset, uint64_t *left)
{
    ssize_t n;

    assert(ml_pipe_splices(p) && p->state == ML_PIPE_OPEN && *left > 0);
    n = send_some(ml_stream_splice_fd(p->splice_to), fd, offset, *left);
    if (n > 0) {
        p->splice_given += (uint64_t)n;
        p->passed += (uint64_t)n;
        *left -= (uint64_t)n;
        if (*left > 0)
            return send_later(p);
        tell_consumer(p);
        return ML_OK;
    }
    if (n == 0)
        return ML_EOF;
    if (errno == EAGAIN)
        return send_later(p);
    if (errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP || errno == EOVERFLOW) {
        p->splice_off = true;
        p->splice_to = NULL;
        return ML_LIMIT;
    }
    if (errno == EIO)
        return ML_EOF;
    p->splice_broken = true; /* the consumer will say so itself */
    tell_consumer(p);
    return ML_AGAIN;
}
