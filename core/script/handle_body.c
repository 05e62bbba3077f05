/* handle_body.c - the body methods that requests and responses share.
 *
 * Reading waits until the whole body is there, then the message carries it from memory.  A body
 * that is larger than max gives nil, "too_large" and streams on as if nobody had looked. */
#include "protocol/coding.h"
#include "script/body.h"
#include "script/handle.h"
#include "script/json_value.h"

enum { DEFAULT_MAX = 1 << 20 };

enum form { AS_BYTES, AS_TEXT, AS_JSON, AS_FORM };

struct reader { /* in the arena of the exchange */
    struct ml_wait wait;
    struct ml_gather gather;
    struct ml_exchange *ex;
    struct ml_message message; /* its handle is kept alive by the waiting call */
    size_t max;
    struct ml_plan *plan;
    bool *reading; /* flag of the plan */
    bool request;
    enum form form;
    enum ml_err err;
};

static int fail(lua_State *L, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, code);
    return 2;
}

static int push_json(lua_State *L, struct ml_str bytes)
{
    const char *wrong = ml_json_push(L, bytes);

    return wrong == NULL ? 1 : fail(L, "malformed_json");
}

/* ---- content codings: scripts read what the bytes mean, the message keeps them as they are ---- */

static const char *decode_error(enum ml_err err)
{
    return err == ML_AGAIN ? "too_large" : "malformed_encoding";
}

/* NULL: *bytes is decoded now; or the code of what is wrong. */
static const char *decode(lua_State *L, const struct ml_message *m, enum ml_coding coding,
                          size_t max, struct ml_str *bytes)
{
    struct ml_coder *coder = ml_decoder_new(coding);
    struct ml_buf in = {(char *)(uintptr_t)bytes->p, 0, bytes->len, bytes->len};
    struct ml_buf *out = ml_handle_scratch();
    enum ml_err err;

    if (coder == NULL)
        return "overload";
    err = ml_coder_run(coder, &in, ML_CODER_FINISH, out, max + 1);
    if (err == ML_OK && ml_buf_len(out) > max)
        err = ML_AGAIN;
    ml_coder_free(&coder);
    if (err != ML_OK)
        return decode_error(err);
    *bytes = ml_handle_dup(L, m->arena, ml_buf_str(out));
    return NULL;
}

/* The coding of a message; false: one that is not known here, or more than one. */
static bool coding_of(const struct ml_headers *h, enum ml_coding *coding)
{
    const struct ml_field *f = ml_headers_find(h, ML_STR("content-encoding"));

    *coding = ML_CODING_NONE;
    if (f == NULL || f->value.len == 0 || ml_str_ieq(f->value, ML_STR("identity")))
        return true;
    *coding = ml_coding_of(f->value);
    return *coding != ML_CODING_NONE;
}

static int push_bytes(lua_State *L, const struct ml_message *m, enum form form, size_t max,
                      struct ml_str bytes)
{
    enum ml_coding coding = ML_CODING_NONE;
    const char *wrong = NULL;

    if (form != AS_BYTES && bytes.len > 0) {
        if (!coding_of(m->headers, &coding))
            return fail(L, "unsupported_encoding");
        if (coding != ML_CODING_NONE)
            wrong = decode(L, m, coding, max, &bytes);
        if (wrong != NULL)
            return fail(L, wrong);
    }
    switch (form) {
    case AS_JSON:
        return push_json(L, bytes);
    case AS_FORM:
        ml_query_push(L, bytes);
        return 1;
    case AS_BYTES:
    case AS_TEXT:
        break;
    }
    ml_push_str(L, bytes);
    return 1;
}

static int push_error(lua_State *L, enum ml_err err)
{
    return fail(L, err == ML_LIMIT ? "too_large" : ml_err_word(err));
}

/* The message carries the bytes from now on. */
static struct ml_str keep(struct reader *r)
{
    struct ml_exchange *ex = r->ex;
    struct ml_str s = ml_arena_dup(ex->arena, ml_buf_str(&r->gather.bytes));

    ml_buf_release(&r->gather.bytes);
    if (r->request) {
        r->plan->has_bytes = true;
        r->plan->bytes = s;
        ex->req.has_length = true;
        ex->req.length = s.len;
        ml_body_refill(ex->req.body, s);
    } else {
        ml_pipe_free(ex->res.body);
        ex->res.body = NULL;
        ex->res.bytes = s;
        ex->res.has_length = true;
        ex->res.length = s.len;
    }
    return s;
}

static int reader_push(lua_State *L, void *ctx)
{
    struct reader *r = ctx;
    struct ml_str s;

    *r->reading = false;
    if (r->err == ML_OK) {
        s = keep(r);
        return push_bytes(L, &r->message, r->form, r->max, s);
    }
    ml_gather_cancel(&r->gather);
    return push_error(L, r->err);
}

static void reader_cancel(void *ctx)
{
    struct reader *r = ctx;

    *r->reading = false;
    ml_gather_cancel(&r->gather);
}

static void reader_done(void *ctx, enum ml_err err)
{
    struct reader *r = ctx;

    r->err = err;
    ml_task_wake(&r->wait);
}

static size_t check_max(lua_State *L, int index)
{
    double max = DEFAULT_MAX;

    if (lua_isnoneornil(L, index))
        return DEFAULT_MAX;
    if (lua_isnumber(L, index))
        max = lua_tonumber(L, index);
    else {
        luaL_checktype(L, index, LUA_TTABLE);
        lua_getfield(L, index, "max");
        if (!lua_isnil(L, -1))
            max = luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    if (!(max >= 0 && max <= 1e12))
        luaL_argerror(L, index, "max must be a number of bytes");
    return (size_t)max;
}

/* Waits for the end of a streamed body. */
static int gather(lua_State *L, const struct ml_message *m, struct ml_pipe *pipe, size_t max,
                  enum form form)
{
    struct ml_task *task = ml_task_waiter(L);
    struct ml_plan *plan = ml_handle_plan(L, m->ex);
    bool request = m->handle->kind == ML_HANDLE_REQUEST;
    size_t room = ML_HANDLE_ARENA_MAX - sizeof(struct reader);
    struct reader *r;

    ml_handle_reserve(L, m->arena, sizeof *r);
    if (request ? plan->reading_request : plan->reading_response)
        return luaL_error(L, "this body is being read already, by another branch");
    room -= ml_arena_used(m->arena) < room ? ml_arena_used(m->arena) : room;
    r = ml_arena_zalloc(m->arena, sizeof *r);
    *r = (struct reader){.ex = m->ex, .message = *m, .max = max, .plan = plan, .request = request,
                         .form = form};
    r->reading = request ? &plan->reading_request : &plan->reading_response;
    r->wait = (struct ml_wait){task, reader_push, reader_cancel, r};
    *r->reading = true;
    if (request)
        ml_exchange_ask_body(m->ex);
    r->err = ml_gather_begin(&r->gather, pipe, max < room ? max : room, reader_done, r);
    if (r->err == ML_AGAIN)
        return ml_task_wait(L, &r->wait);
    return reader_push(L, r);
}

static bool in_memory(lua_State *L, const struct ml_message *m, struct ml_str *bytes)
{
    const struct ml_plan *plan;

    if (m->handle->kind == ML_HANDLE_RESPONSE) {
        *bytes = m->handle->res->bytes;
        return m->handle->res->body == NULL;
    }
    plan = ml_handle_plan(L, m->ex);
    *bytes = plan->has_bytes ? plan->bytes : ML_STR("");
    return plan->has_bytes || m->ex->req.body == NULL;
}

/* The length that is announced, if any: a body that is too large need not be waited for. */
static bool announced(const struct ml_message *m, uint64_t *length)
{
    bool request = m->handle->kind == ML_HANDLE_REQUEST;

    *length = request ? m->ex->req.length : m->handle->res->length;
    return request ? m->ex->req.has_length : m->handle->res->has_length;
}

static int read_as(lua_State *L, enum form form)
{
    struct ml_message m;
    struct ml_str bytes;
    size_t max = check_max(L, 2);
    uint64_t length;

    ml_handle_message(L, 1, false, &m);
    if (in_memory(L, &m, &bytes))
        return bytes.len > max ? fail(L, "too_large") : push_bytes(L, &m, form, max, bytes);
    ml_handle_writable(L, m.handle);
    if (m.handle->kind == ML_HANDLE_RESPONSE && m.handle->res->status == 101)
        return luaL_error(L, "the connection was upgraded: it has no body");
    if (m.handle->kind == ML_HANDLE_REQUEST && ml_handle_plan(L, m.ex)->forwarded)
        return fail(L, "body_consumed"); /* its bytes are on their way to a server */
    if (announced(&m, &length) && length > max)
        return fail(L, "too_large");
    return gather(L, &m, m.handle->kind == ML_HANDLE_REQUEST ? m.ex->req.body : m.handle->res->body,
                  max, form);
}

static int body_bytes(lua_State *L)
{
    return read_as(L, AS_BYTES);
}

static int body_text(lua_State *L)
{
    return read_as(L, AS_TEXT);
}

static int body_json(lua_State *L)
{
    return read_as(L, AS_JSON);
}

static int body_form(lua_State *L)
{
    return read_as(L, AS_FORM);
}

/* ---- setting ---- */

static void drop_fields(struct ml_headers *h)
{
    ml_headers_remove(h, ML_STR("content-length"));
    ml_headers_remove(h, ML_STR("transfer-encoding"));
    ml_headers_remove(h, ML_STR("content-encoding"));
    ml_headers_remove(h, ML_STR("etag")); /* of the representation that is no more */
    ml_headers_remove(h, ML_STR("content-md5"));
}

static void set_request(struct ml_message *m, struct ml_plan *plan, struct ml_str bytes)
{
    struct ml_request *req = &m->ex->req;

    if (req->body == NULL)
        req->body = ml_arena_zalloc(m->ex->arena, sizeof *req->body);
    plan->has_bytes = true;
    plan->bytes = bytes;
    req->has_length = true;
    req->length = bytes.len;
    ml_body_refill(req->body, bytes);
}

/* Nobody wants the rest of the body that is there. */
static void drop_body(struct ml_exchange *ex, struct ml_response *res)
{
    struct ml_pipe *old = res->body;

    if (old == NULL)
        return;
    if (ex->upstream != NULL)
        ml_upstream_cancel(ex);
    res->body = NULL;
    old->on_data = NULL;
    ml_pipe_abort(old, ML_CANCELLED);
    ml_pipe_free(old);
}

static void set_response(struct ml_message *m, struct ml_bridge *b, struct ml_str bytes)
{
    struct ml_response *res = m->handle->res;
    struct ml_made *made = (struct ml_made *)res;

    drop_body(m->ex, res);
    res->bytes = bytes;
    res->has_length = true;
    res->length = bytes.len;
    res->no_body = false;
    if (m->ex != NULL)
        return;
    b->free_used += ml_arena_used(m->arena) - made->counted;
    made->counted = ml_arena_used(m->arena);
}

/* Raises when somebody uses the body just now. */
static void check_unused(lua_State *L, const struct ml_message *m)
{
    const struct ml_plan *plan;

    if (m->ex == NULL)
        return;
    plan = ml_handle_plan(L, m->ex);
    if (m->handle->kind == ML_HANDLE_RESPONSE && m->handle->res->status == 101)
        luaL_error(L, "the connection was upgraded: it has no body");
    if (m->handle->kind == ML_HANDLE_REQUEST
            ? plan->reading_request
            : plan->reading_response && m->handle->res == &m->ex->res)
        luaL_error(L, "this body is being read by another branch");
    if (m->handle->kind == ML_HANDLE_REQUEST && m->ex->upstream != NULL)
        luaL_error(L, "the request is being forwarded: its body can not be changed now");
}

/* bytes are in the arena.  Nothing raises here. */
static void set_bytes(struct ml_message *m, struct ml_bridge *b, struct ml_plan *plan,
                      struct ml_str bytes)
{
    drop_fields(m->headers);
    if (m->handle->kind == ML_HANDLE_REQUEST)
        set_request(m, plan, bytes);
    else
        set_response(m, b, bytes);
}

static void set_type(struct ml_message *m, struct ml_str type)
{
    ml_headers_set(m->headers, m->arena, ML_STR("Content-Type"), type);
}

static struct ml_plan *plan_of(lua_State *L, const struct ml_message *m)
{
    return m->handle->kind == ML_HANDLE_REQUEST ? ml_handle_plan(L, m->ex) : NULL;
}

/* set_body(text or nil, content_type or nil) */
static int set_body(lua_State *L)
{
    struct ml_message m;
    struct ml_str bytes = ML_STR(""), type = ML_STR_NONE;

    lua_settop(L, 3);
    ml_handle_message(L, 1, true, &m);
    check_unused(L, &m);
    if (!lua_isnil(L, 2))
        bytes = ml_check_str(L, 2);
    bytes = ml_handle_dup(L, m.arena, bytes);
    if (!lua_isnil(L, 3)) {
        type = ml_handle_dup(L, m.arena, ml_check_str(L, 3));
        if (!ml_header_value_ok(type))
            return luaL_error(L, "set_body: the content type holds a control character");
    }
    set_bytes(&m, ml_bridge_of(L), plan_of(L, &m), bytes);
    if (type.p != NULL)
        set_type(&m, type);
    return 0;
}

struct ml_str ml_body_encode(lua_State *L, int index, struct ml_arena *arena)
{
    struct ml_buf *text = ml_handle_scratch();
    const char *wrong = ml_json_write(L, index, text, false);

    if (wrong != NULL)
        luaL_error(L, "the body can not be written as JSON: %s", wrong);
    return ml_handle_dup(L, arena, ml_buf_str(text));
}

static int set_json(lua_State *L)
{
    struct ml_message m;
    struct ml_str bytes;

    luaL_checkany(L, 2);
    lua_settop(L, 2);
    ml_handle_message(L, 1, true, &m);
    check_unused(L, &m);
    bytes = ml_body_encode(L, 2, m.arena);
    set_bytes(&m, ml_bridge_of(L), plan_of(L, &m), bytes);
    set_type(&m, ML_STR("application/json"));
    return 0;
}

const luaL_Reg ml_body_methods[] = {
    {"body", body_bytes},   {"text", body_text},    {"json", body_json}, {"form", body_form},
    {"set_body", set_body}, {"set_json", set_json}, {NULL, NULL},
};
