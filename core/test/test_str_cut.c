/* test_str_cut.c - trimming and cutting of strings. */
#include "base/str_cut.h"
#include "test.h"

static bool is(struct ml_str s, const char *z)
{
    return ml_str_eq(s, ml_str_of(z));
}

TEST(blanks_at_both_ends_go_and_no_others)
{
    CHECK(is(ml_str_trim(ML_STR(" \t a b\t ")), "a b"));
    CHECK(is(ml_str_trim(ML_STR("a")), "a"));
    CHECK(is(ml_str_trim(ML_STR(" \t ")), ""));
    CHECK(is(ml_str_trim(ML_STR("\r\na\v")), "\r\na\v"));
    CHECK(ml_str_trim(ML_STR_NONE).len == 0);
}

TEST(a_cut_is_at_the_first_one)
{
    struct ml_str s = ML_STR("a=b=c"), before = ML_STR("before");

    CHECK(ml_str_cut(&s, '=', &before) && is(before, "a") && is(s, "b=c"));
    CHECK(ml_str_cut(&s, '=', &before) && is(before, "b") && is(s, "c"));
    CHECK(!ml_str_cut(&s, '=', &before) && is(before, "b") && is(s, "c"));
    s = ML_STR("=");
    CHECK(ml_str_cut(&s, '=', &before) && is(before, "") && is(s, ""));
    s = ML_STR_NONE;
    CHECK(!ml_str_cut(&s, '=', &before));
}

TEST(the_parts_of_a_list_come_in_order_without_an_empty_last_one)
{
    struct ml_str s = ML_STR("a,,b,"), part;

    CHECK(ml_str_next(&s, ',', &part) && is(part, "a"));
    CHECK(ml_str_next(&s, ',', &part) && is(part, ""));
    CHECK(ml_str_next(&s, ',', &part) && is(part, "b"));
    CHECK(!ml_str_next(&s, ',', &part));
    s = ML_STR("whole");
    CHECK(ml_str_next(&s, ',', &part) && is(part, "whole") && s.len == 0);
    CHECK(!ml_str_next(&s, ',', &part));
}
