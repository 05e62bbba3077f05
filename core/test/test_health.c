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

static const uint32_t bad = ML_SHM_CHECK_STATUS + 503;

TEST(checks_take_a_server_out_after_fall_and_in_after_rise)
{
    struct ml_shm_server s = {0};

    CHECK(ml_health_check_state(&s) == ML_CHECK_UNKNOWN && ml_health_state(&s, 1) == ML_HEALTH_UP);
    CHECK(ml_health_checked(&s, 2, 3, 0, 1000)); /* the first verdict */
    CHECK(!ml_health_checked(&s, 2, 3, bad, 2000) && !ml_health_checked(&s, 2, 3, bad, 3000));
    CHECK(!ml_health_checked(&s, 2, 3, 0, 4000)); /* in a row, that means */
    CHECK(!ml_health_checked(&s, 2, 3, bad, 5000) && !ml_health_checked(&s, 2, 3, bad, 6000));
    CHECK(ml_health_state(&s, 6000) == ML_HEALTH_UP);
    CHECK(ml_health_checked(&s, 2, 3, bad, 7000) && ml_health_state(&s, 7000) == ML_HEALTH_DOWN);
    CHECK(!ml_health_checked(&s, 2, 3, 0, 8000) && ml_health_state(&s, 8000) == ML_HEALTH_DOWN);
    CHECK(ml_health_checked(&s, 2, 3, 0, 9000) && ml_health_state(&s, 9000) == ML_HEALTH_UP);
    CHECK(s.checks == 9 && s.checks_failed == 5 && s.last_error == bad && s.check_result == 0);
    CHECK(s.last_error_ms > 0 && s.recovered_ms == 9000);
}

TEST(a_server_that_was_never_up_is_down_after_fall_checks)
{
    struct ml_shm_server s = {0};

    CHECK(!ml_health_checked(&s, 2, 2, ML_UP_CONNECT, 1000));
    CHECK(ml_health_state(&s, 1000) == ML_HEALTH_UP); /* nobody knows yet */
    CHECK(ml_health_checked(&s, 2, 2, ML_UP_CONNECT, 2000));
    CHECK(ml_health_state(&s, 2000) == ML_HEALTH_DOWN);
}

TEST(a_doubted_server_is_down_until_one_good_check)
{
    struct ml_shm_server s = {0};

    ml_health_doubt(&s, 3);
    CHECK(ml_health_state(&s, 1000) == ML_HEALTH_DOWN);
    ml_health_doubt(&s, 3);
    CHECK(ml_health_checked(&s, 3, 3, 0, 2000) && ml_health_state(&s, 2000) == ML_HEALTH_UP);
    ml_health_doubt(&s, 3); /* what is known stays known */
    CHECK(ml_health_state(&s, 3000) == ML_HEALTH_UP);
}

TEST(good_checks_do_not_end_an_ejection_but_a_recovery_does)
{
    struct ml_shm_server s = {0};

    ml_health_checked(&s, 1, 1, 0, 50000);
    ml_health_failed(&s, &one, 50000, ML_UP_TIMEOUT);
    CHECK(!ml_health_checked(&s, 1, 1, 0, 51000) && ml_health_state(&s, 51000) == ML_HEALTH_DOWN);
    CHECK(ml_health_checked(&s, 1, 1, bad, 52000));
    CHECK(ml_health_checked(&s, 1, 1, 0, 53000) && ml_health_state(&s, 53000) == ML_HEALTH_UP);
    CHECK(s.fails == 0);
}

TEST(traffic_has_no_say_in_what_checks_found)
{
    struct ml_shm_server s = {0};

    ml_health_checked(&s, 1, 1, bad, 1000);
    ml_health_recovered(&s, 2000);
    CHECK(ml_health_state(&s, 2000) == ML_HEALTH_DOWN);
    ml_health_unchecked(&s);
    CHECK(ml_health_state(&s, 2000) == ML_HEALTH_UP && s.checked_ms == 0);
}

TEST(a_drained_server_says_so)
{
    struct ml_shm_server s = {0};

    CHECK(ml_health_drain(&s, true, 1000) && !ml_health_drain(&s, true, 1000));
    CHECK(ml_health_drained(&s) && strcmp(ml_health_word(&s, 1000), "drained") == 0);
    s.in_flight = 1;
    CHECK(strcmp(ml_health_word(&s, 1000), "draining") == 0);
    CHECK(ml_health_drain(&s, false, 2000) && !ml_health_drained(&s) && s.recovered_ms == 2000);
    CHECK(strcmp(ml_health_word(&s, 2000), "up") == 0);
}

TEST(the_share_of_a_server_grows_after_its_recovery)
{
    struct ml_shm_server s = {0};

    CHECK(ml_health_share(&s, 10000, 5) == 1);
    s.recovered_ms = 100000;
    CHECK(ml_health_share(&s, 10000, 99999) == 0.01 && ml_health_share(&s, 10000, 100000) == 0.01);
    CHECK(ml_health_share(&s, 10000, 105000) == 0.5 && ml_health_share(&s, 10000, 110000) == 1);
    CHECK(ml_health_share(&s, 0, 100000) == 1);
}

TEST(errors_have_words)
{
    struct ml_buf text = {0};

    ml_health_error_text(ML_UP_CONNECT, &text);
    ml_buf_append(&text, ML_STR(" "));
    ml_health_error_text(bad, &text);
    ml_buf_append(&text, ML_STR(" "));
    ml_health_error_text(ML_SHM_CHECK_BODY, &text);
    CHECK(ml_str_eq(ml_buf_str(&text), ML_STR("upstream_refused status_503 body_mismatch")));
    ml_buf_release(&text);
}
