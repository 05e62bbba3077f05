/* pipe.c - the body of a message between its producer and its consumer.
 *
 * Both ends are told through callbacks that the other one may cause in the middle of its own work.
 * An abort tells both ends: the one that caused it guards itself by its `running` flag, and neither
 * has to say who it is. */
#include "inbound/pipe.h"

#include <assert.h>

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
    tell_consumer(p);
}

void ml_pipe_abort(struct ml_pipe *p, enum ml_err why)
{
    assert(why != ML_OK);
    if (p->state != ML_PIPE_OPEN)
        return;
    p->state = ML_PIPE_ABORTED;
    p->why = why;
    tell_consumer(p);
    tell_producer(p);
}

void ml_pipe_took(struct ml_pipe *p, size_t len)
{
    (void)len; /* passed was counted when the bytes came in */
    if (p->state == ML_PIPE_OPEN)
        tell_producer(p);
}
