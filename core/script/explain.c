/* explain.c - what would become of a request: asks the router, and lets Lua tell it.
 *
 *   core.explaining                     is it asked at all?  Else the site's tables are not kept
 *   core.explainer(function(request) -> JSON)       who tells it; called once the site is loaded
 *   core.route_chosen() -> index or nil, outcome, allow
 *   core.route_test(route) -> "ok", "path", "host", "method", or "condition" and the one that fails
 *
 * Why a route is not taken is found by a router that has this route only, with one demand after the
 * other, so that it is judged by the same code. */
#include "script/explain.h"

#include "protocol/url.h"
#include "script/handle.h"
#include "script/load_parts.h"

#include <lauxlib.h>

struct asked { /* one request in a process that does nothing else */
    struct ml_arena *arena;
    const struct ml_explain *of;
    struct ml_target target;
    struct ml_str host;
    int port; /* 0: the URL has none */
    struct ml_headers headers;
};

static struct asked asked;

/* ---- the request ---- */

static bool take_header(struct ml_str line, struct ml_buf *why)
{
    const char *colon = memchr(line.p, ':', line.len);
    struct ml_str name = {line.p, colon != NULL ? (size_t)(colon - line.p) : 0}, value;

    if (colon == NULL || !ml_header_name_ok(name)) {
        ml_buf_printf(why, "\"%.*s\" is no header: \"Name: value\"", (int)line.len, line.p);
        return false;
    }
    value = (struct ml_str){colon + 1, line.len - name.len - 1};
    while (value.len > 0 && (*value.p == ' ' || *value.p == '\t'))
        value = (struct ml_str){value.p + 1, value.len - 1};
    if (!ml_header_value_ok(value)) {
        ml_buf_printf(why, "the value of %.*s holds a control character", (int)name.len, name.p);
        return false;
    }
    ml_headers_add(&asked.headers, asked.arena, name, value);
    return true;
}

static bool take_host(struct ml_buf *why)
{
    const struct ml_field *f = ml_headers_find(&asked.headers, ML_STR("host"));
    struct ml_str text = f != NULL ? f->value : asked.target.authority;
    struct ml_authority a = {0};

    if (text.len > 0 && ml_url_authority(text, asked.arena, &a) != ML_OK) {
        ml_buf_printf(why, "\"%.*s\" is no host", (int)text.len, text.p);
        return false;
    }
    asked.host = a.host;
    if (asked.target.authority.len > 0 &&
        ml_url_authority(asked.target.authority, asked.arena, &a) == ML_OK)
        asked.port = a.port > 0                                        ? a.port
                     : ml_str_eq(asked.target.scheme, ML_STR("https")) ? 443
                                                                       : 80;
    return true;
}

static bool take_request(const struct ml_explain *request, struct ml_buf *why)
{
    struct ml_url_policy policy = {0};

    asked = (struct asked){.arena = ml_arena_new(), .of = request};
    if (ml_url_target(request->method, request->url, &policy, asked.arena, &asked.target) !=
        ML_OK) {
        ml_buf_printf(why,
                      "a request for \"%.*s\" is refused: it is no path and no http URL, or not "
                      "in a form that is safe",
                      (int)request->url.len, request->url.p);
        return false;
    }
    for (unsigned i = 0; i < request->header_count; i++)
        if (!take_header(request->headers[i], why))
            return false;
    return take_host(why);
}

static void match(const struct ml_router *r, struct ml_str method, struct ml_route_match *out)
{
    ml_router_match(r, method, asked.host, asked.target.path, asked.target.query, &asked.headers,
                    asked.arena, out);
}

/* ---- for Lua ---- */

static int route_chosen(lua_State *L)
{
    static const char *const words[] = {[ML_ROUTE_FOUND] = "found",
                                        [ML_ROUTE_NONE] = "none",
                                        [ML_ROUTE_METHOD] = "method",
                                        [ML_ROUTE_OPTIONS] = "options"};
    const struct ml_load *load = lua_touserdata(L, lua_upvalueindex(1)); /* it is loaded already */
    struct ml_route_match m;

    match(load->router, asked.of->method, &m);
    if (m.outcome == ML_ROUTE_FOUND)
        lua_pushinteger(L, m.route);
    else
        lua_pushnil(L);
    lua_pushstring(L, words[m.outcome]);
    ml_push_str(L, m.allow);
    return 3;
}

struct demands {
    struct ml_str method, pattern, host;
    struct ml_route_condition *conditions;
    unsigned count;
};

static bool holds(const struct demands *d)
{
    struct ml_router *r = ml_router_new();
    struct ml_buf why = {0};
    struct ml_route_match m = {.outcome = ML_ROUTE_NONE};
    int twin;

    if (ml_router_add(r, d->method, d->pattern, d->host, d->conditions, d->count, 0, &twin, &why) ==
        ML_OK)
        match(r, asked.of->method, &m);
    ml_router_free(&r);
    ml_buf_release(&why);
    return m.outcome == ML_ROUTE_FOUND;
}

/* The number of the first condition that does not hold, 0: all do. */
static unsigned failing_condition(const struct demands *all)
{
    for (unsigned i = 0; i < all->count; i++) {
        struct demands one = *all;

        one.conditions = &all->conditions[i];
        one.count = 1;
        if (!holds(&one))
            return i + 1;
    }
    return 0;
}

static int route_test(lua_State *L)
{
    struct demands all = {0}, some = {.method = ML_STR("*"), .host = ML_STR("")};
    const char *fails = NULL;
    unsigned condition = 0;

    luaL_checktype(L, 1, LUA_TTABLE);
    all.method = text_field(L, asked.arena, "method", ML_STR("*"));
    some.pattern = all.pattern = text_field(L, asked.arena, "pattern", ML_STR("/"));
    all.host = text_field(L, asked.arena, "host", ML_STR(""));
    all.count = ml_load_conditions(L, asked.arena, &all.conditions);
    if (!holds(&some))
        fails = "path";
    some.host = all.host;
    if (fails == NULL && !holds(&some))
        fails = "host";
    some.method = all.method;
    if (fails == NULL && !holds(&some))
        fails = "method";
    if (fails == NULL && (condition = failing_condition(&all)) > 0)
        fails = "condition";
    lua_pushstring(L, fails != NULL ? fails : "ok");
    lua_pushinteger(L, (lua_Integer)condition);
    return 2;
}

static int set_explainer(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_setfield(L, LUA_REGISTRYINDEX, "moonlatch.explainer");
    return 0;
}

void ml_explain_open(lua_State *L, struct ml_load *load, bool on)
{
    static const luaL_Reg functions[] = {{"explainer", set_explainer},
                                         {"route_chosen", route_chosen},
                                         {"route_test", route_test},
                                         {NULL, NULL}};

    if (!on)
        return;
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "explaining");
    for (const luaL_Reg *f = functions; f->name != NULL; f++) {
        lua_pushlightuserdata(L, load);
        lua_pushcclosure(L, f->func, 1);
        lua_setfield(L, -2, f->name);
    }
}

/* ---- the answer ---- */

static void set_text(lua_State *L, const char *name, struct ml_str value)
{
    ml_push_str(L, value);
    lua_setfield(L, -2, name);
}

struct call {
    struct ml_buf *json;
};

/* Protected. */
static int tell(lua_State *L)
{
    struct call *call = lua_touserdata(L, 1);
    struct ml_str json;

    lua_getfield(L, LUA_REGISTRYINDEX, "moonlatch.explainer");
    lua_newtable(L);
    set_text(L, "method", asked.of->method);
    set_text(L, "path", asked.target.path);
    set_text(L, "query", asked.target.query);
    set_text(L, "host", asked.host);
    lua_pushinteger(L, asked.port);
    lua_setfield(L, -2, "port");
    lua_call(L, 1, 1);
    json = ml_check_str(L, -1);
    ml_buf_append(call->json, json);
    return 0;
}

bool ml_explain_run(lua_State *L, const struct ml_explain *request, struct ml_buf *json,
                    struct ml_buf *why)
{
    struct call call = {json};
    bool ok = take_request(request, why);

    if (ok && lua_cpcall(L, tell, &call) != 0) {
        const char *message = lua_tostring(L, -1);

        ml_buf_printf(why, "cannot explain: %s", message != NULL ? message : "an error");
        ok = false;
    }
    ml_arena_free(&asked.arena);
    return ok;
}
