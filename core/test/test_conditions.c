/* test_conditions.c - times, entity tags and ranges, as RFC 9110 has them. */
#include "protocol/conditions.h"
#include "protocol/http_date.h"
#include "protocol/media_type.h"
#include "protocol/ranges.h"

#include "test.h"

static const int64_t NOW = 1700000000;

/* ---- times ---- */

static int64_t parsed(const char *text)
{
    int64_t second = -1;
    size_t len = strlen(text);
    char *copy = test_cliff(text, len);
    bool ok = ml_http_date_parse((struct ml_str){copy, len}, NOW, &second);

    test_cliff_free(copy, len);
    return ok ? second : -1;
}

TEST(all_three_forms_of_a_time_are_read)
{
    CHECK(parsed("Sun, 06 Nov 1994 08:49:37 GMT") == 784111777);
    CHECK(parsed("Sunday, 06-Nov-94 08:49:37 GMT") == 784111777);
    CHECK(parsed("Sun Nov  6 08:49:37 1994") == 784111777);
    CHECK(parsed("Wed Nov 16 08:49:37 1994") == 784975777);
}

TEST(a_year_of_two_digits_is_at_most_50_years_ahead)
{
    CHECK(parsed("Friday, 01-Jan-71 00:00:00 GMT") == 3187296000); /* 2071 */
    CHECK(parsed("Friday, 01-Jan-99 00:00:00 GMT") == 915148800);  /* 1999 */
}

TEST(what_is_no_time_is_refused)
{
    const char *const bad[] = {"",
                               "Sun",
                               "Sun, 06 Nov 1994 08:49:37",
                               "Sun, 06 Nov 1994 08:49:37 UTC",
                               "Sun, 06 Nov 1994 08:49:37 GMT ",
                               "Sun, 6 Nov 1994 08:49:37 GMT",
                               "Xxx, 06 Nov 1994 08:49:37 GMT",
                               "Sun, 06 Xxx 1994 08:49:37 GMT",
                               "Sun, 32 Nov 1994 08:49:37 GMT",
                               "Sun, 06 Nov 1994 25:49:37 GMT",
                               "0",
                               "1994-11-06T08:49:37Z"};
    const char *good = "Sun, 06 Nov 1994 08:49:37 GMT";
    char part[32];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(parsed(bad[i]) == -1);
    for (size_t len = 0; len < strlen(good); len++) {
        snprintf(part, sizeof part, "%.*s", (int)len, good);
        CHECK(parsed(part) == -1);
    }
}

TEST(a_time_is_written_as_it_is_read)
{
    const int64_t times[] = {0, 784111777, 951782400, 4102444800, 253402300799};

    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char text[ML_HTTP_DATE_LEN + 1] = "";

        ml_http_date_write(times[i], text);
        CHECK(parsed(text) == times[i]);
    }
}

/* ---- conditions ---- */

#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define AFTER "Sun, 06 Nov 1994 08:49:38 GMT"

static struct ml_arena *arena;

/* fields: "name: value\n..." */
static struct ml_headers headers(const char *fields)
{
    struct ml_headers h = {0};

    while (*fields != '\0') {
        size_t name = strcspn(fields, ":"), line = strcspn(fields, "\n");

        ml_headers_add(&h, arena, ml_arena_dup(arena, (struct ml_str){fields, name}),
                       ml_arena_dup(arena, (struct ml_str){fields + name + 2, line - name - 2}));
        fields += line + (fields[line] == '\n');
    }
    return h;
}

static enum ml_condition checked(const char *fields, bool reading)
{
    const struct ml_validators v = {ML_STR("\"abc\""), true, 784111777};
    struct ml_headers h;
    enum ml_condition c;

    arena = ml_arena_new();
    h = headers(fields);
    c = ml_conditions_check(&h, reading, NOW, &v);
    ml_arena_free(&arena);
    return c;
}

TEST(if_none_match_compares_weakly_and_takes_lists)
{
    CHECK(checked("If-None-Match: \"abc\"", true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-None-Match: W/\"abc\"", true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-None-Match: \"x,\\\", W/\"y\" , \"abc\"", true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-None-Match: \"x\"\nIf-None-Match: \"abc\"", true) ==
          ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-None-Match: *", true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-None-Match: \"abd\"", true) == ML_CONDITION_GO);
    CHECK(checked("If-None-Match: abc", true) == ML_CONDITION_GO);
    CHECK(checked("If-None-Match: \"abc", true) == ML_CONDITION_GO);
    CHECK(checked("If-None-Match: ", true) == ML_CONDITION_GO);
    CHECK(checked("If-None-Match: \"abc\"", false) == ML_CONDITION_FAILED);
}

TEST(if_match_compares_strongly)
{
    CHECK(checked("If-Match: \"abc\"", true) == ML_CONDITION_GO);
    CHECK(checked("If-Match: *", true) == ML_CONDITION_GO);
    CHECK(checked("If-Match: W/\"abc\"", true) == ML_CONDITION_FAILED);
    CHECK(checked("If-Match: \"abd\", \"abe\"", true) == ML_CONDITION_FAILED);
    CHECK(checked("If-Match: nonsense", true) == ML_CONDITION_FAILED);
}

TEST(times_are_compared_and_malformed_ones_ignored)
{
    CHECK(checked("If-Modified-Since: " MODIFIED, true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-Modified-Since: " AFTER, true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-Modified-Since: " BEFORE, true) == ML_CONDITION_GO);
    CHECK(checked("If-Modified-Since: yesterday", true) == ML_CONDITION_GO);
    CHECK(checked("If-Modified-Since: " AFTER "\nIf-Modified-Since: " AFTER, true) ==
          ML_CONDITION_GO);
    CHECK(checked("If-Modified-Since: " MODIFIED, false) == ML_CONDITION_GO);
    CHECK(checked("If-Unmodified-Since: " BEFORE, true) == ML_CONDITION_FAILED);
    CHECK(checked("If-Unmodified-Since: " MODIFIED, true) == ML_CONDITION_GO);
    CHECK(checked("If-Unmodified-Since: never", true) == ML_CONDITION_GO);
}

TEST(conditions_count_in_the_order_of_rfc_9110_13_2_2)
{
    CHECK(checked("If-Match: \"abc\"\nIf-Unmodified-Since: " BEFORE, true) == ML_CONDITION_GO);
    CHECK(checked("If-None-Match: \"x\"\nIf-Modified-Since: " AFTER, true) == ML_CONDITION_GO);
    CHECK(checked("If-Match: \"x\"\nIf-None-Match: \"abc\"", true) == ML_CONDITION_FAILED);
    CHECK(checked("If-Match: \"abc\"\nIf-None-Match: \"abc\"", true) == ML_CONDITION_NOT_MODIFIED);
    CHECK(checked("If-Unmodified-Since: " BEFORE "\nIf-None-Match: \"abc\"", true) ==
          ML_CONDITION_FAILED);
}

static bool range_counts(const char *fields)
{
    const struct ml_validators v = {ML_STR("\"abc\""), true, 784111777};
    struct ml_headers h;
    bool counts;

    arena = ml_arena_new();
    h = headers(fields);
    counts = ml_conditions_range(&h, NOW, &v);
    ml_arena_free(&arena);
    return counts;
}

TEST(if_range_takes_a_strong_tag_or_the_very_time)
{
    CHECK(range_counts(""));
    CHECK(range_counts("If-Range: \"abc\""));
    CHECK(range_counts("If-Range: " MODIFIED));
    CHECK(!range_counts("If-Range: W/\"abc\""));
    CHECK(!range_counts("If-Range: \"abd\""));
    CHECK(!range_counts("If-Range: " AFTER));
    CHECK(!range_counts("If-Range: " BEFORE));
    CHECK(!range_counts("If-Range: nonsense"));
    CHECK(!range_counts("If-Range: "));
}

/* ---- ranges ---- */

/* "first+len ..." of a Range field, "whole" or "none" */
static const char *ranges(const char *value, uint64_t size)
{
    static char text[1024];
    struct ml_range list[ML_RANGES_MAX];
    unsigned count;
    size_t len = strlen(value), at = 0;
    char *copy = test_cliff(value, len);
    enum ml_ranges found = ml_ranges_parse((struct ml_str){copy, len}, size, list, &count);

    test_cliff_free(copy, len);
    CHECK((count > 0) == (found == ML_RANGES_SOME));
    if (found != ML_RANGES_SOME)
        return found == ML_RANGES_WHOLE ? "whole" : "none";
    for (unsigned i = 0; i < count; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu+%llu", i > 0 ? " " : "",
                               (unsigned long long)list[i].first, (unsigned long long)list[i].len);
    return text;
}

#define RANGES(value, size, expected) CHECK(strcmp(ranges(value, size), expected) == 0)

TEST(single_ranges)
{
    RANGES("bytes=0-0", 10, "0+1");
    RANGES("bytes=2-5", 10, "2+4");
    RANGES("bytes=2-", 10, "2+8");
    RANGES("bytes=-3", 10, "7+3");
    RANGES("bytes=-30", 10, "0+10");
    RANGES("bytes=5-99", 10, "5+5");
    RANGES("Bytes=5-6", 10, "5+2");
    RANGES("bytes=0-18446744073709551615", 10, "0+10");
    RANGES("bytes=0-99999999999999999999999", 10, "0+10");
    RANGES("bytes=-99999999999999999999999", 10, "0+10");
}

TEST(ranges_that_are_outside_or_malformed)
{
    const char *const none[] = {"bytes=10-",  "bytes=10-20",
                                "bytes=-0",   "bytes=",
                                "bytes=5-2",  "bytes=a-b",
                                "bytes=1",    "bytes=-",
                                "bytes=1-2x", "bytes=1-2 3-4",
                                "bytes=--1",  "bytes=,",
                                "bytes=0x1-", "bytes=99999999999999999999-"};

    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        RANGES(none[i], 10, "none");
    RANGES("items=0-1", 10, "whole");
    RANGES("bytes", 10, "whole");
    RANGES("bytes=0-", 0, "whole");
}

TEST(several_ranges_stay_in_order_and_overlaps_become_one)
{
    RANGES("bytes=0-1,4-5", 10, "0+2 4+2");
    RANGES("bytes=4-5, 0-1", 10, "4+2 0+2");
    RANGES("bytes= 0-1 ,, 8-", 10, "0+2 8+2");
    RANGES("bytes=0-1,20-30,8-", 10, "0+2 8+2");
    RANGES("bytes=0-4,2-6", 10, "0+7");
    RANGES("bytes=8-,0-1,1-8", 10, "0+10");
    RANGES("bytes=0-1,2-3", 10, "0+4");
    RANGES("bytes=0-,0-,0-", 10, "0+10");
    RANGES("bytes=6-6,0-0,3-3,2-4", 10, "6+1 0+1 2+3");
}

TEST(too_many_ranges_give_the_whole)
{
    char value[512] = "bytes=0-0";

    for (int i = 1; i < ML_RANGES_MAX; i++)
        snprintf(value + strlen(value), sizeof value - strlen(value), ",%d-%d", 2 * i, 2 * i);
    CHECK(strcmp(ranges(value, 1000), "whole") != 0);
    strcat(value, ",900-900");
    RANGES(value, 1000, "whole");
    snprintf(value, sizeof value, "bytes=0-0");
    for (int i = 0; i < ML_RANGES_LIST_MAX; i++)
        strcat(value, ",99-");
    RANGES(value, 10, "whole");
}

TEST(ranges_of_a_huge_file)
{
    RANGES("bytes=9223372036854775806-", INT64_MAX, "9223372036854775806+1");
    RANGES("bytes=0-0,-1", INT64_MAX, "0+1 9223372036854775806+1");
}

/* ---- media types ---- */

static bool is_type(const char *name, const char *type)
{
    return ml_str_eq(ml_media_type(ml_media_extension(ml_str_of(name))), ml_str_of(type));
}

TEST(the_end_of_a_name_tells_the_type)
{
    CHECK(is_type("a/index.html", "text/html"));
    CHECK(is_type("app.min.JS", "text/javascript"));
    CHECK(is_type("a.b/c", "application/octet-stream"));
    CHECK(is_type("x.woff2", "font/woff2"));
    CHECK(is_type("x.wasm", "application/wasm"));
    CHECK(is_type("x.webmanifest", "application/manifest+json"));
    CHECK(is_type("x.webmanifestx", "application/octet-stream"));
    CHECK(is_type("x.7z", "application/x-7z-compressed"));
    CHECK(is_type("x.zst", "application/zstd"));
    CHECK(is_type("x.", "application/octet-stream"));
    CHECK(is_type("", "application/octet-stream"));
}
