/* upstream_body.c - Content-Length, chunks and the end of the connection as marks of a body's end.
 *
 * A body with a length passes without a copy in both directions: it is written from the pipe it
 * arrived in, and read into the pipe it leaves by, and when it is large it goes from socket to
 * socket (splice, see pipe.h).  Chunks are copied once. */
#include "outbound/upstream_body.h"

#include <assert.h>
#include <stdio.h>

/* ---- to the server ---- */

void ml_body_out_init(struct ml_body_out *b, struct ml_pipe *pipe, bool has_length, uint64_t length)
{
    *b = (struct ml_body_out){
        .pipe = pipe,
        .chunked = pipe != NULL && !has_length,
        .length = has_length ? length : 0,
        .left = has_length ? length : 0,
    };
    b->closed = pipe == NULL || (has_length && length == 0);
}

/* One chunk of everything that is there, and the last one after the clean end of the pipe: after
 * nothing else, or a broken body would look complete to the server. */
static size_t add_chunks(struct ml_body_out *b, struct ml_buf *out)
{
    size_t len = ml_buf_len(&b->pipe->buf);
    char size[24];

    if (len > 0) {
        snprintf(size, sizeof size, "%zx\r\n", len);
        ml_buf_append(out, ml_str_of(size));
        ml_buf_append(out, ml_buf_str(&b->pipe->buf));
        ml_buf_append(out, ML_STR("\r\n"));
        ml_buf_consume(&b->pipe->buf, len);
        b->taken = true;
    }
    if (b->pipe->state == ML_PIPE_EOF) {
        ml_buf_append(out, ML_STR("0\r\n"));
        if (!b->pipe->trailers_h2)
            ml_buf_append(out, ml_buf_str(&b->pipe->trailers)); /* where the listener keeps them */
        ml_buf_append(out, ML_STR("\r\n"));
        b->closed = true;
    }
    return len;
}

/* Writes out and then at most left bytes of the pipe; *taken of these are gone. */
static enum ml_err write_length(struct ml_body_out *b, struct ml_stream *stream, struct ml_buf *out,
                                size_t *taken)
{
    struct ml_buf view = b->pipe->buf; /* a window on the pipe's bytes, which end where they must */
    size_t len = ml_buf_len(&view);
    enum ml_err err;

    if (len > b->left) {
        view.end -= len - (size_t)b->left;
        len = (size_t)b->left;
    }
    err = ml_stream_write2(stream, out, &view);
    *taken = len - ml_buf_len(&view);
    b->left -= *taken;
    b->closed = b->left == 0;
    b->taken |= *taken > 0;
    ml_buf_consume(&b->pipe->buf, *taken);
    return err;
}

/* Everything that was there is written, but the request is not complete: why not? */
static enum ml_err missing(const struct ml_body_out *b)
{
    switch (b->pipe->state) {
    case ML_PIPE_ABORTED:
        return b->pipe->why;
    case ML_PIPE_EOF: /* shorter than announced */
        return ml_buf_len(&b->pipe->buf) > 0 ? ML_AGAIN : ML_BAD_FRAMING;
    case ML_PIPE_OPEN:
        break;
    }
    return ML_AGAIN;
}

/* What went from socket to socket since we looked.  ML_OK: the stream takes more. */
static enum ml_err count_spliced(struct ml_body_out *b)
{
    uint64_t given = ml_pipe_given(b->pipe);

    b->left -= given;
    b->taken |= given > 0;
    b->closed = b->left == 0;
    if (b->pipe->splice_broken)
        return ML_RESET;
    return b->pipe->splice_blocked ? ML_AGAIN : ML_OK;
}

bool ml_body_out_taken(const struct ml_body_out *b)
{
    return b->taken || (b->pipe != NULL && ml_pipe_pending(b->pipe));
}

enum ml_err ml_body_out_send(struct ml_body_out *b, struct ml_stream *stream, struct ml_buf *out,
                             bool *blocked)
{
    size_t taken = 0;
    enum ml_err err = ML_OK;

    if (!b->closed && !b->chunked)
        err = count_spliced(b);
    *blocked = err == ML_AGAIN;
    if (!b->closed && b->pipe->state == ML_PIPE_ABORTED)
        return b->pipe->why;
    if (err != ML_OK)
        return err;
    if (b->chunked && !b->closed && ml_buf_len(out) < ML_PIPE_CAP)
        taken = add_chunks(b, out);
    if (b->chunked || b->closed)
        err = ml_stream_write(stream, out);
    else
        err = write_length(b, stream, out, &taken);
    *blocked = err == ML_AGAIN;
    if (err == ML_OK && taken > 0 && !b->chunked)
        ml_pipe_offer(b->pipe, stream, b->length, b->left);
    if (taken > 0)
        ml_pipe_took(b->pipe, taken); /* calls back, and may close the stream: after the write */
    if (err != ML_OK || b->closed)
        return err;
    return missing(b);
}

/* ---- from the server ---- */

/* The whole of `in` becomes the pipe's buffer when that is empty: no copy. */
static void move(struct ml_buf *to, struct ml_buf *in, size_t len)
{
    if (ml_buf_len(to) == 0 && len == ml_buf_len(in)) {
        struct ml_buf empty = *to;

        *to = *in;
        *in = empty;
        return;
    }
    ml_buf_append(to, (struct ml_str){in->p + in->start, len});
    ml_buf_consume(in, len);
}

static enum ml_err take_length(struct ml_body_in *b, struct ml_buf *in)
{
    size_t len = ml_buf_len(in);

    if (len > b->left)
        len = (size_t)b->left;
    if (len > 0)
        move(&b->pipe->buf, in, len);
    b->left -= len;
    b->added += len;
    return b->left == 0 ? ML_OK : ML_AGAIN;
}

static enum ml_err take_chunks(struct ml_body_in *b, struct ml_buf *in)
{
    while (ml_buf_len(in) > 0) {
        size_t used = 0;
        struct ml_str data = ML_STR_NONE;
        enum ml_err err =
            ml_http1_dechunk(&b->chunks, ml_buf_str(in), &used, &data, &b->pipe->trailers);

        if (data.len > 0) {
            ml_buf_append(&b->pipe->buf, data);
            b->added += data.len;
        }
        ml_buf_consume(in, used);
        if (err == ML_OK)
            return ML_OK;
        if (err != ML_AGAIN)
            return ML_UP_PROTOCOL;
        assert(used > 0); /* every call makes progress */
    }
    return ML_AGAIN;
}

enum ml_err ml_body_in_take(struct ml_body_in *b, struct ml_buf *in)
{
    switch (b->framing) {
    case ML_BODY_LENGTH:
        return take_length(b, in);
    case ML_BODY_CHUNKED:
        return take_chunks(b, in);
    case ML_BODY_CLOSE:
        b->added += ml_buf_len(in);
        if (ml_buf_len(in) > 0)
            move(&b->pipe->buf, in, ml_buf_len(in));
        return ML_AGAIN;
    case ML_BODY_NONE:
        break;
    }
    return ML_OK;
}

/* How a read that brought nothing ends the body. */
static enum ml_err ended(const struct ml_body_in *b, enum ml_err err)
{
    if (err == ML_AGAIN)
        return ML_AGAIN;
    return err == ML_EOF && b->framing == ML_BODY_CLOSE ? ML_OK : ML_UP_CLOSED;
}

/* Reads into the pipe, one byte more than the body has left: when it comes, it is put into `in`,
 * where the caller finds that the server has sent too much. */
static enum ml_err read_direct(struct ml_body_in *b, struct ml_stream *stream, struct ml_buf *in,
                               bool *more)
{
    struct ml_buf *to = &b->pipe->buf;
    size_t before = ml_buf_len(to), max, got;
    enum ml_err err;

    assert(!ml_pipe_full(b->pipe));
    max = ML_PIPE_CAP - before;
    if (b->framing == ML_BODY_LENGTH && b->left < max)
        max = (size_t)b->left + 1;
    if (b->framing == ML_BODY_LENGTH && max > ML_BUF_BLOCK)
        ml_buf_reserve(to, max); /* much is to come: fewer and larger reads */
    err = ml_stream_read(stream, to, max, more);
    if (err != ML_OK)
        return ended(b, err);
    got = ml_buf_len(to) - before;
    if (b->framing == ML_BODY_CLOSE) {
        b->added += got;
        return ML_AGAIN;
    }
    if (got > b->left) {
        ml_buf_append(in, (struct ml_str){to->p + to->end - 1, 1});
        to->end--;
        got--;
    }
    b->added += got;
    b->left -= got;
    return b->left == 0 ? ML_OK : ML_AGAIN;
}

/* From socket to socket; ML_LIMIT: not possible.  After the last byte another read is worth while:
 * only that shows whether the server has sent too much. */
static enum ml_err read_spliced(struct ml_body_in *b, struct ml_stream *stream, bool *more)
{
    enum ml_err err = ml_pipe_splice(b->pipe, stream, &b->left);

    *more = err == ML_OK;
    return err == ML_EOF || err == ML_RESET ? ML_UP_CLOSED : err;
}

enum ml_err ml_body_in_read(struct ml_body_in *b, struct ml_stream *stream, struct ml_buf *in,
                            bool *more)
{
    enum ml_err err;

    *more = false;
    if (b->framing == ML_BODY_LENGTH && ml_pipe_splices(b->pipe)) {
        err = read_spliced(b, stream, more);
        if (err != ML_LIMIT)
            return err;
    }
    if (b->framing != ML_BODY_CHUNKED)
        return read_direct(b, stream, in, more);
    err = ml_stream_read(stream, in, ML_BUF_BLOCK, more);
    return err == ML_OK ? take_chunks(b, in) : ended(b, err);
}

void ml_body_in_tell(struct ml_body_in *b)
{
    size_t added = b->added;

    b->added = 0;
    if (added > 0)
        ml_pipe_filled(b->pipe, added);
}
