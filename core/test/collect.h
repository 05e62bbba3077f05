/* collect.h - for handlers written in C: a body pipe into memory of its exchange. */
#ifndef ML_TEST_COLLECT_H
#define ML_TEST_COLLECT_H

#include "inbound/exchange.h"

struct collector {
    struct ml_exchange *ex;
    struct ml_pipe *pipe;
    char *p; /* grows by doubling inside the arena */
    size_t len, cap, max;
    void (*done)(void *ctx, enum ml_err err, struct ml_str bytes);
    void *ctx;
    bool ended; /* done was called */
};

static void collector_end(struct collector *c, enum ml_err err)
{
    struct ml_str bytes = err == ML_OK ? (struct ml_str){c->p, c->len} : ML_STR_NONE;

    c->ended = true;
    c->pipe->on_data = NULL;
    c->done(c->ctx, err, bytes);
}

static void collector_add(struct collector *c, struct ml_str s)
{
    if (c->len + s.len > c->cap) {
        size_t cap = c->cap != 0 ? c->cap : 1024;
        char *p;

        while (cap < c->len + s.len)
            cap *= 2;
        p = ml_arena_alloc(c->ex->arena, cap);
        if (c->len > 0)
            memcpy(p, c->p, c->len);
        c->p = p;
        c->cap = cap;
    }
    memcpy(c->p + c->len, s.p, s.len);
    c->len += s.len;
}

static void collector_on_data(void *ctx)
{
    struct collector *c = ctx;
    struct ml_str s = ml_buf_str(&c->pipe->buf);

    if (c->pipe->state == ML_PIPE_ABORTED) {
        collector_end(c, c->pipe->why);
        return;
    }
    if (s.len > c->max - c->len) {
        c->pipe->on_data = NULL; /* the abort need not come back here */
        ml_pipe_abort(c->pipe, ML_LIMIT);
        collector_end(c, ML_LIMIT);
        return;
    }
    if (s.len > 0) {
        collector_add(c, s);
        ml_buf_consume(&c->pipe->buf, s.len);
        ml_pipe_took(c->pipe, s.len); /* the producer may put more in, and end, inside this call */
    }
    if (!c->ended && c->pipe->state == ML_PIPE_EOF)
        collector_end(c, ML_OK);
}

/* Calls done(ctx, err, bytes) once, later or at once; ML_LIMIT over max bytes.  The bytes live in
 * the arena. */
static inline void
ml_exchange_collect(struct ml_exchange *ex, struct ml_pipe *pipe, size_t max,
                    void (*done)(void *ctx, enum ml_err err, struct ml_str bytes), void *ctx)
{
    struct collector *c;

    if (pipe == NULL) {
        done(ctx, ML_OK, ML_STR(""));
        return;
    }
    c = ml_arena_zalloc(ex->arena, sizeof *c);
    *c = (struct collector){.ex = ex, .pipe = pipe, .max = max, .done = done, .ctx = ctx};
    c->p = "";
    pipe->on_data = collector_on_data;
    pipe->data_ctx = c;
    if (pipe == ex->req.body)
        ml_exchange_ask_body(ex);
    if (ml_buf_len(&pipe->buf) > 0 || pipe->state != ML_PIPE_OPEN)
        collector_on_data(c);
}

#endif
