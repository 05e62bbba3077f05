/* exchange.c - the life of a request and its response, between a wire and a handler.
 *
 *   new -> (wire fills req) -> handler.start -> respond | fail -> (wire sends) -> finish
 *                                   \______________ cancel at any time ______________/
 *
 * An exchange that no handler saw (a malformed request) has handler == NULL: the wire answers it
 * by ml_exchange_fail alone. */
#include "inbound/exchange.h"

#include "base/json.h"
#include "inbound/file_body.h"
#include "transport/tls_info.h"

#include <assert.h>

struct ml_exchange *ml_exchange_new(struct ml_loop *loop, struct ml_handler *handler,
                                    struct ml_wire wire)
{
    static uint64_t serial;
    struct ml_arena *arena = ml_arena_new();
    struct ml_exchange *ex = ml_arena_zalloc(arena, sizeof *ex);

    ex->arena = arena;
    ex->loop = loop;
    ex->handler = handler;
    ex->wire = wire;
    ex->serial = ++serial;
    ex->notes.start_s = ml_loop_now_s(loop);
    ex->notes.upstream_s = -1;
    return ex;
}

void ml_exchange_respond(struct ml_exchange *ex)
{
    assert(!ex->responded && ex->res.status >= 100);
    ex->responded = true;
    if (ex->res.status == 101 && ex->res.tunnel.begin != NULL)
        ex->res.tunnel.begin(ex->res.tunnel.ctx, ex);
    ex->wire.respond(ex->wire.ctx, ex);
}

void ml_exchange_leave(struct ml_exchange *ex)
{
    if (ex->responded && ex->res.status == 101 && ex->res.tunnel.leave != NULL)
        ex->res.tunnel.leave(ex->res.tunnel.ctx);
}

struct ml_pipe *ml_exchange_body_pipe(struct ml_exchange *ex)
{
    struct ml_pipe *p = ex->res.body;

    if (p != NULL)
        return p;
    p = ex->res.body = ml_arena_zalloc(ex->arena, sizeof *p);
    ml_buf_append(&p->buf, ex->res.bytes);
    p->state = ML_PIPE_EOF;
    ex->res.bytes = ML_STR_NONE;
    return p;
}

void ml_exchange_reset_response(struct ml_exchange *ex)
{
    struct ml_pipe *body = ex->res.body;

    ex->res = (struct ml_response){0};
    if (body != NULL) {
        body->on_data = NULL; /* the consumer gave it up, its producer has to know */
        ml_pipe_abort(body, ML_CANCELLED);
        ml_pipe_free(body);
    }
}

static void tell_developer(struct ml_buf *json, const struct ml_trail *t)
{
    ml_buf_append(json, ML_STR(",\"detail\":"));
    ml_json_string(json, t->error);
    ml_buf_append(json, ML_STR(",\"traceback\":"));
    ml_json_string(json, t->traceback);
}

void ml_exchange_error_response(struct ml_exchange *ex, enum ml_err why)
{
    struct ml_buf json = {0};
    int status = ml_err_status(why);

    ml_exchange_reset_response(ex);
    ml_buf_append(&json, ML_STR("{\"error\":"));
    ml_json_string(&json, ml_str_of(ml_err_word(why)));
    ml_buf_append(&json, ML_STR(",\"message\":"));
    ml_json_string(&json, ml_str_of(ml_err_text(why)));
    ml_buf_append(&json, ML_STR(",\"requestId\":"));
    ml_json_string(&json, ex->req.id);
    if (ex->development && ex->trail.error.len > 0)
        tell_developer(&json, &ex->trail);
    ml_buf_append(&json, ML_STR("}\n"));
    ex->res.status = status != 0 ? status : 500;
    ex->res.bytes = ml_arena_dup(ex->arena, ml_buf_str(&json));
    ex->res.from = ML_FROM_CORE;
    ex->notes.why = why;
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Content-Type"), ML_STR("application/json"));
    for (uint32_t i = 0; i < ex->kept.count; i++)
        ml_headers_set(&ex->res.headers, ex->arena, ex->kept.v[i].name, ex->kept.v[i].value);
    ml_buf_release(&json);
}

void ml_exchange_fail(struct ml_exchange *ex, enum ml_err why)
{
    if (!ex->responded) {
        ml_exchange_error_response(ex, why);
        ml_exchange_respond(ex);
        return;
    }
    ex->notes.why = why;
    if (ex->res.body != NULL)
        ml_pipe_abort(ex->res.body, why);
}

void ml_exchange_ask_body(struct ml_exchange *ex)
{
    if (ex->body_asked)
        return;
    ex->body_asked = true;
    ex->wire.ask_body(ex->wire.ctx, ex);
}

/* ---- the end ---- */

static void release(void *p)
{
    struct ml_exchange *ex = p;
    struct ml_arena *arena = ex->arena;

    ml_file_bodies_end(ex);
    if (ex->req.body != NULL)
        ml_pipe_free(ex->req.body);
    if (ex->res.body != NULL)
        ml_pipe_free(ex->res.body);
    ml_tls_session_free(&ex->req.tls);
    ml_arena_free(&arena);
}

/* Nobody is called for this pipe any more; whoever still looks at it sees that it ended. */
static void silence(struct ml_pipe *p, enum ml_err why)
{
    if (p == NULL)
        return;
    p->on_data = p->on_room = NULL;
    ml_pipe_abort(p, why);
}

static void end(struct ml_exchange *ex, enum ml_err why)
{
    silence(ex->req.body, why);
    silence(ex->res.body, why);
    ml_loop_bury(ex->loop, release, ex);
}

void ml_exchange_cancel(struct ml_exchange **exp, enum ml_err why)
{
    struct ml_exchange *ex = *exp;

    *exp = NULL;
    ex->notes.why = why;
    if (ex->handler != NULL)
        ex->handler->cancel(ex->handler->ctx, ex);
    end(ex, why);
}

void ml_exchange_finish(struct ml_exchange **exp)
{
    struct ml_exchange *ex = *exp;

    *exp = NULL;
    if (ex->handler != NULL)
        ex->handler->done(ex->handler->ctx, ex);
    end(ex, ML_CANCELLED);
}
