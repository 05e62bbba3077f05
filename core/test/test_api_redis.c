#include "api_site.h"

#include "outbound/redis.h"
#include "outbound/upstream.h"

#include <arpa/inet.h>

/* A server in this thread that answers every command it can tell with "+<number>". */
static struct server {
    int listener, fd, port;
    ev_io accepting, reading;
    struct ml_buf in;
    unsigned commands;
    bool mute; /* answers PING only */
} server;

static void answer(const char *text)
{
    CHECK(send(server.fd, text, strlen(text), MSG_NOSIGNAL) > 0);
}

static void on_bytes(struct ev_loop *ev, ev_io *w, int events)
{
    ssize_t n = recv(server.fd, ml_buf_reserve(&server.in, 65536), 65536, MSG_DONTWAIT);
    char number[32];

    (void)events;
    if (n <= 0) {
        ev_io_stop(ev, w);
        return;
    }
    ml_buf_commit(&server.in, (size_t)n);
    while (ml_buf_len(&server.in) > 0) { /* the tests send whole commands of this form */
        struct ml_str s = ml_buf_str(&server.in);
        bool ping = s.len >= 14 && memcmp(s.p, "*1\r\n$4\r\nPING\r\n", 14) == 0;
        size_t len = ping ? 14 : sizeof "*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n" - 1;

        if (s.len < len)
            return;
        ml_buf_consume(&server.in, len);
        snprintf(number, sizeof number, "+%u\r\n", server.commands);
        server.commands += !ping;
        if (ping || !server.mute)
            answer(number);
    }
}

static void on_accept(struct ev_loop *ev, ev_io *w, int events)
{
    (void)w;
    (void)events;
    server.fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    ev_io_init(&server.reading, on_bytes, server.fd, EV_READ);
    ev_io_start(ev, &server.reading);
}

static void server_open(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;

    server = (struct server){.fd = -1};
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(server.listener, (struct sockaddr *)&at, len) != 0 || listen(server.listener, 8) != 0)
        abort();
    getsockname(server.listener, (struct sockaddr *)&at, &len);
    server.port = ntohs(at.sin_port);
    ev_io_init(&server.accepting, on_accept, server.listener, EV_READ);
    ev_io_start(ml_loop_ev(loop), &server.accepting);
}

static void server_close(void)
{
    ev_io_stop(ml_loop_ev(loop), &server.accepting);
    ev_io_stop(ml_loop_ev(loop), &server.reading);
    close(server.listener);
    if (server.fd >= 0)
        close(server.fd);
    ml_buf_release(&server.in);
}

/* A site whose global r is a handle of the server; the port is global too. */
static struct site *open_with(const char *opts)
{
    char code[256];
    struct site *s;

    begin();
    server_open();
    s = site_open(NULL, 0);
    snprintf(code, sizeof code, "port = %d r = core.redis('redis://127.0.0.1:%d', %s)", server.port,
             server.port, opts);
    load(s, code);
    CHECK(ml_buf_len(&noted) == 0);
    return s;
}

static void close_all(struct site *s)
{
    server_close();
    site_close(s);
    finish();
}

TEST(commands_raise_while_the_site_is_loaded_and_connect_nothing)
{
    struct site *s = open_with("nil");

    load(s,
         "note(pcall(r.get, r, 'k')) note(pcall(r.pipeline, r, {})) note(pcall(r.eval, r, 'x'))");
    CHECK(has_noted("false this function waits: it can not be called while the site is loaded "
                    "false this function waits"));
    ml_loop_turn(loop);
    CHECK(server.fd < 0);
    close_all(s);
}

TEST(a_task_that_ends_leaves_its_reply_to_nobody)
{
    struct site *s = open_with("{ timeout = 10 }");

    run(s, "r:echo('x')\n"                                                           /* 0 */
           "local first = core.race { function() return r:echo('x'), 'never' end,\n" /* 1 */
           "                          function() return 'quick' end }\n"
           "note(first, r:echo('x'))\n" /* 2 */
           "local all = core.all { function() return r:echo('x') end, function() return "
           "r:echo('x') end }\n"
           "note(all[1], all[2]) note('end')");
    CHECK(is_noted("quick 2 3 4 end "));
    close_all(s);
}

TEST(tasks_that_wait_end_with_their_generation)
{
    struct site *s = open_with("{ timeout = 10 }");

    server.mute = true;
    spawn(s, "note('asked') r:echo('x') note('never')");
    turn_until("asked ", 5);
    while (server.commands == 0)
        ml_loop_turn(loop);
    close_all(s); /* checks that no task lives */
}

TEST(nobody_else_may_pretend_to_be_a_handle)
{
    struct site *s = open_with("nil");

    run(s, "for _, v in ipairs { 1, 'x', {}, newproxy and newproxy() or 2, core.shared('x') } do\n"
           "  note(pcall(r.get, v, 'k'))\n"
           "end\n"
           "note(getmetatable(r), pcall(function() r.x = 1 end)) note('end')");
    CHECK(!has_noted("true"));
    CHECK(has_noted("locked false"));
    close_all(s);
}

TEST(names_that_are_no_commands_are_nil)
{
    struct site *s = open_with("nil");

    run(s, "note(r[1], r[''], r['a b'], r[('x'):rep(33)], r['1x'], r['a\\r\\n'], "
           "type(r['json.get'])) note('end')");
    CHECK(is_noted("nil nil nil nil nil nil function end "));
    close_all(s);
}

TEST(methods_and_scripts_without_end_do_not_fill_the_memory)
{
    struct site *s = open_with("{ timeout = 10 }");

    run(s, "for i = 1, 3000 do local _ = r['c' .. i] end\n"
           "collectgarbage() local before = collectgarbage('count')\n"
           "for i = 1, 20000 do local _ = r['d' .. i] end\n"
           "collectgarbage() note(collectgarbage('count') - before < 200) note('end')");
    CHECK(is_noted("true end "));
    close_all(s);
}

TEST(memory_that_runs_out_is_an_error_of_the_script_and_leaks_nothing)
{
    struct site *s = open_with("{ timeout = 10 }");

    run(s, "r:echo('x') note('end')");
    for (size_t more = 0; more < 6000; more += 40) {
        spawn(s, "r:pipeline { { 'ECHO', 'x' }, { 'ECHO', 'x' } }");
        lua_gc(s->vm.L, LUA_GCCOLLECT, 0);
        s->vm.cap = s->vm.used + more;
        turn_until(NULL, 0.003);
        s->vm.cap = 64 << 20;
    }
    run(s, "note(type(r:echo('x'))) note('end')");
    CHECK(is_noted("string end "));
    close_all(s);
}
