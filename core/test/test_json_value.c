#include "test.h"

#include "script/json_value.h"

#include <lualib.h>

/* An independent implementation, to compare with. */
int luaopen_cjson_safe(lua_State *L);

static lua_State *L;

static void begin(void)
{
    L = luaL_newstate();
    luaL_openlibs(L);
    ml_json_open(L);
}

static void finish(void)
{
    lua_close(L);
}

/* Is the Lua expression written as that text?  text NULL: it is refused. */
static bool writes(const char *expression, const char *text, bool pretty)
{
    struct ml_buf *out = ml_handle_scratch();
    const char *wrong;
    bool same;

    lua_pushfstring(L, "return %s", expression);
    if (luaL_dostring(L, lua_tostring(L, -1)) != 0)
        abort();
    wrong = ml_json_write(L, lua_gettop(L), out, pretty);
    same =
        text == NULL ? wrong != NULL : wrong == NULL && ml_str_eq(ml_buf_str(out), ml_str_of(text));
    if (!same)
        printf("# %s: %s %.*s\n", expression, wrong != NULL ? wrong : "", (int)ml_buf_len(out),
               out->p + out->start);
    lua_settop(L, 0);
    return same;
}

TEST(values_are_written)
{
    begin();
    CHECK(writes("{}", "{}", false) && writes("{1,2,{}}", "[1,2,{}]", false));
    CHECK(writes("{a={b={true,false}}}", "{\"a\":{\"b\":[true,false]}}", false));
    CHECK(writes("'\"\\\\/\\b\\f\\n\\r\\t\\1\\127\\0'",
                 "\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\\u0000\"", false));
    CHECK(writes("nil", "null", false) && writes("'\xc3\xa9'", "\"\xc3\xa9\"", false));
    CHECK(writes("{1,{a=1}}", "[\n  1,\n  {\n    \"a\": 1\n  }\n]", true));
    CHECK(writes("{{},{}}", "[\n  {},\n  {}\n]", true));
    finish();
}

TEST(numbers_keep_their_value)
{
    static const double many[] = {
        0.1,   1.0 / 3, 1e21, 1e-7, 123456789012345678.0, 5e-324,
        1e308, -2.5,    2e16, 1e17, 9007199254740993.0,   0.30000000000000004};

    begin();
    CHECK(writes("12345678901234", "12345678901234", false));
    CHECK(writes("9007199254740991", "9007199254740991", false));
    CHECK(writes("-1", "-1", false) && writes("1e15", "1000000000000000", false));
    CHECK(writes("0.1", "0.1", false) && writes("1e300", "1e+300", false));
    CHECK(writes("0/0", NULL, false) && writes("1/0", NULL, false) && writes("-1/0", NULL, false));
    for (size_t i = 0; i < sizeof many / sizeof *many; i++) {
        struct ml_buf *out = ml_handle_scratch(), copy = {0};

        lua_pushnumber(L, many[i]);
        CHECK(ml_json_write(L, 1, out, false) == NULL);
        ml_buf_append(&copy, ml_buf_str(out));
        CHECK(ml_json_push(L, ml_buf_str(&copy)) == NULL && lua_tonumber(L, -1) == many[i]);
        ml_buf_release(&copy);
        lua_settop(L, 0);
    }
    finish();
}

TEST(what_has_no_form_in_json_is_refused)
{
    begin();
    CHECK(writes("{[1]=1,[3]=3}", NULL, false) && writes("{[0]=1}", NULL, false));
    CHECK(writes("{1,a=1}", NULL, false) && writes("{[1.5]=1}", NULL, false));
    CHECK(writes("{[true]=1}", NULL, false) && writes("{[-1]=1}", NULL, false));
    CHECK(writes("print", NULL, false) && writes("{print}", NULL, false));
    CHECK(writes("coroutine.create(print)", NULL, false) && writes("io.stdout", NULL, false));
    CHECK(writes("(function() local t = {} t[1] = t return t end)()", NULL, false));
    CHECK(writes("(function() local t = {} for i = 1, 200 do t = { t } end return t end)()", NULL,
                 false));
    CHECK(writes("(function() local t = {} for i = 1, 100 do t = { t, t } end return t end)()",
                 NULL, false));
    finish();
}

/* Is the text read, and written again as that?  again NULL: it is refused. */
static bool reads(struct ml_str text, const char *again)
{
    char *cliff = test_cliff(text.p, text.len);
    const char *wrong = ml_json_push(L, (struct ml_str){cliff, text.len});
    bool same = wrong != NULL && again == NULL && lua_gettop(L) == 0;

    if (wrong == NULL && again != NULL) {
        struct ml_buf *out = ml_handle_scratch();

        same = lua_gettop(L) == 1 && ml_json_write(L, 1, out, false) == NULL &&
               ml_str_eq(ml_buf_str(out), ml_str_of(again));
    }
    if (!same)
        printf("# %.*s: %s\n", (int)text.len, text.p, wrong != NULL ? wrong : "");
    lua_settop(L, 0);
    test_cliff_free(cliff, text.len);
    return same;
}

#define READS(text, again) CHECK(reads(ML_STR(text), again))

TEST(texts_are_read)
{
    begin();
    READS("[]", "[]");
    READS("{}", "{}");
    READS(" [ 1 , { \"a\" : [ ] } ] \r\n\t", "[1,{\"a\":[]}]");
    READS("[null,true,false,0,-0.5e1]", "[null,true,false,0,-5]");
    READS("{\"a\":1,\"a\":2}", "{\"a\":2}");
    READS("\"\\u00e9\\ud83d\\ude00\\u0000\\/\"", "\"\xc3\xa9\xf0\x9f\x98\x80\\u0000/\"");
    READS("123456789012345678901234567890", "1.2345678901234568e+29");
    READS("null", "null");
    finish();
}

TEST(texts_that_are_no_json_are_refused)
{
    begin();
    for (const char **t = (const char *[]){"",
                                           " ",
                                           "[",
                                           "{",
                                           "[1,]",
                                           "{\"a\"}",
                                           "{\"a\":}",
                                           "{a:1}",
                                           "{\"a\":1,}",
                                           "[1 2]",
                                           "01",
                                           "-",
                                           "+1",
                                           "1.",
                                           ".5",
                                           "1e",
                                           "0x10",
                                           "nan",
                                           "Infinity",
                                           "1e999",
                                           "\"",
                                           "\"\\",
                                           "\"\\x\"",
                                           "\"\\u12\"",
                                           "\"\\ud800\"",
                                           "\"\\udc00\"",
                                           "\"\\ud800\\u0041\"",
                                           "\"a\nb\"",
                                           "nul",
                                           "truefalse",
                                           "1 1",
                                           "'a'",
                                           "[1}",
                                           "{\"a\":1]",
                                           "]",
                                           ",",
                                           ":",
                                           "//",
                                           "\xef\xbb\xbf[]",
                                           NULL};
         *t != NULL; t++)
        CHECK(reads(ml_str_of(*t), NULL));
    READS("[1]\0", NULL);
    READS("\0", NULL);
    finish();
}

TEST(nesting_has_a_limit)
{
    char text[2 * 200 + 1];

    begin();
    for (int depth = 100; depth <= 200; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        CHECK((ml_json_push(L, (struct ml_str){text, 2 * (size_t)depth}) == NULL) ==
              (depth <= ML_JSON_DEPTH_MAX));
        lua_settop(L, 0);
    }
    finish();
}

/* Whatever is cut off or changed in a text: it is read as another implementation reads it, or is
 * refused by this one alone, which is the stricter of the two. */
TEST(broken_texts_are_never_taken_for_whole)
{
    static const char whole[] =
        "{\"a\":[1,2.5e3,\"x\\u00e9\\n\"],\"b\":{\"c\":null,\"d\":true},\"\":-7}";
    char text[sizeof whole];

    begin();
    lua_pushcfunction(L, luaopen_cjson_safe);
    lua_call(L, 0, 1);
    lua_getfield(L, -1, "decode");
    lua_replace(L, 1);
    for (size_t at = 0; at < sizeof whole - 1; at++)
        for (int byte = 0; byte < 256; byte++) {
            bool ours, theirs;

            memcpy(text, whole, sizeof whole);
            text[at] = (char)byte;
            ours = ml_json_push(L, (struct ml_str){text, sizeof whole - 1}) == NULL;
            lua_settop(L, 1);
            lua_pushvalue(L, 1);
            lua_pushlstring(L, text, sizeof whole - 1);
            lua_call(L, 1, 1);
            theirs = !lua_isnil(L, -1);
            lua_settop(L, 1);
            CHECK(theirs || !ours);
        }
    for (size_t len = 0; len < sizeof whole - 1; len++)
        CHECK(ml_json_push(L, (struct ml_str){whole, len}) != NULL && lua_gettop(L) == 1);
    finish();
}
