/* report.c - a failure of a script as one line of the log. */
#include "script/report.h"

#include "base/buf.h"
#include "base/log_event.h"

#include <lauxlib.h>

struct trace {
    lua_State *co;
    struct ml_buf text;
};

/* Protected: the traceback is a Lua string. */
static int trace_stack(lua_State *L)
{
    struct trace *t = lua_touserdata(L, 1);
    size_t len;
    const char *text;

    luaL_traceback(L, t->co, NULL, 0);
    text = lua_tolstring(L, -1, &len);
    ml_buf_append(&t->text, (struct ml_str){text, len});
    return 0;
}

/* Error values need not be strings; a number is not converted, that would need memory. */
static struct ml_str message_of(lua_State *co, enum ml_err why)
{
    struct ml_str s;

    if (lua_gettop(co) > 0 && lua_type(co, -1) == LUA_TSTRING) {
        s.p = lua_tolstring(co, -1, &s.len);
        return s;
    }
    if (why == ML_SCRIPT_MEMORY || lua_gettop(co) == 0)
        return ML_STR("not enough memory");
    return ml_str_of(lua_typename(co, lua_type(co, -1)));
}

static void write_event(struct ml_str message, struct ml_str trace, enum ml_err why,
                        struct ml_str route, const struct ml_exchange *ex, uint32_t generation)
{
    struct ml_str none = ML_STR("");

    ml_log_event(ML_LOG_ERROR, "script failed", ML_KV("reason", ml_err_word(why)),
                 ML_KV("error", message), ML_KV("route", route),
                 ML_KV("requestId", ex != NULL ? ex->req.id : none),
                 ML_KV("method", ex != NULL ? ex->req.method : none),
                 ML_KV("path", ex != NULL ? ex->req.path : none), ML_KV("generation", generation),
                 ML_KV("traceback", trace));
}

void ml_report_failure(lua_State *L, lua_State *co, enum ml_err why, struct ml_str route,
                       const struct ml_exchange *ex, uint32_t generation)
{
    struct trace t = {.co = co};

    if (lua_cpcall(L, trace_stack, &t) != 0)
        lua_pop(L, 1);
    write_event(message_of(co, why), ml_buf_str(&t.text), why, route, ex, generation);
    ml_buf_release(&t.text);
}

void ml_report_message(const char *message, enum ml_err why, struct ml_str route,
                       const struct ml_exchange *ex, uint32_t generation)
{
    write_event(ml_str_of(message), ML_STR(""), why, route, ex, generation);
}
