#include "handle_lab.h"

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
