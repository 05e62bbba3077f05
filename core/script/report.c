/* report.c - a failure of a script as one line of the log.
 *
 * What a script calls as its last act, `return gw.response("x")`, has no frame of the script below
 * it any more (a tail call), so its message names the line of the program that had called the
 * script.  Who reads the log wants to know which function of the script that was. */
#include "script/report.h"

#include "base/buf.h"
#include "base/log_event.h"

#include <lauxlib.h>
#include <stdio.h>
#include <string.h>

enum { ERROR_MAX = 1000 };

struct trace {
    lua_State *co;
    struct ml_buf text;
    char function[160]; /* "file:line" where the function was written; "" when it is not needed */
};

static bool is_ours(const char *source)
{
    return strncmp(source, "@lua/moonlatch/", 15) == 0;
}

/* The function on top of co calls one of a script, which it holds as `fn` or `respond`. */
static void name_callee(struct trace *t)
{
    const char *name;
    lua_Debug ar;

    for (int i = 1; (name = lua_getupvalue(t->co, -1, i)) != NULL; i++) {
        if (lua_isfunction(t->co, -1) &&
            (strcmp(name, "fn") == 0 || strcmp(name, "respond") == 0)) {
            lua_getinfo(t->co, ">S", &ar);
            snprintf(t->function, sizeof t->function, "%s:%d", ar.source + (*ar.source == '@'),
                     ar.linedefined);
            return;
        }
        lua_pop(t->co, 1);
    }
}

static void find_function(struct trace *t)
{
    lua_Debug ar;

    for (int level = 0; lua_getstack(t->co, level, &ar); level++) {
        lua_getinfo(t->co, "S", &ar);
        if (*ar.what == 'C')
            continue;
        if (!is_ours(ar.source))
            return;
        lua_getinfo(t->co, "f", &ar);
        name_callee(t);
        lua_pop(t->co, 1);
        return;
    }
}

/* Protected: the traceback is a Lua string. */
static int trace_stack(lua_State *L)
{
    struct trace *t = lua_touserdata(L, 1);
    size_t len;
    const char *text;

    luaL_traceback(L, t->co, NULL, 0);
    text = lua_tolstring(L, -1, &len);
    ml_buf_append(&t->text, (struct ml_str){text, len});
    find_function(t);
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

/* Appends the message, with the function's place instead of a place in the program. */
static void place(struct ml_buf *out, const struct trace *t, struct ml_str message)
{
    static const struct ml_str ours = {"lua/moonlatch/", 14};
    const char *colon = NULL;

    if (*t->function != '\0' && message.len > ours.len && memcmp(message.p, ours.p, ours.len) == 0)
        colon = memmem(message.p, message.len, ": ", 2);
    if (colon != NULL) {
        ml_buf_append(out, ml_str_of(t->function));
        message.len -= (size_t)(colon - message.p);
        message.p = colon;
    }
    ml_buf_append(out, message);
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

/* For `why`, and for the answer in development. */
static void keep(struct ml_exchange *ex, struct ml_str message, struct ml_str trace)
{
    if (ex == NULL)
        return;
    if (message.len > ERROR_MAX)
        message.len = ERROR_MAX;
    ex->trail.error = ml_arena_dup(ex->arena, message);
    if (ex->development)
        ex->trail.traceback = ml_arena_dup(ex->arena, trace);
}

void ml_report_failure(lua_State *L, lua_State *co, enum ml_err why, struct ml_str route,
                       struct ml_exchange *ex, uint32_t generation)
{
    struct trace t = {.co = co};
    struct ml_buf message = {0};

    if (lua_cpcall(L, trace_stack, &t) != 0)
        lua_pop(L, 1);
    place(&message, &t, message_of(co, why));
    write_event(ml_buf_str(&message), ml_buf_str(&t.text), why, route, ex, generation);
    keep(ex, ml_buf_str(&message), ml_buf_str(&t.text));
    ml_buf_release(&message);
    ml_buf_release(&t.text);
}

void ml_report_message(const char *message, enum ml_err why, struct ml_str route,
                       struct ml_exchange *ex, uint32_t generation)
{
    write_event(ml_str_of(message), ML_STR(""), why, route, ex, generation);
    keep(ex, ml_str_of(message), ML_STR(""));
}
