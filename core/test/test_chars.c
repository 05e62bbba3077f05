/* test_chars.c - the classes are those of the RFCs, and the fast scans see what slow ones would. */
#include "protocol/chars.h"

#include "test.h"

static bool in(const char *set, int c)
{
    return c != 0 && strchr(set, c) != NULL;
}

static bool alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

TEST(the_classes_are_those_of_the_rfcs)
{
    for (int c = 0; c < 256; c++) {
        bool unreserved = alnum(c) || in("-._~", c), sub = in("!$&'()*+,;=", c);
        bool path = unreserved || sub || in(":@", c);

        CHECK(ml_char_is((char)c, ML_CHAR_TOKEN) == (alnum(c) || in("!#$%&'*+-.^_`|~", c)));
        CHECK(ml_char_is((char)c, ML_CHAR_UNRESERVED) == unreserved);
        CHECK(ml_char_is((char)c, ML_CHAR_PATH) == path);
        CHECK(ml_char_is((char)c, ML_CHAR_PLAIN) == (path && c != ';'));
        CHECK(ml_char_is((char)c, ML_CHAR_QUERY) == (path || in("/?[]{}|^`", c)));
        CHECK(ml_char_is_control((char)c) == ((c < 0x20 && c != '\t') || c == 0x7f));
    }
}

TEST(hexadecimal_digits_have_values)
{
    for (int c = 0; c < 256; c++) {
        const char *digits = "0123456789abcdef", *at = c != 0 ? strchr(digits, c) : NULL;

        if (at == NULL && c >= 'A' && c <= 'F')
            at = strchr(digits, c + 32);
        CHECK(ml_char_hex((char)c) == (at != NULL ? (int)(at - digits) : -1));
    }
}

/* Every byte at every place of runs longer than two vectors, of which the last ends at a cliff. */
TEST(the_scans_stop_at_each_byte_wherever_it_is)
{
    enum { LEN = 35 };

    for (size_t len = 1; len <= LEN; len++) {
        char fill[LEN], *p;

        memset(fill, 'x', sizeof fill);
        p = test_cliff(fill, len);
        CHECK(ml_chars_find_control(p, p + len) == p + len);
        CHECK(ml_chars_skip_token(p, p + len) == p + len);
        for (size_t at = 0; at < len; at++)
            for (int c = 0; c < 256; c++) {
                bool control = ml_char_is_control((char)c);
                bool token = ml_char_is((char)c, ML_CHAR_TOKEN);

                p[at] = (char)c;
                if (ml_chars_find_control(p, p + len) != p + (control ? at : len))
                    CHECK(!"the first control character");
                if (ml_chars_skip_token(p, p + len) != p + (token ? len : at))
                    CHECK(!"the end of the token");
                p[at] = 'x';
            }
        test_cliff_free(p, len);
    }
}

TEST(of_two_bytes_the_first_counts)
{
    char bytes[40];

    for (size_t i = 0; i < sizeof bytes; i++)
        for (size_t j = i; j < sizeof bytes; j++) {
            memset(bytes, '-', sizeof bytes);
            bytes[i] = bytes[j] = '\r';
            CHECK(ml_chars_find_control(bytes, bytes + sizeof bytes) == bytes + i);
            bytes[i] = bytes[j] = ':';
            CHECK(ml_chars_skip_token(bytes, bytes + sizeof bytes) == bytes + i);
        }
}
