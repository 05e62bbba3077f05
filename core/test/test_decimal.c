/* test_decimal.c - numbers as digits: each length, and the ends of each. */
#include "test.h"

#include "base/decimal.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool same(uint64_t n)
{
    char out[ML_DECIMAL_CAP], wanted[32];
    int len = snprintf(wanted, sizeof wanted, "%" PRIu64, n);

    return ml_decimal(out, n) == (size_t)len && memcmp(out, wanted, (size_t)len) == 0;
}

TEST(small_numbers_are_written_as_printf_writes_them)
{
    for (uint64_t n = 0; n < 20000; n++)
        CHECK(same(n));
}

TEST(the_ends_of_each_length_are_right_up_to_the_largest_number)
{
    uint64_t power = 1;

    for (int digits = 1; digits <= 20; digits++, power *= 10)
        CHECK(same(power) && same(power - 1) && same(power + 1));
    CHECK(same(UINT64_MAX));
}
