/* Tests of arena.c. */
#include "base/arena.h"
#include "test.h"

#include <stdint.h>

TEST(allocations_are_aligned_and_do_not_overlap)
{
    struct ml_arena *a = ml_arena_new();
    char *p[200];

    for (size_t i = 0; i < 200; i++) {
        p[i] = ml_arena_alloc(a, i * 7 + 1);
        CHECK((uintptr_t)p[i] % 16 == 0);
        memset(p[i], (int)i, i * 7 + 1);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t n = 0; n < i * 7 + 1; n++)
            CHECK(p[i][n] == (char)i);
    ml_arena_free(&a);
    CHECK(a == NULL);
}

TEST(a_large_piece_fits_and_the_arena_goes_on)
{
    struct ml_arena *a = ml_arena_new();
    char *big = ml_arena_zalloc(a, 1 << 20);
    char *small = ml_arena_alloc(a, 10);

    CHECK(big[0] == 0 && big[(1 << 20) - 1] == 0);
    CHECK(small < big || small >= big + (1 << 20));
    CHECK(ml_arena_used(a) >= (1 << 20) + 10);
    ml_arena_free(&a);
}

TEST(copies_and_formatted_strings_end_with_a_nul_that_is_not_counted)
{
    struct ml_arena *a = ml_arena_new();
    struct ml_str copy = ml_arena_dup(a, ML_STR("abc"));
    struct ml_str text = ml_arena_printf(a, "%s-%d", "x", 42);

    CHECK(ml_str_eq(copy, ML_STR("abc")) && copy.p[3] == '\0');
    CHECK(ml_str_eq(text, ML_STR("x-42")) && text.p[4] == '\0');
    CHECK(ml_arena_dup(a, ML_STR_NONE).len == 0);
    ml_arena_free(&a);
}

TEST(a_freed_arena_is_empty_when_it_comes_back)
{
    struct ml_arena *a = ml_arena_new();

    ml_arena_alloc(a, 100000);
    ml_arena_free(&a);
    a = ml_arena_new();
    CHECK(ml_arena_used(a) == 0);
    ml_arena_free(&a);
}
