#include "api_site.h"

#include "base/limiter.h"

static struct ml_shm *shm;

static struct site *open_limits(void)
{
    begin();
    shm = ml_shm_new(0);
    return site_open(shm, 0);
}

static void close_limits(struct site *s)
{
    site_close(s);
    ml_shm_free(&shm);
    finish();
}

TEST(count_says_what_is_left)
{
    struct site *s = open_limits();

    load(s, "l = core.limiter { name = 'n', algorithm = 'fixed', limit = 3, window = 60 }");
    run(s, "local ok, left, reset, retry, delay, lease = l:count('k')\n"
           "note(ok, left, reset > 59 and reset <= 60, retry, delay, lease)\n"
           "note(l:count('k', 2)) note(l:count('k')) note('end')");
    CHECK(has_noted("true 2 true 0 0 nil true 0 "));
    CHECK(has_noted("false 0 "));
    close_limits(s);
}

TEST(generations_share_a_limiter_by_its_name)
{
    struct site *s = open_limits(), *t = site_open(shm, 1);
    const char *limiter = "l = core.limiter { name = 'n', algorithm = 'gcra', limit = 3 }";

    load(s, limiter);
    load(t, limiter);
    run(s, "note((l:count('k', 2))) note('end')");
    run(t, "note((l:count('k', 2)), (l:count('k', 1)), (l:count('other', 3))) note('end')");
    CHECK(is_noted("false true true end "));
    site_close(t);
    close_limits(s);
}

TEST(a_lease_is_held_until_it_is_released_or_collected)
{
    struct site *s = open_limits();

    load(s, "l = core.limiter { name = 'n', algorithm = 'concurrency', limit = 2 }");
    run(s, "local function take() return (select(6, l:count('k'))) end\n"
           "local a, b = take(), take() note(a ~= nil, b ~= nil, take())\n"
           "a:release() a:release() local c = take() note(c ~= nil, take())\n"
           "b, c = nil, nil collectgarbage() collectgarbage()\n"
           "note((select(2, l:count('k', 0)))) note('end')");
    CHECK(is_noted("true true nil true nil 2 end "));
    close_limits(s);
}

TEST(a_vm_that_is_closed_holds_nothing)
{
    struct site *s = open_limits(), *t = site_open(shm, 1);
    const char *limiter = "l = core.limiter { name = 'n', algorithm = 'concurrency', limit = 2 }";

    load(s, limiter);
    load(t, limiter);
    run(t, "held = { l:count('k', 2) } note(held[1]) note('end')");
    run(s, "note((l:count('k'))) note('end')");
    CHECK(is_noted("false end "));
    site_close(t);
    run(s, "note((l:count('k', 2))) note('end')");
    CHECK(is_noted("true end "));
    close_limits(s);
}

TEST(leases_are_renewed_as_long_as_they_are_held)
{
    struct site *s = open_limits();

    load(s, "l = core.limiter { name = 'n', algorithm = 'concurrency', limit = 1 }");
    run(s, "held = { l:count('k') } note(held[1]) note('end')");
    turn_until(NULL, 11); /* longer than a lease that nobody renews */
    run(s, "note((l:count('k'))) held[6]:release() note((l:count('k'))) note('end')");
    CHECK(is_noted("false true end "));
    close_limits(s);
}

TEST(networks_of_addresses)
{
    struct site *s = open_limits();

    run(s,
        "note(core.ip_network('192.0.2.7', 56), core.ip_network('unix', 56))\n"
        "note(core.ip_network('2001:db8:1:2ff:5:6:7:8', 56), core.ip_network('2001:db8::1', 3))\n"
        "note(core.ip_network('::ffff:192.0.2.7', 56), core.ip_network('2001:db8::1', 128))\n"
        "note(core.ip_network('2001:db8:ffff::', 33), core.ip_network('x:y', 56)) note('end')");
    CHECK(
        is_noted("192.0.2.7 unix 2001:db8:1:200:: 2000:: 192.0.2.7 2001:db8::1 2001:db8:8000:: x:y "
                 "end "));
    close_limits(s);
}

TEST(wrong_arguments_raise)
{
    struct site *s = open_limits();

    load(s, "l = core.limiter { name = 'n', algorithm = 'fixed', limit = 3 }");
    run(s,
        "local bad = 0\n"
        "local function raises(f, ...) if not pcall(f, ...) then bad = bad + 1 end end\n"
        "local function limiter(t)\n"
        "  for k, v in pairs { name = 'n', algorithm = 'fixed', limit = 3 } do\n"
        "    if t[k] == nil then t[k] = v end end\n"
        "  raises(core.limiter, t) end\n"
        "raises(core.limiter) raises(core.limiter, {}) limiter { algorithm = 'x' }\n"
        "limiter { limit = 0 } limiter { limit = 1.5 } limiter { limit = 0/0 } limiter { window = "
        "0 }\n"
        "limiter { window = 0/0 } limiter { lmit = 3 } limiter { limit = 1e9 } limiter { name = '' "
        "}\n"
        "limiter { algorithm = 'sliding', window = 1.5 }\n"
        "raises(l.count) raises(l.count, {}, 'k') raises(l.count, io.stdout, 'k')\n"
        "raises(l.count, l) raises(l.count, l, ('x'):rep(1025)) raises(l.count, l, 'k', -1)\n"
        "raises(l.count, l, 'k', 0.5) raises(l.count, l, 'k', 0/0) raises(l.count, l, 'k', 1e9)\n"
        "raises(core.ip_network) raises(core.ip_network, 'x', 129) raises(core.ip_network, 'x', "
        "0)\n"
        "note(bad, getmetatable(l), 'end')");
    CHECK(is_noted("24 locked end "));
    close_limits(s);
}

TEST(loading_makes_limiters_but_counts_nothing)
{
    struct site *s = open_limits();

    load(s, "core.limiter { name = 'n', algorithm = 'fixed', limit = 3 }:count('k')");
    CHECK(has_noted("site:1: a limiter can not count while the site is loaded"));
    close_limits(s);
}
