#include "outbound/health.h"

#include "test.h"

static const struct ml_health_conf one = {1, 10000};
static const struct ml_health_conf three = {3, 10000};
static const struct ml_health_conf never = {~0u, 10000};

TEST(a_failure_ejects_until_a_probe_succeeds)
{
    struct ml_shm_server s = {0};

    CHECK(ml_health_state(&s, 50000) == ML_HEALTH_UP);
    CHECK(ml_health_failed(&s, &one, 50000, ML_UP_CONNECT));
    CHECK(ml_health_state(&s, 50001) == ML_HEALTH_DOWN);
    CHECK(ml_health_state(&s, 59999) == ML_HEALTH_DOWN);
    CHECK(ml_health_state(&s, 60000) == ML_HEALTH_PROBE);
    CHECK(ml_health_claim(&s, &one, 60000));
    CHECK(ml_health_state(&s, 60000) == ML_HEALTH_DOWN); /* for all but the probe */
    CHECK(!ml_health_claim(&s, &one, 60000));
    ml_health_recovered(&s, 60000);
    CHECK(ml_health_state(&s, 60000) == ML_HEALTH_UP);
    CHECK(atomic_load(&s.errors) == 1 && atomic_load(&s.last_error) == ML_UP_CONNECT);
}

TEST(a_probe_that_fails_ejects_again)
{
    struct ml_shm_server s = {0};

    ml_health_failed(&s, &three, 50000, ML_UP_TIMEOUT);
    ml_health_failed(&s, &three, 50000, ML_UP_TIMEOUT);
    CHECK(ml_health_failed(&s, &three, 50000, ML_UP_TIMEOUT));
    CHECK(ml_health_claim(&s, &three, 60000));
    CHECK(!ml_health_failed(&s, &three, 60500, ML_UP_TIMEOUT)); /* it was not up */
    CHECK(ml_health_state(&s, 70000) == ML_HEALTH_DOWN);
    CHECK(ml_health_state(&s, 70500) == ML_HEALTH_PROBE);
}

TEST(a_probe_without_an_outcome_frees_its_place_after_fail_timeout)
{
    struct ml_shm_server s = {0};

    ml_health_failed(&s, &one, 50000, ML_UP_CLOSED);
    CHECK(ml_health_claim(&s, &one, 60000)); /* and that worker dies */
    CHECK(ml_health_state(&s, 70000) == ML_HEALTH_PROBE);
}

TEST(only_failures_within_the_window_count)
{
    struct ml_shm_server s = {0};

    CHECK(!ml_health_failed(&s, &three, 50000, ML_UP_CLOSED));
    CHECK(!ml_health_failed(&s, &three, 55000, ML_UP_CLOSED));
    CHECK(!ml_health_failed(&s, &three, 60000, ML_UP_CLOSED)); /* a new window */
    CHECK(!ml_health_failed(&s, &three, 61000, ML_UP_CLOSED));
    CHECK(ml_health_state(&s, 61000) == ML_HEALTH_UP);
    CHECK(ml_health_failed(&s, &three, 62000, ML_UP_CLOSED));
    CHECK(ml_health_state(&s, 62000) == ML_HEALTH_DOWN);
}

TEST(max_fails_can_be_switched_off)
{
    struct ml_shm_server s = {0};

    for (unsigned i = 0; i < 100; i++)
        CHECK(!ml_health_failed(&s, &never, 50000, ML_UP_CLOSED));
    CHECK(ml_health_state(&s, 50000) == ML_HEALTH_UP);
    CHECK(atomic_load(&s.errors) == 100);
}
