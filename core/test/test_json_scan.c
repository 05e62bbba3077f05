#include "test.h"

#include "base/base64url.h"
#include "base/json_scan.h"

static bool scans(const char *text)
{
    size_t len = strlen(text);
    char *copy = test_cliff(text, len);
    bool good = ml_json_scan((struct ml_str){copy, len}, ML_JSON_OBJECT, NULL, NULL);

    test_cliff_free(copy, len);
    return good;
}

TEST(json_is_what_the_rfc_says)
{
    static const char *const good[] = {
        "{}",
        " {\r\n\t} ",
        "{\"a\":1}",
        "{\"\":[]}",
        "{\"a\":-0.5e+10,\"b\":[true,false,null,\"\"]}",
        "{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"}",
        "{\"a\":\"\xf0\x9f\x98\x80\"}"};
    static const char *const bad[] = {"",
                                      "{",
                                      "}",
                                      "{a:1}",
                                      "{'a':1}",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{,}",
                                      "{\"a\":1}x",
                                      "{\"a\":01}",
                                      "{\"a\":1.}",
                                      "{\"a\":.5}",
                                      "{\"a\":+1}",
                                      "{\"a\":1e}",
                                      "{\"a\":-}",
                                      "{\"a\":NaN}",
                                      "{\"a\":tru}",
                                      "{\"a\":\"\x01\"}",
                                      "{\"a\":\"\n\"}",
                                      "{\"a\":\"\\x\"}",
                                      "{\"a\":\"\\u12g4\"}",
                                      "{\"a\":\"\\ud83d\"}",
                                      "{\"a\":\"\\ude00\"}",
                                      "{\"a\":\"\\ud83d\\u0041\"}",
                                      "{\"a\":\"\x80\"}",
                                      "{\"a\":\"\xc0\xaf\"}",
                                      "{\"a\":\"\xed\xa0\x80\"}",
                                      "{\"a\":\"\xf5\x80\x80\x80\"}",
                                      "{\"a\":\"\xe2\x82\"}",
                                      "{\"a\":\"",
                                      "{\"a\":\"\\",
                                      "[1}",
                                      "{\"a\":[1}",
                                      "{\"a\":[1,]}",
                                      "{\"a\":1 \"b\":2}",
                                      "// x\n{}"};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(scans(good[i]) || printf("# %s\n", good[i]) == 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!scans(bad[i]) || printf("# %s\n", bad[i]) == 0);
}

TEST(a_name_twice_is_refused_however_it_is_written)
{
    CHECK(!scans("{\"a\":1,\"a\":2}"));
    CHECK(!scans("{\"a\":1,\"\\u0061\":2}"));
    CHECK(!scans("{\"\\u0061\":1,\"b\":3,\"a\":2}"));
    CHECK(!scans("{\"x\":[{\"a\":{\"b\":1,\"b\":2}}]}"));
    CHECK(scans("{\"a\":{\"a\":{\"a\":1}},\"b\":[{\"a\":1},{\"a\":1}],\"A\":1}"));
}

TEST(depth_and_names_are_bounded)
{
    char *text = malloc(70000), *w = text;

    for (int max = ML_JSON_SCAN_DEPTH_MAX; max <= ML_JSON_SCAN_DEPTH_MAX + 1; max++) {
        w = text + sprintf(text, "{\"a\":");
        for (int i = 1; i < max; i++)
            w += sprintf(w, "[");
        *w++ = '1';
        for (int i = 1; i < max; i++)
            w += sprintf(w, "]");
        sprintf(w, "}");
        CHECK(scans(text) == (max == ML_JSON_SCAN_DEPTH_MAX));
    }
    for (int max = ML_JSON_SCAN_NAMES_MAX; max <= ML_JSON_SCAN_NAMES_MAX + 1; max++) {
        w = text + sprintf(text, "{");
        for (int i = 0; i < max; i++)
            w += sprintf(w, "%s\"%d\":0", i > 0 ? "," : "", i);
        sprintf(w, "}");
        CHECK(scans(text) == (max == ML_JSON_SCAN_NAMES_MAX));
    }
    free(text);
}

struct seen {
    char text[256];
};

static void note(void *ctx, const struct ml_json_item *item)
{
    struct seen *s = ctx;
    size_t used = strlen(s->text);

    snprintf(s->text + used, sizeof s->text - used, "%.*s=%d:%.*s;", (int)item->name.len,
             item->name.p != NULL ? item->name.p : "", (int)item->kind, (int)item->text.len,
             item->text.p);
}

TEST(the_outermost_members_are_told)
{
    struct seen s = {""};

    CHECK(ml_json_scan(ML_STR("{\"\\u0061\" : \"x\\n\" ,\"b\":{\"c\":1},\"d\":-1.5,\"e\":null}"),
                       ML_JSON_OBJECT, note, &s));
    CHECK(strcmp(s.text, "a=0:x\\n;b=2:{\"c\":1};d=1:-1.5;e=6:null;") == 0);
    s.text[0] = '\0';
    CHECK(ml_json_scan(ML_STR("[1,[2],\"\"]"), ML_JSON_ARRAY, note, &s));
    CHECK(strcmp(s.text, "=1:1;=3:[2];=0:;") == 0);
    CHECK(!ml_json_scan(ML_STR("{}"), ML_JSON_ARRAY, note, &s));
}

TEST(escapes_become_utf8)
{
    struct ml_buf out = {0};

    ml_json_unescape(&out, ML_STR("a\\u00e9\\u20AC\\ud83d\\ude00\\n\\/\\\""));
    CHECK(ml_str_eq(ml_buf_str(&out), ML_STR("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\n/\"")));
    ml_buf_release(&out);
}

TEST(base64url_has_one_text_for_each_value)
{
    char bytes[300], back[300], text[8];
    struct ml_buf out = {0};
    size_t len;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)(i * 37 + i / 7);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        ml_buf_consume(&out, ml_buf_len(&out));
        ml_base64url_encode(&out, (struct ml_str){bytes, n});
        CHECK(ml_base64url_decode(ml_buf_str(&out), back, &len) && len == n);
        CHECK(memcmp(back, bytes, n) == 0);
    }
    ml_buf_release(&out);
    for (int c = 0; c < 256; c++) {
        static const char alphabet[] =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        const char *at = c != 0 ? strchr(alphabet, c) : NULL;

        snprintf(text, sizeof text, "AAA");
        text[3] = (char)c;
        CHECK(ml_base64url_decode((struct ml_str){text, 4}, back, &len) == (at != NULL));
        text[2] = (char)c; /* two unused bits */
        CHECK(ml_base64url_decode((struct ml_str){text, 3}, back, &len) ==
              (at != NULL && (at - alphabet) % 4 == 0));
        text[1] = (char)c; /* four of them */
        CHECK(ml_base64url_decode((struct ml_str){text, 2}, back, &len) ==
              (at != NULL && (at - alphabet) % 16 == 0));
    }
    CHECK(!ml_base64url_decode(ML_STR("A"), back, &len));
    CHECK(!ml_base64url_decode(ML_STR("AA=="), back, &len));
    CHECK(ml_base64url_decode(ML_STR(""), back, &len) && len == 0);
}
