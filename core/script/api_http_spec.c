/* api_http_spec.c - from options, which may be anything, to a request, which is well-formed.
 *
 * Nothing of a script gets into a head unchecked: the method is a token, the target has passed
 * ml_url_target, names and values of fields have passed ml_header_*_ok.  What frames a message or
 * belongs to the connection is ours alone; such fields are dropped. */
#include "script/api_http.h"

#include "protocol/url.h"
#include "script/api_client_tls.h"

#include <stdlib.h>

enum {
    FIELDS_MAX = 128,
    FIELD_MAX = 16384,
    FIELD_NAME_MAX = 256,
    PAIRS_MAX = 256,
    URL_MAX = 8192,
    REDIRECTS_MAX = 20
};
#define BODY_MAX (64.0 * (1 << 20))

static const char *const option_names[] = {
    "url",      "method",    "headers",   "body", "json", "query", "timeout", "connect_timeout",
    "max_body", "redirects", "keepalive", "tls",  NULL};

/* ---- URLs ---- */

/* The server's own URL: what is after the scheme in one spelling only. */
static bool set_origin(struct ml_http_spec *spec, bool tls, struct ml_str text)
{
    const char *scheme = tls ? "https" : "http";
    struct ml_authority a;

    if (ml_url_authority(text, spec->memory, &a) != ML_OK)
        return false;
    if (a.port == 0 || a.port == (tls ? 443 : 80))
        spec->origin =
            ml_arena_printf(spec->memory, "%s://%.*s", scheme, (int)a.host.len, a.host.p);
    else
        spec->origin = ml_arena_printf(spec->memory, "%s://%.*s:%d", scheme, (int)a.host.len,
                                       a.host.p, a.port);
    return ml_server_url_check(spec->origin) == NULL;
}

static struct ml_str without_fragment(struct ml_str s)
{
    const char *mark = s.len > 0 ? memchr(s.p, '#', s.len) : NULL;

    return mark != NULL ? (struct ml_str){s.p, (size_t)(mark - s.p)} : s;
}

static bool starts(struct ml_str s, const char *with)
{
    size_t len = strlen(with);

    return s.len >= len && memcmp(s.p, with, len) == 0;
}

/* An origin asked for its own sake gets the path as it was written, dot segments aside. */
static const char *set_url(struct ml_http_spec *spec, struct ml_str url)
{
    static const struct ml_url_policy policy = {.allow_encoded_slash = true, .keep_slashes = true};
    struct ml_target target;
    struct ml_str copy;

    if (url.len == 0 || url.len > URL_MAX)
        return "bad_target";
    copy = ml_arena_dup(spec->memory, url);
    if (ml_url_target(ML_STR("GET"), copy, &policy, spec->memory, &target) != ML_OK ||
        target.form != ML_TARGET_ABSOLUTE)
        return "bad_target";
    if (!set_origin(spec, ml_str_eq(target.scheme, ML_STR("https")), target.authority))
        return "bad_target";
    spec->path = target.path;
    spec->query = target.query;
    spec->has_query = target.has_query;
    return NULL;
}

/* ---- redirects ---- */

/* "ftp:" and the like: no relative reference has a colon in its first segment. */
static bool has_scheme(struct ml_str s)
{
    for (size_t i = 0; i < s.len && s.p[i] != '/' && s.p[i] != '?'; i++)
        if (s.p[i] == ':')
            return true;
    return false;
}

static bool is_tls(struct ml_str origin)
{
    return starts(origin, "https:");
}

/* RFC 3986 section 5.2, for references that servers send; ml_url_target removes the dots. */
static struct ml_str resolve(const struct ml_http_spec *spec, struct ml_str to)
{
    struct ml_str origin = spec->origin, dir = spec->path;

    if (has_scheme(to))
        return to;
    if (starts(to, "//"))
        return ml_arena_printf(spec->memory, "%s:%.*s", is_tls(origin) ? "https" : "http",
                               (int)to.len, to.p);
    if (starts(to, "/"))
        dir.len = 0;
    else if (to.len > 0 && to.p[0] != '?')
        while (dir.len > 0 && dir.p[dir.len - 1] != '/')
            dir.len--;
    return ml_arena_printf(spec->memory, "%.*s%.*s%.*s", (int)origin.len, origin.p, (int)dir.len,
                           dir.p, (int)to.len, to.p);
}

static void drop_body(struct ml_http_spec *spec)
{
    spec->has_body = false;
    spec->body = ML_STR_NONE;
    ml_headers_remove(&spec->headers, ML_STR("content-type"));
    ml_headers_remove(&spec->headers, ML_STR("content-encoding"));
    ml_headers_remove(&spec->headers, ML_STR("content-language"));
}

/* RFC 9110 section 15.4: after 303, and by custom after 301 and 302 to a POST, it is a GET. */
static void change_method(struct ml_http_spec *spec, int status)
{
    bool head = ml_str_eq(spec->method, ML_STR("HEAD"));
    bool post = ml_str_eq(spec->method, ML_STR("POST"));

    if ((status == 303 && !head) || ((status == 301 || status == 302) && post)) {
        spec->method = ML_STR("GET");
        drop_body(spec);
    }
}

const char *ml_http_spec_redirect(struct ml_http_spec *spec, int status, struct ml_str location)
{
    struct ml_str before = spec->origin;
    const char *wrong;

    location = without_fragment(location);
    if (location.len > URL_MAX)
        return "bad_target";
    wrong = set_url(spec, resolve(spec, location));
    if (wrong != NULL)
        return wrong;
    if (is_tls(before) && !is_tls(spec->origin))
        return "insecure_redirect"; /* what was asked for in secret must not come in the open */
    spec->redirects--;
    change_method(spec, status);
    if (ml_str_eq(before, spec->origin))
        return NULL;
    ml_client_tls_release(&spec->tls);
    spec->tls = spec->tls_elsewhere != NULL ? ml_client_tls_ref(spec->tls_elsewhere) : NULL;
    spec->host = ML_STR_NONE; /* what was meant for one origin is no business of another */
    ml_headers_remove(&spec->headers, ML_STR("authorization"));
    ml_headers_remove(&spec->headers, ML_STR("cookie"));
    return NULL;
}

/* ---- the query ---- */

struct pair {
    struct ml_str name, value; /* escaped */
    unsigned at;               /* values of a list keep their order */
};

struct pairs {
    struct pair v[PAIRS_MAX];
    unsigned count;
};

static int by_name(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = memcmp(x->name.p, y->name.p, len);

    if (order == 0 && x->name.len != y->name.len)
        return x->name.len < y->name.len ? -1 : 1;
    if (order == 0)
        return x->at < y->at ? -1 : 1;
    return order;
}

/* The scalar on top as text, which stays there. */
static struct ml_str scalar(lua_State *L, const char *what)
{
    int type = lua_type(L, -1);

    if (type == LUA_TBOOLEAN)
        return lua_toboolean(L, -1) ? ML_STR("true") : ML_STR("false");
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_argerror(L, 1, lua_pushfstring(L, "a value of %s is a string or a number", what));
    return ml_check_str(L, -1);
}

/* Adds the value on top. */
static void add_pair(lua_State *L, struct ml_http_spec *spec, struct pairs *pairs,
                     struct ml_str name)
{
    if (pairs->count == PAIRS_MAX)
        luaL_argerror(L, 1, "query has too many values");
    if (lua_objlen(L, -1) > URL_MAX)
        luaL_argerror(L, 1, "query has a value that is too long");
    pairs->v[pairs->count] =
        (struct pair){name, ml_url_encode(scalar(L, "query"), spec->memory), pairs->count};
    pairs->count++;
}

/* The name at index -2 (which is not converted in place: lua_next needs it), the value on top. */
static void add_pairs(lua_State *L, struct ml_http_spec *spec, struct pairs *pairs)
{
    struct ml_str name;

    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_argerror(L, 1, "query is a string or a table of names and values");
    if (lua_objlen(L, -2) > URL_MAX)
        luaL_argerror(L, 1, "query has a name that is too long");
    name = ml_url_encode(ml_check_str(L, -2), spec->memory);
    if (!lua_istable(L, -1)) {
        add_pair(L, spec, pairs, name);
        return;
    }
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
        lua_rawgeti(L, -1, i);
        add_pair(L, spec, pairs, name);
        lua_pop(L, 1);
    }
}

/* Sorted, so that equal tables make equal requests. */
static struct ml_str join_pairs(struct ml_http_spec *spec, struct pairs *pairs)
{
    size_t len = 0;
    char *p, *w;

    qsort(pairs->v, pairs->count, sizeof *pairs->v, by_name);
    for (unsigned i = 0; i < pairs->count; i++)
        len += pairs->v[i].name.len + pairs->v[i].value.len + 2;
    p = w = ml_arena_alloc(spec->memory, len + 1);
    for (unsigned i = 0; i < pairs->count; i++) {
        if (i > 0)
            *w++ = '&';
        w = mempcpy(w, pairs->v[i].name.p, pairs->v[i].name.len);
        *w++ = '=';
        w = mempcpy(w, pairs->v[i].value.p, pairs->v[i].value.len);
    }
    return (struct ml_str){p, (size_t)(w - p)};
}

/* The option query as text, in the arena; empty when there is none. */
static struct ml_str read_query(lua_State *L, struct ml_http_spec *spec)
{
    struct pairs *pairs;
    struct ml_str text = ML_STR_NONE;

    lua_getfield(L, 1, "query");
    if (lua_type(L, -1) == LUA_TSTRING) {
        text = ml_arena_dup(spec->memory, ml_check_str(L, -1));
    } else if (lua_istable(L, -1)) {
        pairs = ml_arena_zalloc(spec->memory, sizeof *pairs);
        for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
            add_pairs(L, spec, pairs);
        text = join_pairs(spec, pairs);
    } else if (!lua_isnil(L, -1)) {
        luaL_argerror(L, 1, "query is a string or a table of names and values");
    }
    lua_pop(L, 1);
    return text;
}

static const char *read_url(lua_State *L, struct ml_http_spec *spec)
{
    struct ml_str url, query = read_query(L, spec);
    char mark;

    lua_getfield(L, 1, "url");
    if (lua_type(L, -1) != LUA_TSTRING)
        luaL_argerror(L, 1, "url must be a string");
    url = ml_check_str(L, -1);
    if (query.len > 0) {
        mark = memchr(url.p, '?', url.len) != NULL ? '&' : '?';
        if (url.len + query.len >= URL_MAX)
            return "bad_target";
        url = ml_arena_printf(spec->memory, "%.*s%c%.*s", (int)url.len, url.p, mark, (int)query.len,
                              query.p);
    }
    return set_url(spec, url);
}

/* ---- fields and body ---- */

/* Fields that the core writes itself, for they frame the message or belong to the connection. */
static bool is_ours(enum ml_header_id id)
{
    switch (id) {
    case ML_H_CONNECTION:
    case ML_H_CONTENT_LENGTH:
    case ML_H_TRANSFER_ENCODING:
    case ML_H_KEEP_ALIVE:
    case ML_H_PROXY_CONNECTION:
    case ML_H_TE:
    case ML_H_TRAILER:
    case ML_H_UPGRADE:
    case ML_H_HTTP2_SETTINGS:
    case ML_H_EXPECT:
        return true;
    default:
        return false;
    }
}

/* The value is on top. */
static void add_field(lua_State *L, struct ml_http_spec *spec, struct ml_str name)
{
    struct ml_str value = scalar(L, "headers");
    enum ml_header_id id = ml_header_id(name);

    if (!ml_header_value_ok(value) || value.len > FIELD_MAX)
        luaL_argerror(
            L, 1,
            lua_pushfstring(L,
                            "the value of header '%s' is too long, or has a character that "
                            "no field can have",
                            name.p));
    if (is_ours(id))
        return;
    value = ml_arena_dup(spec->memory, value);
    if (id == ML_H_HOST) {
        if (!ml_url_authority_ok(value))
            luaL_argerror(L, 1, "header 'host' is no host");
        spec->host = value;
        return;
    }
    if (spec->headers.count >= FIELDS_MAX)
        luaL_argerror(L, 1, "there are too many headers");
    ml_headers_add(&spec->headers, spec->memory, name, value);
}

static void add_fields(lua_State *L, struct ml_http_spec *spec)
{
    struct ml_str name;

    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_argerror(L, 1, "headers is a table of names and values");
    name = ml_check_str(L, -2);
    if (!ml_header_name_ok(name) || name.len > FIELD_NAME_MAX)
        luaL_argerror(L, 1, "the name of a header is too long, or no token");
    name = ml_arena_dup(spec->memory, name);
    if (!lua_istable(L, -1)) {
        add_field(L, spec, name);
        return;
    }
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
        lua_rawgeti(L, -1, i);
        add_field(L, spec, name);
        lua_pop(L, 1);
    }
}

static void add_if_absent(struct ml_http_spec *spec, struct ml_str name, struct ml_str value)
{
    if (ml_headers_find(&spec->headers, name) == NULL)
        ml_headers_add(&spec->headers, spec->memory, name, value);
}

static void read_headers(lua_State *L, struct ml_http_spec *spec)
{
    lua_getfield(L, 1, "headers");
    if (lua_istable(L, -1)) {
        for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
            add_fields(L, spec);
    } else if (!lua_isnil(L, -1)) {
        luaL_argerror(L, 1, "headers is a table of names and values");
    }
    lua_pop(L, 1);
    add_if_absent(spec, ML_STR("User-Agent"), ML_STR("moonlatch"));
}

/* The JSON text of the value on top, which is left in its place. */
static struct ml_str encode(lua_State *L, struct ml_bridge *b)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->json_encode);
    lua_insert(L, -2);
    lua_call(L, 1, 2);
    if (lua_type(L, -2) != LUA_TSTRING)
        luaL_argerror(L, 1, lua_pushfstring(L, "json can not be encoded: %s", lua_tostring(L, -1)));
    lua_pop(L, 1);
    return ml_check_str(L, -1);
}

static void read_body(lua_State *L, struct ml_bridge *b, struct ml_http_spec *spec)
{
    struct ml_str body = ml_api_option_string(L, 1, "body", ML_STR_NONE);

    if (body.p != NULL) {
        spec->has_body = true;
        spec->body = ml_arena_dup(spec->memory, body);
    }
    lua_getfield(L, 1, "json");
    if (!lua_isnil(L, -1)) {
        if (spec->has_body)
            luaL_argerror(L, 1, "body and json exclude each other");
        spec->has_body = true;
        spec->body = ml_arena_dup(spec->memory, encode(L, b));
        add_if_absent(spec, ML_STR("Content-Type"), ML_STR("application/json"));
    }
    lua_pop(L, 2);
}

static void read_method(lua_State *L, struct ml_http_spec *spec)
{
    struct ml_str method = ml_api_option_string(L, 1, "method", ML_STR("GET"));

    if (!ml_header_name_ok(method) || method.len > 32) /* both are tokens */
        luaL_argerror(L, 1, "method is no token");
    if (ml_str_eq(method, ML_STR("CONNECT")) || ml_str_eq(method, ML_STR("TRACE")))
        luaL_argerror(L, 1, "method must not be CONNECT or TRACE");
    spec->method = ml_arena_dup(spec->memory, method);
    lua_pop(L, 1);
}

/* Held before anything else can raise: the call that owns spec gives it back. */
static void read_tls(lua_State *L, struct ml_bridge *b, struct ml_http_spec *spec)
{
    struct ml_outbound *outbound = b->conf.host->outbound;
    struct ml_client_tls_options o;
    int top = lua_gettop(L);

    lua_getfield(L, 1, "tls");
    if (!lua_isnil(L, -1)) {
        ml_api_client_tls(L, lua_gettop(L), &o);
        spec->tls = ml_api_client_tls_hold(L, &o, outbound);
        o.conf.pair = NULL;
        o.name = ML_STR_NONE;
        spec->tls_elsewhere = ml_api_client_tls_hold(L, &o, outbound);
    }
    lua_settop(L, top);
}

const char *ml_http_spec_read(lua_State *L, struct ml_bridge *b, struct ml_http_spec *spec)
{
    const char *wrong;

    luaL_checktype(L, 1, LUA_TTABLE);
    ml_api_options(L, 1, option_names);
    spec->memory = ml_arena_new();
    read_method(L, spec);
    read_headers(L, spec);
    spec->timeout_s = ml_api_option_seconds(L, 1, "timeout", 0.001, 10);
    spec->connect_timeout_s = ml_api_option_seconds(L, 1, "connect_timeout", 0.001, 2);
    spec->body_max = (size_t)ml_api_option_number(L, 1, "max_body", 0, BODY_MAX, 1 << 20);
    spec->redirects = (unsigned)ml_api_option_number(L, 1, "redirects", 0, REDIRECTS_MAX, 0);
    spec->keepalive = ml_api_option_flag(L, 1, "keepalive", true);
    read_tls(L, b, spec);
    wrong = read_url(L, spec);
    read_body(L, b, spec); /* last: an error leaves what was copied to the collector */
    return wrong;
}
