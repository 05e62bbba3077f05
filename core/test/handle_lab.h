/* handle_lab.h - a VM with the whole bridge, exchanges on a wire that records, and a server to
 * forward to, all on one loop.
 *
 * The code that is served is the body of function(req); `core` is a global, note(...) appends its
 * arguments, with a space behind each, to `noted`. */
#ifndef ML_TEST_HANDLE_LAB_H
#define ML_TEST_HANDLE_LAB_H

#include "test.h"
#include "collect.h"

#include "inbound/listener.h"
#include "script/bridge.h"
#include "script/handle.h"
#include "script/vm.h"

#include <arpa/inet.h>
#include <lualib.h>

enum { BIG = 300000 };

struct lab {
    struct ml_vm vm;
    struct ml_script_host host;
    struct ml_tasks *tasks;
    struct ml_bridge *bridge;
    struct ml_resolver *resolver;
    struct ml_group *group;
    struct ml_listener_conf conf;
    struct ml_listener *listener;
    struct ml_handler server;
    struct ml_inbound in;
    int fd, served; /* requests that the server answered */
};

struct client { /* who asks */
    struct ml_exchange *ex;
    struct ml_buf body;
    bool responded, complete, asked;
    bool paused; /* takes nothing of the body */
};

static struct ml_loop *loop;
static struct ml_buf noted;
static bool guard_fired;

/* ---- the server: says what it got ---- */

static void server_answer(void *ctx, enum ml_err err, struct ml_str bytes)
{
    struct ml_exchange *ex = ctx;
    struct ml_response *res = &ex->res;
    const struct ml_field *f = ml_headers_find(&ex->req.headers, ML_STR("x-note"));

    if (err != ML_OK)
        return; /* the connection broke */
    res->status = ml_str_eq(ex->req.path, ML_STR("/500")) ? 500 : 200;
    res->bytes = ml_arena_printf(
        ex->arena, "%.*s %.*s?%.*s [%.*s] %.*s <%.*s>", (int)ex->req.method.len, ex->req.method.p,
        (int)ex->req.path.len, ex->req.path.p, (int)ex->req.query.len, ex->req.query.p,
        (int)ex->req.host.len, ex->req.host.p, f != NULL ? (int)f->value.len : 0,
        f != NULL ? f->value.p : "", (int)bytes.len, bytes.p != NULL ? bytes.p : "");
    if (ml_str_eq(ex->req.path, ML_STR("/big"))) {
        char *p = ml_arena_alloc(ex->arena, BIG);

        memset(p, 'b', BIG);
        res->bytes = (struct ml_str){p, BIG};
    }
    if (ml_str_eq(ex->req.path, ML_STR("/json")))
        res->bytes = ML_STR("{\"list\":[],\"n\":1}");
    ml_headers_add(&res->headers, ex->arena, ML_STR("ETag"), ML_STR("\"1\""));
    ml_headers_add(&res->headers, ex->arena, ML_STR("Set-Cookie"), ML_STR("a=1"));
    ml_headers_add(&res->headers, ex->arena, ML_STR("Set-Cookie"), ML_STR("b=2"));
    ml_exchange_respond(ex);
}

static void server_start(void *ctx, struct ml_exchange *ex)
{
    struct lab *lab = ctx;

    lab->served++;
    if (!ml_str_eq(ex->req.path, ML_STR("/never")))
        ml_exchange_collect(ex, ex->req.body, 1 << 22, server_answer, ex);
}

static void server_ignore(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
}

static int server_open(struct lab *lab)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    lab->server = (struct ml_handler){server_start, server_ignore, server_ignore, lab};
    lab->in = (struct ml_inbound){.loop = loop, .handler = &lab->server};
    ml_listener_defaults(&lab->conf);
    lab->listener = ml_listener_new(&lab->in, fd, &lab->conf);
    lab->fd = fd;
    return ntohs(a.sin_port);
}

/* ---- the VM ---- */

static int note(lua_State *L)
{
    for (int i = 1, n = lua_gettop(L); i <= n; i++) {
        struct ml_str s;

        lua_getglobal(L, "tostring");
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        s.p = lua_tolstring(L, -1, &s.len);
        ml_buf_append(&noted, s);
        ml_buf_append(&noted, ML_STR(" "));
        lua_pop(L, 1);
    }
    return 0;
}

static struct ml_group *group_named(void *ctx, struct ml_str name)
{
    return ml_str_eq(name, ML_STR("up")) ? ((struct lab *)ctx)->group : NULL;
}

static struct ml_group *group_at(void *ctx, unsigned index)
{
    return index == 0 ? ((struct lab *)ctx)->group : NULL;
}

static int open_all(lua_State *L)
{
    struct lab *lab = lua_touserdata(L, 1);
    struct ml_bridge_conf conf = {.host = &lab->host,
                                  .tasks = lab->tasks,
                                  .group = group_named,
                                  .group_at = group_at,
                                  .ctx = lab};

    lab->bridge = ml_bridge_open(L, &conf);
    ml_api_chain_open(L, lab->bridge);
    lua_setglobal(L, "core");
    lua_register(L, "note", note);
    return 0;
}

static struct lab *lab_open(void)
{
    struct lab *lab = calloc(1, sizeof *lab);
    struct ml_tasks_conf conf = {.budget_ms = 5000, .generation = 7};
    struct ml_server_conf server = {.weight = 1};
    struct ml_group_conf group = {.name = ML_STR("up"), .servers = &server, .server_count = 1};
    char url[64];

    loop = ml_loop_new();
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server_open(lab));
    server.url = ml_str_of(url);
    lab->resolver = ml_resolver_new(loop);
    lab->host = (struct ml_script_host){.loop = loop,
                                        .outbound = ml_outbound_new(loop, lab->resolver, NULL, 0)};
    lab->group = ml_group_new(lab->host.outbound, &group);
    ml_vm_open(&lab->vm, 64 << 20);
    conf.loop = loop;
    lab->tasks = ml_tasks_new(lab->vm.L, &conf);
    lua_pushcfunction(lab->vm.L, open_all);
    lua_pushlightuserdata(lab->vm.L, lab);
    if (lua_pcall(lab->vm.L, 1, 0, 0) != 0) {
        printf("# %s\n", lua_tostring(lab->vm.L, -1));
        abort();
    }
    ml_buf_consume(&noted, ml_buf_len(&noted));
    return lab;
}

static void guard(void *ctx)
{
    (void)ctx;
    guard_fired = true;
}

/* Turns the loop until *flag, or for that long. */
static bool turn_until(const bool *flag, double seconds)
{
    struct ml_timer timer = {0};

    guard_fired = false;
    ml_timer_init(&timer, loop, guard, NULL);
    ml_timer_set(&timer, seconds);
    while (!guard_fired && (flag == NULL || !*flag))
        ml_loop_turn(loop);
    ml_timer_drop(&timer);
    return !guard_fired;
}

static void lab_close(struct lab *lab)
{
    ml_tasks_stop_background(lab->tasks);
    turn_until(NULL, 0.001);
    CHECK(ml_tasks_live(lab->tasks) == 0);
    ml_bridge_close(lab->bridge);
    ml_tasks_free(&lab->tasks);
    ml_vm_close(&lab->vm);
    ml_group_release(&lab->group);
    ml_inbound_abort(&lab->in);
    ml_listener_free(&lab->listener);
    close(lab->fd);
    ml_outbound_free(&lab->host.outbound);
    ml_resolver_free(&lab->resolver);
    ml_loop_free(&loop);
    ml_buf_release(&noted);
    free(lab);
}

/* ---- the client ---- */

static void client_take(void *ctx)
{
    struct client *c = ctx;
    struct ml_pipe *p = c->ex != NULL ? c->ex->res.body : NULL;
    size_t len;

    if (p == NULL || c->paused)
        return;
    len = ml_buf_len(&p->buf);
    ml_buf_append(&c->body, ml_buf_str(&p->buf));
    ml_buf_consume(&p->buf, len);
    if (len > 0)
        ml_pipe_took(p, len);
    c->complete = p->state == ML_PIPE_EOF && ml_buf_len(&p->buf) == 0;
}

static void client_respond(void *ctx, struct ml_exchange *ex)
{
    struct client *c = ctx;

    c->responded = true;
    if (ex->res.body == NULL) {
        ml_buf_append(&c->body, ex->res.bytes);
        c->complete = true;
        return;
    }
    ex->res.body->on_data = client_take;
    ex->res.body->data_ctx = c;
    client_take(c);
}

static void client_asked(void *ctx, struct ml_exchange *ex)
{
    (void)ex;
    ((struct client *)ctx)->asked = true;
}

static void cancelled(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_task_cancel_exchange(ex);
}

static void done(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_task_finish_exchange(ex);
}

static struct ml_handler handler = {NULL, cancelled, done, NULL};

static void add_header(struct ml_exchange *ex, const char *name, const char *value)
{
    ml_headers_add(&ex->req.headers, ex->arena, ml_str_of(name), ml_str_of(value));
}

/* A GET /x/42?a=1&b=2&a=3 that can be changed before it is served. */
static void client_open(struct client *c)
{
    struct ml_wire wire = {client_respond, client_asked, NULL, c};
    struct ml_request *r;

    memset(c, 0, sizeof *c);
    c->ex = ml_exchange_new(loop, &handler, wire);
    r = &c->ex->req;
    r->method = ML_STR("GET");
    r->raw_target = ML_STR("/x//42?a=1&b=2&a=3");
    r->path = ML_STR("/x/42");
    r->query = ML_STR("a=1&b=2&a=3");
    r->has_query = true;
    r->scheme = ML_STR("http");
    r->host = ML_STR("example.com");
    r->authority = ML_STR("example.com:80");
    r->major = r->minor = 1;
    r->peer_ip = ML_STR("10.0.0.1");
    r->ip = ML_STR("192.0.2.7");
    r->id = ML_STR("id-1");
    add_header(c->ex, "Host", "example.com:80");
    add_header(c->ex, "X-One", "1");
    add_header(c->ex, "x-two", "2a");
    add_header(c->ex, "X-Two", "2b");
}

__attribute__((unused)) static struct ml_pipe *client_body(struct client *c)
{
    c->ex->req.method = ML_STR("POST");
    c->ex->req.body = ml_arena_zalloc(c->ex->arena, sizeof *c->ex->req.body);
    return c->ex->req.body;
}

/* A piece of the request's body comes. */
__attribute__((unused)) static void put(struct client *c, const char *text)
{
    ml_pipe_put(c->ex->req.body, ml_str_of(text));
}

static void serve_ref(struct lab *lab, struct client *c, int ref)
{
    struct ml_route_match match = {.outcome = ML_ROUTE_FOUND,
                                   .pattern = ML_STR("/x/:id"),
                                   .param_count = 1,
                                   .names = {ML_STR("id")},
                                   .values = {ML_STR("4%32")}};

    c->ex->notes.route = match.pattern;
    ml_task_serve(lab->tasks, c->ex, ref, &match);
}

static int compile(struct lab *lab, const char *code)
{
    lua_State *L = lab->vm.L;

    lua_pushfstring(L, "local req = ... %s", code);
    if (luaL_loadbuffer(L, lua_tostring(L, -1), lua_objlen(L, -1), "=site") != 0) {
        printf("# %s\n", lua_tostring(L, -1));
        abort();
    }
    lua_remove(L, -2);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void serve(struct lab *lab, struct client *c, const char *code)
{
    int ref = compile(lab, code);

    serve_ref(lab, c, ref);
    luaL_unref(lab->vm.L, LUA_REGISTRYINDEX, ref);
}

static void client_close(struct client *c)
{
    if (c->ex != NULL && c->complete)
        ml_exchange_finish(&c->ex);
    else if (c->ex != NULL)
        ml_exchange_cancel(&c->ex, ML_RESET);
    ml_buf_release(&c->body);
}

/* Serves one plain request to its end. */
__attribute__((unused)) static void run(struct lab *lab, const char *code)
{
    struct client c;

    ml_buf_consume(&noted, ml_buf_len(&noted));
    client_open(&c);
    serve(lab, &c, code);
    CHECK(turn_until(&c.complete, 5));
    client_close(&c);
}

__attribute__((unused)) static bool is_noted(const char *text)
{
    bool same = ml_str_eq(ml_buf_str(&noted), ml_str_of(text));

    if (!same)
        printf("# noted: %.*s\n", (int)ml_buf_len(&noted), noted.p + noted.start);
    return same;
}

__attribute__((unused)) static bool has_noted(const char *text)
{
    bool found;

    ml_buf_append(&noted, (struct ml_str){"", 1});
    noted.end--;
    found = strstr(noted.p + noted.start, text) != NULL;
    if (!found)
        printf("# noted: %s\n", noted.p + noted.start);
    return found;
}

__attribute__((unused)) static bool body_is(struct client *c, const char *text)
{
    bool same = ml_str_eq(ml_buf_str(&c->body), ml_str_of(text));

    if (!same)
        printf("# body: %.*s\n", (int)ml_buf_len(&c->body), c->body.p + c->body.start);
    return same;
}

__attribute__((unused)) static bool header_is(struct client *c, const char *name, const char *value)
{
    const struct ml_field *f = ml_headers_find(&c->ex->res.headers, ml_str_of(name));

    if (f == NULL || value == NULL)
        return f == NULL && value == NULL;
    return ml_str_eq(f->value, ml_str_of(value));
}

#endif
