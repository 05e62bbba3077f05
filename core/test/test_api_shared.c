#include "api_site.h"

static struct ml_shm *shm;

static struct site *open_shared(void)
{
    begin();
    shm = ml_shm_new(0);
    return site_open(shm, 0);
}

static void close_shared(struct site *s)
{
    site_close(s);
    ml_shm_free(&shm);
    finish();
}

TEST(values_of_all_kinds_come_back)
{
    struct site *s = open_shared();

    load(s, "d = core.shared('d')");
    run(s, "note(d:get('k'), d:set('k', 'text'), d:get('k'), d:set('k', 1.5), d:get('k'))\n"
           "note(d:set('k', false), d:get('k'), d:set('k', nil), d:get('k'))\n"
           "d:set(7, 'seven') note(d:get('7'), d:delete(7), d:get(7))\n"
           "d:set('z', 'a\\0b') note(#d:get('z')) d:set('e', '') note(#d:get('e'))\n"
           "local long = ('x'):rep(20000) d:set('l', long) note(d:get('l') == long)\n"
           "note(core.shared('d'):get('l') == long, core.shared('other'):get('l')) note('end')");
    CHECK(is_noted(
        "nil true text true 1.5 true false true nil seven true nil 3 0 true true nil end "));
    close_shared(s);
}

TEST(add_and_incr_are_atomic_steps_with_a_time_to_live)
{
    struct site *s = open_shared();

    load(s, "d = core.shared('d')");
    run(s,
        "note(d:add('a', 1), d:add('a', 2)) note(d:get('a'))\n"
        "note(d:incr('n')) note(d:incr('n', 2.5)) note(d:incr('m', 1, { init = 10, ttl = 60 }))\n"
        "local n, err, left = d:incr('w', 1, 30) note(n, err, left > 29 and left <= 30)\n"
        "d:set('t', 'text') note(d:incr('t')) note(d:add('a2', 'v', 60))\n"
        "d:set('short', 1, 0.01) core.sleep(0.03) note(d:get('short')) note('end')");
    CHECK(has_noted("true false exists 1 1 nil nil 3.5 nil nil 11 nil "));
    CHECK(has_noted("1 nil true nil not_a_number true nil end "));
    close_shared(s);
}

TEST(keys_and_clear_know_their_dict_only)
{
    struct site *s = open_shared();

    load(s, "d, e = core.shared('d'), core.shared('e')");
    run(s, "for i = 1, 50 do d:set('k' .. i, i) end e:set('x', 1)\n"
           "note(#d:keys(), #d:keys(10), e:keys()[1]) d:clear() note(#d:keys(), e:get('x'))\n"
           "note('end')");
    CHECK(is_noted("50 10 x 0 1 end "));
    close_shared(s);
}

TEST(a_value_that_no_segment_holds_is_refused)
{
    struct site *s = open_shared();

    load(s, "d = core.shared('d')");
    run(s, "note(d:set('k', ('x'):rep(4000000))) note(d:add('k', ('x'):rep(4000000)))\n"
           "note(d:get('k')) note('end')");
    CHECK(is_noted("nil too_large nil too_large nil end "));
    close_shared(s);
}

TEST(wrong_arguments_raise)
{
    struct site *s = open_shared();

    load(s, "d = core.shared('d')");
    run(s,
        "local bad = 0\n"
        "local function raises(f, ...) if not pcall(f, ...) then bad = bad + 1 end end\n"
        "raises(core.shared) raises(core.shared, '') raises(core.shared, ('x'):rep(256))\n"
        "raises(core.shared, 1) raises(core.shared, '\\1timers')\n"
        "raises(d.get) raises(d.get, io.stdout, 'k') raises(d.get, {}, 'k') raises(d.get, d)\n"
        "raises(d.get, d, '') raises(d.get, d, ('x'):rep(1025)) raises(d.get, d, {})\n"
        "raises(d.set, d, 'k') raises(d.set, d, 'k', {}) raises(d.set, d, 'k', 1, 0)\n"
        "raises(d.set, d, 'k', 1, -1) raises(d.set, d, 'k', 1, 0/0) raises(d.set, d, 'k', 1, '1')\n"
        "raises(d.add, d, 'k', nil) raises(d.incr, d, 'k', 0/0) raises(d.incr, d, 'k', {})\n"
        "raises(d.incr, d, 'k', 1, { ttl = 0 }) raises(d.incr, d, 'k', 1, { tll = 1 })\n"
        "raises(d.keys, d, 0) raises(d.keys, d, 0/0)\n"
        "note(bad, getmetatable(d), 'end')");
    CHECK(is_noted("25 locked end "));
    close_shared(s);
}

TEST(loading_makes_handles_but_reads_nothing)
{
    struct site *s = open_shared();

    load(s, "core.shared('d'):get('k')");
    CHECK(has_noted("site:1: a shared dict can not be used while the site is loaded"));
    close_shared(s);
}

TEST(a_generation_sees_what_another_one_wrote)
{
    struct site *s = open_shared(), *t = site_open(shm, 1);

    run(s, "core.shared('d'):set('k', 'from s') note('end')");
    ml_buf_consume(&noted, ml_buf_len(&noted));
    run(t, "note(core.shared('d'):get('k')) note('end')");
    CHECK(is_noted("from s end "));
    site_close(t);
    close_shared(s);
}
