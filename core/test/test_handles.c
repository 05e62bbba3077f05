#include "handle_lab.h"

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
