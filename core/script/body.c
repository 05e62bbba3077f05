/* body.c - moving bytes between a pipe and memory. */
#include "script/body.h"

/* What was read goes back in front of what has come since.  A pipe that is over its capacity by
 * this only makes its producer wait. */
static void put_back(struct ml_gather *g)
{
    ml_buf_append(&g->bytes, ml_buf_str(&g->pipe->buf));
    ml_buf_release(&g->pipe->buf);
    g->pipe->buf = g->bytes;
    g->bytes = (struct ml_buf){0};
}

/* Everything that is there; ML_AGAIN: more will come. */
static enum ml_err take(struct ml_gather *g)
{
    struct ml_pipe *p = g->pipe;

    while (p->state != ML_PIPE_ABORTED && ml_buf_len(&p->buf) > 0) {
        struct ml_str s = ml_buf_str(&p->buf);

        if (s.len > g->max - ml_buf_len(&g->bytes)) {
            put_back(g);
            return ML_LIMIT;
        }
        ml_buf_append(&g->bytes, s);
        ml_buf_consume(&p->buf, s.len);
        ml_pipe_took(p, s.len); /* the producer may put more in, or end, meanwhile */
    }
    if (p->state == ML_PIPE_ABORTED)
        return p->why;
    return p->state == ML_PIPE_OPEN ? ML_AGAIN : ML_OK;
}

static void on_data(void *ctx)
{
    struct ml_gather *g = ctx;
    enum ml_err err;

    g->pipe->on_data = NULL; /* taking wakes the producer, which may call back */
    err = take(g);
    if (err == ML_AGAIN)
        g->pipe->on_data = on_data;
    else
        g->done(g->ctx, err);
}

enum ml_err ml_gather_begin(struct ml_gather *g, struct ml_pipe *pipe, size_t max,
                            void (*done)(void *ctx, enum ml_err err), void *ctx)
{
    enum ml_err err;

    *g = (struct ml_gather){.pipe = pipe, .max = max, .done = done, .ctx = ctx};
    pipe->on_data = NULL;
    pipe->data_ctx = g;
    err = take(g);
    if (err == ML_AGAIN)
        pipe->on_data = on_data;
    return err;
}

void ml_gather_cancel(struct ml_gather *g)
{
    struct ml_pipe *p = g->pipe;

    if (p != NULL && p->data_ctx == g && p->on_data == on_data) { /* it is still ours */
        p->on_data = NULL;
        if (p->state != ML_PIPE_ABORTED)
            put_back(g);
    }
    g->pipe = NULL;
    ml_buf_release(&g->bytes);
}

void ml_body_refill(struct ml_pipe *pipe, struct ml_str bytes)
{
    pipe->on_data = NULL;
    if (pipe->state == ML_PIPE_OPEN)
        ml_pipe_abort(pipe, ML_CANCELLED); /* the producer learns that nobody takes the rest */
    ml_buf_release(&pipe->buf);
    ml_buf_release(&pipe->trailers);
    ml_buf_append(&pipe->buf, bytes);
    pipe->state = ML_PIPE_EOF;
}
