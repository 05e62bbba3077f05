/* Every allocation of the VM fails once, and from each one on: nothing crashes, nothing leaks,
 * every request gets an answer, and the VM goes on working. */
#include "handle_lab.h"

#include "base/log_event.h"

/* Byte by byte there are a million allocations: then of the later ones only some fail. */
#ifdef ML_HARD
enum { SPARSE = 1, SCENE_MAX = 10000000 };
#else
enum { SPARSE = 0, SCENE_MAX = 2000 };
#endif

static lua_Alloc real;
static void *real_ud;
static long countdown; /* < 0: none fails */
static bool for_good, failed;

static void *failing(void *ud, void *p, size_t old_len, size_t new_len)
{
    (void)ud;
    if (new_len > old_len && countdown >= 0 && (countdown == 0 || --countdown == 0)) {
        failed = true;
        if (!for_good)
            countdown = -1;
        return NULL;
    }
    return real(real_ud, p, old_len, new_len);
}

struct scene {
    const char *load, *code, *body;
};

static const struct scene scenes[] = {
    {"",
     "for name, value in req:each_header() do req:set_header(name == 'Host' and 'X' or name, "
     "value) end "
     "req.headers['X-Z'] = { 'a', 'b' } req:header_values('x-z') local _ = req.args.a, "
     "req.params.id, "
     "req.cookies.x, req.version req.ctx.k = 1 req.user = { sub = 'x' } req.id = 'abc' "
     "req:set_query{ a = { 1, 2 } } req:set_path('/p') req:on_done(function() end) "
     "req:set_host('h') return core.response(200, { list = core.json_array() }, { ['X-A'] = { 'a', "
     "2 } })",
     NULL},
    {"free = core.response(200, 'free', { ['X-A'] = 'a' }) missing = core.error(404, 'c', 'm')",
     "core.adopt(free) core.adopt(missing) core.adopt(core.redirect('/x')) return free", NULL},
    {"",
     "local t = req:json() t.more = { 1.5, '\\n' } req:set_json(t) req:text() "
     "local res = core.forward(req, 'up', { timeout = 5, hash_key = 'x', host = 'h' }) "
     "local text = res:text() res:set_body(text .. '!') core.log('error', 'x', { t = t, n = 1, b = "
     "true }) "
     "core.forward(req, 0) return core.responded()",
     "{\"a\":[1,\"\\u00e9\",{\"b\":null}]}"},
    {"",
     "req:set_path('/big') local res = core.forward(req, 0) "
     "res:map_body(function(s, eof) return s end) res:text{ max = 1e7 } return res",
     NULL},
    {"",
     "req:form() core.json_decode(core.json_encode_pretty{ { 1 }, 'a' }) core.url_decode('a+%20') "
     "core.url_encode('a b') core.base64_decode(core.base64_encode('abc')) core.time_iso() "
     "core.random_hex(16) core.ip_match('::1', { '::1' }) "
     "core.race{ function() req:text() end, function() core.sleep(0) end } "
     "local ok, err = pcall(req.set_path, req, 'x') return core.error(400, 'a', tostring(err))",
     "a=1&b=%20&b=2"},
};

/* Serves the scene once; false when it did not come to the allocation that fails. */
static bool once(struct lab *lab, const struct scene *scene, int ref, long n)
{
    struct client c;

    client_open(&c);
    if (scene->body != NULL) {
        struct ml_pipe *p = client_body(&c);

        ml_pipe_put(p, ml_str_of(scene->body));
    }
    lua_gc(lab->vm.L, LUA_GCCOLLECT, 0); /* strings are made anew */
    failed = false;
    countdown = n;
    serve_ref(lab, &c, ref);
    if (scene->body != NULL) {
        ml_pipe_put(c.ex->req.body, ML_STR(" "));
        ml_pipe_eof(c.ex->req.body);
    }
    turn_until(&c.responded, 5);
    CHECK(c.responded);
    if (!c.complete && c.ex->res.body != NULL)
        while (!c.complete && c.ex->res.body->state == ML_PIPE_OPEN)
            ml_loop_turn(loop);
    countdown = -1;
    CHECK(c.ex->res.status >= 200);
    client_close(&c);
    ml_loop_turn(loop);
    return failed;
}

static void play(const struct scene *scene)
{
    struct lab *lab = lab_open();
    lua_State *L = lab->vm.L;
    int ref;
    long n = 1;

    CHECK(luaL_dostring(L, scene->load) == 0);
    ref = compile(lab, scene->code);
    once(lab, scene, ref, -1);
    real = lua_getallocf(L, &real_ud);
    lua_setallocf(L, failing, NULL);
    while (once(lab, scene, ref, n) && n < SCENE_MAX)
        n += 1 + SPARSE * n / 16;
    CHECK(n > 5 && n < SCENE_MAX);
    lua_setallocf(L, real, real_ud);
    run(lab, "note('alive') return core.response(200)");
    CHECK(is_noted("alive "));
    lab_close(lab);
}

static void play_all(void)
{
    struct ml_log *nowhere = ml_log_open("/dev/null");

    ml_log_event_set_sink(nowhere);
    for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++)
        play(&scenes[i]);
    ml_log_event_set_sink(NULL);
    ml_log_free(&nowhere);
}

TEST(one_allocation_may_fail)
{
    for_good = false;
    play_all();
}

TEST(all_allocations_from_one_on_may_fail)
{
    for_good = true;
    play_all();
}
