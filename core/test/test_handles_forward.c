#include "handle_lab.h"

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
