/* api_response.c - responses that scripts make, and how one becomes that of the exchange.
 *
 *   core.response(status, body, headers)   core.error(status, code, message)
 *   core.redirect(url, status) -> res      core.adopt(res, step) -> res
 *   core.responded() -> res or nil         core.current() -> req or nil
 *
 * While a request is handled a response lives in the memory of its exchange, and returning it moves
 * it.  Otherwise (at load time, in timers) it is free: it owns its memory, may be returned for any
 * number of requests, and is copied each time. */
#include "script/handle.h"

#include "base/json.h"
#include "protocol/http1.h"
#include "script/steps.h"

/* ---- making ---- */

struct draft { /* a new response; its handle is on the stack */
    struct ml_handle *handle;
    struct ml_made *made;
    struct ml_arena *arena;
    struct ml_exchange *ex; /* NULL: free */
};

/* Free responses weigh little in Lua's eyes: collects those that are no more when they are many. */
static void check_free(lua_State *L, struct ml_bridge *b)
{
    if (b->free_used < ML_HANDLE_ARENA_MAX)
        return;
    lua_gc(L, LUA_GCCOLLECT, 0);
    if (b->free_used >= ML_HANDLE_ARENA_MAX)
        luaL_error(L, "the responses that were made outside of requests take too much memory");
}

static struct draft draft_new(lua_State *L, struct ml_bridge *b, int status)
{
    struct ml_task *task = ml_task_running(L);
    struct draft d = {.ex = task != NULL ? ml_task_exchange(task) : NULL};

    if (d.ex == NULL)
        check_free(L, b);
    else
        ml_handle_reserve(L, d.ex->arena, sizeof *d.made);
    d.handle = ml_handle_push(L, b, ML_HANDLE_RESPONSE);
    if (d.ex != NULL) {
        d.handle->task = ml_task_root(task);
        d.handle->serial = d.ex->serial;
        d.arena = d.ex->arena;
    } else {
        lua_rawgeti(L, LUA_REGISTRYINDEX, b->free_metatable);
        lua_setmetatable(L, -2);
        d.arena = d.handle->arena = ml_arena_new();
    }
    d.made = ml_arena_zalloc(d.arena, sizeof *d.made);
    d.handle->res = &d.made->res;
    d.made->res.status = status;
    d.made->res.from = ML_FROM_SCRIPT;
    d.made->res.has_length = true;
    return d;
}

/* The response is complete: its handle is what the function returns. */
static int draft_done(struct ml_bridge *b, struct draft *d)
{
    if (d->ex != NULL)
        return 1;
    d->made->counted = ml_arena_used(d->arena);
    b->free_used += d->made->counted;
    return 1;
}

struct ml_handle *ml_response_new(lua_State *L, struct ml_bridge *b, int status)
{
    struct draft d = draft_new(L, b, status);

    draft_done(b, &d);
    return d.handle;
}

static void set_bytes(struct draft *d, struct ml_str bytes)
{
    d->made->res.bytes = bytes;
    d->made->res.length = bytes.len;
}

static void default_type(struct draft *d, struct ml_str type)
{
    struct ml_headers *h = &d->made->res.headers;

    if (ml_headers_get(h, ML_H_CONTENT_TYPE) == NULL)
        ml_headers_add(h, d->arena, ML_STR("Content-Type"), type);
}

/* ---- core.response ---- */

static int check_status(lua_State *L, int index, int min, int max)
{
    double status = lua_tonumber(L, index);

    if (lua_type(L, index) != LUA_TNUMBER || !(status >= min && status <= max) ||
        status != (int)status)
        luaL_error(L, "the status of a response is an integer from %d to %d", min, max);
    return (int)status;
}

static void check_body(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNONE:
    case LUA_TNIL:
    case LUA_TSTRING:
    case LUA_TNUMBER:
    case LUA_TTABLE:
        return;
    default:
        luaL_error(L, "the body of a response is a string, a table or nil, not a %s",
                   luaL_typename(L, index));
    }
}

static int response(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    int status = check_status(L, 1, 200, 599);
    struct draft d;

    lua_settop(L, 3);
    check_body(L, 2);
    if (!lua_isnil(L, 3) && !lua_istable(L, 3))
        return luaL_error(L, "the headers of a response are a table, not a %s",
                          luaL_typename(L, 3));
    d = draft_new(L, b, status);
    if (lua_istable(L, 3))
        ml_header_add_table(L, 3, &d.made->res.headers, d.arena);
    if (lua_istable(L, 2)) {
        set_bytes(&d, ml_body_encode(L, 2, d.arena));
        default_type(&d, ML_STR("application/json"));
    } else if (!lua_isnil(L, 2)) {
        set_bytes(&d, ml_handle_dup(L, d.arena, ml_check_str(L, 2)));
        default_type(&d, ML_STR("text/plain; charset=utf-8"));
    }
    return draft_done(b, &d);
}

/* ---- core.redirect ---- */

/* Control characters would split the header section; a space or a quote ends the URL for somebody.
 */
static bool location_ok(struct ml_str url)
{
    for (size_t i = 0; i < url.len; i++) {
        unsigned char c = (unsigned char)url.p[i];

        if (c <= ' ' || c == 0x7f || c == '"' || c == '<' || c == '>' || c == '\\')
            return false;
    }
    return url.len > 0;
}

static int redirect(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_str url = ml_check_str(L, 1);
    int status = lua_isnoneornil(L, 2) ? 302 : check_status(L, 2, 300, 399);
    struct draft d;

    if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308)
        return luaL_error(L, "a redirect has the status 301, 302, 303, 307 or 308");
    if (!location_ok(url))
        return luaL_error(L, "a redirect needs a URL without spaces and control characters");
    d = draft_new(L, b, status);
    url = ml_handle_dup(L, d.arena, url);
    ml_headers_add(&d.made->res.headers, d.arena, ML_STR("Location"), url);
    return draft_done(b, &d);
}

/* ---- core.error ---- */

static void error_text(struct ml_buf *out, struct ml_str code, struct ml_str message,
                       const struct ml_exchange *ex)
{
    ml_buf_append(out, ML_STR("{\"error\":"));
    ml_json_string(out, code);
    ml_buf_append(out, ML_STR(",\"message\":"));
    ml_json_string(out, message);
    if (ex != NULL) {
        ml_buf_append(out, ML_STR(",\"requestId\":"));
        ml_json_string(out, ex->req.id);
    }
    ml_buf_append(out, ML_STR("}\n"));
}

static int error_response(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    int status = check_status(L, 1, 400, 599);
    struct ml_str code = ml_check_str(L, 2);
    struct ml_str message = ml_str_of(ml_http1_reason(status));
    struct ml_buf *text;
    struct draft d;

    if (!lua_isnoneornil(L, 3))
        message = ml_check_str(L, 3);
    d = draft_new(L, b, status);
    text = ml_handle_scratch();
    error_text(text, code, message, d.ex);
    set_bytes(&d, ml_handle_dup(L, d.arena, ml_buf_str(text)));
    default_type(&d, ML_STR("application/json"));
    if (d.ex == NULL) {
        d.made->error_text = d.made->res.bytes.p;
        d.made->code = ml_handle_dup(L, d.arena, code);
        d.made->message = ml_handle_dup(L, d.arena, message);
    }
    return draft_done(b, &d);
}

/* ---- adopting ---- */

/* A copy of a free response, in the memory of the exchange. */
static struct ml_response copy_free(const struct ml_handle *h, struct ml_exchange *ex)
{
    const struct ml_made *made = (const struct ml_made *)h->res;
    struct ml_response res = made->res;
    struct ml_buf *text;

    res.headers = (struct ml_headers){0};
    for (uint32_t i = 0; i < made->res.headers.count; i++) {
        const struct ml_field *f = &made->res.headers.v[i];

        ml_headers_add(&res.headers, ex->arena, ml_arena_dup(ex->arena, f->name),
                       ml_arena_dup(ex->arena, f->value));
    }
    if (made->error_text == NULL || made->error_text != made->res.bytes.p) {
        res.bytes = ml_arena_dup(ex->arena, made->res.bytes);
        return res;
    }
    text = ml_handle_scratch();
    error_text(text, made->code, made->message, ex);
    res.bytes = ml_arena_dup(ex->arena, ml_buf_str(text));
    res.length = res.bytes.len;
    return res;
}

static void drop_former(struct ml_exchange *ex)
{
    if (ex->upstream != NULL)
        ml_upstream_cancel(ex);
    ml_exchange_reset_response(ex);
}

/* The handle h, whose value is on top, is that of ex->res from now on. */
static void settle(lua_State *L, struct ml_handle *h, struct ml_exchange *ex)
{
    h->task = ex->task;
    h->serial = ex->serial;
    h->res = &ex->res;
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, ml_task_ref(ex->task, ML_SLOT_RESPONSE));
}

static void adopt_free(lua_State *L, struct ml_bridge *b, struct ml_handle *from,
                       struct ml_exchange *ex)
{
    struct ml_handle *h;

    ml_handle_reserve(L, ex->arena, 2 * ml_arena_used(from->arena));
    h = ml_handle_push(L, b, ML_HANDLE_RESPONSE);
    ml_response_forget(L, ex);
    drop_former(ex);
    ex->res = copy_free(from, ex);
    settle(L, h, ex);
}

static void adopt_bound(lua_State *L, struct ml_handle *h, struct ml_exchange *ex)
{
    struct ml_response res = *h->res;

    ml_response_forget(L, ex);
    drop_former(ex);
    ex->res = res;
    settle(L, h, ex);
}

void ml_response_adopt(lua_State *L, struct ml_bridge *b, int index, struct ml_exchange *ex)
{
    struct ml_handle *h = ml_handle_of(L, index, ML_HANDLE_RESPONSE);

    if (h == NULL)
        luaL_error(L, "expected a response, got a %s",
                   ml_handle_of(L, index, ML_HANDLE_REQUEST) != NULL ? "request"
                                                                     : luaL_typename(L, index));
    if (ml_handle_exchange(L, h) != ex && h->arena == NULL)
        luaL_error(L, "this response was made for another request");
    lua_pushvalue(L, index);
    if (h->res == &ex->res)
        return;
    if (ex->responded)
        luaL_error(L, "the response was sent: it can not be replaced any more");
    if (h->arena != NULL)
        adopt_free(L, b, h, ex);
    else
        adopt_bound(L, h, ex);
}

static int adopt(lua_State *L)
{
    struct ml_task *root;
    struct ml_exchange *ex = ml_handle_running(L, &root);
    struct ml_bridge *b = ml_bridge_of(L);
    struct ml_handle *h = ml_handle_of(L, 1, ML_HANDLE_RESPONSE);
    unsigned step = (unsigned)lua_tointeger(L, 2);
    bool own = step > 0 && h != NULL && h->res != &ex->res;
    enum ml_decided how = ex->res.status != 0 ? ML_DECIDED_REPLACED : ML_DECIDED_ANSWERED;

    lua_settop(L, 1);
    if (h != NULL && h->res == &ex->res && h->task == root && h->serial == ex->serial)
        return 1; /* it is the response already, as nearly always */
    ml_response_adopt(L, b, 1, ex);
    if (own) {
        ml_steps_answered(b->conf.steps, step, ex->res.status);
        ml_trail_decided(&ex->trail, step, how, ex->res.status);
    }
    return 1;
}

/* ---- what is there ---- */

static int responded(lua_State *L)
{
    struct ml_task *root;
    struct ml_exchange *ex = ml_handle_running(L, &root);

    return ml_response_push(L, ml_bridge_of(L), ex);
}

static int current(lua_State *L)
{
    struct ml_task *task = ml_task_running(L);

    if (task == NULL || ml_task_exchange(task) == NULL)
        return 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_task_ref(ml_task_root(task), ML_SLOT_REQUEST));
    return 1;
}

void ml_api_response_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {
        {"response", response}, {"redirect", redirect},   {"error", error_response},
        {"adopt", adopt},       {"responded", responded}, {"current", current},
        {NULL, NULL},
    };

    ml_bridge_register(L, b, functions);
}
