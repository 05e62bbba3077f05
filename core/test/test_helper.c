#include "test.h"

#include "transport/helper.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

struct work {
    struct ml_job job;
    unsigned number;
    pthread_t thread; /* on which it ran */
};

static struct ml_loop *loop;
static unsigned finished, last, disorder;
static atomic_bool gate; /* jobs run while it is open */

static void run(struct ml_job *job)
{
    struct work *w = (struct work *)job;

    while (!atomic_load(&gate))
        sched_yield();
    w->thread = pthread_self();
}

static void finish(struct ml_job *job)
{
    struct work *w = (struct work *)job;

    CHECK(pthread_equal(w->thread, pthread_self()) == 0);
    disorder += finished > 0 && w->number <= last;
    last = w->number;
    finished++;
    free(w);
}

static bool start(unsigned number)
{
    struct work *w = calloc(1, sizeof *w);

    w->job = (struct ml_job){.run = run, .finish = finish};
    w->number = number;
    if (ml_helper_start(loop, &w->job))
        return true;
    free(w);
    return false;
}

static void wait_for(unsigned count)
{
    while (finished < count) /* the runner has a limit */
        ml_loop_turn(loop);
}

static void begin(void)
{
    loop = ml_loop_new();
    finished = last = disorder = 0;
    atomic_store(&gate, true);
}

TEST(jobs_run_on_another_thread_in_order)
{
    begin();
    for (unsigned i = 1; i <= ML_HELPER_JOBS_MAX; i++)
        CHECK(start(i));
    wait_for(ML_HELPER_JOBS_MAX);
    CHECK(disorder == 0 && last == ML_HELPER_JOBS_MAX);
    ml_loop_free(&loop);
}

TEST(their_number_is_bounded)
{
    begin();
    atomic_store(&gate, false);
    for (unsigned i = 1; i <= ML_HELPER_JOBS_MAX; i++)
        CHECK(start(i));
    CHECK(!start(1000) && !start(1001));
    CHECK(finished == 0);
    atomic_store(&gate, true);
    wait_for(ML_HELPER_JOBS_MAX);
    CHECK(start(2000));
    wait_for(ML_HELPER_JOBS_MAX + 1);
    ml_loop_free(&loop);
}

static void finish_and_start(struct ml_job *job)
{
    finish(job);
    if (finished < 10)
        CHECK(start(last + 1));
}

TEST(a_job_may_start_the_next_one_and_loops_may_come_and_go)
{
    for (int i = 0; i < 3; i++) {
        struct work *w = calloc(1, sizeof *w);

        begin();
        w->job = (struct ml_job){.run = run, .finish = finish_and_start};
        CHECK(ml_helper_start(loop, &w->job));
        wait_for(2);
        ml_loop_free(&loop);
    }
}

TEST(who_does_not_wait_for_events_may_sleep_until_a_job_has_run)
{
    begin();
    CHECK(!ml_helper_wait(loop));
    CHECK(start(1));
    atomic_store(&gate, true);
    CHECK(ml_helper_wait(loop));
    CHECK(finished == 0);
    ml_loop_turn(loop); /* finds the event without waiting */
    CHECK(finished == 1);
    CHECK(!ml_helper_wait(loop));
    ml_loop_free(&loop);
}
