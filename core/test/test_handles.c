#include "handle_lab.h"

#include "base/log_event.h"

TEST(every_member_of_a_request_can_be_read)
{
    struct lab *lab = lab_open();

    run(lab,
        "note(req.method, req.path, req.raw_path, req.query, req.host, req.scheme, req.version)"
        "note(req.ip, req.peer_ip, req.id, req.route, req.tls, req.user)"
        "note(req.args.b, req.args.a[1], req.args.a[2], req.params.id, type(req.ctx))"
        "note(rawequal(req.args, req.args), rawequal(req.ctx, req.ctx), req.headers['x-one'])"
        "note(core.current() == req)"
        "return core.response(200)");
    CHECK(is_noted("GET /x/42 /x//42 a=1&b=2&a=3 example.com http 1.1 192.0.2.7 10.0.0.1 id-1 "
                   "/x/:id nil nil 2 1 3 42 table true true 1 true "));
    lab_close(lab);
}

TEST(a_request_is_forwarded_as_the_script_changed_it)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "req:set_path('/a/../b') req:set_query{ q = 'x y' } req:set_host('other:81')"
          "req:set_header('X-Note', 'hi') req:set_timeout(5)"
          "local res = core.forward(req, 0)"
          "note(res.status, res.from, res.timing.upstream >= 0, res.timing.tries)"
          "note(core.responded() == res, core.adopt(res) == res)"
          "res:set_header('X-Done', '1') return res");
    CHECK(turn_until(&c.complete, 5));
    CHECK(is_noted("200 upstream true 1 true true "));
    CHECK(body_is(&c, "GET /b?q=x%20y [other] hi <>"));
    CHECK(header_is(&c, "x-done", "1"));
    client_close(&c);
    lab_close(lab);
}

TEST(what_can_be_assigned_is_assigned_and_nothing_else)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "req.id = 'new-id' req.user = { sub = 'u1' } req.ctx = { k = 'v' }"
          "note(req.id, req.user.sub, req.ctx.k)"
          "for _, n in ipairs { 'path', 'method', 'nothing', 'headers' } do"
          "  note((pcall(function() req[n] = 'x' end))) end "
          "note((pcall(function() return req.nothing end)))"
          "for _, id in ipairs { '', ('x'):rep(129), 'a b', 'a\\nb', 'a\"b' } do"
          "  note((pcall(function() req.id = id end))) end "
          "note(pcall(function() req.path = 1 end))"
          "return core.response(200)");
    CHECK(turn_until(&c.complete, 1));
    CHECK(is_noted("new-id u1 v false false false false false false false false false false false "
                   "site:1: req.path can not be assigned; there may be a method req:set_path "));
    CHECK(ml_str_eq(c.ex->notes.user_id, ML_STR("u1")));
    client_close(&c);
    lab_close(lab);
}

TEST(headers_are_read_and_changed_in_any_case)
{
    struct lab *lab = lab_open();

    run(lab, "note(req:header('X-TWO'), req:header('none'), #req:header_values('X-Two'))"
             "local h = req.headers note(h['x-Two'], h.none, rawequal(h, req.headers))"
             "h['X-One'] = 'changed' note(req:header('x-one')) h['x-one'] = nil "
             "note(req:header('x-one')) req:set_header('x-list', { 'a', 'b', 3 })"
             "note(table.concat(req:header_values('X-List'), '+'))"
             "req:add_header('X-Two', '2c') note(#req:header_values('x-two'))"
             "note(req:remove_header('x-two'), req:remove_header('x-two'))"
             "for name, value in req:each_header() do note(name .. '=' .. value) end "
             "for name, value in req.headers() do note(value) end "
             "return core.response(200)");
    CHECK(is_noted("2a nil 2 2a nil true changed nil a+b+3 3 true false Host=example.com:80 "
                   "x-list=a x-list=b x-list=3 example.com:80 a b 3 "));
    lab_close(lab);
}

TEST(a_header_can_not_be_split)
{
    struct lab *lab = lab_open();

    run(lab,
        "local res = core.response(200)"
        "for _, m in ipairs { req, res } do"
        "  for _, v in ipairs { 'a\\r\\nX: 1', 'a\\nb', 'a\\0b', 'a\\127', {}, { 'ok', 'a\\rb' } } "
        "do"
        "    note(pcall(m.set_header, m, 'X-A', v) and m:header('x-a') ~= nil)"
        "    note((pcall(m.add_header, m, 'X-B', v)) and m:header('x-b') ~= nil) end "
        "  for _, n in ipairs { '', 'a b', 'a:', 'a\\r\\n', 'Content-Length', 'transfer-encoding',"
        "    'Connection' } do"
        "    note((pcall(m.set_header, m, n, 'x')), (pcall(m.add_header, m, n, 'x'))) end end "
        "note((pcall(req.set_header, req, 'host', 'x')))"
        "note((pcall(core.response, 200, 'x', { ['X-A'] = 'a\\nb' })))"
        "note((pcall(core.response, 200, 'x', { 'x' })))"
        "note((pcall(core.redirect, '/a\\r\\nSet-Cookie: x')))"
        "note((pcall(core.error, 400, 'a\\r\\nb')))"
        "return res");
    CHECK(ml_buf_len(&noted) > 0 &&
          memmem(noted.p + noted.start, ml_buf_len(&noted) - 5, "true", 4) == NULL);
    lab_close(lab);
}

TEST(the_query_and_its_arguments_agree)
{
    struct lab *lab = lab_open();

    run(lab,
        "note(req.args.a[2]) req:set_query('x=%20y+z&e&=1') "
        "note(req.query, req.args.x, req.args.e, req.args[''])"
        "for _, q in ipairs { 'a b', 'a\\nb', '%z', 'a#b' } do note((pcall(req.set_query, req, "
        "q))) end "
        "req:set_query{ a = { 1, 'b&c' } } note(req.query) req:set_query(nil) note(req.query)"
        "note((pcall(req.set_query, req, { a = function() end })))"
        "for _, p in ipairs { 'a', '/%00', '/a b', '/%2e%2e/x', '/a/%2f' } do"
        "  note(pcall(req.set_path, req, p) and req.path) end "
        "for _, h in ipairs { 'a b', 'a\\r\\n', '', 'a:x' } do note((pcall(req.set_host, req, h))) "
        "end "
        "for _, t in ipairs { 0, -1, 0/0, 1/0, 'x' } do note((pcall(req.set_timeout, req, t))) end "
        "note((pcall(req.set_upstream, req, 'none'))) req:set_upstream('up')"
        "return core.response(204)");
    CHECK(has_noted("3 "));
    CHECK(has_noted("a=1&a=b%26c  false"));
    CHECK(has_noted("false false false /x false false false false false false false false false "
                    "false false"));
    lab_close(lab);
}

TEST(credentials_are_taken_apart_strictly)
{
    struct lab *lab = lab_open();

    run(lab,
        "local function auth(v) req:set_header('Authorization', v)"
        "  note(req:bearer_token()) note(req:basic_auth()) end "
        "note(req:bearer_token()) auth('Bearer abc.d-e_f~+/==') auth('bearer  x') auth('Bearer')"
        "auth('Bearer a b') auth('Bearer =') auth('Basic dTpwOnE=') auth('basic dTpwOnE')"
        "auth('Basic dTpw*') auth('Basic dQ==') auth({ 'Bearer a', 'Bearer b' })"
        "return core.response(200)");
    CHECK(is_noted(
        "nil abc.d-e_f~+/== nil x nil nil nil nil nil nil nil nil u p:q nil u p:q nil nil nil "
        "nil nil nil "));
    lab_close(lab);
}

TEST(cookies_are_read_and_follow_their_header)
{
    struct lab *lab = lab_open();

    run(lab, "note(req.cookies.a) req:set_header('Cookie', { 'a=1; b=\"2\"; a=3', 'c = 4 ;x' })"
             "note(req.cookies.a, req.cookies.b, req.cookies.c, req.cookies.x)"
             "return core.response(200)");
    CHECK(is_noted("nil 1 2 4 nil "));
    lab_close(lab);
}

/* ---- responses ---- */

TEST(a_response_says_what_it_carries)
{
    struct lab *lab = lab_open();

    run(lab,
        "local function show(r) note(r.status, r:header('content-type'), r:text(), r.from) end "
        "show(core.response(200)) show(core.response(201, 'a')) show(core.response(202, { a = 1 }))"
        "show(core.response(200, 'x', { ['content-TYPE'] = 'text/html' }))"
        "show(core.response(200, {}, { ['X-L'] = { 'a', 'b' } })) show(core.redirect('/x'))"
        "note(core.redirect('/x', 308).status, core.redirect('http://a/'):header('location'))"
        "show(core.error(404, 'not_found', 'no \"x\"')) show(core.error(503, 'e'))"
        "return core.response(200)");
    CHECK(
        is_noted("200 nil  script 201 text/plain; charset=utf-8 a script 202 application/json "
                 "{\"a\":1} script 200 text/html x script 200 application/json {} script 302 nil  "
                 "script 308 http://a/ 404 application/json "
                 "{\"error\":\"not_found\",\"message\":\"no \\\"x\\\"\",\"requestId\":\"id-1\"}\n "
                 "script 503 application/json {\"error\":\"e\",\"message\":\"Service Unavailable\","
                 "\"requestId\":\"id-1\"}\n script "));
    lab_close(lab);
}

TEST(mistakes_in_a_response_are_errors_of_the_line_that_makes_it)
{
    struct lab *lab = lab_open();

    run(lab,
        "for _, s in ipairs { 99, 100, 199, 600, 200.5, 0/0, 1/0, '200', {}, -1, 1e300 } do"
        "  note((pcall(core.response, s))) end "
        "note(pcall(function() local r = core.response(1) return r end))"
        "for _, b in ipairs { true, print, req } do note((pcall(core.response, 200, b))) end "
        "note((pcall(core.response, 200, 'x', 'y')), (pcall(core.response, 200, { print })))"
        "for _, s in ipairs { 200, 300, 304, 309, 400 } do note((pcall(core.redirect, '/', s))) "
        "end "
        "for _, u in ipairs { '', ' ', '/a b', '/\\1' } do note((pcall(core.redirect, u))) end "
        "local r = core.response(200) for _, s in ipairs { 100, 600, '200', 200.5, 0/0 } do"
        "  note((pcall(function() r.status = s end))) end r.status = 418 note(r.status)"
        "note((pcall(function() r.from = 'x' end)), (pcall(function() return r.nothing end)))"
        "return r");
    CHECK(has_noted("site:1: the status of a response is an integer from 200 to 599"));
    CHECK(memmem(noted.p + noted.start, ml_buf_len(&noted), "true", 4) == NULL);
    CHECK(has_noted("418 false false"));
    lab_close(lab);
}

TEST(a_free_response_answers_many_requests)
{
    struct lab *lab = lab_open();
    struct client c;
    lua_State *L = lab->vm.L;

    CHECK(luaL_dostring(L, "hello = core.response(200, 'hello', { ['X-A'] = 'a' }) "
                           "missing = core.error(404, 'gone', 'it is gone') "
                           "hello:set_header('X-B', 'b')") == 0);
    for (int i = 0; i < 3; i++) {
        client_open(&c);
        serve(lab, &c, "local res = core.adopt(hello) res:set_header('X-A', 'mine') return res");
        CHECK(turn_until(&c.complete, 1));
        CHECK(body_is(&c, "hello") && header_is(&c, "x-a", "mine") && header_is(&c, "x-b", "b"));
        client_close(&c);
    }
    client_open(&c);
    serve(lab, &c, "note(hello:header('x-a')) return missing");
    CHECK(turn_until(&c.complete, 1));
    CHECK(c.ex->res.status == 404);
    CHECK(body_is(&c, "{\"error\":\"gone\",\"message\":\"it is gone\",\"requestId\":\"id-1\"}\n"));
    client_close(&c);
    client_open(&c);
    serve(lab, &c, "missing:set_body('other') return missing");
    CHECK(turn_until(&c.complete, 1));
    CHECK(body_is(&c, "other") && is_noted("a "));
    client_close(&c);
    CHECK(luaL_dostring(L, "hello, missing = nil collectgarbage() collectgarbage()") == 0);
    CHECK(lab->bridge->free_used == 0);
    lab_close(lab);
}

TEST(only_a_response_can_be_adopted)
{
    struct lab *lab = lab_open();
    struct client c;

    run(lab, "for _, v in ipairs { 1, 'x', {}, print, req, req.headers, true } do"
             "  note(select(2, pcall(core.adopt, v))) end note(core.responded())"
             "local a, b = core.response(200), core.response(201) core.adopt(a) core.adopt(b)"
             "note(pcall(function() return a.status end)) note((pcall(core.adopt, a)))"
             "note(core.responded() == b, b.status) return b");
    CHECK(is_noted("expected a response, got a number expected a response, got a string expected a "
                   "response, got a table expected a response, got a function expected a response, "
                   "got a request expected a response, got a userdata expected a response, got a "
                   "boolean nil false site:1: this response was replaced by another one false "
                   "true 201 "));
    client_open(&c);
    serve(lab, &c, "return 'text'");
    CHECK(turn_until(&c.complete, 1));
    CHECK(c.ex->res.status == 500);
    client_close(&c);
    client_open(&c);
    serve(lab, &c, "");
    CHECK(turn_until(&c.complete, 1));
    CHECK(c.ex->res.status == 500);
    client_close(&c);
    lab_close(lab);
}

TEST(a_handle_that_is_used_too_late_is_an_error)
{
    struct lab *lab = lab_open();

    run(lab, "old, headers = req, req.headers each = req:each_header()"
             "bound = core.response(200) res = core.forward(req, 'up') later = core.response(200) "
             "return core.adopt(bound)");
    run(lab,
        "for _, f in ipairs {"
        "  function() return old.path end, function() return old:header('x') end,"
        "  function() return old.ctx end, function() return headers.x end, function() each() end,"
        "  function() old:set_header('x', '1') end, function() return old:text() end,"
        "  function() old.user = 1 end, function() old:on_done(print) end,"
        "  function() return bound.status end, function() bound.status = 201 end,"
        "  function() return bound:text() end, function() return res.status end,"
        "  function() return later.status end, function() return core.adopt(later) end,"
        "  function() return core.adopt(bound) end, function() return core.forward(old, 0) end,"
        "  function() bound:map_body(print) end, function() return res.headers end"
        "} do local ok, err = pcall(f) note(ok, (err:gsub('^site:1: ', ''):sub(1, 12))) end "
        "return core.response(200)");
    CHECK(memmem(noted.p + noted.start, ml_buf_len(&noted), "true", 4) == NULL);
    CHECK(has_noted("this handle"));
    lab_close(lab);
}

TEST(methods_check_what_they_are_called_on)
{
    struct lab *lab = lab_open();

    run(lab,
        "local res = core.response(200)"
        "for _, self in ipairs { 1, 'x', {}, req.headers, print } do"
        "  for _, m in ipairs { 'header', 'set_header', 'text', 'set_body', 'json', 'set_path',"
        "    'basic_auth', 'on_done', 'each_header' } do"
        "    note((pcall(req[m], self, 'a', 'b'))) end "
        "  note((pcall(res.map_body, self, print))) end "
        "note((pcall(req.set_path, res, '/')), (pcall(res.map_body, req, print)))"
        "note((pcall(res.map_body, res, print)), (pcall(req.header, req)))"
        "note((pcall(req.body, req, -1)), (pcall(req.body, req, { max = 0/0 })))"
        "note((pcall(req.body, req, print)), getmetatable(req), (pcall(setmetatable, req, {})))"
        "return res");
    CHECK(memmem(noted.p + noted.start, ml_buf_len(&noted), "true", 4) == NULL);
    CHECK(has_noted("locked"));
    lab_close(lab);
}

/* ---- load time and background ---- */

static bool loads(struct lab *lab, const char *code)
{
    lua_State *L = lab->vm.L;
    bool ok = luaL_loadstring(L, code) == 0 && ml_task_call(lab->tasks, L, 0, 0) == 0;

    if (!ok) {
        ml_buf_printf(&noted, "%s\n", lua_tostring(L, -1));
        lua_pop(L, 1);
    }
    return ok;
}

TEST(what_needs_a_request_is_refused_without_one)
{
    struct lab *lab = lab_open();

    CHECK(loads(lab,
                "r = core.response(200, { a = 1 }) assert(r.status == 200 and r:json().a == 1)"
                "r:set_json{ b = 2 } r:set_header('X', '1') assert(r:text() == '{\"b\":2}')"
                "assert(core.current() == nil and r.from == 'script' and r.timing.total == nil)"));
    CHECK(!loads(lab, "core.adopt(r)"));
    CHECK(!loads(lab, "core.responded()"));
    CHECK(!loads(lab, "core.forward(r, 0)"));
    CHECK(!loads(lab, "r:map_body(print)"));
    CHECK(has_noted("can not be called while the site is loaded"));
    CHECK(loads(lab, "core.spawn = core.spawn"));
    run(lab, "core.spawn(function() note(core.current(), (pcall(core.adopt, r)), "
             "core.response(201).status)"
             "  end) return core.response(200)");
    turn_until(NULL, 0.01);
    CHECK(is_noted("nil false 201 "));
    CHECK(!loads(
        lab, "local t = {} for i = 1, 1e6 do t[i] = core.response(200, ('x'):rep(100000)) end"));
    CHECK(loads(lab, "for i = 1, 3000 do core.response(200, ('x'):rep(100000)) end"));
    lab_close(lab);
}

TEST(a_request_can_not_take_memory_without_end)
{
    struct lab *lab = lab_open();

    run(lab, "local big = ('x'):rep(4e6) local ok, err for i = 1, 100 do"
             "  ok, err = pcall(req.set_header, req, 'x-a', big) end note(ok, err)"
             "for i = 1, 10 do ok = pcall(core.response, 200, big) and ok end note(ok)"
             "return core.response(200)");
    CHECK(has_noted("takes too much memory") && has_noted("false"));
    lab_close(lab);
}

/* ---- the log, and texts ---- */

/* What was logged, as one text; the file goes. */
static size_t take_log(const char *path, char *out, size_t cap)
{
    FILE *f = fopen(path, "r");
    size_t len = f != NULL ? fread(out, 1, cap - 1, f) : 0;

    out[len] = '\0';
    if (f != NULL)
        fclose(f);
    unlink(path);
    return len;
}

TEST(an_event_of_a_script_says_which_request_it_belongs_to)
{
    char path[] = "/tmp/moonlatch_test_log_XXXXXX", text[65536];
    struct lab *lab = lab_open();
    struct ml_log *log;

    close(mkstemp(path));
    log = ml_log_open(path);
    ml_log_event_set_sink(log);
    run(lab, "core.log('warn', 'hello\\n', { n = 1.5, b = true, t = { 1, 'x' }, requestId = 'mine',"
             "  f = print, [1] = 'x', u = { { print } }, long = ('x'):rep(1e6) })"
             "core.log('debug', 'silent')"
             "for _, a in ipairs { 'none', {}, 1 } do note((pcall(core.log, a, 'x'))) end "
             "note((pcall(core.log, 'info', {})), (pcall(core.log, 'info', 'x', 'y')))"
             "return core.response(200)");
    ml_log_event_set_sink(NULL);
    ml_log_free(&log);
    take_log(path, text, sizeof text);
    CHECK(is_noted("false false false false false "));
    CHECK(strstr(text, "\"level\":\"warn\",\"message\":\"hello\\n\"") != NULL);
    CHECK(strstr(text, "\"requestId\":\"id-1\",\"generation\":7") != NULL);
    CHECK(strstr(text, "\"_requestId\":\"mine\"") != NULL && strstr(text, "silent") == NULL);
    lab_close(lab);
}

TEST(texts_are_encoded_and_decoded)
{
    struct lab *lab = lab_open();

    run(lab, "note(core.url_encode('a b/\\255~'), core.url_decode('a+b%2F%zz%'))"
             "note(core.base64_encode('ab'), core.base64_encode('\\255\\254', true), "
             "core.base64_encode(''))"
             "note(core.base64_decode('YWI='), core.base64_decode('__4', true), "
             "core.base64_decode('YQ==='))"
             "note(core.base64_decode('YR=='), core.base64_decode('Y'), core.base64_decode('=')) "
             "for i = 0, 50 do local s = ('\\200'):rep(i) for _, u in ipairs { true, false } do"
             "  assert(core.base64_decode(core.base64_encode(s, u), u) == s) end end "
             "note(core.ip_match('10.1.2.3', { '192.0.2.0/24', '10.0.0.0/8' }), core.ip_match('x', "
             "{ '::/0' }),"
             "  core.ip_match('::ffff:10.0.0.1', { '10.0.0.1' }), (pcall(core.ip_match, '1.1.1.1', "
             "{ 'x' })))"
             "note(core.time_iso(1.5), #core.random_hex(16), (pcall(core.time_iso, 0/0)), "
             "(pcall(core.random_hex, 0)),"
             "  (pcall(core.random_hex, 1e9)), core.now() > 1e9, core.mono() <= core.mono())"
             "return core.response(200)");
    CHECK(is_noted("a%20b%2F%FF~ a b/%zz% YWI= __4  ab \xff\xfe nil malformed_base64 nil nil nil "
                   "malformed_base64 true false true false 1970-01-01T00:00:01.500Z 32 false false "
                   "false true true "));
    lab_close(lab);
}
