#include "api_site.h"

#include "base/clock.h"

#include <sys/wait.h>
#include <time.h>

static unsigned count_noted(const char *word)
{
    unsigned n = 0;

    has_noted("");
    for (const char *p = noted.p + noted.start; (p = strstr(p, word)) != NULL; p += strlen(word))
        n++;
    return n;
}

TEST(a_timer_of_the_load_begins_with_its_generation)
{
    begin();
    struct site *s = site_open(NULL, 0);

    load(s, "n = 0 core.timer(0.01, function(t) n = n + 1 note(n)\n"
            "  if n == 3 then note(t:cancel(), t:cancel(), 'end') end end)");
    turn_until("1", 0.05);
    CHECK(is_noted(""));
    ml_api_timers_start(s->bridge);
    ml_api_timers_start(s->bridge);
    turn_until("end ", 5);
    turn_until(NULL, 0.05);
    CHECK(is_noted("1 2 3 true false end "));
    site_close(s);
    finish();
}

TEST(one_shot_and_immediate_timers)
{
    begin();
    struct site *s = site_open(NULL, 0);

    ml_api_timers_start(s->bridge);
    run(s, "core.timer(0.02, function() note('once') end, { repeating = false })\n"
           "core.timer(60, function() note('now') end, { immediately = true })\n"
           "local t = core.timer(0.01, function() note('never') end) t:cancel()\n"
           "core.sleep(0.1) note('end')");
    CHECK(is_noted("now once end "));
    site_close(s);
    finish();
}

TEST(firings_do_not_overlap_nor_drift)
{
    begin();
    struct site *s = site_open(NULL, 0);

    ml_api_timers_start(s->bridge);
    run(s, "local busy, worst = 0, 0\n"
           "core.timer(0.01, function() busy = busy + 1 worst = math.max(worst, busy)\n"
           "  core.sleep(0.025) busy = busy - 1 end)\n"
           "core.sleep(0.2) note(worst, 'end')");
    CHECK(is_noted("1 end "));
    double begun = ml_loop_now_s(loop);
    spawn(s, "n = 0 core.timer(0.02, function(t) n = n + 1 core.sleep(0.005)\n"
             "  if n == 10 then note('ten') t:cancel() end end)");
    turn_until("ten ", 5);
    double took = ml_loop_now_s(loop) - begun;
    CHECK(took > 0.19 && took < 0.3);
    site_close(s);
    finish();
}

TEST(an_error_does_not_stop_a_timer)
{
    begin();
    struct site *s = site_open(NULL, 0);

    ml_api_timers_start(s->bridge);
    run(s, "n = 0 core.timer(0.01, function() n = n + 1 if n == 1 then error('bad') end\n"
           "  if n == 2 then while true do end end note(n, 'end') end)");
    CHECK(has_noted("3 end "));
    site_close(s);
    finish();
}

TEST(a_retired_generation_fires_no_more)
{
    begin();
    struct site *s = site_open(NULL, 0);

    load(s, "core.timer(0.01, function() core.sleep(0.001) note('tick') core.sleep(9) end)");
    ml_api_timers_start(s->bridge);
    turn_until("tick ", 5);
    ml_tasks_stop_background(s->tasks);
    CHECK(ml_tasks_live(s->tasks) == 0);
    load(s, "t = core.timer(0.01, function() note('late') end) note(t:cancel())");
    turn_until(NULL, 0.05);
    CHECK(is_noted("tick false "));
    site_close(s);
    finish();
}

TEST(bad_arguments_and_too_many_timers_are_errors)
{
    begin();
    struct site *s = site_open(NULL, 0);

    load(s, "core.timer(0.001, print)");
    load(s, "core.timer(1)");
    load(s, "core.timer(1, print, { repeat_ = 1 })");
    load(s, "core.timer(1, print, { repeating = 1 })");
    CHECK(has_noted("seconds must be from 0.01"));
    CHECK(has_noted("unknown option 'repeat_'"));
    CHECK(has_noted("repeating must be true or false"));
    load(s, "local t = core.timer(1, print) t.cancel(print)");
    CHECK(has_noted("timer expected, got function"));
    load(s, "for i = 1, 2000 do core.timer(1, print) end");
    CHECK(has_noted("there are 1000 timers already"));
    run(s, "note(pcall(core.timer, 1, print, { once_per_machine = true })) note('end')");
    CHECK(has_noted("once_per_machine is for timers that are made while the site is loaded"));
    site_close(s);
    finish();
}

static const char shared_timer[] =
    "core.timer(0.02, function() note('tick') core.sleep(0) end, { once_per_machine = true })";

TEST(one_worker_of_all_runs_each_firing)
{
    begin();
    struct ml_shm *shm = ml_shm_new(0);
    struct site *a = site_open(shm, 0), *b = site_open(shm, 1);

    load(a, shared_timer);
    load(b, shared_timer);
    double begun = ml_loop_now_s(loop);
    ml_api_timers_start(a->bridge);
    ml_api_timers_start(b->bridge);
    turn_until(NULL, 0.3);
    double periods = (ml_loop_now_s(loop) - begun) / 0.02;
    unsigned ticks = count_noted("tick");
    CHECK(ticks >= 5 && ticks <= periods + 1);
    site_close(a); /* it dies: the other goes on */
    ml_buf_consume(&noted, ml_buf_len(&noted));
    turn_until(NULL, 0.2);
    CHECK(count_noted("tick") >= 4);
    site_close(b);
    ml_shm_free(&shm);
    finish();
}

TEST(no_worker_begins_while_another_is_still_at_it)
{
    begin();
    struct ml_shm *shm = ml_shm_new(0);
    struct site *a = site_open(shm, 0), *b = site_open(shm, 1);
    const char *code = "core.timer(0.02, function() note('tick') core.sleep(0.5) end,\n"
                       "  { once_per_machine = true })";

    load(a, code);
    load(b, code);
    ml_api_timers_start(a->bridge);
    ml_api_timers_start(b->bridge);
    turn_until(NULL, 0.2);
    CHECK(count_noted("tick") == 1);
    site_close(a); /* whoever had it gives it back */
    turn_until(NULL, 0.1);
    CHECK(count_noted("tick") <= 2);
    site_close(b);
    ml_shm_free(&shm);
    finish();
}

TEST(a_one_shot_once_per_machine_fires_once_in_a_generation)
{
    begin();
    struct ml_shm *shm = ml_shm_new(0);
    struct site *a = site_open(shm, 0), *b = site_open(shm, 1);
    const char *code = "core.timer(0.02, function() note('tick') end,\n"
                       "  { once_per_machine = true, repeating = false })";

    load(a, code);
    load(b, code);
    ml_api_timers_start(a->bridge);
    ml_api_timers_start(b->bridge);
    turn_until(NULL, 0.1);
    CHECK(is_noted("tick "));
    site_close(a);
    site_close(b);
    ml_shm_free(&shm);
    finish();
}

/* A worker that dies in the middle of a firing. */
static void die_at_work(struct ml_shm *shm, const char *code)
{
    struct site *s;

    begin();
    s = site_open(shm, 0);
    load(s, code);
    ml_api_timers_start(s->bridge);
    turn_until("tick ", 5);
    _exit(guard_fired);
}

static uint64_t mono_ns(void *ctx)
{
    struct timespec ts;

    (void)ctx;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static double wall_s(void *ctx)
{
    return (double)time(NULL) + *(double *)ctx;
}

static void random_bytes(void *ctx, void *p, size_t len)
{
    (void)ctx;
    memset(p, 1, len);
}

TEST(the_firings_of_a_worker_that_died_are_taken_over)
{
    const char *code = "core.timer(0.02, function() note('tick') core.sleep(60) end,\n"
                       "  { once_per_machine = true })";
    struct ml_shm *shm = ml_shm_new(0);
    double ahead_s = 0;
    struct ml_clock_source source = {mono_ns, wall_s, random_bytes, &ahead_s};
    pid_t pid = fork();
    struct site *s;
    int status = 1;

    if (pid == 0)
        die_at_work(shm, code);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    begin();
    ml_clock_set_source(&source);
    s = site_open(shm, 1);
    load(s, code);
    ml_api_timers_start(s->bridge);
    turn_until("tick ", 0.1);
    CHECK(is_noted("")); /* for all that is known it still works */
    ahead_s = 12;
    turn_until("tick ", 5);
    CHECK(is_noted("tick "));
    site_close(s);
    ml_clock_set_source(NULL);
    ml_shm_free(&shm);
    finish();
}
