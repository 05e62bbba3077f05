#include "api_site.h"

#include <arpa/inet.h>
#include <fcntl.h>

/* ---- a server that answers by path ---- */

struct peer {
    ev_io io, out;
    size_t left; /* of a large body */
    int fd;
    char in[8192];
    size_t len;
    struct peer *next;
};

static struct {
    ev_io io;
    int port;
    unsigned connections, requests;
    char last[8192]; /* the last request */
    struct peer *peers;
} server;

static struct site *site;

static void peer_close(struct peer *p)
{
    if (p->fd < 0)
        return;
    ev_io_stop(ml_loop_ev(loop), &p->io);
    ev_io_stop(ml_loop_ev(loop), &p->out);
    close(p->fd);
    p->fd = -1;
}

static void answer(struct peer *p, const char *text)
{
    size_t len = strlen(text);

    if (send(p->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
        abort();
}

/* As much of a large body as the socket takes. */
static void on_writable(struct ev_loop *ev, ev_io *w, int events)
{
    static const char block[65536];
    struct peer *p = w->data;
    size_t len = p->left < sizeof block ? p->left : sizeof block;
    ssize_t n = send(p->fd, block, len, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)events;
    p->left -= n > 0 ? (size_t)n : 0;
    if (p->left == 0)
        ev_io_stop(ev, &p->out);
}

static void answer_large(struct peer *p)
{
    answer(p, "HTTP/1.1 200 OK\r\nContent-Length: 1200000\r\n\r\n");
    p->left = 1200000;
    ev_io_start(ml_loop_ev(loop), &p->out);
}

static bool is_path(const struct peer *p, const char *path)
{
    const char *at = strchr(p->in, ' ');

    return at != NULL && strncmp(at + 1, path, strlen(path)) == 0;
}

static void redirect(struct peer *p, int status, const char *to)
{
    char text[512];

    snprintf(text, sizeof text, "HTTP/1.1 %d x\r\nLocation: %s\r\nContent-Length: 3\r\n\r\nsee",
             status, to);
    answer(p, text);
}

static void redirects(struct peer *p)
{
    char to[128];

    snprintf(to, sizeof to, "http://localhost:%d/hello#part", server.port);
    if (is_path(p, "/go/other"))
        redirect(p, 302, to);
    else if (is_path(p, "/go/same"))
        redirect(p, 307, "../hello?x=1");
    else if (is_path(p, "/go/tls"))
        redirect(p, 301, "https://127.0.0.1/");
    else if (is_path(p, "/go/file"))
        redirect(p, 301, "file:///etc/passwd");
    else
        redirect(p, 303, "/go/round");
}

static void serve_one(struct peer *p)
{
    if (is_path(p, "/go/")) {
        redirects(p);
    } else if (is_path(p, "/chunked")) {
        answer(p,
               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: 1\r\nx-a: 2\r\nX-A: 3\r\n\r\n"
               "5\r\nhello\r\n1\r\n \r\n5\r\nworld\r\n0\r\n\r\n");
    } else if (is_path(p, "/large")) {
        answer_large(p);
    } else if (is_path(p, "/json")) {
        answer(p, "HTTP/1.1 201 Created\r\nContent-Length: 13\r\n\r\n{\"a\":[1,2,3]}");
    } else if (is_path(p, "/cut")) {
        answer(p, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        peer_close(p);
    } else if (is_path(p, "/bad")) {
        answer(p, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    } else if (is_path(p, "/big")) {
        answer(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n"
                  "8\r\n12345678\r\n8\r\n12345678\r\n");
    } else if (!is_path(p, "/never")) {
        answer(p, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nhi");
    }
}

static bool is_whole(const struct peer *p)
{
    const char *end = strstr(p->in, "\r\n\r\n"), *length = strstr(p->in, "Content-Length: ");

    if (end == NULL)
        return false;
    return length == NULL || strlen(end + 4) >= strtoul(length + 16, NULL, 10);
}

static void on_readable(struct ev_loop *ev, ev_io *w, int events)
{
    struct peer *p = w->data;
    ssize_t n = recv(p->fd, p->in + p->len, sizeof p->in - 1 - p->len, 0);

    (void)ev;
    (void)events;
    if (n <= 0) {
        peer_close(p);
        return;
    }
    p->len += (size_t)n;
    p->in[p->len] = '\0';
    if (!is_whole(p))
        return;
    server.requests++;
    memcpy(server.last, p->in, p->len + 1);
    p->len = 0;
    serve_one(p);
}

static void on_connection(struct ev_loop *ev, ev_io *w, int events)
{
    struct peer *p = calloc(1, sizeof *p);

    (void)events;
    p->fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK);
    if (p->fd < 0)
        abort();
    server.connections++;
    p->next = server.peers;
    server.peers = p;
    ev_io_init(&p->io, on_readable, p->fd, EV_READ);
    ev_io_init(&p->out, on_writable, p->fd, EV_WRITE);
    p->io.data = p->out.data = p;
    ev_io_start(ev, &p->io);
}

static int listen_any(void)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof in;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof in) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) != 0)
        abort();
    server.port = ntohs(in.sin_port);
    return fd;
}

static void open_http(void)
{
    memset(&server, 0, sizeof server);
    begin();
    ev_io_init(&server.io, on_connection, listen_any(), EV_READ);
    ev_io_start(ml_loop_ev(loop), &server.io);
    site = site_open(NULL, 0);
    lua_pushfstring(site->vm.L, "http://127.0.0.1:%d", server.port);
    lua_setglobal(site->vm.L, "base");
    load(site, "function get(path, opts) opts = opts or {} opts.url = base .. path\n"
               "  return core.http_request(opts) end");
}

static void close_http(void)
{
    site_close(site);
    turn_until(NULL, 0); /* releases; nothing may be left that would end a wait */
    ev_io_stop(ml_loop_ev(loop), &server.io);
    close(server.io.fd);
    while (server.peers != NULL) {
        struct peer *p = server.peers;

        server.peers = p->next;
        peer_close(p);
        free(p);
    }
    finish();
}

static bool sent(const char *text)
{
    return strcasestr(server.last, text) != NULL;
}

/* ---- tests ---- */

TEST(an_answer_has_status_headers_and_body_and_connections_are_kept)
{
    open_http();
    run(site, "for i = 1, 3 do local r = get('/hello')\n"
              "  note(r.status, r.body, r.headers['content-type'], r.headers['Content-TYPE'],\n"
              "    r.headers.nothing) end note('end')");
    CHECK(is_noted("200 hi text/plain text/plain nil 200 hi text/plain text/plain nil "
                   "200 hi text/plain text/plain nil end "));
    CHECK(server.connections == 1 && server.requests == 3);
    CHECK(sent("GET /hello HTTP/1.1\r\nHost: 127.0.0.1:") && sent("\r\nUser-Agent: moonlatch\r\n"));
    CHECK(!sent("forwarded") && !sent("x-real-ip") && !sent("via:"));
    close_http();
}

TEST(without_keepalive_each_call_has_its_own_connection)
{
    open_http();
    run(site, "for i = 1, 2 do note(get('/hello', { keepalive = false }).status) end note('end')");
    CHECK(is_noted("200 200 end "));
    CHECK(server.connections == 2 && sent("\r\nConnection: close\r\n"));
    close_http();
}

TEST(chunks_lists_of_fields_and_json)
{
    open_http();
    run(site, "local r = get('/chunked') note(r.body, #r.headers['x-a'], r.headers['X-A'][3])\n"
              "r = get('/json') note(r.status, r:json().a[3])\n"
              "note(get('/hello'):json()) note('end')");
    CHECK(is_noted("hello world 3 3 201 3 nil malformed_json end "));
    close_http();
}

TEST(a_large_body_comes_whole)
{
    open_http();
    run(site,
        "local r = get('/large', { max_body = 1200000, timeout = 60 }) note(#r.body, r.body == "
        "('\\0'):rep(#r.body))\n"
        "local s, code = get('/large') note(code) note(get('/hello').status) note('end')");
    CHECK(is_noted("1200000 true too_large 200 end "));
    close_http();
}

TEST(method_query_headers_and_body_are_sent)
{
    open_http();
    run(site, "note(get('/p?z=1', { method = 'POST', query = { b = { 'x y', '&' }, a = 1 },\n"
              "  headers = { ['X-One'] = 'v', ['x-two'] = { 'a', 2 }, host = 'other.example',\n"
              "    connection = 'x-one', ['content-length'] = '99', ['x-real-ip'] = '10.0.0.1' },\n"
              "  body = 'payload' }).status) note('end')");
    CHECK(is_noted("200 end "));
    CHECK(sent("POST /p?z=1&a=1&b=x%20y&b=%26 HTTP/1.1\r\nHost: other.example\r\n"));
    CHECK(sent("\r\nX-One: v\r\n") && sent("\r\nx-two: a\r\nx-two: 2\r\n"));
    CHECK(sent("\r\nContent-Length: 7\r\n") && !sent("99") && !sent("\r\nconnection"));
    CHECK(sent("\r\nx-real-ip: 10.0.0.1\r\n") && sent("\r\n\r\npayload"));
    run(site, "get('/j', { method = 'PUT', json = { 1, 2 } }) note('end')");
    CHECK(sent("PUT /j ") && sent("\r\nContent-Type: application/json\r\n") &&
          sent("\r\n\r\n[1,2]"));
    close_http();
}

TEST(nothing_of_a_script_can_break_out_of_its_place)
{
    open_http();
    run(site, "local bad = 0\n"
              "local function raises(opts) opts.url = opts.url or base\n"
              "  if not pcall(core.http_request, opts) then bad = bad + 1 end end\n"
              "raises { headers = { a = 'x\\r\\nb: y' } } raises { headers = { ['a\\n'] = 'x' } }\n"
              "raises { headers = { a = 'x\\0' } } raises { headers = { [''] = 'x' } }\n"
              "raises { headers = { host = 'a b' } } raises { headers = { 'x' } }\n"
              "raises { headers = { a = {{}} } } raises { headers = 'a: b' }\n"
              "raises { method = 'GET / HTTP/1.1\\r\\n' } raises { method = 'CONNECT' }\n"
              "raises { method = '' } raises { body = {} } raises { body = 'x', json = 1 }\n"
              "raises { timeout = 0 } raises { timeout = 0/0 } raises { max_body = 1e12 }\n"
              "raises { redirects = -1 } raises { tiemout = 1 } raises { url = 1 }\n"
              "raises { query = 1 } raises { query = { 1 } } raises { query = { a = { {} } } }\n"
              "raises { json = print } note(bad) note(pcall(core.http_request, 'x')) note('end')");
    CHECK(has_noted("23 false bad argument #1"));
    CHECK(server.requests == 0);
    close_http();
}

TEST(urls_are_strict)
{
    open_http();
    run(site,
        "local function code(url) local r, c = core.http_request { url = url } note(c) end\n"
        "code('https:/127.0.0.1/') code('https://') code('ftp://a/') code('/hello') code('')\n"
        "code('http://') code('http://u:p@127.0.0.1/') code('http://a b/')\n"
        "code('http://127.0.0.1:99999/') code('http://127.0.0.1/a b')\n"
        "code('http://127.0.0.1/\\r\\nx: y') code('http://127.0.0.1/#f') code('http://[::1/')\n"
        "code('http://127.0.0.1/' .. ('x'):rep(9000)) note('end')");
    CHECK(is_noted("bad_target bad_target bad_target bad_target bad_target bad_target "
                   "bad_target bad_target bad_target bad_target bad_target bad_target bad_target "
                   "bad_target end "));
    CHECK(server.requests == 0);
    close_http();
}

TEST(failures_have_the_words_of_the_table)
{
    int unused;

    open_http();
    unused = server.port;
    close(listen_any()); /* a port where nobody listens */
    lua_pushinteger(site->vm.L, server.port);
    lua_setglobal(site->vm.L, "closed");
    server.port = unused;
    run(site, "local function code(r, c, m) note(r, c, type(m)) end\n"
              "code(core.http_request { url = 'http://127.0.0.1:' .. closed .. '/' })\n"
              "code(get('/never', { timeout = 0.05 })) code(get('/cut')) code(get('/bad'))\n"
              "code(get('/big', { max_body = 10 })) code(get('/json', { max_body = 12 }))\n"
              "note(get('/json', { max_body = 13 }).status) note('end')");
    CHECK(is_noted("nil upstream_refused string nil upstream_timeout string "
                   "nil upstream_closed string nil upstream_protocol string "
                   "nil too_large string nil too_large string 201 end "));
    close_http();
}

TEST(redirects_are_followed_when_asked_for)
{
    open_http();
    run(site, "note(get('/go/same').status) note(get('/go/same', { redirects = 1 }).body)\n"
              "local r, code = get('/go/tls', { redirects = 1 }) note(code)\n"
              "r, code = get('/go/file', { redirects = 1 }) note(code)\n"
              "note(get('/go/round', { redirects = 5 }).status) note('end')");
    CHECK(is_noted("307 hi upstream_refused bad_target 303 end "));
    CHECK(server.requests == 1 + 2 + 1 + 1 + 6);
    run(site, "get('/go/same', { method = 'PUT', body = 'b', redirects = 1,\n"
              "  headers = { authorization = 'secret' } }) note('end')");
    CHECK(sent("PUT /hello?x=1 ") && sent("authorization: secret") && sent("\r\n\r\nb"));
    close_http();
}

TEST(secrets_do_not_follow_to_another_host)
{
    open_http();
    run(site,
        "note(get('/go/other', { method = 'POST', body = 'b', redirects = 1, headers = {\n"
        "  authorization = 'secret', Cookie = 'secret', host = 'secret', ['x-a'] = 'v' } }).body)\n"
        "note('end')");
    ml_buf_consume(&noted, ml_buf_len(&noted));
    CHECK(sent("GET /hello HTTP/1.1\r\nHost: localhost:") && sent("x-a: v") && !sent("secret"));
    CHECK(!sent("\r\n\r\nb"));
    close_http();
}

TEST(a_cancelled_call_closes_its_connection_and_leaves_nothing)
{
    open_http();
    run(site, "note(core.race { function() return get('/never') end,\n"
              "  function() core.sleep(0.05) return 'first' end })\n"
              "core.sleep(0.02) note('end')");
    CHECK(is_noted("first 2 end "));
    CHECK(server.connections == 1 && server.peers->fd == -1);
    spawn(site, "get('/never') note('back')");
    spawn(site, "get('/big') note('back')");
    turn_until(NULL, 0.05);
    ml_tasks_stop_background(site->tasks);
    turn_until(NULL, 0.05);
    CHECK(is_noted("first 2 end "));
    close_http();
}

TEST(calls_run_side_by_side)
{
    open_http();
    run(site,
        "local fns = {} for i = 1, 20 do fns[i] = function() return get('/hello').status end end\n"
        "local sum = 0 for _, s in ipairs(core.all(fns)) do sum = sum + s end\n"
        "note(sum) for i = 1, 20 do get('/hello') end note('end')");
    CHECK(is_noted("4000 end "));
    CHECK(server.connections <= 20);
    close_http();
}

TEST(without_memory_for_the_result_nothing_leaks)
{
    open_http();
    site->vm.cap = site->vm.used + (300 << 10);
    run(site,
        "local keep, ok, err = {}, true, nil\n"
        "for i = 1, 2000 do ok, err = pcall(function()\n"
        "  keep[#keep + 1] = ('x'):rep(2000) .. i end) if not ok then break end end\n"
        "core.spawn(function() for i = 1, 3 do pcall(get, '/chunked') end end)\n"
        "core.sleep(0.05) keep = nil collectgarbage() note(get('/hello').status) note('end')");
    CHECK(has_noted("200 end "));
    close_http();
}
