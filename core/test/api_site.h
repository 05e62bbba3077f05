/* api_site.h - a VM with loop, tasks and the functions of script/api_*.c, for their tests.
 *
 * Scripts run as background tasks.  note(...) appends its arguments and a space to `noted`. */
#ifndef ML_TEST_API_SITE_H
#define ML_TEST_API_SITE_H

#include "test.h"

#include "script/api.h"
#include "script/vm.h"

#include <lualib.h>

int luaopen_cjson_safe(lua_State *L);

struct site {
    struct ml_vm vm;
    struct ml_script_host host;
    struct ml_tasks *tasks;
    struct ml_bridge *bridge;
};

static struct ml_loop *loop;
static struct ml_resolver *resolver;
static struct ml_outbound *outbound;
static struct ml_buf noted;
static bool guard_fired;

static int note(lua_State *L)
{
    for (int i = 1, n = lua_gettop(L); i <= n; i++) {
        const char *text = lua_isnil(L, i) ? "nil" : lua_tostring(L, i);

        if (text == NULL)
            text = lua_isboolean(L, i) ? (lua_toboolean(L, i) ? "true" : "false")
                                       : luaL_typename(L, i);
        ml_buf_printf(&noted, "%s ", text);
    }
    return 0;
}

static void no_push(lua_State *L, struct ml_task *task)
{
    (void)task;
    lua_pushnil(L);
}

static const char *adopt(lua_State *L, int index, struct ml_exchange *ex)
{
    (void)L;
    (void)index;
    ex->res.status = 204;
    return NULL;
}

static void no_outcome(lua_State *L, struct ml_exchange *ex)
{
    (void)ex;
    lua_pushnil(L);
}

static void no_over(struct ml_exchange *ex)
{
    (void)ex;
}

static void stop_background(void *ctx)
{
    ml_api_timer_close(ctx);
}

static int ref_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void open_json(lua_State *L, struct ml_bridge *b)
{
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_call(L, 0, 1);
    b->json_encode = ref_field(L, "encode");
    b->json_decode = ref_field(L, "decode");
    lua_pop(L, 1);
}

static void open_functions(struct site *s)
{
    lua_State *L = s->vm.L;
    struct ml_bridge *b = lua_newuserdata(L, sizeof *b);

    luaL_ref(L, LUA_REGISTRYINDEX);
    memset(b, 0, sizeof *b);
    b->conf = (struct ml_bridge_conf){.host = &s->host, .tasks = s->tasks};
    s->bridge = b;
    open_json(L, b);
    lua_newtable(L);
    ml_api_wait_open(L, b);
    ml_api_timer_open(L, b);
    ml_api_shared_open(L, b);
    ml_api_http_open(L, b);
    ml_api_redis_open(L, b);
    ml_api_ratelimit_open(L, b);
    lua_setglobal(L, "core");
    lua_register(L, "note", note);
}

static struct site *site_open(struct ml_shm *shm, unsigned worker)
{
    struct site *s = calloc(1, sizeof *s);
    struct ml_tasks_conf conf = {.budget_ms = 500, .loop = loop};
    struct ml_task_hooks hooks = {.push_request = no_push,
                                  .adopt = adopt,
                                  .push_outcome = no_outcome,
                                  .over = no_over,
                                  .stop_background = stop_background};

    s->host =
        (struct ml_script_host){.loop = loop, .outbound = outbound, .shm = shm, .worker = worker};
    ml_vm_open(&s->vm, 64 << 20);
    s->tasks = ml_tasks_new(s->vm.L, &conf);
    open_functions(s);
    hooks.ctx = s->bridge;
    ml_tasks_set_hooks(s->tasks, &hooks);
    return s;
}

static void site_close(struct site *s)
{
    ml_tasks_stop_background(s->tasks);
    CHECK(ml_tasks_live(s->tasks) == 0);
    ml_api_timer_close(s->bridge);
    ml_api_http_close(s->bridge);
    ml_api_ratelimit_close(s->bridge);
    ml_tasks_free(&s->tasks);
    ml_vm_close(&s->vm);
    free(s);
}

static void begin(void)
{
    loop = ml_loop_new();
    resolver = ml_resolver_new(loop);
    outbound = ml_outbound_new(loop, resolver, NULL, 0);
    ml_buf_consume(&noted, ml_buf_len(&noted));
}

static void finish(void)
{
    ml_outbound_free(&outbound);
    ml_resolver_free(&resolver);
    ml_loop_free(&loop);
    ml_buf_release(&noted);
}

/* Runs code at load time; the message when it fails is noted. */
static void load(struct site *s, const char *code)
{
    lua_State *L = s->vm.L;

    if (luaL_loadbuffer(L, code, strlen(code), "=site") == 0 &&
        ml_task_call(s->tasks, L, 0, 0) == 0)
        return;
    ml_buf_printf(&noted, "%s ", lua_tostring(L, -1));
    lua_pop(L, 1);
}

/* Starts code as a background task. */
static void spawn(struct site *s, const char *code)
{
    lua_State *L = s->vm.L;

    if (luaL_loadbuffer(L, code, strlen(code), "=site") != 0) {
        printf("# %s\n", lua_tostring(L, -1));
        abort();
    }
    ml_task_spawn(s->tasks, L, 0);
}

static bool has_noted(const char *text)
{
    ml_buf_append(&noted, (struct ml_str){"", 1});
    noted.end--;
    return strstr(noted.p + noted.start, text) != NULL;
}

static bool is_noted(const char *text)
{
    bool same = ml_str_eq(ml_buf_str(&noted), ml_str_of(text));

    if (!same)
        printf("# noted: %.*s\n", (int)ml_buf_len(&noted), noted.p + noted.start);
    return same;
}

static void guard(void *ctx)
{
    (void)ctx;
    guard_fired = true;
}

/* Turns the loop for that long, or until the text is noted. */
static void turn_until(const char *text, double seconds)
{
    struct ml_timer timer = {0};

    guard_fired = false;
    ml_timer_init(&timer, loop, guard, NULL);
    ml_timer_set(&timer, seconds);
    while (!guard_fired && (text == NULL || !has_noted(text)))
        ml_loop_turn(loop);
    ml_timer_drop(&timer);
}

/* Runs code to its end, which it says by note("end"); what was noted before is gone. */
__attribute__((unused)) static void run(struct site *s, const char *code)
{
    ml_buf_consume(&noted, ml_buf_len(&noted));
    spawn(s, code);
    turn_until("end ", 40);
    CHECK(!guard_fired);
}

#endif
