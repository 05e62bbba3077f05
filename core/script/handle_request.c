/* handle_request.c - `req`: what a script reads and changes of the request.
 *
 * Members that cost something (args, params, cookies) are made when they are first asked for and
 * kept in the handle's environment; user and ctx, which many requests have, in slots of the task:
 * most requests need no environment. */
#include "script/handle.h"

#include "inbound/listener.h"
#include "inbound/tracing.h"

/* X(member) in the order of their ids */
#define MEMBERS(X)                                                                                 \
    X(method)                                                                                      \
    X(path) X(raw_path) X(query) X(args) X(params) X(host) X(scheme) X(version) X(ip) X(peer_ip)   \
        X(id) X(route) X(headers) X(cookies) X(tls) X(trace) X(listener) X(user) X(ctx)

enum member {
#define X(name) MEMBER_##name,
    MEMBERS(X)
#undef X
};

static const char *const names[] = {
#define X(name) #name,
    MEMBERS(X)
#undef X
        NULL,
};

static int push(lua_State *L, struct ml_str s)
{
    ml_push_str(L, s);
    return 1;
}

static struct ml_str raw_path(struct ml_str target)
{
    const char *mark = memchr(target.p, '?', target.len);

    if (mark != NULL)
        target.len = (size_t)(mark - target.p);
    return target;
}

/* ---- lazily made members: found in the environment, or made by one of these ---- */

static void make_args(lua_State *L, struct ml_exchange *ex, struct ml_task *task)
{
    (void)task;
    ml_query_push(L, ex->req.query);
}

static void make_params(lua_State *L, struct ml_exchange *ex, struct ml_task *task)
{
    const struct ml_route_match *m = ml_task_match(task);
    unsigned count = m != NULL ? m->param_count : 0;

    lua_createtable(L, 0, (int)count);
    for (unsigned i = 0; i < count; i++) {
        ml_push_str(L, m->names[i]);
        ml_push_str(L, ml_url_decode(m->values[i], false, ex->arena)); /* once per request */
        lua_rawset(L, -3);
    }
}

static void make_cookies(lua_State *L, struct ml_exchange *ex, struct ml_task *task)
{
    (void)task;
    ml_cookies_push(L, &ex->req.headers);
}

static void make_tls(lua_State *L, struct ml_exchange *ex, struct ml_task *task)
{
    (void)task;
    ml_tls_push(L, ex->req.tls);
}

static void make_trace(lua_State *L, struct ml_exchange *ex, struct ml_task *task)
{
    const struct ml_trace *t = ex->trace;

    (void)task;
    lua_createtable(L, 0, 4);
    lua_pushstring(L, t->id);
    lua_setfield(L, -2, "id");
    lua_pushstring(L, t->span);
    lua_setfield(L, -2, "span");
    lua_pushboolean(L, t->sampled);
    lua_setfield(L, -2, "sampled");
    if (t->parent[0] == '\0')
        return;
    lua_pushstring(L, t->parent);
    lua_setfield(L, -2, "parent");
}

static int lazy(lua_State *L, struct ml_handle *h, struct ml_exchange *ex,
                void (*make)(lua_State *, struct ml_exchange *, struct ml_task *))
{
    ml_handle_push_env(L, 1, h);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    if (!lua_isnil(L, -1))
        return 1;
    lua_pop(L, 1);
    lua_pushvalue(L, 2);
    make(L, ex, h->task);
    lua_pushvalue(L, -1);
    lua_insert(L, -4); /* value, env, name, value */
    lua_rawset(L, -3);
    lua_pop(L, 1);
    return 1;
}

/* A slot that holds false is unset. */
static int push_user(lua_State *L, const struct ml_handle *h)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_task_ref(h->task, ML_SLOT_USER));
    return lua_toboolean(L, -1) ? 1 : 0;
}

static int push_ctx(lua_State *L, const struct ml_handle *h)
{
    int ref = ml_task_ref(h->task, ML_SLOT_CTX);

    lua_rawgeti(L, LUA_REGISTRYINDEX, ref);
    if (lua_toboolean(L, -1))
        return 1;
    lua_createtable(L, 0, 4);
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, ref);
    return 1;
}

static int push_route(lua_State *L, struct ml_task *task)
{
    const struct ml_route_match *m = ml_task_match(task);

    return m != NULL ? push(L, m->pattern) : 0;
}

static int push_listener(lua_State *L, const struct ml_listener_conf *conf)
{
    return conf != NULL && conf->name.len > 0 ? push(L, conf->name) : 0;
}

static int get_text(lua_State *L, enum member id, struct ml_handle *h, struct ml_exchange *ex)
{
    const struct ml_request *req = &ex->req;

    switch (id) {
    case MEMBER_method:
        return push(L, req->method);
    case MEMBER_path:
        return push(L, req->path);
    case MEMBER_raw_path:
        return push(L, raw_path(req->raw_target));
    case MEMBER_query:
        return push(L, req->query);
    case MEMBER_host:
        return push(L, req->host);
    case MEMBER_scheme:
        return push(L, req->scheme);
    case MEMBER_version:
        lua_pushfstring(L, "%d.%d", req->major, req->minor);
        return 1;
    case MEMBER_ip:
        return push(L, req->ip);
    case MEMBER_peer_ip:
        return push(L, req->peer_ip);
    case MEMBER_listener:
        return push_listener(L, ex->server_conf);
    case MEMBER_id:
        return push(L, req->id);
    case MEMBER_route:
        return push_route(L, h->task);
    default:
        return 0;
    }
}

static int get(lua_State *L, enum member id, struct ml_handle *h, struct ml_exchange *ex)
{
    switch (id) {
    case MEMBER_args:
        return lazy(L, h, ex, make_args);
    case MEMBER_params:
        return lazy(L, h, ex, make_params);
    case MEMBER_cookies:
        return lazy(L, h, ex, make_cookies);
    case MEMBER_ctx:
        return push_ctx(L, h);
    case MEMBER_user:
        return push_user(L, h);
    case MEMBER_headers:
        return ml_headers_push_view(L);
    case MEMBER_tls: /* nil: the connection is plain */
        return ex->req.tls != NULL ? lazy(L, h, ex, make_tls) : 0;
    case MEMBER_trace: /* nil: the setting `tracing` is off */
        return ex->trace != NULL ? lazy(L, h, ex, make_trace) : 0;
    default:
        return get_text(L, id, h, ex);
    }
}

static int request_index(lua_State *L)
{
    struct ml_handle *h = ml_handle_self(L);

    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(2));
    switch (lua_type(L, 3)) {
    case LUA_TFUNCTION:
        return 1;
    case LUA_TNUMBER:
        return get(L, (enum member)lua_tointeger(L, 3), h, ml_handle_exchange(L, h));
    default:
        return luaL_error(L, "a request has no member \"%s\"", luaL_checkstring(L, 2));
    }
}

/* ---- assignment ---- */

/* What the access log says of the user: a string, or the id or subject of a table of claims. */
static void note_user(lua_State *L, struct ml_exchange *ex)
{
    static const char *const fields[] = {"id", "sub", "userId", "user_id"};
    size_t i = 0;

    lua_settop(L, 3);
    lua_pushvalue(L, 3);
    while (lua_istable(L, 3) && !lua_isstring(L, 4) && i < sizeof fields / sizeof *fields) {
        lua_pop(L, 1);
        lua_pushstring(L, fields[i++]);
        lua_rawget(L, 3); /* no metamethods: scripts do not run inside of C functions */
    }
    ex->notes.user_id = ML_STR_NONE;
    if (lua_isstring(L, 4))
        ex->notes.user_id = ml_handle_dup(L, ex->arena, ml_check_str(L, 4));
    lua_pop(L, 1);
}

static bool id_ok(struct ml_str id)
{
    for (size_t i = 0; i < id.len; i++)
        if (id.p[i] <= ' ' || id.p[i] > '~' || id.p[i] == '"' || id.p[i] == '\\')
            return false;
    return id.len > 0 && id.len <= 128;
}

static void set_id(lua_State *L, struct ml_exchange *ex)
{
    struct ml_str id = ml_check_str(L, 3);

    if (!id_ok(id))
        luaL_error(L, "a request id is 1 to 128 visible characters");
    ex->req.id = ml_handle_dup(L, ex->arena, id);
}

static int request_newindex(lua_State *L)
{
    struct ml_handle *h = ml_handle_check(L, 1, ML_HANDLE_REQUEST);
    struct ml_exchange *ex = ml_handle_exchange(L, h);
    const char *name = luaL_checkstring(L, 2);

    lua_settop(L, 3);
    if (strcmp(name, "id") == 0) {
        set_id(L, ex);
        return 0;
    }
    if (strcmp(name, "user") != 0 && strcmp(name, "ctx") != 0)
        return luaL_error(L, "req.%s can not be assigned; there may be a method req:set_%s", name,
                          name);
    if (name[0] == 'u')
        note_user(L, ex);
    if (lua_isnil(L, 3)) {
        lua_pushboolean(L, 0); /* a slot is never nil: then setting it could need memory */
        lua_replace(L, 3);
    }
    lua_rawseti(L, LUA_REGISTRYINDEX,
                ml_task_ref(h->task, name[0] == 'u' ? ML_SLOT_USER : ML_SLOT_CTX));
    return 0;
}

void ml_request_open(lua_State *L, struct ml_bridge *b)
{
    const luaL_Reg *const methods[] = {ml_header_methods, ml_body_methods, ml_auth_methods,
                                       ml_request_methods, NULL};

    ml_handle_methods(L, b, ML_HANDLE_REQUEST, methods, names, request_index, request_newindex);
    lua_pop(L, 1);
}
