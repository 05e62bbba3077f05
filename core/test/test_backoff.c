/* test_backoff.c - a crash loop slows down, a single death costs nothing. */
#include "process/backoff.h"

#include "test.h"

TEST(the_first_death_costs_nothing)
{
    struct ml_backoff b = {0};

    CHECK(ml_backoff_died(&b, 0) == 0);
}

TEST(each_death_in_youth_doubles_the_delay_up_to_ten_seconds)
{
    static const double expected[] = {0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10};
    struct ml_backoff b = {0};

    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++) {
        double delay_s = ml_backoff_died(&b, 1);

        CHECK(delay_s > expected[i] - 1e-9 && delay_s < expected[i] + 1e-9);
    }
}

TEST(a_long_life_makes_it_start_anew)
{
    struct ml_backoff b = {0};

    for (int i = 0; i < 10; i++)
        ml_backoff_died(&b, 0.5);
    CHECK(ml_backoff_died(&b, 5) == 0);
    CHECK(ml_backoff_died(&b, 4.9) == 0.1);
}
