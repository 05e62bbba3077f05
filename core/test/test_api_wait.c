#include "api_site.h"

#include <math.h>

TEST(sleepers_wake_in_the_order_of_their_times)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s,
        "local function late(t, name) core.spawn(function(n) core.sleep(t) note(n) end, name) end\n"
        "late(0.03, 'c') late(0.01, 'a') late(0.02, 'b')\n"
        "core.sleep(0) note('first') core.sleep(0.05) note('end')");
    CHECK(is_noted("first a b c end "));
    site_close(s);
    finish();
}

TEST(times_that_are_none_are_errors_of_the_caller)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s, "for _, t in ipairs { -1, 0/0, 1/0, 1e9, '1', false } do\n"
           "  local ok, err = pcall(core.sleep, t) note(ok, type(err))\n"
           "end\n"
           "note(pcall(core.sleep)) note('end')");
    CHECK(has_noted("false string false string false string false string false string false string "
                    "false bad argument #1"));
    site_close(s);
    finish();
}

TEST(nothing_waits_or_is_spawned_while_the_site_is_loaded)
{
    begin();
    struct site *s = site_open(NULL, 0);

    load(s, "core.sleep(1)");
    load(s, "core.spawn(function() end)");
    load(s, "core.all { function() end }");
    load(s, "core.http_request { url = 'http://127.0.0.1/' }");
    CHECK(has_noted("site:1: this function waits: it can not be called while the site is loaded"));
    CHECK(has_noted("spawn can not be called while the site is loaded"));
    CHECK(ml_tasks_live(s->tasks) == 0);
    site_close(s);
    finish();
}

TEST(all_gives_the_first_results_in_order)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s,
        "local r, k = core.all { function() core.sleep(0.02) return 'a', 'x' end,\n"
        "  function() return nil end, function() core.sleep(0.01) return 'c' end }\n"
        "note(r[1], r[2], r[3], #r, k)\n"
        "r = core.all { x = function() return 1 end, y = function() core.sleep(0) return 2 end }\n"
        "note(r.x, r.y)\n"
        "note(next(core.all {})) note('end')");
    CHECK(is_noted("a nil c 3 nil 1 2 nil end "));
    site_close(s);
    finish();
}

TEST(an_error_of_a_branch_ends_all_and_cancels_the_others)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s, "local ok, err = pcall(core.all, {\n"
           "  function() core.sleep(0.05) note('late') end,\n"
           "  function() core.all { function() core.sleep(0.05) note('later') end } end,\n"
           "  function() core.sleep(0.01) error('broken') end })\n"
           "note(ok, err)\n"
           "local t = {} ok, err = pcall(core.all, { function() error(t) end }) note(err == t)\n"
           "core.sleep(0.1) note('end')");
    CHECK(is_noted("false site:4: broken true end "));
    site_close(s);
    finish();
}

TEST(a_settled_all_has_every_outcome)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s, "local r = core.all({ function() error('no', 0) end, function() return 7 end,\n"
           "  function() end }, { settle = true })\n"
           "note(r[1].ok, r[1].error, r[1].value, r[2].ok, r[2].value, r[3].ok, r[3].value)\n"
           "r = core.all({ a = function() error('no', 0) end }, { settle = true })\n"
           "note(r.a.ok, r.a.error) note('end')");
    CHECK(is_noted("false no nil true 7 true nil false no end "));
    site_close(s);
    finish();
}

TEST(the_first_to_end_wins_a_race)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s,
        "note(core.race { function() core.sleep(0.05) note('late') return 1 end,\n"
        "  function() core.sleep(0.01) return 'two' end })\n"
        "note(core.race { slow = function() core.sleep(9) end, quick = function() return 3 end })\n"
        "note(pcall(core.race, { function() core.sleep(9) end, function() error('x', 0) end }))\n"
        "core.sleep(0.1) note('end')");
    CHECK(is_noted("two 2 3 quick false x end "));
    site_close(s);
    finish();
}

TEST(what_is_no_list_of_functions_is_an_error_at_the_caller)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s,
        "local function try(f, ...) local a = { ... }\n"
        "  local ok, err = pcall(function() f(unpack(a, 1, 2)) end) note(err) end\n"
        "try(core.all, 1) try(core.all, { 1 }) try(core.race, {})\n"
        "try(core.all, {}, { settl = true }) try(core.race, { print }, { settle = true })\n"
        "local many = {} for i = 1, 1001 do many[i] = print end try(core.all, many) note('end')");
    CHECK(
        has_noted("site:2: all: a list of functions is expected site:2: all: each branch must be a "
                  "function site:2: race: a race needs a branch site:2: all: unknown or bad option "
                  "site:2: race: unknown or bad option site:2: all: there are more than 1000 "
                  "branches end "));
    site_close(s);
    finish();
}

TEST(a_thousand_branches_and_deep_nesting_work)
{
    begin();
    struct site *s = site_open(NULL, 0);

    run(s, "local fns = {} for i = 1, 1000 do fns[i] = function() core.sleep(0) return i end end\n"
           "local sum = 0 for _, v in ipairs(core.all(fns)) do sum = sum + v end note(sum)\n"
           "local function deep(n) if n == 0 then core.sleep(0) return 'bottom' end\n"
           "  return core.all({ function() return deep(n - 1) end })[1] end\n"
           "note(deep(50)) note('end')");
    CHECK(is_noted("500500 bottom end "));
    site_close(s);
    finish();
}

TEST(a_vm_without_memory_fails_the_call_and_leaks_nothing)
{
    begin();
    struct site *s = site_open(NULL, 0);

    s->vm.cap = s->vm.used + (200 << 10);
    run(s, "local fns = {} for i = 1, 900 do fns[i] = function() core.sleep(0.01) end end\n"
           "local ok, err = pcall(core.all, fns) fns = nil note(ok, err)\n"
           "collectgarbage() note(core.all({ function() return 'again' end })[1]) note('end')");
    CHECK(has_noted("false"));
    CHECK(has_noted("not enough memory again end "));
    site_close(s);
    finish();
}

static void no_respond(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    (void)ex;
    ml_buf_append(&noted, ML_STR("responded "));
}

static void cancel_exchange(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_task_cancel_exchange(ex);
}

static void finish_exchange(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    ml_task_finish_exchange(ex);
}

static struct ml_handler handler = {.cancel = cancel_exchange, .done = finish_exchange};

static struct ml_exchange *serve(struct site *s, const char *code)
{
    struct ml_wire wire = {.respond = no_respond};
    struct ml_exchange *ex = ml_exchange_new(loop, &handler, wire);
    struct ml_route_match match = {.pattern = ML_STR("/")};
    lua_State *L = s->vm.L;

    if (luaL_loadbuffer(L, code, strlen(code), "=site") != 0)
        abort();
    ml_task_serve(s->tasks, ex, luaL_ref(L, LUA_REGISTRYINDEX), &match);
    return ex;
}

TEST(a_request_that_goes_away_takes_its_branches_along_but_not_what_it_spawned)
{
    begin();
    struct site *s = site_open(NULL, 0);
    struct ml_exchange *ex =
        serve(s, "core.spawn(function(a, b) core.sleep(0.02) note(a, b, 'end') end, 1, 2)\n"
                 "core.all { function() core.sleep(0.01) note('branch') end,\n"
                 "  function() core.race { function() core.sleep(0.01) note('race') end } end }\n"
                 "note('root')");

    ml_loop_turn(loop);
    CHECK(ml_tasks_live(s->tasks) == 5);
    ml_exchange_cancel(&ex, ML_RESET);
    CHECK(ml_tasks_live(s->tasks) == 1);
    turn_until("end ", 5);
    CHECK(is_noted("1 2 end "));
    site_close(s);
    finish();
}

TEST(a_spawned_task_does_not_prolong_the_request)
{
    begin();
    struct site *s = site_open(NULL, 0);
    struct ml_exchange *ex = serve(s, "core.spawn(function() core.sleep(0.01) note('end') end)");

    CHECK(is_noted("responded "));
    ml_exchange_finish(&ex);
    turn_until("end ", 5);
    CHECK(is_noted("responded end "));
    site_close(s);
    finish();
}

TEST(a_replaced_generation_lets_background_tasks_wait_for_a_while_only)
{
    begin();
    struct site *s = site_open(NULL, 0);
    struct ml_exchange *ex = serve(s, "core.sleep(0.01) core.sleep(0)\n"
                                      "core.spawn(function() core.sleep(0.01) note('short')\n"
                                      "  note(pcall(core.sleep, 60)) note('end') end)");

    CHECK(ml_api_timers_grace_s(s->bridge) == INFINITY);
    ml_tasks_stop_background(s->tasks);
    turn_until("end ", 5);
    CHECK(has_noted("responded short false this generation of scripts was replaced"));
    ml_exchange_finish(&ex);
    ml_loop_turn(loop);
    site_close(s);
    finish();
}
