/* test_url.c - one normal form for everybody, and no way to say it in two. */
#include "protocol/url.h"

#include "protocol/chars.h"
#include "test.h"

static const struct ml_url_policy strict, slashes = {.keep_slashes = true},
                                          encoded = {.allow_encoded_slash = true};
static struct ml_arena *arena;
static struct ml_target t;

/* The copy of the target at the cliff dies, so what was found is compared before. */
static enum ml_err target_of(const char *method, const char *bytes, size_t len,
                             const struct ml_url_policy *policy)
{
    char *cliff = test_cliff(bytes, len);
    enum ml_err err;

    if (arena != NULL)
        ml_arena_free(&arena);
    arena = ml_arena_new();
    memset(&t, 0, sizeof t);
    err = ml_url_target(ml_str_of(method), (struct ml_str){cliff, len}, policy, arena, &t);
    if (err == ML_OK) {
        t.path = ml_arena_dup(arena, t.path);
        t.query = ml_arena_dup(arena, t.query);
        t.authority = ml_arena_dup(arena, t.authority);
    }
    test_cliff_free(cliff, len);
    return err;
}

static bool str_is(struct ml_str s, const char *text)
{
    return ml_str_eq(s, ml_str_of(text));
}

/* The path becomes out, and out stays what it is; a script that sets it gets the same. */
static bool becomes_with(const char *in, size_t len, const char *out,
                         const struct ml_url_policy *policy)
{
    struct ml_str path;
    bool same = target_of("GET", in, len, policy) == ML_OK && str_is(t.path, out);

    if (!same)
        printf("# %.*s became %.*s, not %s\n", (int)len, in, (int)t.path.len, t.path.p, out);
    same = same && ml_url_path((struct ml_str){in, len}, policy, arena, &path) == ML_OK &&
           str_is(path, out);
    return same && target_of("GET", out, strlen(out), policy) == ML_OK && str_is(t.path, out);
}

#define BECOMES(in, out) CHECK(becomes_with(in, sizeof(in) - 1, out, &strict))
#define REFUSED(err, in) CHECK(target_of("GET", in, sizeof(in) - 1, &strict) == ML_##err)

static void forget(void)
{
    if (arena != NULL)
        ml_arena_free(&arena);
}

TEST(what_is_normal_stays)
{
    BECOMES("/", "/");
    BECOMES("/a/b.c/", "/a/b.c/");
    BECOMES("/-._~!$&'()*+,=:@", "/-._~!$&'()*+,=:@");
    BECOMES("/a;v=1/b", "/a;v=1/b");
    BECOMES("/...", "/...");
    BECOMES("/.../a", "/.../a");
    BECOMES("/.a/..b/a./b..", "/.a/..b/a./b..");
    forget();
}

TEST(escapes_have_one_form)
{
    BECOMES("/%41%7a%2D%7E%5f", "/Az-~_");
    BECOMES("/%c3%a4", "/%C3%A4");
    BECOMES("/%3a%2b%25", "/%3A%2B%25");
    BECOMES("/%20%3F%23%3b", "/%20%3F%23%3B");
    BECOMES("/a%3b..", "/a%3B..");
    forget();
}

TEST(dot_segments_go)
{
    BECOMES("/.", "/");
    BECOMES("/..", "/");
    BECOMES("/./a", "/a");
    BECOMES("/a/.", "/a/");
    BECOMES("/a/..", "/");
    BECOMES("/a/../b", "/b");
    BECOMES("/a/b/../..", "/");
    BECOMES("/../../a", "/a");
    BECOMES("/a/./b/../c/", "/a/c/");
    BECOMES("/a/%2e/b", "/a/b");
    BECOMES("/a/%2E%2e/b", "/b");
    BECOMES("/a/.%2e/b", "/b");
    BECOMES("/x/%2e%2e/%61dmin", "/admin");
    BECOMES("/a/b/c/./../../g", "/a/g"); /* RFC 3986 section 5.2.4 */
    forget();
}

TEST(runs_of_slashes_are_one)
{
    BECOMES("//", "/");
    BECOMES("//a", "/a");
    BECOMES("/a///b//", "/a/b/");
    BECOMES("/a//../b", "/b");
    BECOMES("/a/.//b", "/a/b");
    BECOMES("/a/..//", "/");
    BECOMES("//host/path", "/host/path");
    CHECK(becomes_with("/a//b/", 6, "/a//b/", &slashes));
    CHECK(becomes_with("//", 2, "//", &slashes));
    forget();
}

TEST(hidden_separators_are_refused)
{
    REFUSED(BAD_PATH, "/a%2fb");
    REFUSED(BAD_PATH, "/a%2Fb");
    REFUSED(BAD_PATH, "/..%2fadmin");
    REFUSED(BAD_PATH, "/a%5cb");
    REFUSED(BAD_PATH, "/a\\b");
    REFUSED(BAD_PATH, "/a%00b");
    REFUSED(BAD_PATH, "/a%0d%0ab");
    REFUSED(BAD_PATH, "/a%7f");
    REFUSED(BAD_PATH, "/a%09");
    CHECK(becomes_with("/a%2fb", 6, "/a%2Fb", &encoded));
    CHECK(becomes_with("/a/..%2f../b", 12, "/a/..%2F../b", &encoded));
    forget();
}

TEST(escapes_of_escapes_are_refused)
{
    REFUSED(BAD_PATH, "/%2541");
    REFUSED(BAD_PATH, "/a/%252e%252e/b");
    REFUSED(BAD_PATH, "/%25%34%31");
    REFUSED(BAD_PATH, "/%252525");
    BECOMES("/100%25", "/100%25");
    BECOMES("/%25zz", "/%25zz");
    CHECK(becomes_with("/%2541", 6, "/%2541", &encoded)); /* decoded once */
    forget();
}

TEST(broken_escapes_are_refused)
{
    REFUSED(BAD_PATH, "/%");
    REFUSED(BAD_PATH, "/%4");
    REFUSED(BAD_PATH, "/%4/a");
    REFUSED(BAD_PATH, "/%g1");
    REFUSED(BAD_PATH, "/%1g");
    REFUSED(BAD_PATH, "/%u0041");
    REFUSED(BAD_PATH, "/%%41");
    REFUSED(BAD_PATH, "/% 41");
}

TEST(overlong_utf8_is_refused)
{
    REFUSED(BAD_PATH, "/%c0%ae%c0%ae/");
    REFUSED(BAD_PATH, "/%C1%9c");
    REFUSED(BAD_PATH, "/%e0%80%af");
    REFUSED(BAD_PATH, "/%f0%80%80%af");
    REFUSED(BAD_PATH, "/%f8%80%80%80%af");
    REFUSED(BAD_PATH, "/%fc%83%bf%bf%bf%bf");
    BECOMES("/%f8", "/%F8"); /* Latin-1 */
    BECOMES("/%e0%a0%80", "/%E0%A0%80");
    BECOMES("/%f0%90%80%80", "/%F0%90%80%80");
    forget();
}

TEST(parameters_behind_dots_or_nothing_are_refused)
{
    REFUSED(BAD_PATH, "/..;/a");
    REFUSED(BAD_PATH, "/a/..;x=y/b");
    REFUSED(BAD_PATH, "/.;/a");
    REFUSED(BAD_PATH, "/;/a");
    REFUSED(BAD_PATH, "/a/;x");
    REFUSED(BAD_PATH, "/%2e%2e;/a");
    REFUSED(BAD_PATH, "/..%3b/a");
    BECOMES("/...;a", "/...;a");
    forget();
}

TEST(bytes_outside_the_grammar_are_refused)
{
    for (int c = 0; c < 256; c++) {
        char path[] = "/a_b", query[] = "/a?_";

        path[2] = query[3] = (char)c;
        if (!ml_char_is((char)c, ML_CHAR_PATH) && c != '/' && c != '?')
            CHECK(target_of("GET", path, 4, &strict) ==
                  (c == '\\' || c == '%' ? ML_BAD_PATH : ML_BAD_TARGET));
        if (!ml_char_is((char)c, ML_CHAR_QUERY))
            CHECK(target_of("GET", query, 4, &strict) == ML_BAD_TARGET);
    }
    REFUSED(BAD_TARGET, "");
    REFUSED(BAD_TARGET, "a/b");
    REFUSED(BAD_TARGET, "/a#b");
    REFUSED(BAD_TARGET, "/a?b#c");
    REFUSED(BAD_TARGET, "?a");
    REFUSED(BAD_TARGET, "*");
    forget();
}

TEST(the_query_is_left_as_sent)
{
    REFUSED(OK, "/a/../b?c/../d=%41");
    CHECK(str_is(t.path, "/b") && str_is(t.query, "c/../d=%41"));
    REFUSED(OK, "/a?b=c&d[]=%2e%2f/?%c0%ae");
    CHECK(str_is(t.query, "b=c&d[]=%2e%2f/?%c0%ae") && t.has_query);
    REFUSED(OK, "/a?x=[1]&y={z}|^`"); /* as browsers send it */
    CHECK(str_is(t.query, "x=[1]&y={z}|^`"));
    REFUSED(OK, "/a?");
    CHECK(t.query.len == 0 && t.has_query);
    REFUSED(OK, "/a");
    CHECK(!t.has_query);
    REFUSED(OK, "/a??b");
    CHECK(str_is(t.query, "?b"));
    REFUSED(BAD_TARGET, "/a?%");
    REFUSED(BAD_TARGET, "/a?%4g");
    forget();
}

TEST(absolute_targets_are_taken_apart)
{
    REFUSED(OK, "http://Example.com:80/a/../b?c");
    CHECK(t.form == ML_TARGET_ABSOLUTE && str_is(t.scheme, "http"));
    CHECK(str_is(t.authority, "Example.com:80") && str_is(t.path, "/b") && str_is(t.query, "c"));
    REFUSED(OK, "HTTPS://[::1]");
    CHECK(str_is(t.scheme, "https") && str_is(t.authority, "[::1]") && str_is(t.path, "/"));
    REFUSED(OK, "http://a?q");
    CHECK(str_is(t.authority, "a") && str_is(t.path, "/") && str_is(t.query, "q"));
    REFUSED(BAD_TARGET, "http:///a");
    REFUSED(BAD_TARGET, "http:/a");
    REFUSED(BAD_TARGET, "http://");
    REFUSED(BAD_TARGET, "http://u:p@a/");
    REFUSED(BAD_TARGET, "http://a:b/");
    REFUSED(BAD_TARGET, "http://a\\b/");
    REFUSED(BAD_TARGET, "ftp://a/");
    REFUSED(BAD_TARGET, "javascript:a");
    REFUSED(BAD_TARGET, "http://a#/b");
    REFUSED(BAD_PATH, "http://a/%2f");
    forget();
}

TEST(the_asterisk_is_for_options_and_connect_for_nobody)
{
    CHECK(target_of("OPTIONS", "*", 1, &strict) == ML_OK && t.form == ML_TARGET_ASTERISK);
    CHECK(str_is(t.path, "*"));
    CHECK(target_of("OPTIONS", "*a", 2, &strict) == ML_BAD_TARGET);
    CHECK(target_of("CONNECT", "a:443", 5, &strict) == ML_NOT_IMPLEMENTED);
    CHECK(target_of("CONNECT", "/", 1, &strict) == ML_NOT_IMPLEMENTED);
    forget();
}

static enum ml_err authority_of(const char *text, struct ml_authority *out)
{
    size_t len = strlen(text);
    char *cliff = test_cliff(text, len);
    enum ml_err err;

    forget();
    arena = ml_arena_new();
    err = ml_url_authority((struct ml_str){cliff, len}, arena, out);
    CHECK(ml_url_authority_ok((struct ml_str){cliff, len}) == (err == ML_OK));
    test_cliff_free(cliff, len);
    return err;
}

TEST(authorities_are_a_host_and_perhaps_a_port)
{
    static const struct {
        const char *text, *host;
        int port;
    } good[] = {{"a", "a", 0},
                {"Example.COM", "example.com", 0},
                {"a.b.", "a.b.", 0},
                {"a:80", "a", 80},
                {"a:", "a", 0},
                {"a:65535", "a", 65535},
                {"127.0.0.1:1", "127.0.0.1", 1},
                {"[::1]", "[::1]", 0},
                {"[2001:DB8::1]:443", "[2001:db8::1]", 443},
                {"[::ffff:1.2.3.4]", "[::ffff:1.2.3.4]", 0},
                {"a_b-c~d.e", "a_b-c~d.e", 0}};

    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct ml_authority a;

        CHECK(authority_of(good[i].text, &a) == ML_OK);
        CHECK(str_is(a.host, good[i].host) && a.port == good[i].port);
    }
    forget();
}

TEST(authorities_that_mean_two_things_or_nothing_are_refused)
{
    static const char *const bad[] = {
        "",       ":80",     "a:0",     "a:65536",   "a:999999",
        "a:-1",   "a:+1",    "a:8o",    "a:80:80",   "a b",
        "a,b",    "a@b",     "a/b",     "a\\b",      "a%2eb",
        "a?b",    "a#b",     "[::1",    "::1",       "[]",
        "[::1]x", "[::1]80", "[::g]",   "[1.2.3.4]", "[fe80::1%25eth0]",
        "[v1.a]", "..",      ".a",      "a..b",      "\xc3\xa4",
        "a\tb",   "[::1]]",  "[[::1]]", "a;b",       "a'b",
        "\"a\""};
    struct ml_authority a;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (authority_of(bad[i], &a) != ML_BAD_HOST) {
            printf("# %s\n", bad[i]);
            CHECK(!"refused");
        }
    CHECK(!ml_url_authority_ok(ML_STR("a\0b")) && !ml_url_authority_ok(ML_STR("[::1\0]")));
    CHECK(!ml_url_authority_ok(ML_STR_NONE));
    forget();
}

TEST(hosts_have_a_longest)
{
    char host[257];
    struct ml_authority a;

    memset(host, 'a', sizeof host);
    host[256] = '\0';
    CHECK(authority_of(host, &a) == ML_BAD_HOST);
    CHECK(authority_of(host + 1, &a) == ML_OK);
    forget();
}

static bool decodes(const char *in, size_t len, bool form, const char *out, size_t out_len)
{
    char *cliff = test_cliff(in, len);
    bool same;

    forget();
    arena = ml_arena_new();
    same = ml_str_eq(ml_url_decode((struct ml_str){cliff, len}, form, arena),
                     (struct ml_str){out, out_len});
    test_cliff_free(cliff, len);
    return same;
}

#define DECODES(in, form, out) CHECK(decodes(in, sizeof(in) - 1, form, out, sizeof(out) - 1))

TEST(decoding_keeps_what_is_no_escape)
{
    DECODES("", true, "");
    DECODES("a+b%20c%00%fF", true, "a b c\0\xff");
    DECODES("a+b", false, "a+b");
    DECODES("%", true, "%");
    DECODES("%4", true, "%4");
    DECODES("%4g%%41", true, "%4g%A");
    DECODES("%2541", true, "%41");
    forget();
}

TEST(encoding_is_undone_by_decoding)
{
    char all[256];
    struct ml_str out;

    for (int c = 0; c < 256; c++)
        all[c] = (char)c;
    forget();
    arena = ml_arena_new();
    out = ml_url_encode((struct ml_str){all, sizeof all}, arena);
    for (size_t i = 0; i < out.len; i++)
        CHECK(out.p[i] == '%' || ml_char_is(out.p[i], ML_CHAR_UNRESERVED));
    CHECK(ml_str_eq(ml_url_decode(out, false, arena), (struct ml_str){all, sizeof all}));
    CHECK(str_is(ml_url_encode(ML_STR("a b/\xc3\xa4+"), arena), "a%20b%2F%C3%A4%2B"));
    forget();
}
