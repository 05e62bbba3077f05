/* recode.c - in -> coder -> out.
 *
 * All work is done in deferred calls: a piece and the end behind it, which come in one loop turn,
 * are coded together.  One such call takes at most PIECE bytes, so a large body in memory is coded
 * in many turns, and takes nothing while `out` is full, so a slow client slows the upstream down.
 */
#include "inbound/recode.h"

#include <assert.h>

enum { PIECE = 65536, STEP = 16384 };

struct recode { /* in the arena of its exchange */
    struct ml_exchange *ex;
    struct ml_pipe *in, *out;
    struct ml_coder *coder;
    struct ml_deferred pump;
    bool flush;
    bool again; /* the coder has more to give without more to take */
    bool ended;
};

static void stop(struct recode *r)
{
    if (r->ended)
        return;
    r->ended = true;
    ml_loop_undefer(r->ex->loop, &r->pump);
    ml_coder_free(&r->coder);
    r->in->on_data = NULL;
    ml_pipe_abort(r->in, ML_CANCELLED); /* its producer need not go on */
    ml_pipe_free(r->in);
}

static void break_off(struct recode *r, enum ml_err why)
{
    stop(r);
    r->ex->notes.why = why;
    ml_pipe_abort(r->out, why);
}

static void finish(struct recode *r)
{
    struct ml_buf trailers = r->in->trailers;

    r->in->trailers = (struct ml_buf){0};
    stop(r);
    r->out->trailers = trailers;
    ml_pipe_eof(r->out);
}

/* The next piece of what came, without a copy. */
static struct ml_buf view(const struct ml_buf *b)
{
    struct ml_buf v = *b;

    if (ml_buf_len(&v) > PIECE)
        v.end = v.start + PIECE;
    return v;
}

static enum ml_coder_end end_of(const struct recode *r, const struct ml_buf *piece)
{
    if (ml_buf_len(piece) < ml_buf_len(&r->in->buf))
        return ML_CODER_MORE;
    if (r->in->state == ML_PIPE_EOF)
        return ML_CODER_FINISH;
    return r->flush ? ML_CODER_FLUSH : ML_CODER_MORE;
}

/* Codes one piece.  ML_AGAIN: there is more to do at once, or when the client has taken some. */
static enum ml_err code(struct recode *r, size_t *taken, size_t *given)
{
    struct ml_buf piece = view(&r->in->buf);
    size_t in_len = ml_buf_len(&piece), out_len = ml_buf_len(&r->out->buf);
    enum ml_coder_end end = end_of(r, &piece);
    enum ml_err err;

    do
        err = ml_coder_run(r->coder, &piece, end, &r->out->buf, STEP);
    while (err == ML_AGAIN && !ml_pipe_full(r->out));
    *taken = in_len - ml_buf_len(&piece);
    *given = ml_buf_len(&r->out->buf) - out_len;
    ml_buf_consume(&r->in->buf, *taken);
    r->again = err == ML_AGAIN;
    return err == ML_OK && ml_buf_len(&r->in->buf) > 0 ? ML_AGAIN : err;
}

static bool has_work(const struct recode *r)
{
    if (ml_pipe_full(r->out))
        return false;
    return r->again || ml_buf_len(&r->in->buf) > 0 || r->in->state == ML_PIPE_EOF;
}

/* What was done, told to both ends, each of which may end the recoding. */
static void tell(struct recode *r, enum ml_err err, bool last, size_t taken, size_t given)
{
    if (last)
        r->out->passed += given; /* the end is told together with it */
    else if (given > 0)
        ml_pipe_filled(r->out, given);
    if (r->ended)
        return;
    if (last) {
        finish(r);
        return;
    }
    if (err == ML_AGAIN)
        ml_loop_defer(r->ex->loop, &r->pump);
    if (taken > 0)
        ml_pipe_took(r->in, taken);
}

static void pump(void *ctx)
{
    struct recode *r = ctx;
    size_t taken, given;
    enum ml_err err;
    bool last;

    if (r->ended)
        return;
    if (r->out->state != ML_PIPE_OPEN) {
        stop(r);
    } else if (r->in->state == ML_PIPE_ABORTED) {
        break_off(r, r->in->why);
    } else if (has_work(r)) {
        last = r->in->state == ML_PIPE_EOF && ml_buf_len(&r->in->buf) <= PIECE;
        err = code(r, &taken, &given);
        if (err == ML_UP_PROTOCOL)
            break_off(r, err);
        else
            tell(r, err, last && err == ML_OK, taken, given);
    }
}

static void wake(void *ctx)
{
    struct recode *r = ctx;

    if (r->out->state != ML_PIPE_OPEN)
        stop(r); /* at once: the exchange may end in this turn */
    else if (!r->ended)
        ml_loop_defer(r->ex->loop, &r->pump);
}

void ml_recode_end(struct ml_exchange *ex)
{
    struct ml_pipe *out = ex->res.body;

    if (out == NULL || out->on_room != wake)
        return;
    out->on_room = NULL;
    stop(out->room_ctx);
}

/* ---- its beginning ---- */

/* A short body was coded at once: no pipe is needed. */
static void stay_in_memory(struct ml_exchange *ex)
{
    struct ml_pipe *out = ex->res.body;

    ex->res.bytes = ml_arena_dup(ex->arena, ml_buf_str(&out->buf));
    ex->res.length = ex->res.bytes.len;
    ex->res.has_length = true;
    ex->res.body = NULL;
    ml_pipe_free(out);
}

void ml_recode_response(struct ml_exchange *ex, struct ml_coder **coder, bool flush)
{
    bool in_memory = ex->res.body == NULL;
    struct recode *r;

    assert(*coder != NULL && ex->res.status != 101);
    r = ml_arena_zalloc(ex->arena, sizeof *r);
    *r = (struct recode){.ex = ex, .coder = *coder, .flush = flush};
    *coder = NULL;
    r->in = ml_exchange_body_pipe(ex);
    r->out = ml_arena_zalloc(ex->arena, sizeof *r->out);
    r->pump.fire = pump;
    r->pump.ctx = r;
    r->in->on_data = wake;
    r->in->data_ctx = r;
    r->out->on_room = wake;
    r->out->room_ctx = r;
    ex->res.body = r->out;
    ex->res.has_length = false;
    pump(r);
    if (in_memory && r->out->state == ML_PIPE_EOF)
        stay_in_memory(ex);
}
