/* handle_log.c - req:log_field(name, value) -> true, or false when there is no room for it.
 *
 * What scripts add to the line of their exchange is kept as JSON members, ready to be copied.  A
 * quote inside a string is escaped, so ,"name": is found only where a member begins. */
#include "script/handle.h"

#include "base/json.h"
#include "base/redact.h"
#include "inbound/access_log.h"

#include <lauxlib.h>
#include <math.h>
#include <stdio.h>

enum { NAME_LEN_MAX = 64 };

static bool is_own(struct ml_str name)
{
    static const char *const own[] = {
        "@timestamp",   "level",  "message", "service",   "requestId",  "ip",
        "method",       "url",    "userId",  "userAgent", "statusCode", "responseTime",
        "upstream",     "server", "route",   "bytesIn",   "bytes",      "generation",
        "upstreamTime", "tries",  "reason",  "protocol",  NULL};

    for (const char *const *o = own; *o != NULL; o++)
        if (ml_str_eq(ml_str_of(*o), name))
            return true;
    return false;
}

int ml_log_field_is_own(lua_State *L)
{
    lua_pushboolean(L, is_own(ml_check_str(L, 1)));
    return 1;
}

static struct ml_str check_name(lua_State *L)
{
    struct ml_str name = ml_check_str(L, 2);

    luaL_argcheck(L, name.len > 0 && name.len <= NAME_LEN_MAX, 2, "a name has 1 to 64 bytes");
    for (size_t i = 0; i < name.len; i++) {
        char c = ml_lower(name.p[i]);

        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))
            luaL_argerror(L, 2, "a name is made of letters, digits, - _ and .");
    }
    if (is_own(name))
        luaL_argerror(L, 2, "this is a field of every line");
    return name;
}

static void add_value(lua_State *L, struct ml_buf *out, struct ml_str name)
{
    double n = lua_tonumber(L, 3);

    if (ml_redact_field(name))
        ml_buf_append(out, ML_STR("\"" ML_REDACTED "\""));
    else if (lua_type(L, 3) == LUA_TBOOLEAN)
        ml_buf_append(out, ml_str_of(lua_toboolean(L, 3) ? "true" : "false"));
    else if (lua_type(L, 3) == LUA_TNUMBER && isfinite(n))
        ml_buf_printf(out, "%.15g", n);
    else if (lua_type(L, 3) == LUA_TNUMBER)
        ml_buf_append(out, ML_STR("null"));
    else
        ml_json_string(out, ml_check_str(L, 3));
}

/* The end of the member that begins at p. */
static const char *member_end(const char *p, const char *end)
{
    p = memchr(p + 2, ':', (size_t)(end - p) - 2) + (size_t)1;
    if (*p != '"') {
        const char *comma = memchr(p, ',', (size_t)(end - p));

        return comma != NULL ? comma : end;
    }
    for (p++; *p != '"'; p++)
        p += *p == '\\';
    return p + 1;
}

/* Appends the members there are, without the one of that name. */
static void add_others(struct ml_buf *out, struct ml_str fields, struct ml_str name)
{
    char mark[NAME_LEN_MAX + 8];
    int len = snprintf(mark, sizeof mark, ",\"%.*s\":", (int)name.len, name.p);
    const char *end = fields.p + fields.len;
    const char *at = fields.len > 0 ? memmem(fields.p, fields.len, mark, (size_t)len) : NULL;
    const char *after;

    if (at == NULL) {
        ml_buf_append(out, fields);
        return;
    }
    after = member_end(at, end);
    ml_buf_append(out, (struct ml_str){fields.p, (size_t)(at - fields.p)});
    ml_buf_append(out, (struct ml_str){after, (size_t)(end - after)});
}

int ml_request_log_field(lua_State *L)
{
    struct ml_exchange *ex = ml_handle_exchange(L, ml_handle_check(L, 1, ML_HANDLE_REQUEST));
    struct ml_str name = check_name(L);
    struct ml_buf *out = ml_handle_scratch();
    bool fits;

    lua_settop(L, 3);
    if (!lua_isboolean(L, 3) && !lua_isnil(L, 3) && lua_type(L, 3) != LUA_TNUMBER)
        luaL_checkstring(L, 3);
    add_others(out, ex->notes.fields, name);
    if (!lua_isnil(L, 3)) {
        ml_buf_printf(out, ",\"%.*s\":", (int)name.len, name.p);
        add_value(L, out, name);
    }
    fits = ml_buf_len(out) <= ML_LOG_FIELDS_MAX;
    if (fits)
        ex->notes.fields = ml_handle_dup(L, ex->arena, ml_buf_str(out));
    lua_pushboolean(L, fits);
    return 1;
}
