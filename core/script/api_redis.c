/* api_redis.c - core.redis(url, opts): a Redis for scripts, any command as a method.
 *
 *   r:get(key) r:set(key, value, "EX", 10) ...   r:command(name, ...)
 *   r:pipeline({ {name, ...}, ... }, { atomic = true })     r:eval(script, keys, args)
 *   r:state() -> "idle" | "connecting" | "ready" | "down"
 *
 * A handle is made while the site is loaded and connects with its first command.  Commands wait by
 * ml_task_wait; a task that goes away leaves its reply to nobody.  A call is a userdata, kept by
 * the registry while it waits; its __gc ends what an error left. */
#include "script/api_redis.h"

#include "outbound/server.h"
#include "script/api_client_tls.h"

enum { SCRIPTS_MAX = 256, NAME_LEN_MAX = 32, METHODS_MAX = 1000 };
#define TIMEOUT_S 1.0
#define SECONDS_MIN 0.001

struct ml_redis_class {       /* a userdata, kept by the registry for the life of the VM */
    lua_State *L;             /* the main state */
    int handle, call, script; /* metatables: registry indexes */
    int scripts;              /* table: text -> script userdata */
    unsigned script_count, method_count;
};

struct handle {
    struct ml_redis *r; /* held; NULL while staging */
};

enum shape { ONE, LIST };

struct call {
    struct ml_wait wait;
    struct ml_redis_class *class;
    struct ml_redis_call *call; /* owned; NULL: it ended */
    enum shape shape;
    int ref; /* keeps it while its task waits */
};

/* ---- the life of a call ---- */

static int call_gc(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);

    ml_redis_call_free(&c->call);
    return 0;
}

static int push_failure(lua_State *L, enum ml_err err, const char *why)
{
    lua_pushnil(L);
    lua_pushstring(L, err == ML_UP_TIMEOUT ? "redis_timeout" : "redis_unavailable");
    lua_pushstring(L, why);
    return 3;
}

static int push_results(lua_State *L, struct call *c)
{
    unsigned count = ml_redis_call_count(c->call);
    const char *why;
    enum ml_err err = ml_redis_call_outcome(c->call, &why);

    if (err != ML_OK)
        return push_failure(L, err, why);
    if (c->shape == ONE)
        return ml_redis_reply_push(L, ml_redis_call_reply(c->call, 0));
    lua_createtable(L, (int)count, 0);
    for (unsigned i = 0; i < count; i++) {
        ml_redis_reply_push_item(L, ml_redis_call_reply(c->call, i));
        lua_rawseti(L, -2, (int)i + 1);
    }
    return 1;
}

/* The call is on the stack, which keeps it from here on. */
static int call_finish(lua_State *L, struct call *c)
{
    int count;

    ml_api_unanchor(c->class->L, &c->ref);
    count = push_results(L, c);
    ml_redis_call_free(&c->call);
    return count;
}

static int call_push(lua_State *L, void *ctx)
{
    struct call *c = ctx;

    lua_rawgeti(L, LUA_REGISTRYINDEX, c->ref);
    return call_finish(L, c);
}

static void call_cancel(void *ctx)
{
    struct call *c = ctx;

    ml_redis_call_free(&c->call);
    ml_api_unanchor(c->class->L, &c->ref);
}

static void call_done(void *ctx)
{
    struct call *c = ctx;

    ml_task_wake(&c->wait);
}

/* A new call of the handle on top of the stack. */
static struct call *call_new(lua_State *L, struct handle *h, enum shape shape)
{
    struct ml_redis_class *class = ml_bridge_of(L)->redis;
    struct call *c = lua_newuserdata(L, sizeof *c);

    memset(c, 0, sizeof *c);
    c->class = class;
    c->shape = shape;
    c->ref = LUA_NOREF;
    lua_rawgeti(L, LUA_REGISTRYINDEX, class->call);
    lua_setmetatable(L, -2);
    c->call = ml_redis_call_new(h->r, call_done, c);
    return c;
}

/* The call is on top of the stack. */
static int call_send(lua_State *L, struct call *c, struct ml_task *task)
{
    lua_pushvalue(L, -1);
    c->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    c->wait = (struct ml_wait){task, call_push, call_cancel, c};
    if (ml_redis_call_send(c->call))
        return call_finish(L, c);
    return ml_task_wait(L, &c->wait);
}

/* ---- methods ---- */

static struct handle *check_handle(lua_State *L)
{
    struct handle *h = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, ml_bridge_of(L)->redis->handle);
    if (h == NULL || !lua_getmetatable(L, 1) || !lua_rawequal(L, -1, -2))
        luaL_typerror(L, 1, "redis handle; is a command called with '.' in the place of ':'");
    lua_pop(L, 2);
    return h;
}

/* The running task, which may wait; then the handle has its Redis. */
static struct ml_task *check_waiter(lua_State *L, const struct handle *h)
{
    struct ml_task *task = ml_task_waiter(L);

    if (h->r == NULL)
        luaL_error(L, "this process has no connections");
    return task;
}

static int send_one(lua_State *L, struct handle *h, struct ml_task *task)
{
    const struct ml_redis_argv *argv = ml_redis_args_end(L);
    struct call *c = call_new(L, h, ONE);

    (void)ml_redis_call_add(c->call, argv); /* there is room for one */
    return call_send(L, c, task);
}

/* r:name(...); the name is upvalue 2. */
static int redis_method(lua_State *L)
{
    struct handle *h = check_handle(L);
    struct ml_task *task = check_waiter(L, h);

    ml_redis_args_begin();
    ml_redis_args_add(ml_check_str(L, lua_upvalueindex(2)));
    for (int i = 2, top = lua_gettop(L); i <= top; i++)
        ml_redis_args_value(L, i);
    return send_one(L, h, task);
}

static int redis_command(lua_State *L)
{
    struct handle *h = check_handle(L);
    struct ml_task *task = check_waiter(L, h);

    ml_redis_args_begin();
    for (int i = 2, top = lua_gettop(L); i <= top; i++)
        ml_redis_args_value(L, i);
    return send_one(L, h, task);
}

static bool check_atomic(lua_State *L)
{
    static const char *const names[] = {"atomic", NULL};

    return ml_api_options(L, 3, names) && ml_api_option_flag(L, 3, "atomic", false);
}

/* Adds the commands of the list at index 2: NULL, or why they can not be sent. */
static const char *add_commands(lua_State *L, struct call *c, bool atomic)
{
    int count = (int)lua_objlen(L, 2);

    if (count > ML_REDIS_COMMANDS_MAX)
        luaL_error(L, "redis: a pipeline has at most %d commands", ML_REDIS_COMMANDS_MAX);
    if (atomic)
        ml_redis_call_atomic(c->call);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, 2, i);
        if (!lua_istable(L, -1))
            luaL_error(L, "redis: command %d of the pipeline is no list", i);
        ml_redis_args_begin();
        ml_redis_args_list(L, lua_gettop(L), "a command");
        if (!ml_redis_call_add(c->call, ml_redis_args_end(L)))
            return "CROSSSLOT all keys of a transaction must have the same {hash tag}";
        lua_pop(L, 1);
    }
    return NULL;
}

static int redis_pipeline(lua_State *L)
{
    struct handle *h = check_handle(L);
    struct ml_task *task = check_waiter(L, h);
    const char *wrong;
    struct call *c;
    bool atomic;

    lua_settop(L, 3);
    luaL_checktype(L, 2, LUA_TTABLE);
    atomic = check_atomic(L);
    if (lua_objlen(L, 2) == 0) {
        lua_newtable(L);
        return 1;
    }
    c = call_new(L, h, atomic ? ONE : LIST);
    wrong = add_commands(L, c, atomic);
    if (wrong == NULL)
        return call_send(L, c, task);
    lua_pushnil(L);
    lua_pushliteral(L, "redis_error");
    lua_pushstring(L, wrong);
    return 3;
}

/* ---- scripts ---- */

static int script_gc(lua_State *L)
{
    ml_redis_script_release(lua_touserdata(L, 1));
    return 0;
}

/* The script of the text at index 2: its hash is computed once. */
static struct ml_redis_script *script_of(lua_State *L)
{
    struct ml_redis_class *class = ml_bridge_of(L)->redis;
    struct ml_redis_script **s;

    lua_rawgeti(L, LUA_REGISTRYINDEX, class->scripts);
    lua_pushvalue(L, 2);
    lua_rawget(L, -2);
    s = lua_touserdata(L, -1);
    if (s != NULL)
        return *s;
    if (class->script_count++ >= SCRIPTS_MAX) { /* texts that are made anew each time */
        class->script_count = 1;
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, LUA_REGISTRYINDEX, class->scripts);
        lua_replace(L, -3);
    }
    lua_pop(L, 1);
    s = lua_newuserdata(L, sizeof(struct ml_redis_script *));
    *s = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, class->script);
    lua_setmetatable(L, -2);
    *s = ml_redis_script_new(ml_check_str(L, 2));
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, -4);
    return *s; /* its userdata is on the stack */
}

/* r:eval(script, keys, args) */
static int redis_eval(lua_State *L)
{
    struct handle *h = check_handle(L);
    struct ml_task *task = check_waiter(L, h);
    struct ml_redis_script *script;
    char count[16];
    struct call *c;

    lua_settop(L, 4);
    luaL_checktype(L, 2, LUA_TSTRING);
    script = script_of(L);
    ml_redis_args_begin();
    ml_redis_args_add(ML_STR("EVALSHA"));
    ml_redis_args_add((struct ml_str){script->sha, 40});
    ml_redis_args_add(ML_STR("0")); /* the number of keys */
    snprintf(count, sizeof count, "%d", ml_redis_args_list(L, 3, "keys"));
    ml_redis_args_set(2, ml_str_of(count));
    ml_redis_args_list(L, 4, "args");
    c = call_new(L, h, ONE);
    (void)ml_redis_call_add(c->call, ml_redis_args_end(L)); /* there is room for one */
    ml_redis_call_script(c->call, script);
    return call_send(L, c, task);
}

static int redis_state(lua_State *L)
{
    static const char *const names[] = {[ML_REDIS_IDLE] = "idle",
                                        [ML_REDIS_CONNECTING] = "connecting",
                                        [ML_REDIS_READY] = "ready",
                                        [ML_REDIS_DOWN] = "down"};
    struct handle *h = check_handle(L);

    lua_pushstring(L, names[h->r != NULL ? ml_redis_state_of(h->r) : ML_REDIS_IDLE]);
    return 1;
}

/* ---- any other name is a command ---- */

static bool is_name(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = ml_lower(s.p[i]);

        if (!((c >= 'a' && c <= 'z') ||
              (i > 0 && ((c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-'))))
            return false;
    }
    return s.len > 0 && s.len <= NAME_LEN_MAX;
}

/* methods[name] of a name that is not there yet: (methods, name). */
static int make_method(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);

    if (lua_type(L, 2) != LUA_TSTRING || !is_name(ml_check_str(L, 2)))
        return 0;
    lua_pushlightuserdata(L, b);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, redis_method, 2);
    if (b->redis->method_count >= METHODS_MAX)
        return 1;
    b->redis->method_count++;
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

/* ---- core.redis(url, opts) ---- */

static void copy_option(lua_State *L, const char *name, char *out, size_t cap)
{
    struct ml_str s = ml_api_option_string(L, 2, name, ML_STR_NONE);

    if (s.len >= cap || (s.len > 0 && memchr(s.p, '\0', s.len) != NULL))
        luaL_argerror(L, 2, lua_pushfstring(L, "%s is too long, or has a NUL", name));
    if (s.len > 0)
        memset(out, 0, cap);
    if (s.len > 0)
        memcpy(out, s.p, s.len);
    lua_pop(L, 1);
}

static void read_options(lua_State *L, struct ml_redis_conf *conf)
{
    static const char *const names[] = {
        "timeout", "connect_timeout", "username", "password", "db", "tls", NULL};

    conf->timeout_s = conf->connect_timeout_s = TIMEOUT_S;
    if (!ml_api_options(L, 2, names))
        return;
    conf->timeout_s = ml_api_option_seconds(L, 2, "timeout", SECONDS_MIN, TIMEOUT_S);
    conf->connect_timeout_s =
        ml_api_option_seconds(L, 2, "connect_timeout", SECONDS_MIN, TIMEOUT_S);
    conf->db = (int)ml_api_option_number(L, 2, "db", 0, 1000000, conf->db);
    copy_option(L, "username", conf->user, sizeof conf->user);
    copy_option(L, "password", conf->password, sizeof conf->password);
}

/* conf->tls, held, when the URL wants one.  Raises. */
static void read_tls(lua_State *L, struct ml_bridge *b, struct ml_redis_conf *conf)
{
    struct ml_client_tls_options o = {0};
    int top = lua_gettop(L);

    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "tls");
        if (!lua_isnil(L, -1) && !conf->secure)
            luaL_error(L, "gw.redis: tls is for rediss:// URLs");
        ml_api_client_tls(L, lua_gettop(L), &o);
    }
    if (conf->secure && b->conf.host->outbound != NULL)
        conf->tls = ml_api_client_tls_hold(L, &o, b->conf.host->outbound);
    else if (conf->secure)
        ml_api_client_tls_check(L, &o);
    lua_settop(L, top);
}

/* Nothing here says the URL, which may have a password. */
static int api_redis(lua_State *L)
{
    static struct ml_redis_conf conf;
    struct ml_bridge *b = ml_bridge_of(L);
    struct handle *h;
    const char *wrong;

    luaL_checktype(L, 1, LUA_TSTRING);
    wrong = ml_redis_conf_parse(ml_check_str(L, 1), &conf);
    if (wrong != NULL)
        return luaL_error(L, "gw.redis: %s", wrong);
    read_options(L, &conf);
    if (conf.user[0] != '\0' && conf.password[0] == '\0')
        return luaL_error(L, "gw.redis: a user needs a password");
    if (conf.cluster && conf.db != 0)
        return luaL_error(L, "gw.redis: a cluster has only database 0");
    h = lua_newuserdata(L, sizeof *h);
    h->r = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->redis->handle);
    lua_setmetatable(L, -2);
    read_tls(L, b, &conf);
    if (b->conf.host->outbound != NULL)
        h->r = ml_redis_hold(b->conf.host->outbound, &conf);
    ml_client_tls_release(&conf.tls);
    explicit_bzero(&conf, sizeof conf);
    return 1;
}

static int handle_gc(lua_State *L)
{
    struct handle *h = lua_touserdata(L, 1);

    ml_redis_release(&h->r);
    return 0;
}

static int collected(lua_State *L, lua_CFunction gc)
{
    lua_newtable(L);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Pushes the metatable of handles. */
static void push_handle_class(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg methods[] = {{"command", redis_command},
                                       {"pipeline", redis_pipeline},
                                       {"eval", redis_eval},
                                       {"state", redis_state},
                                       {NULL, NULL}};

    ml_api_push_class(L, b, methods);
    lua_pushcfunction(L, handle_gc);
    lua_setfield(L, -2, "__gc");
    lua_getfield(L, -1, "__index");
    lua_newtable(L);
    lua_pushlightuserdata(L, b);
    lua_pushcclosure(L, make_method, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}

void ml_api_redis_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {{"redis", api_redis}, {NULL, NULL}};
    struct ml_redis_class *class;
    int ref;

    class = b->redis = ml_api_anchored(L, sizeof *class, &ref);
    lua_pop(L, 1);
    class->L = ml_tasks_state(b->conf.tasks);
    ml_bridge_register(L, b, functions);
    push_handle_class(L, b);
    class->handle = luaL_ref(L, LUA_REGISTRYINDEX);
    class->call = collected(L, call_gc);
    class->script = collected(L, script_gc);
    lua_newtable(L);
    class->scripts = luaL_ref(L, LUA_REGISTRYINDEX);
}
