/* handle_map.c - res:map_body(fn): the body goes through a function of the script, piece by piece.
 *
 *   upstream -> in -> fn(chunk) in a branch of the exchange's task -> out -> client
 *
 * One piece is under way at a time, and none is taken while `out` is full, so a slow client slows
 * the upstream down.  fn gets each piece, then once "", true; it returns what is to be sent
 * instead, or nil for nothing.  When it fails the client sees a body that broke off.
 *
 * A filter is in the arena; it ends by itself at the end of the body, when either end breaks, or
 * with the exchange. */
#include "inbound/recode.h"
#include "script/handle.h"
#include "script/report.h"

enum { CHUNK_MAX = 65536 };

struct filter {
    struct ml_exchange *ex;
    struct ml_tasks *tasks;
    struct ml_task *root, *branch; /* the piece that is under way */
    struct ml_pipe *in, *out;
    int function; /* in the registry */
    bool last;    /* fn was told of the end */
    bool ended;
};

/* ---- the end ---- */

static void stop(struct filter *f)
{
    if (f->ended)
        return;
    f->ended = true;
    luaL_unref(ml_tasks_state(f->tasks), LUA_REGISTRYINDEX, f->function);
    f->in->on_data = NULL;
    ml_pipe_abort(f->in, ML_CANCELLED); /* its producer need not go on */
    ml_pipe_free(f->in);
}

static void break_off(struct filter *f, enum ml_err why)
{
    stop(f);
    f->ex->notes.why = why;
    ml_pipe_abort(f->out, why);
}

static void finish(struct filter *f)
{
    stop(f);
    ml_pipe_eof(f->out);
}

/* ---- one piece ---- */

static void pump(void *ctx);

/* What fn returned goes to the client.  False: it is no string. */
static bool take_result(struct filter *f, lua_State *co, size_t *len)
{
    struct ml_str s = ML_STR_NONE;

    *len = 0;
    if (lua_gettop(co) == 0 || lua_isnil(co, 1))
        return true;
    if (lua_type(co, 1) != LUA_TSTRING)
        return false;
    s.p = lua_tolstring(co, 1, &s.len);
    ml_buf_append(&f->out->buf, s);
    *len = s.len;
    return true;
}

static void report(struct filter *f, lua_State *co, enum ml_err why)
{
    const struct ml_route_match *m = ml_task_match(f->root);

    if (why == ML_SCRIPT_ERROR) /* the other kinds were reported */
        ml_report_failure(ml_tasks_state(f->tasks), co, why, m->pattern, f->ex,
                          ml_tasks_generation(f->tasks));
}

static void chunk_done(void *ctx, struct ml_task *branch, int status)
{
    struct filter *f = ctx;
    lua_State *co = ml_task_stack(branch);
    enum ml_err why = status != 0 ? ml_task_why(branch) : ML_OK;
    bool last = f->last; /* the client may take the piece at once, and so begin the next one */
    size_t len = 0;

    if (f->ended) {
        ml_task_release(&f->branch);
        return;
    }
    if (why != ML_OK) {
        report(f, co, why);
    } else if (!take_result(f, co, &len)) {
        ml_report_message("the function of map_body must return a string or nil", ML_SCRIPT_ERROR,
                          ml_task_match(f->root)->pattern, f->ex, ml_tasks_generation(f->tasks));
        why = ML_SCRIPT_ERROR;
    }
    ml_task_release(&f->branch);
    if (why != ML_OK) {
        break_off(f, why);
        return;
    }
    if (last) {
        f->out->passed += len; /* the end is told together with it */
        finish(f);
        return;
    }
    if (len > 0)
        ml_pipe_filled(f->out, len);
    pump(f);
}

/* Protected: hands the next piece to fn. */
static void begin_chunk(lua_State *L, void *arg)
{
    struct filter *f = arg;
    struct ml_task_join join = {chunk_done, f};
    struct ml_str s = ml_buf_str(&f->in->buf);

    if (s.len > CHUNK_MAX)
        s.len = CHUNK_MAX;
    lua_rawgeti(L, LUA_REGISTRYINDEX, f->function);
    ml_push_str(L, s);
    lua_pushboolean(L, s.len == 0);
    f->branch = ml_task_fork(f->root, L, 2, &join);
    if (f->branch == NULL)
        return;
    f->last = s.len == 0;
    ml_buf_consume(&f->in->buf, s.len);
}

static void pump(void *ctx)
{
    struct filter *f = ctx;
    size_t before = ml_buf_len(&f->in->buf);

    if (f->ended)
        return;
    if (f->out->state != ML_PIPE_OPEN) {
        stop(f); /* the client went away, or the response was replaced */
    } else if (f->branch != NULL) {
        return;
    } else if (f->in->state == ML_PIPE_ABORTED) {
        break_off(f, f->in->why);
    } else if (!ml_pipe_full(f->out) && (before > 0 || f->in->state == ML_PIPE_EOF)) {
        ml_tasks_protect(f->tasks, begin_chunk, f);
        if (f->branch == NULL)
            break_off(f, ML_SCRIPT_MEMORY);
        else if (before > 0)
            ml_pipe_took(f->in, before - ml_buf_len(&f->in->buf));
    }
}

void ml_body_map_end(struct ml_exchange *ex)
{
    struct ml_pipe *out = ex->res.body;

    ml_recode_end(ex);
    if (out == NULL || out->on_room != pump)
        return;
    out->on_room = NULL;
    stop(out->room_ctx); /* aborts the pipe in front of it, and so the filter that feeds that one */
}

/* ---- its beginning ---- */

static void attach(struct filter *f)
{
    struct ml_response *res = &f->ex->res;

    f->in = ml_exchange_body_pipe(f->ex);
    f->out = ml_arena_zalloc(f->ex->arena, sizeof *f->out);
    f->in->on_data = pump;
    f->in->data_ctx = f;
    f->out->on_room = pump;
    f->out->room_ctx = f;
    res->body = f->out;
    res->has_length = false;
    ml_headers_remove(&res->headers, ML_STR("etag")); /* of what the upstream sent */
    ml_headers_remove(&res->headers, ML_STR("content-md5"));
    ml_headers_remove(&res->headers, ML_STR("accept-ranges"));
}

int ml_body_map(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_RESPONSE);
    struct ml_exchange *ex = ml_handle_writable(L, h);
    const char *wrong;
    struct filter *f;

    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (ex == NULL || h->res != &ex->res || ex->res.status == 101)
        return luaL_error(L, "map_body works on the response of next() or core.forward only");
    if (ml_handle_plan(L, ex)->reading_response)
        return luaL_error(L, "map_body: the body is being read by another branch");
    if (ex->res.no_body || (ex->res.body == NULL && ex->res.bytes.len == 0))
        return 0; /* there is nothing to change */
    ml_handle_reserve(L, ex->arena, sizeof *f + 1024);
    wrong = ml_body_decode(ex); /* fn gets text, whatever it came as */
    if (wrong != NULL) {
        lua_pushnil(L);
        lua_pushstring(L, wrong);
        return 2;
    }
    if (ex->res.body == NULL && ex->res.bytes.len == 0)
        return 0;
    f = ml_arena_zalloc(ex->arena, sizeof *f);
    lua_settop(L, 2);
    f->function = luaL_ref(L, LUA_REGISTRYINDEX);
    f->ex = ex;
    f->tasks = b->conf.tasks;
    f->root = ex->task;
    attach(f);
    pump(f);
    return 0;
}
