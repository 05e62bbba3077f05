/* test_lines.c - the oldest lines are lost first, never those that are on their way. */
#include "base/lines.h"

#include "test.h"

static struct ml_str next(const struct ml_lines *l, size_t *at, uint64_t *number)
{
    struct ml_str line = ML_STR_NONE;

    if (!ml_lines_next(l, at, &line, number))
        return ML_STR_NONE;
    return line;
}

#define NEXT_IS(text) CHECK(ml_str_eq(next(l, &at, &number), ML_STR(text)))

TEST(lines_come_out_in_order_with_numbers_that_grow)
{
    struct ml_lines *l = ml_lines_new(10000);
    uint64_t number = 0, before;
    size_t at = 0;

    ml_lines_push(l, ML_STR("one"));
    ml_lines_push(l, ML_STR("two"));
    ml_lines_push(l, ML_STR("three"));
    CHECK(ml_lines_take(l, 2, 10000) == 2);
    NEXT_IS("one");
    before = number;
    NEXT_IS("two");
    CHECK(number > before);
    CHECK(next(l, &at, &number).p == NULL);
    ml_lines_settle(l, NULL);
    CHECK(ml_lines_count(l) == 1);
    CHECK(ml_lines_take(l, 2, 10000) == 1);
    at = 0;
    NEXT_IS("three");
    ml_lines_free(&l);
}

TEST(at_least_one_line_is_taken_whatever_its_size)
{
    struct ml_lines *l = ml_lines_new(10000);

    ml_lines_push(l, ML_STR("a long line"));
    ml_lines_push(l, ML_STR("another"));
    CHECK(ml_lines_take(l, 9, 1) == 1);
    ml_lines_free(&l);
}

TEST(the_oldest_are_pushed_out_and_counted)
{
    struct ml_lines *l = ml_lines_new(300);
    char text[8];
    uint64_t number;
    size_t at = 0;
    unsigned left;

    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "l%02d", i);
        ml_lines_push(l, (struct ml_str){text, 3});
        CHECK(ml_lines_bytes(l) <= 300);
    }
    left = ml_lines_count(l);
    CHECK(left > 5 && ml_lines_dropped(l) == 100 - left);
    snprintf(text, sizeof text, "l%02d", (int)(100 - left));
    ml_lines_take(l, 1, 1);
    CHECK(ml_str_eq(next(l, &at, &number), (struct ml_str){text, 3}));
    ml_lines_free(&l);
}

TEST(lines_on_their_way_are_not_pushed_out)
{
    struct ml_lines *l = ml_lines_new(300);
    uint64_t number;
    size_t at = 0;

    ml_lines_push(l, ML_STR("first"));
    ml_lines_push(l, ML_STR("second"));
    CHECK(ml_lines_take(l, 2, 10000) == 2);
    for (int i = 0; i < 100; i++)
        ml_lines_push(l, ML_STR("more"));
    CHECK(ml_lines_bytes(l) <= 300);
    NEXT_IS("first");
    NEXT_IS("second");
    ml_lines_put_back(l); /* now they are the oldest */
    for (int i = 0; i < 3; i++)
        ml_lines_push(l, ML_STR("more"));
    ml_lines_take(l, 1, 10000);
    at = 0;
    NEXT_IS("more");
    ml_lines_free(&l);
}

TEST(a_line_that_is_larger_than_all_is_lost)
{
    struct ml_lines *l = ml_lines_new(100);
    static const char big[200];

    ml_lines_push(l, ML_STR("kept"));
    ml_lines_push(l, (struct ml_str){big, sizeof big});
    CHECK(ml_lines_count(l) == 1 && ml_lines_dropped(l) == 1);
    ml_lines_free(&l);
}

TEST(some_of_a_batch_are_put_back)
{
    struct ml_lines *l = ml_lines_new(10000);
    const bool keep[] = {false, true, false, true};
    uint64_t numbers[4], number = 0;
    size_t at = 0;

    ml_lines_push(l, ML_STR("a"));
    ml_lines_push(l, ML_STR("bb"));
    ml_lines_push(l, ML_STR("ccc"));
    ml_lines_push(l, ML_STR("dddd"));
    ml_lines_push(l, ML_STR("eeeee"));
    CHECK(ml_lines_take(l, 4, 10000) == 4);
    for (int i = 0; i < 4; i++)
        next(l, &at, &numbers[i]);
    ml_lines_settle(l, keep);
    CHECK(ml_lines_count(l) == 3 && ml_lines_taken(l) == 0);
    ml_lines_take(l, 9, 10000);
    at = 0;
    NEXT_IS("bb");
    CHECK(number == numbers[1]);
    NEXT_IS("dddd");
    CHECK(number == numbers[3]);
    NEXT_IS("eeeee");
    ml_lines_settle(l, NULL);
    CHECK(ml_lines_count(l) == 0 && ml_lines_bytes(l) == 0);
    ml_lines_free(&l);
}

TEST(lines_move_with_their_numbers)
{
    struct ml_lines *l = ml_lines_new(10000), *from = ml_lines_new(10000);
    uint64_t number = 0, first = 0;
    size_t at = 0;

    ml_lines_push(from, ML_STR("x"));
    ml_lines_push(from, ML_STR("y"));
    ml_lines_take(from, 1, 100);
    next(from, &at, &first);
    ml_lines_move(l, from);
    CHECK(ml_lines_count(from) == 0 && ml_lines_count(l) == 2);
    ml_lines_take(l, 9, 1000);
    at = 0;
    NEXT_IS("x");
    CHECK(number == first);
    NEXT_IS("y");
    ml_lines_free(&l);
    ml_lines_free(&from);
}
