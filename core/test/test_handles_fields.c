/* test_handles_fields.c - fields that are checked once and put on many messages; sets of networks;
 * the limit of a body. */
#include "handle_lab.h"

TEST(fields_are_set_removed_and_merged)
{
    struct lab *lab = lab_open();

    run(lab,
        "local f = core.fields { { 'X-A', '1' }, { 'Server', false }, { 'x-in-*', false },"
        "  { 'Vary', 'Origin', true }, { 'X-B', '' } }"
        "local res = core.response(200, nil, { ['x-a'] = { '2', '3' }, server = 's', ['X-In-1'] = "
        "'1',"
        "  ['X-IN-'] = '2', ['X-I'] = '3', vary = { 'Accept', 'Cookie' } })"
        "f:apply(res)"
        "note(#res:header_values('x-a'), res:header('x-a'), res:header('server'), "
        "res:header('x-in-1'),"
        "  res:header('x-in-'), res:header('x-i'), #res:header_values('vary'), res:header('vary'))"
        "note(res:header('x-b') == '')"
        "f:apply(res) note(res:header('vary'))"
        "res:set_header('vary', '*') f:apply(res) note(res:header('vary'))"
        "res:set_header('vary', '') f:apply(res) note(res:header('vary'))"
        "f:apply(req) note(req:header('x-a'))"
        "return res");
    CHECK(
        is_noted("1 1 nil nil nil 3 1 Accept, Cookie, Origin true Accept, Cookie, Origin * Origin "
                 "1 "));
    lab_close(lab);
}

TEST(what_one_request_keeps_the_next_does_not_see)
{
    struct lab *lab = lab_open();

    run(lab, "note(req.user, next(req.ctx)) req.user = { sub = 'u' } req.ctx.x = 1 req.ctx.y = 2 "
             "note(req.user.sub, req.ctx.x + req.ctx.y) req.user = nil note(req.user) req.user = 7 "
             "req.ctx = { x = 5 } note(req.user, req.ctx.x) req.ctx = nil note(req.ctx.x) "
             "req.ctx.x = 1 return core.response(200)");
    CHECK(is_noted("nil nil u 3 nil 7 5 nil "));
    run(lab, "note(req.user, req.ctx.x) return core.response(200)");
    CHECK(is_noted("nil nil "));
    lab_close(lab);
}

TEST(fields_of_a_name_are_counted)
{
    struct lab *lab = lab_open();

    run(lab, "local res = core.response(200, nil, { ['x-a'] = { '1', '2' }, ['x-b'] = '1' })"
             "note(res:header_count('X-A'), res:header_count('x-b'), res:header_count('x-c'),"
             "  (pcall(res.header_count, res)))"
             "return res");
    CHECK(is_noted("2 1 0 false "));
    lab_close(lab);
}

/* A set made for one request may be collected before the answer is sent. */
TEST(fields_outlive_a_set_that_was_made_for_one_message)
{
    struct lab *lab = lab_open();

    run(lab, "local res = core.response(200)"
             "core.fields { { 'X-A', 'first' }, { 'Vary', 'Origin', true }, { 'X-B', 'last' } "
             "}:apply(res)"
             "collectgarbage() collectgarbage()"
             "local waste = {} for i = 1, 200 do waste[i] = ('z'):rep(i) end "
             "note(res:header('x-a'), res:header('vary'), res:header('x-b'))"
             "return res");
    CHECK(is_noted("first Origin last "));
    lab_close(lab);
}

TEST(fields_that_could_hurt_are_refused)
{
    struct lab *lab = lab_open();

    run(lab, "for _, list in ipairs { { { 'a b', '1' } }, { { 'X', 'a\\r\\nb' } }, { { "
             "'Content-Length', '1' } },"
             "  { { 'transfer-encoding', false } }, { { 'Connection', 'x' } }, { { 'Host', 'x' } },"
             "  { { 'X', '1' }, { 'Y', '1' }, { 'x', '2' } }, { { 'X', 1 } }, { { 1, 'x' } }, { { "
             "'X' } }, { 'x' }, { { '', 'x' } }, { { 'X', true } } } do"
             "  note((pcall(core.fields, list))) end "
             "local many = {} for i = 1, 65 do many[i] = { 'X', '1' } end "
             "note((pcall(core.fields, many)), (pcall(core.fields)))"
             "local f = core.fields {}"
             "note((pcall(f.apply, f)), (pcall(f.apply, f, {})), (pcall(f.apply, {}, req)), "
             "(pcall(f.keep, f, "
             "core.response(200))))"
             "return core.response(200)");
    CHECK(is_noted("false false false false false false false false false false false false false "
                   "false false false false false false "));
    lab_close(lab);
}

TEST(kept_fields_are_on_the_answer_of_a_script_that_failed)
{
    struct lab *lab = lab_open();
    struct client c;

    client_open(&c);
    serve(lab, &c,
          "core.fields { { 'X-A', '1' }, { 'Vary', 'Origin', true }, { 'X-B', '1' } }:keep(req)"
          "core.fields { { 'X-B', '2' }, { 'Vary', 'Accept', true }, { 'X-A', false } }:keep(req)"
          "error('oh')");
    CHECK(turn_until(&c.complete, 1));
    CHECK(c.ex->res.status == 500);
    CHECK(header_is(&c, "x-b", "2") && header_is(&c, "vary", "Origin, Accept"));
    CHECK(ml_headers_find(&c.ex->res.headers, ML_STR("x-a")) == NULL);
    client_close(&c);
    lab_close(lab);
}

TEST(a_set_of_networks_is_asked_for_addresses)
{
    struct lab *lab = lab_open();

    run(lab, "local n = core.networks { '10.0.0.0/8', '10.1.0.0/16', '2001:db8::/32' }"
             "note(n:has('10.1.2.3'), n:has('10.200.0.1'), n:has('11.0.0.1'), n:has('2001:db8::1'),"
             "  n:has('unix'), n:has(''), n:has('::ffff:10.0.0.1'))"
             "note(core.networks {}:has('10.0.0.1'))"
             "note((pcall(core.networks, { '10.0.0.0/33' })), (pcall(core.networks, { 1 })), "
             "(pcall(core.networks)),"
             "  (pcall(n.has, n)), (pcall(n.has, {}, '10.0.0.1')))"
             "return core.response(200)");
    CHECK(is_noted("true true false true false false true false false false false false false "));
    lab_close(lab);
}
