/* test_json.c - whatever the bytes are, the result is one valid JSON string. */
#include "base/json.h"
#include "test.h"

static bool becomes(const char *in, size_t len, const char *out)
{
    struct ml_buf b = {0};
    char *cliff = test_cliff(in, len);
    bool same;

    ml_json_string(&b, (struct ml_str){cliff, len});
    same = ml_str_eq(ml_buf_str(&b), ml_str_of(out));
    if (!same)
        printf("# got %.*s, not %s\n", (int)ml_buf_len(&b), b.p + b.start, out);
    ml_buf_release(&b);
    test_cliff_free(cliff, len);
    return same;
}

#define BECOMES(in, out) CHECK(becomes("" in, sizeof(in) - 1, "\"" out "\""))

TEST(plain_text_is_only_quoted)
{
    BECOMES("", "");
    BECOMES("a", "a");
    BECOMES("/api/patients/17?x=y&z=~", "/api/patients/17?x=y&z=~");
}

TEST(quotes_backslashes_and_controls_are_escaped)
{
    BECOMES("say \"hi\" \\o/", "say \\\"hi\\\" \\\\o/");
    BECOMES("a\b\f\n\r\tb", "a\\b\\f\\n\\r\\tb");
    BECOMES("\0\1\x1f", "\\u0000\\u0001\\u001f");
    BECOMES("\x1b[2J", "\\u001b[2J");
    BECOMES("12345678\x7f", "12345678\\ufffd");
}

TEST(a_special_byte_is_seen_at_every_place_of_a_word)
{
    static const unsigned char special[] = {0, 0x1f, '"', '\\', 0x7f, 0x80, 0xff};

    for (size_t s = 0; s < sizeof special; s++)
        for (size_t at = 0; at < 33; at++) {
            char in[33];
            struct ml_buf b = {0};

            memset(in, 'x', sizeof in);
            in[at] = (char)special[s];
            ml_json_string(&b, (struct ml_str){in, sizeof in});
            CHECK(ml_buf_len(&b) > sizeof in + 2);
            CHECK(b.p[b.start + 1 + at] == '\\');
            ml_buf_release(&b);
        }
}

TEST(what_ends_lines_or_turns_text_around_is_escaped)
{
    BECOMES("a\xe2\x80\xa8"
            "b\xe2\x80\xa9",
            "a\\u2028b\\u2029");
    BECOMES("\xe2\x80\xaa\xe2\x80\xae\xe2\x81\xa6\xe2\x81\xa9", "\\u202a\\u202e\\u2066\\u2069");
    BECOMES("\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa",
            "\xe2\x80\xa7\xe2\x80\xaf\xe2\x81\xa5\xe2\x81\xaa");
}

TEST(valid_utf8_stays)
{
    BECOMES("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    BECOMES("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
    BECOMES("\xc2\xa0", "\xc2\xa0");
}

TEST(controls_above_ascii_are_escaped)
{
    BECOMES("\xc2\x80\xc2\x9b\xc2\x9f", "\\u0080\\u009b\\u009f");
}

TEST(invalid_utf8_becomes_replacement_characters)
{
    BECOMES("\x80", "\\ufffd");
    BECOMES("\xff\xfe", "\\ufffd\\ufffd");
    BECOMES("\xc0\xaf", "\\ufffd\\ufffd");            /* overlong slash */
    BECOMES("\xc1\xbf", "\\ufffd\\ufffd");            /* overlong */
    BECOMES("\xe0\x80\xaf", "\\ufffd\\ufffd\\ufffd"); /* overlong slash */
    BECOMES("\xf0\x80\x80\xaf", "\\ufffd\\ufffd\\ufffd\\ufffd");
    BECOMES("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");            /* surrogate */
    BECOMES("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"); /* above U+10FFFF */
    BECOMES("\xf5x", "\\ufffdx");
}

TEST(truncated_utf8_becomes_one_replacement_character)
{
    BECOMES("\xc3", "\\ufffd");
    BECOMES("\xe2\x82", "\\ufffd");
    BECOMES("\xf0\x9f\x98", "\\ufffd");
    BECOMES("\xe2\x82"
            "a",
            "\\ufffda");
    BECOMES("\xf0\x9f\"", "\\ufffd\\\"");
    BECOMES("\xe2\xc3\xa4", "\\ufffd\xc3\xa4");
}

/* Every pair of bytes: nothing below a space, no DEL, quotes only at the ends or after a slash. */
TEST(no_pair_of_bytes_breaks_the_string)
{
    for (unsigned pair = 0; pair < 65536; pair++) {
        char in[2] = {(char)(pair >> 8), (char)pair};
        struct ml_buf b = {0};
        bool escaped = false;

        ml_json_string(&b, (struct ml_str){in, 2});
        for (size_t i = b.start + 1; i + 1 < b.end; i++) {
            CHECK((unsigned char)b.p[i] >= 0x20 && b.p[i] != 0x7f);
            CHECK(b.p[i] != '"' || escaped);
            escaped = b.p[i] == '\\' && !escaped;
        }
        CHECK(!escaped && b.p[b.start] == '"' && b.p[b.end - 1] == '"');
        ml_buf_release(&b);
    }
}
