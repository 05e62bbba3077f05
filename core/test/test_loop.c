/* test_loop.c - the order within a turn, timers, deferred work, releases. */
#include "transport/loop.h"

#include "test.h"

static struct ml_loop *loop;
static char trail[64]; /* one letter for each thing that happened */

static void note(char c)
{
    size_t len = strlen(trail);

    if (len + 1 < sizeof trail) {
        trail[len] = c;
        trail[len + 1] = '\0';
    }
}

static void note_ctx(void *ctx)
{
    note(*(const char *)ctx);
}

static void setup(void)
{
    loop = ml_loop_new();
    trail[0] = '\0';
}

static void teardown(void)
{
    ml_loop_free(&loop);
    CHECK(loop == NULL);
}

static struct ml_deferred deferred(const char *letter)
{
    return (struct ml_deferred){.fire = note_ctx, .ctx = (void *)letter};
}

TEST(deferred_work_runs_in_order_and_once)
{
    setup();
    struct ml_deferred a = deferred("a"), b = deferred("b");

    ml_loop_defer(loop, &a);
    ml_loop_defer(loop, &b);
    ml_loop_defer(loop, &a);
    ml_loop_turn(loop); /* does not wait although nothing is ready */
    CHECK(strcmp(trail, "ab") == 0);
    ml_loop_defer(loop, &a);
    ml_loop_turn(loop);
    CHECK(strcmp(trail, "aba") == 0);
    teardown();
}

TEST(undeferred_work_does_not_run_wherever_it_stood)
{
    for (int out = 0; out < 3; out++) {
        setup();
        struct ml_deferred d[3] = {deferred("a"), deferred("b"), deferred("c")};
        struct ml_deferred last = deferred("d");
        const char *left[] = {"bcd", "acd", "abd"};

        for (int i = 0; i < 3; i++)
            ml_loop_defer(loop, &d[i]);
        ml_loop_undefer(loop, &d[out]);
        ml_loop_undefer(loop, &d[out]);
        ml_loop_defer(loop, &last);
        ml_loop_turn(loop);
        CHECK(strcmp(trail, left[out]) == 0);
        teardown();
    }
}

TEST(work_for_the_next_turn_waits_for_it_and_can_be_taken_back)
{
    struct ml_deferred a = deferred("a"), b = deferred("b"), c = deferred("c");

    setup();
    ml_loop_defer_later(loop, &a);
    ml_loop_defer_later(loop, &b);
    ml_loop_defer_later(loop, &a);
    ml_loop_undefer(loop, &b);
    ml_loop_turn(loop); /* does not wait */
    CHECK(strcmp(trail, "a") == 0);
    ml_loop_defer_later(loop, &c);
    ml_loop_undefer(loop, &c);
    ml_loop_defer(loop, &b);
    ml_loop_turn(loop);
    CHECK(strcmp(trail, "ab") == 0);
    teardown();
}

static struct ml_deferred later = {.fire = note_ctx, .ctx = "d"};

static void bury_again(void *ctx)
{
    note_ctx(ctx);
    ml_loop_bury(loop, note_ctx, "R");
}

static void on_timer(void *ctx)
{
    ml_loop_bury(loop, bury_again, "r");
    ml_loop_defer(loop, &later);
    note_ctx(ctx);
}

TEST(a_turn_is_callbacks_then_deferred_work_then_releases)
{
    setup();
    struct ml_timer t = {0};

    ml_timer_init(&t, loop, on_timer, "t");
    ml_timer_set(&t, 0);
    ml_loop_turn(loop);
    CHECK(strcmp(trail, "tdrR") == 0);
    ml_timer_drop(&t);
    teardown();
}

struct again {
    struct ml_deferred d;
    int left;
};

static void defer_again(void *ctx)
{
    struct again *a = ctx;

    if (a->left-- > 0)
        ml_loop_defer(loop, &a->d);
}

TEST(work_that_defers_itself_for_ever_does_not_starve_timers_and_finds_its_object)
{
    setup();
    struct again a = {{.fire = defer_again, .ctx = &a}, 1 << 30};
    struct ml_timer t = {0};

    ml_timer_init(&t, loop, note_ctx, "t");
    ml_timer_set(&t, 0.002);
    ml_loop_defer(loop, &a.d);
    ml_loop_bury(loop, note_ctx, "r");
    while (trail[0] == '\0')
        ml_loop_turn(loop);
    CHECK(strcmp(trail, "t") == 0); /* no release while work is queued */
    a.left = 0;
    ml_loop_turn(loop);
    CHECK(strcmp(trail, "tr") == 0);
    ml_timer_drop(&t);
    teardown();
}

static double fired_s;

static void stop_at(void *ctx)
{
    note_ctx(ctx);
    fired_s = ml_loop_now_s(loop);
    ml_loop_stop(loop);
}

static double run_timer(struct ml_timer *t, double first_s, double then_s)
{
    double begin_s = ml_loop_now_s(loop);

    ml_timer_set(t, first_s);
    if (then_s >= 0)
        ml_timer_set(t, then_s);
    ml_loop_run(loop);
    return fired_s - begin_s;
}

TEST(a_timer_fires_once_at_its_last_time)
{
    setup();
    struct ml_timer t = {0};
    double took_s;

    ml_timer_init(&t, loop, stop_at, "t");
    took_s = run_timer(&t, 0.02, -1);
    CHECK(took_s >= 0.018);
    took_s = run_timer(&t, 0.01, 0.05); /* moved later */
    CHECK(took_s >= 0.048);
    took_s = run_timer(&t, 5, 0.01); /* moved earlier */
    CHECK(took_s >= 0.008 && took_s < 4);
    CHECK(strcmp(trail, "ttt") == 0);
    ml_timer_drop(&t);
    teardown();
}

TEST(a_stopped_timer_stays_silent_and_can_be_set_again)
{
    setup();
    struct ml_timer t = {0}, end = {0};

    ml_timer_init(&t, loop, note_ctx, "t");
    ml_timer_init(&end, loop, stop_at, "e");
    ml_timer_set(&t, 0.005);
    ml_timer_stop(&t);
    ml_timer_set(&end, 0.02);
    ml_loop_run(loop);
    CHECK(strcmp(trail, "e") == 0);
    ml_timer_set(&t, 0.005);
    ml_timer_set(&end, 0.02);
    ml_loop_run(loop);
    CHECK(strcmp(trail, "ete") == 0);
    ml_timer_drop(&t);
    ml_timer_drop(&end);
    teardown();
}

TEST(a_timer_set_from_its_own_callback_fires_again)
{
    setup();
    struct ml_timer t = {0};

    ml_timer_init(&t, loop, stop_at, "t");
    for (int i = 0; i < 3; i++) {
        ml_timer_set(&t, 0);
        ml_loop_run(loop);
    }
    CHECK(strcmp(trail, "ttt") == 0);
    ml_timer_drop(&t);
    teardown();
}

TEST(dropping_a_timer_that_was_never_initialised_is_allowed)
{
    struct ml_timer t = {0};

    ml_timer_drop(&t);
    CHECK(t.due_s == 0);
}

TEST(now_is_the_same_within_a_turn_and_moves_between_turns)
{
    setup();
    double first_s = ml_loop_now_s(loop);

    usleep(2000);
    CHECK(ml_loop_now_s(loop) == first_s);
    ml_loop_turn(loop);
    CHECK(ml_loop_now_s(loop) > first_s);
    teardown();
}

TEST(many_objects_can_be_buried_in_one_turn)
{
    setup();
    for (int i = 0; i < 10000; i++)
        ml_loop_bury(loop, free, malloc(16));
    ml_loop_bury(loop, note_ctx, "z");
    ml_loop_turn(loop);
    CHECK(strcmp(trail, "z") == 0);
    teardown();
}
