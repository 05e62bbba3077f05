/* test_server.c - the URLs of servers, and their register. */
#include "outbound/group.h"

#include "test.h"

static bool url_is(const char *text, const char *host, int port, const char *authority,
                   const char *prefix)
{
    char *cliff = test_cliff(text, strlen(text));
    struct ml_server_url u = {0};
    bool good = ml_server_url_parse((struct ml_str){cliff, strlen(text)}, &u) == NULL &&
                ml_str_eq(u.host, ml_str_of(host)) && u.port == port &&
                ml_str_eq(u.authority, ml_str_of(authority)) &&
                ml_str_eq(u.prefix, ml_str_of(prefix));

    test_cliff_free(cliff, strlen(text));
    return good;
}

static const char *wrong(const char *text)
{
    char *cliff = test_cliff(text, strlen(text));
    const char *what = ml_server_url_check((struct ml_str){cliff, strlen(text)});

    test_cliff_free(cliff, strlen(text));
    return what;
}

TEST(good_urls_are_taken_apart)
{
    CHECK(url_is("http://a", "a", 80, "a", ""));
    CHECK(url_is("http://a/", "a", 80, "a", ""));
    CHECK(url_is("http://a.b-c_d:3001", "a.b-c_d", 3001, "a.b-c_d:3001", ""));
    CHECK(url_is("http://127.0.0.1:65535/x", "127.0.0.1", 65535, "127.0.0.1:65535", "/x"));
    CHECK(url_is("http://[::1]:8080/v1/api/", "::1", 8080, "[::1]:8080", "/v1/api"));
    CHECK(url_is("http://[2001:db8::7]", "2001:db8::7", 80, "[2001:db8::7]", ""));
    CHECK(url_is("http://a//", "a", 80, "a", ""));
    CHECK(url_is("unix:/run/a.sock", "unix:/run/a.sock", 0, "localhost", ""));
}

TEST(bad_urls_are_explained)
{
    static const char *const bad[] = {"",
                                      "a",
                                      "a:80",
                                      "ftp://a",
                                      "HTTP://a",
                                      "https:/a",
                                      "https://a:0",
                                      "http:",
                                      "http://",
                                      "http:///x",
                                      "http://:80",
                                      "http://a:",
                                      "http://a:0",
                                      "http://a:x",
                                      "http://a:-1",
                                      "http://a:+80",
                                      "http://a:65536",
                                      "http://a:8 0",
                                      "http://a b",
                                      "http://a?x",
                                      "http://a/#x",
                                      "http://u@a",
                                      "http://a:80:80",
                                      "http://[::1",
                                      "http://[]",
                                      "http://[g::]",
                                      "http://[::1]x",
                                      "http://[::1]:",
                                      "http://a\r\nb",
                                      "http://a/\x7f",
                                      "http://\xc3\xa4",
                                      "unix:",
                                      "unix:a",
                                      "unix:/",
                                      "unix://a b",
                                      "http://a:000080",
                                      "http://a/%\\"};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(wrong(bad[i]) != NULL);
        if (wrong(bad[i]) == NULL)
            printf("# taken: %s\n", bad[i]);
    }
}

TEST(names_and_paths_have_a_longest)
{
    char text[400] = "http://";

    memset(text + 7, 'a', 253);
    CHECK(wrong(text) == NULL);
    text[7 + 253] = 'a';
    CHECK(wrong(text) != NULL);
    memset(text, 0, sizeof text);
    strcpy(text, "unix:/");
    memset(text + 6, 'a', 106);
    CHECK(wrong(text) == NULL);
    text[6 + 106] = 'a';
    CHECK(wrong(text) != NULL);
}

static struct ml_loop *loop;
static struct ml_resolver *resolver;
static struct ml_outbound *o;

static void setup(struct ml_shm *shm, unsigned worker)
{
    loop = ml_loop_new();
    resolver = ml_resolver_new(loop);
    o = ml_outbound_new(loop, resolver, shm, worker);
}

static void teardown(void)
{
    ml_outbound_free(&o);
    ml_resolver_free(&resolver);
    ml_loop_free(&loop);
}

TEST(two_generations_share_a_server)
{
    setup(NULL, 0);
    struct ml_server *a = ml_server_hold(o, ML_STR("g"), ML_STR("http://127.0.0.1:1"), true);
    struct ml_server *b = ml_server_hold(o, ML_STR("g"), ML_STR("http://127.0.0.1:1"), true);
    struct ml_server *other = ml_server_hold(o, ML_STR("h"), ML_STR("http://127.0.0.1:1"), true);

    CHECK(a == b && a != other);
    ml_server_release(&a);
    CHECK(a == NULL && o->servers != NULL);
    ml_server_release(&b);
    ml_server_release(&other);
    CHECK(o->servers == NULL);
    teardown();
}

TEST(requests_in_flight_are_counted_for_all_workers)
{
    struct ml_shm *shm = ml_shm_new(1 << 20);

    setup(shm, 1);
    struct ml_outbound *second = ml_outbound_new(loop, resolver, shm, 2);
    struct ml_server *a = ml_server_hold(o, ML_STR("g"), ML_STR("http://127.0.0.1:1"), true);
    struct ml_server *b = ml_server_hold(second, ML_STR("g"), ML_STR("http://127.0.0.1:1"), true);
    struct ml_server *own = ml_server_hold(o, ML_STR("c"), ML_STR("http://127.0.0.1:1"), false);

    CHECK(a != b && a->state == b->state && own->state == &own->own);
    ml_server_begin(a);
    ml_server_begin(b);
    ml_server_begin(own);
    CHECK(a->state->in_flight == 2 && a->state->requests == 2 && own->own.in_flight == 1);
    ml_server_end(a);
    ml_server_end(own);
    CHECK(b->state->in_flight == 1 && own->own.in_flight == 0);
    ml_shm_worker_died(shm, 2); /* killed with a request in flight */
    CHECK(b->state->in_flight == 0);
    ml_server_release(&a);
    ml_server_release(&b);
    ml_server_release(&own);
    ml_outbound_free(&second);
    teardown();
    ml_shm_free(&shm);
}
