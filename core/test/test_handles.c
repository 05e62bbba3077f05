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
    CHECK(!has_noted("xxx"));
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

/* ---- bodies ---- */

static void put(struct client *c, const char *text)
{
    ml_pipe_put(c->ex->req.body, ml_str_of(text));
}

TEST(a_body_may_come_in_any_pieces)
{
    struct lab *lab = lab_open();
    struct client c;
    static const char json[] = "{\"a\":[1,2,{}],\"b\":\"\\u00e9\"}";

    for (size_t n = 0; n < sizeof json; n++) {
        struct ml_pipe *p;

        client_open(&c);
        p = client_body(&c);
        ml_buf_consume(&noted, ml_buf_len(&noted));
        serve(lab, &c,
              "local t = req:json() note(t.a[2], #t.a, t.b, #req:text(), req:body() == req:text())"
              "return core.response(200)");
        CHECK(!c.responded && c.asked);
        ml_pipe_put(p, (struct ml_str){json, n});
        ml_pipe_put(p, (struct ml_str){json + n, sizeof json - 1 - n});
        ml_pipe_eof(p);
        CHECK(c.complete && is_noted("2 3 \xc3\xa9 27 true "));
        client_close(&c);
    }
    lab_close(lab);
}

TEST(forms_and_malformed_bodies)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    serve(lab, &c,
          "local f = req:form() note(f.a, f.b[1], f.b[2], f['c d']) note(req:json())"
          "note(req:text{ max = 3 }) note(req:body(100))"
          "return core.response(200)");
    put(&c, "a=1&b=2&b=%33&c+d=");
    put(&c, "x+y");
    ml_pipe_eof(c.ex->req.body);
    CHECK(is_noted("1 2 3 x y nil malformed_json nil too_large a=1&b=2&b=%33&c+d=x+y "));
    client_close(&c);
    lab_close(lab);
}

TEST(a_body_that_is_too_large_for_the_script_is_still_whole)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    serve(lab, &c,
          "note(req:text{ max = 5 }) local res = core.forward(req, 0) note(res.status)"
          "note(core.forward(req, 0)) note(res.status) return res");
    put(&c, "123");
    put(&c, "4567");
    CHECK(is_noted("nil too_large "));
    put(&c, "89");
    ml_pipe_eof(c.ex->req.body);
    CHECK(turn_until(&c.complete, 5));
    CHECK(is_noted("nil too_large 200 nil body_consumed 200 "));
    CHECK(body_is(&c, "POST /x/42?a=1&b=2&a=3 [127.0.0.1]  <123456789>"));
    client_close(&c);
    lab_close(lab);
}

TEST(an_announced_length_over_the_limit_needs_no_body)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    c.ex->req.has_length = true;
    c.ex->req.length = 2 << 20;
    serve(lab, &c, "note(req:text()) return core.response(413)");
    CHECK(c.complete && !c.asked && is_noted("nil too_large "));
    client_close(&c);
    lab_close(lab);
}

TEST(a_body_that_was_read_is_sent_again_and_again)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    serve(lab, &c,
          "req:text() local a = core.forward(req, 0) local text = a:text()"
          "local b = core.forward(req, 'up') note(pcall(function() return a.status end))"
          "note(b:text() == text) req:set_json{ n = 1 } note(req:header('content-type'))"
          "return core.forward(req, 0)");
    put(&c, "body");
    ml_pipe_eof(c.ex->req.body);
    CHECK(turn_until(&c.complete, 5));
    CHECK(
        is_noted("false site:1: this response was replaced by another one true application/json "));
    CHECK(body_is(&c, "POST /x/42?a=1&b=2&a=3 [127.0.0.1]  <{\"n\":1}>"));
    CHECK(lab->served == 3);
    client_close(&c);
    lab_close(lab);
}

TEST(a_body_can_be_set_before_that_of_the_client_came)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    put(&c, "old");
    serve(lab, &c,
          "req:set_body('new', 'text/x') note(req:header('content-type'))"
          "note((pcall(req.set_body, req, 'x', 'a\\nb'))) return core.forward(req, 0)");
    put(&c, "older");
    CHECK(turn_until(&c.complete, 5));
    CHECK(body_is(&c, "POST /x/42?a=1&b=2&a=3 [127.0.0.1]  <new>") && is_noted("text/x false "));
    client_close(&c);
    lab_close(lab);
}

TEST(the_body_of_a_response_is_read_and_replaced)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "req:set_path('/json') local res = core.forward(req, 0)"
          "local t = res:json() note(t.n) t.n = 2 res:set_json(t)"
          "note(res:header('etag'), #res:header_values('set-cookie')) return res");
    CHECK(turn_until(&c.complete, 5));
    CHECK(is_noted("1 nil 2 "));
    CHECK(memmem(c.body.p + c.body.start, ml_buf_len(&c.body), "\"list\":[]", 9) != NULL);
    client_close(&c);
    client_open(&c);
    serve(lab, &c,
          "req:set_path('/big') local res = core.forward(req, 0) note(res:text())"
          "note(res:text{ max = 10 }) note(#res:text{ max = 1e6 }) note(res.status)"
          "return res");
    CHECK(turn_until(&c.complete, 5));
    CHECK(ml_buf_len(&c.body) == BIG);
    client_close(&c);
    client_open(&c);
    serve(lab, &c,
          "req:set_path('/big') local res = core.forward(req, 0) res:set_body('small')"
          "return res");
    CHECK(turn_until(&c.complete, 5));
    CHECK(body_is(&c, "small"));
    client_close(&c);
    client_open(&c);
    serve(lab, &c, "req:set_path('/big') core.forward(req, 0) return core.response(403, 'no')");
    CHECK(turn_until(&c.complete, 5));
    CHECK(body_is(&c, "no") && c.ex->res.status == 403);
    client_close(&c);
    lab_close(lab);
}

/* ---- map_body ---- */

TEST(a_body_goes_through_a_function_piece_by_piece)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "req:set_path('/big') local res = core.forward(req, 0) local n, ends = 0, 0 "
          "res:map_body(function(chunk, eof) n = n + #chunk core.sleep(0)"
          "  if eof then note(n, chunk == '') return 'END' end return (chunk:gsub('b', 'cc')) end)"
          "return res");
    CHECK(turn_until(&c.complete, 5));
    CHECK(is_noted("300000 true ") && ml_buf_len(&c.body) == 2 * BIG + 3);
    CHECK(c.body.p[c.body.start] == 'c' && c.body.p[c.body.end - 1] == 'D');
    client_close(&c);
    client_open(&c);
    serve(lab, &c,
          "local res = core.adopt(core.response(200, 'abc'))"
          "res:map_body(function(s, eof) if not eof then return s:upper() end end)"
          "res:map_body(function(s, eof) return eof and '!' or s .. s end)"
          "note(res:text()) return res");
    CHECK(turn_until(&c.complete, 5));
    CHECK(body_is(&c, "ABCABC!") && has_noted("ABCABC!"));
    client_close(&c);
    lab_close(lab);
}

TEST(a_slow_client_slows_the_function_down)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    c.paused = true;
    serve(lab, &c,
          "req:set_path('/big') local res = core.forward(req, 0) "
          "res:map_body(function(chunk) return chunk end) return res");
    CHECK(turn_until(&c.responded, 5));
    for (int i = 0; i < 200 && !ml_pipe_full(c.ex->res.body); i++)
        turn_until(NULL, 0.01);
    CHECK(ml_pipe_full(c.ex->res.body));
    turn_until(NULL, 0.02);
    CHECK(ml_buf_len(&c.ex->res.body->buf) <= 2 * ML_PIPE_CAP);
    c.paused = false;
    client_take(&c);
    CHECK(turn_until(&c.complete, 5));
    CHECK(ml_buf_len(&c.body) == BIG);
    client_close(&c);
    lab_close(lab);
}

TEST(a_function_that_fails_breaks_the_body_off)
{
    static const char *const bad[] = {"error('oops')", "return 1", "return {}",
                                      "core.sleep(0) local x = nil + 1"};
    struct lab *lab = lab_open();
    struct client c;
    char code[256];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        client_open(&c);
        snprintf(code, sizeof code,
                 "req:set_path('/big') local res = core.forward(req, 0) "
                 "res:map_body(function(chunk) %s end) return res",
                 bad[i]);
        serve(lab, &c, code);
        CHECK(turn_until(&c.responded, 5));
        turn_until(NULL, 0.03);
        CHECK(!c.complete && c.ex->res.body->state == ML_PIPE_ABORTED);
        CHECK(c.ex->notes.why == ML_SCRIPT_ERROR && c.ex->upstream == NULL);
        client_close(&c);
    }
    lab_close(lab);
}

TEST(a_client_may_go_away_at_any_point)
{
    static const char *const codes[] = {
        "req:text()",
        "core.forward(req, 0)",
        "req:set_path('/never') core.forward(req, 0)",
        "core.sleep(10)",
        "req:set_path('/big') core.forward(req, 0):text{ max = 1e7 } core.sleep(10)",
        "req:set_path('/big') local r = core.forward(req, 0) r:map_body(function(s) "
        "core.sleep(0.01) "
        "return s end) return r",
        "req:set_path('/big') local r = core.forward(req, 0) r:map_body(function(s) "
        "core.sleep(0.01) "
        "return s end) r:map_body(function(s) return s end) r:text{ max = 1e7 } core.sleep(9)",
        "core.all{ function() req:text() end, function() core.sleep(9) end }",
        "core.race{ function() req:text() end, function() core.sleep(0.01) end } core.sleep(9)",
        "core.race{ function() core.forward(req, 0) end, function() end } core.sleep(9)",
    };
    struct lab *lab = lab_open();
    struct client c;

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        for (double s = 0; s < 0.03; s += 0.003) {
            client_open(&c);
            client_body(&c);
            put(&c, "part");
            serve(lab, &c, codes[i]);
            turn_until(NULL, s);
            c.complete = false;
            client_close(&c);
        }
    lab_close(lab);
}

/* ---- forwarding ---- */

TEST(a_failure_of_the_upstream_is_a_response_and_may_be_retried)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "req:set_path('/never') local a = core.forward(req, 0, { timeout = 0.02 })"
          "note(a.status, a.from, a:json().error, a:json().requestId)"
          "req:set_path('/ok') local b = core.forward(req, 0) note(b.status, b.from) return b");
    CHECK(turn_until(&c.complete, 5));
    CHECK(is_noted("504 gateway upstream_timeout id-1 200 upstream "));
    CHECK(c.ex->notes.why == ML_OK);
    client_close(&c);
    run(lab,
        "for _, g in ipairs { 1, -1, 0/0, 1e300, 'none', {}, true } do"
        "  note((pcall(core.forward, req, g))) end "
        "for _, o in ipairs { 'x', { none = 1 }, { timeout = -1 }, { timeout = '1' }, { host = 'a "
        "b' },"
        "  { hash_key = 1 }, { websocket = 1 } } do note((pcall(core.forward, req, 0, o))) end "
        "note((pcall(core.forward, 1, 0)), (pcall(core.forward, core.response(200), 0)))"
        "note(core.forward(req, 0, { host = 'h:1', hash_key = 'k', websocket = true }):text())"
        "return core.responded()");
    CHECK(has_noted("[h]") && memmem(noted.p + noted.start, ml_buf_len(&noted), "true", 4) == NULL);
    lab_close(lab);
}

TEST(one_branch_at_a_time_forwards_or_reads)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    serve(lab, &c,
          "local r = core.all({ function() return (req:text()) end,"
          "  function() return select(2, pcall(req.text, req)) end,"
          "  function() return select(2, pcall(core.forward, req, 0)) end,"
          "  function() return select(2, pcall(req.set_body, req, 'x')) end })"
          "note(r[1], r[2], r[3], r[4])"
          "r = core.all({ function() return core.forward(req, 0).status end,"
          "  function() return select(2, pcall(core.forward, req, 0)) end,"
          "  function() return core.current() == req end,"
          "  function() return select(2, pcall(core.adopt, core.response(200))) end })"
          "note(r[1], r[2], r[3], r[4]) return core.responded()");
    turn_until(NULL, 0.01);
    put(&c, "x");
    ml_pipe_eof(c.ex->req.body);
    CHECK(turn_until(&c.complete, 5));
    CHECK(is_noted(
        "x this body is being read already, by another branch the request can not be "
        "forwarded: its body is being read this body is being read by another branch 200 "
        "this request is being forwarded already, by another branch true the response can not "
        "be replaced: the request is being forwarded "));
    client_close(&c);
    lab_close(lab);
}

TEST(a_branch_that_loses_a_race_gives_the_body_back)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    client_body(&c);
    put(&c, "first ");
    serve(lab, &c,
          "core.race{ function() req:text() end, function() core.sleep(0.01) end }"
          "note(req:text()) return core.response(200)");
    turn_until(NULL, 0.02);
    put(&c, "second");
    ml_pipe_eof(c.ex->req.body);
    CHECK(turn_until(&c.complete, 1));
    CHECK(is_noted("first second "));
    client_close(&c);
    lab_close(lab);
}

TEST(functions_for_the_end_get_what_became_of_the_request)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "req:on_done(function(o) note(o.status, o.route, o.upstream, o.duration >= 0, o.err,"
          "  core.current(), (pcall(function() return req.path end))) end)"
          "req:on_done(function(o) error('x') end) req:on_done(function(o) note('third') end)"
          "note((pcall(req.on_done, req, 1))) return core.forward(req, 0)");
    CHECK(turn_until(&c.complete, 5));
    client_close(&c);
    turn_until(NULL, 0.01);
    CHECK(is_noted("false 200 /x/:id up true nil nil false third "));
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
