/* test_router.c - which route a path and a method find, and what is said when they find none. */
#include "router_lab.h"

#include <time.h>

TEST(an_empty_router_finds_nothing)
{
    struct site s = site_new();

    CHECK(find(&s, "GET", "/") < 0 && s.m.outcome == ML_ROUTE_NONE);
    CHECK(find_at(&s, "GET", "a.b.c", "/x/y", "q") < 0 && s.m.outcome == ML_ROUTE_NONE);
    CHECK(find(&s, "OPTIONS", "/") < 0 && s.m.outcome == ML_ROUTE_NONE);
    site_free(&s);
}

TEST(static_paths_match_whole_and_exactly)
{
    struct site s = site_new();

    CHECK(add(&s, "GET", "/", 0) == ML_OK);
    CHECK(add(&s, "GET", "/api", 1) == ML_OK);
    CHECK(add(&s, "GET", "/api/", 2) == ML_OK);
    CHECK(add(&s, "GET", "/api/patients", 3) == ML_OK);
    CHECK(find(&s, "GET", "/") == 0);
    CHECK(find(&s, "GET", "/api") == 1 && is(s.m.pattern, "/api"));
    CHECK(find(&s, "GET", "/api/") == 2 && is(s.m.pattern, "/api/"));
    CHECK(find(&s, "GET", "/api/patients") == 3 && s.m.param_count == 0);
    CHECK(find(&s, "GET", "/ap") < 0);
    CHECK(find(&s, "GET", "/API") < 0);
    CHECK(find(&s, "GET", "/api/patient") < 0);
    CHECK(find(&s, "GET", "/api/patients/") < 0);
    CHECK(find(&s, "GET", "/api/patients/1") < 0);
    CHECK(find(&s, "GET", "//") < 0);
    CHECK(find(&s, "GET", "") < 0);
    site_free(&s);
}

TEST(parameters_are_named_by_their_route)
{
    struct site s = site_new();

    add(&s, "GET", "/p/:id", 0);
    add(&s, "PUT", "/p/:patient", 1);
    add(&s, "GET", "/p/:who/visits/:visit", 2);
    CHECK(find(&s, "GET", "/p/17") == 0 && param_is(&s, 0, "id", "17"));
    CHECK(find(&s, "PUT", "/p/a%20b") == 1 && param_is(&s, 0, "patient", "a%20b"));
    CHECK(find(&s, "GET", "/p/x/visits/y") == 2);
    CHECK(param_is(&s, 0, "who", "x") && param_is(&s, 1, "visit", "y") && s.m.param_count == 2);
    CHECK(find(&s, "GET", "/p/") < 0);
    CHECK(find(&s, "GET", "/p/17/") < 0);
    CHECK(find(&s, "GET", "/p//visits/y") < 0);
    site_free(&s);
}

TEST(rest_takes_everything_behind_a_slash_also_nothing)
{
    struct site s = site_new();

    add(&s, "GET", "/a/*rest", 0);
    CHECK(find(&s, "GET", "/a/") == 0 && param_is(&s, 0, "rest", ""));
    CHECK(find(&s, "GET", "/a/b") == 0 && param_is(&s, 0, "rest", "b"));
    CHECK(find(&s, "GET", "/a/b/c/") == 0 && param_is(&s, 0, "rest", "b/c/"));
    CHECK(find(&s, "GET", "/a") < 0);
    CHECK(find(&s, "GET", "/") < 0);
    add(&s, "GET", "/*all", 1);
    CHECK(find(&s, "GET", "/") == 1 && param_is(&s, 0, "all", ""));
    CHECK(find(&s, "GET", "/a") == 1 && param_is(&s, 0, "all", "a"));
    CHECK(find(&s, "GET", "/a/b") == 0);
    site_free(&s);
}

TEST(static_wins_over_parameter_over_rest_with_backtracking)
{
    struct site s = site_new();

    add(&s, "GET", "/a/*rest", 0);
    add(&s, "GET", "/a/:x/c", 1);
    add(&s, "GET", "/a/b", 2);
    add(&s, "GET", "/a/b/d", 3);
    add(&s, "GET", "/:y/b/e", 4);
    CHECK(find(&s, "GET", "/a/b") == 2);
    CHECK(find(&s, "GET", "/a/b/d") == 3);
    CHECK(find(&s, "GET", "/a/b/c") == 1 && s.m.param_count == 1 && param_is(&s, 0, "x", "b"));
    CHECK(find(&s, "GET", "/a/b/e") == 0 && s.m.param_count == 1 && param_is(&s, 0, "rest", "b/e"));
    CHECK(find(&s, "GET", "/z/b/e") == 4 && param_is(&s, 0, "y", "z"));
    CHECK(find(&s, "GET", "/z/b/f") < 0 && s.m.param_count == 0);
    site_free(&s);
}

TEST(a_path_without_a_route_for_the_method_goes_on_to_the_next_pattern)
{
    struct site s = site_new();

    add(&s, "GET", "/a/b", 0);
    add(&s, "POST", "/a/:x", 1);
    add(&s, "*", "/*rest", 2);
    CHECK(find(&s, "GET", "/a/b") == 0);
    CHECK(find(&s, "POST", "/a/b") == 1);
    CHECK(find(&s, "DELETE", "/a/b") == 2);
    CHECK(find(&s, "OPTIONS", "/a/b") == 2);
    site_free(&s);
}

TEST(head_is_a_get_unless_it_has_a_route)
{
    struct site s = site_new();

    add(&s, "GET", "/a", 0);
    add(&s, "*", "/a", 1);
    add(&s, "GET", "/b", 2);
    add(&s, "HEAD", "/b", 3);
    CHECK(find(&s, "HEAD", "/a") == 0);
    CHECK(find(&s, "POST", "/a") == 1);
    CHECK(find(&s, "HEAD", "/b") == 3);
    CHECK(find(&s, "GET", "/b") == 2);
    site_free(&s);
}

TEST(methods_are_case_sensitive_and_a_sent_star_is_no_wildcard)
{
    struct site s = site_new();

    add(&s, "GET", "/a", 0);
    add(&s, "*", "/b", 1);
    CHECK(find(&s, "get", "/a") < 0 && s.m.outcome == ML_ROUTE_METHOD);
    CHECK(find(&s, "*", "/a") < 0 && s.m.outcome == ML_ROUTE_METHOD);
    CHECK(find(&s, "*", "/b") == 1);
    CHECK(find(&s, "PURGE", "/b") == 1);
    site_free(&s);
}

TEST(another_method_is_told_what_is_allowed)
{
    struct site s = site_new();

    add(&s, "GET", "/a/b", 0);
    add(&s, "DELETE", "/a/:id", 1);
    add(&s, "PUT", "/a/*rest", 2);
    add(&s, "POST", "/c", 3);
    CHECK(find(&s, "POST", "/a/b") < 0 && s.m.outcome == ML_ROUTE_METHOD);
    CHECK(is(s.m.allow, "DELETE, GET, HEAD, OPTIONS, PUT"));
    CHECK(find(&s, "GET", "/c") < 0 && s.m.outcome == ML_ROUTE_METHOD);
    CHECK(is(s.m.allow, "OPTIONS, POST"));
    CHECK(find(&s, "OPTIONS", "/c") < 0 && s.m.outcome == ML_ROUTE_OPTIONS);
    CHECK(is(s.m.allow, "OPTIONS, POST"));
    CHECK(find(&s, "OPTIONS", "/nowhere") < 0 && s.m.outcome == ML_ROUTE_NONE);
    CHECK(s.m.allow.len == 0 && s.m.route < 0);
    site_free(&s);
}

TEST(options_can_have_a_route_of_its_own)
{
    struct site s = site_new();

    add(&s, "GET", "/a", 0);
    add(&s, "OPTIONS", "/a", 1);
    CHECK(find(&s, "OPTIONS", "/a") == 1);
    CHECK(find(&s, "PUT", "/a") < 0 && is(s.m.allow, "GET, HEAD, OPTIONS"));
    site_free(&s);
}

TEST(options_star_asks_for_all_methods_there_are)
{
    struct site s = site_new();

    add(&s, "PATCH", "/a", 0);
    add(&s, "*", "/*rest", 1);
    CHECK(find(&s, "OPTIONS", "*") < 0 && s.m.outcome == ML_ROUTE_OPTIONS);
    CHECK(is(s.m.allow, "GET, HEAD, OPTIONS, PATCH"));
    CHECK(find(&s, "GET", "*") < 0 && s.m.outcome == ML_ROUTE_NONE);
    site_free(&s);
}

TEST(patterns_that_can_never_match_are_refused)
{
    static const char *const bad[] = {
        "",          "a",      "*",     "/a//b",   "//",     "/:",        "/*",
        "/:1",       "/:a-b",  "/:a.b", "/*r/b",   "/*r/",   "/a*",       "/a*b/c",
        "/:a/:a",    "/:a/*a", "/a b",  "/a?b",    "/a#b",   "/\xc3",     "/%41",
        "/%7e",      "/a/%2f", "/%2",   "/a/../b", "/a/.",   "/./a",      "/a\\b",
        "/a%5cb",    "/a%00",  "/{id}", "/<id>",   "/..;/a", "/a/%2e%2e", "/:\xc3",
        "http://a/", "/**",    "/::a",  "/a/:b:c", "/a|b",   "/\"",       "/:a%41",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct site s = site_new();

        if (add(&s, "GET", bad[i], 0) != ML_BAD_REQUEST)
            CHECK(!bad[i]);
        CHECK(ml_buf_len(&s.why) > 0);
        CHECK(find(&s, "GET", "/a/b") < 0);
        site_free(&s);
    }
}

TEST(patterns_may_have_what_paths_may_have)
{
    static const char *const good[] = {"/a:b", "/a%2Fb", "/%C3%A4", "/a;v=1", "/~a/_-.!$&'()+,=@",
                                       "/...", "/.a",    "/a..",    "/a/%25"};
    struct site s = site_new();

    for (int i = 0; i < (int)(sizeof good / sizeof *good); i++) {
        CHECK(add(&s, "GET", good[i], i) == ML_OK);
        CHECK(find(&s, "GET", good[i]) == i);
    }
    CHECK(add(&s, "GET", "/:_a1/:B_", 99) == ML_OK);
    site_free(&s);
}

TEST(methods_that_are_no_tokens_are_refused)
{
    struct site s = site_new();

    CHECK(add(&s, "", "/", 0) == ML_BAD_REQUEST);
    CHECK(add(&s, "GET|POST,", "/", 0) == ML_BAD_REQUEST);
    CHECK(add(&s, "G T", "/", 0) == ML_BAD_REQUEST);
    site_free(&s);
}

TEST(limits_are_refused_and_what_is_just_below_works)
{
    struct site s = site_new();
    char pattern[1024] = "", path[1024] = "", method[16];
    enum ml_err err = ML_OK;

    for (int i = 0; i < ML_ROUTE_PARAMS_MAX; i++) {
        sprintf(pattern + strlen(pattern), "/:p%d", i);
        sprintf(path + strlen(path), "/%d", i);
    }
    CHECK(add(&s, "GET", pattern, 0) == ML_OK);
    CHECK(find(&s, "GET", path) == 0 && s.m.param_count == ML_ROUTE_PARAMS_MAX);
    CHECK(param_is(&s, ML_ROUTE_PARAMS_MAX - 1, "p15", "15"));
    strcat(pattern, "/*rest");
    CHECK(add(&s, "GET", pattern, 1) == ML_LIMIT && ml_buf_len(&s.why) > 0);
    *pattern = '\0';
    for (int i = 0; i < 64; i++)
        strcat(pattern, "/a");
    CHECK(add(&s, "GET", pattern, 2) == ML_OK && find(&s, "GET", pattern) == 2);
    strcat(pattern, "/");
    CHECK(add(&s, "GET", pattern, 3) == ML_LIMIT);
    for (int i = 0; i < 100 && err == ML_OK; i++) {
        sprintf(method, "M%d", i);
        err = add(&s, method, "/m", i);
    }
    CHECK(err == ML_LIMIT);
    CHECK(find(&s, "M59", "/m") == 59 && find(&s, "M60", "/m") < 0);
    CHECK(s.m.outcome == ML_ROUTE_METHOD && s.m.allow.len > 60 * 4);
    CHECK(find(&s, "OPTIONS", "*") < 0 && s.m.allow.len > 60 * 4);
    site_free(&s);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double nanoseconds_of(struct site *s, const char *path, int expected)
{
    enum { ROUNDS = 100000 };
    double start = seconds();

    for (int i = 0; i < ROUNDS; i++) {
        ml_router_match(s->router, ML_STR("GET"), ML_STR("a.example.com"), ml_str_of(path),
                        ML_STR_NONE, &s->headers, s->arena, &s->m);
        if (s->m.route != expected)
            CHECK(!"the right route");
    }
    return (seconds() - start) / ROUNDS * 1e9;
}

/* Informal: a machine under load may print anything here. */
TEST(a_thousand_routes_all_find_their_own)
{
    struct site s = site_new();
    char text[64];

    for (int i = 0; i < 1000; i++) {
        sprintf(text, "/api/service%d/:id/items/:item", i);
        CHECK(add(&s, "GET", text, i) == ML_OK);
    }
    for (int i = 0; i < 1000; i++) {
        sprintf(text, "/api/service%d/17/items/x", i);
        CHECK(find(&s, "GET", text) == i && s.m.param_count == 2);
    }
    printf("# of 1000 routes: the first %.0f ns, the last %.0f ns\n",
           nanoseconds_of(&s, "/api/service0/17/items/x", 0),
           nanoseconds_of(&s, "/api/service999/17/items/x", 999));
    site_free(&s);
}

/* Ten levels of "a" against ":p", all 1,024 ways present: none is walked twice. */
TEST(a_hostile_path_costs_each_node_once)
{
    struct site s = site_new();
    char *path = malloc(30002);
    double start;

    for (int bits = 0; bits < 1024; bits++) {
        char text[128] = "";

        for (int i = 0; i < 10; i++)
            sprintf(text + strlen(text), bits >> i & 1 ? "/:p%d" : "/a", i);
        strcat(text, "/end");
        CHECK(add(&s, "GET", text, bits) == ML_OK);
    }
    for (int i = 0; i < 30000; i += 2)
        memcpy(path + i, "/a", 2);
    path[30000] = '\0';
    start = seconds();
    CHECK(find(&s, "GET", path) < 0 && s.m.outcome == ML_ROUTE_NONE);
    printf("# a hostile path: %.0f us\n", (seconds() - start) * 1e6);
    CHECK(find(&s, "GET", "/a/a/a/a/a/a/a/a/a/b/end") == 512);
    free(path);
    site_free(&s);
}

TEST(a_long_host_of_many_labels_is_looked_at_label_by_label)
{
    struct site s = site_new();
    char host[256];

    CHECK(add_if(&s, "GET", "/", "*.a.example", NULL, 0, 0) == ML_OK);
    for (int i = 0; i < 246; i += 2)
        memcpy(host + i, "a.", 2);
    strcpy(host + 246, "example");
    CHECK(find_at(&s, "GET", host, "/", "") == 0);
    strcpy(host + 246, "exampl");
    CHECK(find_at(&s, "GET", host, "/", "") < 0);
    site_free(&s);
}
