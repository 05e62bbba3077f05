/* test_router_choice.c - which of several routes serves a request: by host, header and query. */
#include "router_lab.h"

TEST(the_most_specific_host_wins_and_the_others_serve_the_rest)
{
    struct site s = site_new();

    CHECK(add_if(&s, "GET", "/", "", NULL, 0, 0) == ML_OK);
    CHECK(add_if(&s, "GET", "/", "*.example.com", NULL, 0, 1) == ML_OK);
    CHECK(add_if(&s, "GET", "/", "*.b.example.com", NULL, 0, 2) == ML_OK);
    CHECK(add_if(&s, "GET", "/", "A.b.Example.com", NULL, 0, 3) == ML_OK);
    CHECK(add_if(&s, "GET", "/any", "", NULL, 0, 4) == ML_OK);
    CHECK(add_if(&s, "PUT", "/any", "a.b.example.com", NULL, 0, 5) == ML_OK);
    CHECK(add_if(&s, "GET", "/", "[::1]", NULL, 0, 6) == ML_OK);
    CHECK(find_at(&s, "GET", "a.b.example.com", "/", "") == 3);
    CHECK(find_at(&s, "GET", "a.b.example.com.", "/", "") == 3);
    CHECK(find_at(&s, "GET", "c.b.example.com", "/", "") == 2);
    CHECK(find_at(&s, "GET", "d.c.b.example.com", "/", "") == 2);
    CHECK(find_at(&s, "GET", "b.example.com", "/", "") == 1);
    CHECK(find_at(&s, "GET", "example.com", "/", "") == 0);
    CHECK(find_at(&s, "GET", "badexample.com", "/", "") == 0);
    CHECK(find_at(&s, "GET", "[::1]", "/", "") == 6);
    CHECK(find_at(&s, "GET", "", "/", "") == 0);
    CHECK(find_at(&s, "GET", "a.b.example.com", "/any", "") == 4);
    CHECK(find_at(&s, "POST", "a.b.example.com", "/any", "") < 0);
    CHECK(is(s.m.allow, "GET, HEAD, OPTIONS, PUT"));
    site_free(&s);
}

TEST(hosts_that_can_never_be_asked_for_are_refused)
{
    static const char *const bad[] = {"*",     "*.",        "a:80", "a b",        "http://a",
                                      "*a.de", "a.*.de",    "a/b",  "[::1",       "..",
                                      "a..b",  "*.*.a.com", "a:",   "*.[::1]:80", "\xc3\xa4.de"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct site s = site_new();

        CHECK(add_if(&s, "GET", "/", bad[i], NULL, 0, 0) == ML_BAD_REQUEST);
        CHECK(ml_buf_len(&s.why) > 0);
        site_free(&s);
    }
}

#define HEADER(name, value)                                                                        \
    {                                                                                              \
        false, {name, sizeof(name) - 1},                                                           \
        {                                                                                          \
            value, sizeof(value) - 1                                                               \
        }                                                                                          \
    }
#define QUERY(name, value)                                                                         \
    {                                                                                              \
        true, {name, sizeof(name) - 1},                                                            \
        {                                                                                          \
            value, sizeof(value) - 1                                                               \
        }                                                                                          \
    }
#define HAS_HEADER(name)                                                                           \
    {                                                                                              \
        false, {name, sizeof(name) - 1},                                                           \
        {                                                                                          \
            NULL, 0                                                                                \
        }                                                                                          \
    }
#define HAS_QUERY(name)                                                                            \
    {                                                                                              \
        true, {name, sizeof(name) - 1},                                                            \
        {                                                                                          \
            NULL, 0                                                                                \
        }                                                                                          \
    }

TEST(the_route_with_more_conditions_is_tried_first)
{
    static const struct ml_route_condition one[] = {HEADER("X-Version", "2")};
    static const struct ml_route_condition two[] = {HEADER("x-version", "2"), HAS_QUERY("debug")};
    struct site s = site_new();

    add(&s, "GET", "/a", 0);
    add_if(&s, "GET", "/a", "", one, 1, 1);
    add_if(&s, "*", "/a", "", two, 2, 2);
    CHECK(find_at(&s, "GET", "", "/a", "debug") == 0);
    ml_headers_add(&s.headers, s.arena, ML_STR("X-VERSION"), ML_STR("1"));
    CHECK(find_at(&s, "GET", "", "/a", "") == 0);
    ml_headers_add(&s.headers, s.arena, ML_STR("x-version"), ML_STR("2"));
    CHECK(find_at(&s, "GET", "", "/a", "") == 1);
    CHECK(find_at(&s, "GET", "", "/a", "x=1&debug") == 2);
    CHECK(find_at(&s, "GET", "", "/a", "x=debug") == 1);
    site_free(&s);
}

TEST(arguments_are_compared_decoded)
{
    static const struct ml_route_condition c[] = {QUERY("a b", "x/y")};
    struct site s = site_new();

    add_if(&s, "GET", "/", "", c, 1, 0);
    CHECK(find_at(&s, "GET", "", "/", "a%20b=x%2fy") == 0);
    CHECK(find_at(&s, "GET", "", "/", "k=v&&a+b=x/y&z") == 0);
    CHECK(find_at(&s, "GET", "", "/", "a+b=1&a+b=x/y") == 0);
    CHECK(find_at(&s, "GET", "", "/", "a+b") < 0);
    CHECK(find_at(&s, "GET", "", "/", "a+b=x/yy") < 0);
    CHECK(find_at(&s, "GET", "", "/", "a%2bb=x/y") < 0);
    CHECK(s.m.outcome == ML_ROUTE_NONE);
    site_free(&s);
}

TEST(a_route_whose_conditions_fail_is_not_in_allow)
{
    static const struct ml_route_condition c[] = {HAS_HEADER("x-admin")};
    struct site s = site_new();

    add_if(&s, "DELETE", "/a", "", c, 1, 0);
    CHECK(find(&s, "DELETE", "/a") < 0 && s.m.outcome == ML_ROUTE_NONE);
    CHECK(find(&s, "GET", "/a") < 0 && s.m.outcome == ML_ROUTE_NONE);
    ml_headers_add(&s.headers, s.arena, ML_STR("X-Admin"), ML_STR(""));
    CHECK(find(&s, "DELETE", "/a") == 0);
    CHECK(find(&s, "GET", "/a") < 0 && s.m.outcome == ML_ROUTE_METHOD);
    CHECK(is(s.m.allow, "DELETE, OPTIONS"));
    site_free(&s);
}

TEST(the_same_route_twice_is_refused_with_the_first_one)
{
    static const struct ml_route_condition ab[] = {HEADER("a", "1"), QUERY("b", "2")};
    static const struct ml_route_condition ba[] = {QUERY("b", "2"), HEADER("A", "1")};
    static const struct ml_route_condition b2[] = {QUERY("B", "2"), HEADER("A", "1")};
    struct site s = site_new();

    CHECK(add(&s, "GET", "/a/:id", 7) == ML_OK);
    CHECK(add(&s, "GET", "/a/:name", 8) == ML_BAD_REQUEST && s.twin == 7);
    CHECK(ml_buf_len(&s.why) > 0);
    CHECK(add(&s, "HEAD", "/a/:id", 9) == ML_OK && s.twin == -1);
    CHECK(add(&s, "*", "/a/:id", 10) == ML_OK);
    CHECK(add(&s, "*", "/a/:id", 11) == ML_BAD_REQUEST && s.twin == 10);
    CHECK(add_if(&s, "GET", "/a/:id", "h.de", NULL, 0, 12) == ML_OK);
    CHECK(add_if(&s, "GET", "/a/:id", "H.de.", NULL, 0, 13) == ML_BAD_REQUEST && s.twin == 12);
    CHECK(add_if(&s, "GET", "/a/:id", "*.h.de", NULL, 0, 14) == ML_OK);
    CHECK(add_if(&s, "GET", "/a/:id", "", ab, 2, 15) == ML_OK);
    CHECK(add_if(&s, "GET", "/a/:id", "", ba, 2, 16) == ML_BAD_REQUEST && s.twin == 15);
    CHECK(add_if(&s, "GET", "/a/:id", "", b2, 2, 17) == ML_OK);
    CHECK(find(&s, "GET", "/a/1") == 7 && param_is(&s, 0, "id", "1"));
    site_free(&s);
}
