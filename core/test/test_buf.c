/* Tests of buf.c. */
#include "base/buf.h"
#include "test.h"

TEST(bytes_come_out_in_the_order_they_went_in)
{
    struct ml_buf b = {0};
    size_t written = 0, seen = 0;

    for (int round = 0; round < 2000; round++) {
        for (int i = 0; i < 37; i++, written++)
            ml_buf_append(&b, (struct ml_str){(char[]){(char)written}, 1});
        for (int i = 0; i < 35; i++, seen++) {
            CHECK(*ml_buf_str(&b).p == (char)seen);
            ml_buf_consume(&b, 1);
        }
    }
    CHECK(ml_buf_len(&b) == written - seen);
    ml_buf_release(&b);
}

TEST(reserve_gives_the_room_it_promises_and_keeps_the_bytes)
{
    struct ml_buf b = {0};

    ml_buf_append(&b, ML_STR("head"));
    memset(ml_buf_reserve(&b, 100000), 'x', 100000);
    ml_buf_commit(&b, 100000);
    CHECK(ml_buf_len(&b) == 100004);
    CHECK(memcmp(ml_buf_str(&b).p, "headxxx", 7) == 0);
    ml_buf_release(&b);
}

TEST(a_released_buffer_holds_no_memory_and_is_usable)
{
    struct ml_buf b = {0};

    ml_buf_append(&b, ML_STR("abc"));
    ml_buf_release(&b);
    CHECK(b.p == NULL && ml_buf_len(&b) == 0);
    ml_buf_printf(&b, "%d-%s", 7, "y");
    CHECK(ml_str_eq(ml_buf_str(&b), ML_STR("7-y")));
    ml_buf_release(&b);
}

TEST(text_of_any_length_is_formatted_behind_what_is_there)
{
    static char text[4 * ML_BUF_BLOCK];

    memset(text, 'x', sizeof text);
    for (size_t len = 0; len < 3 * ML_BUF_BLOCK; len += len < 300 ? 1 : 4093) {
        struct ml_buf b = {0};

        ml_buf_append(&b, (struct ml_str){text, ML_BUF_BLOCK - 150});
        ml_buf_printf(&b, "%.*s|%d", (int)len, text, 7);
        CHECK(ml_buf_len(&b) == ML_BUF_BLOCK - 150 + len + 2);
        CHECK(memcmp(b.p + b.start, text, ML_BUF_BLOCK - 150 + len) == 0);
        CHECK(memcmp(b.p + b.end - 2, "|7", 2) == 0);
        ml_buf_release(&b);
    }
}

TEST(an_emptied_buffer_starts_at_its_front_again)
{
    struct ml_buf b = {0};

    ml_buf_append(&b, ML_STR("abcdef"));
    ml_buf_consume(&b, 6);
    CHECK(b.start == 0 && b.end == 0);
    ml_buf_release(&b);
}
