#include "outbound/redis_conf.h"

#include "test.h"

static struct ml_redis_conf conf;

static bool parses(const char *url)
{
    return ml_redis_conf_parse(ml_str_of(url), &conf) == NULL;
}

static bool place_is(unsigned index, const char *host, int port)
{
    return strcmp(conf.seeds[index].host, host) == 0 && conf.seeds[index].port == port;
}

TEST(a_host_alone_is_enough)
{
    CHECK(parses("redis://cache"));
    CHECK(conf.seed_count == 1 && place_is(0, "cache", 6379) && conf.db == 0 && !conf.cluster);
    CHECK(conf.user[0] == '\0' && conf.password[0] == '\0');
}

TEST(all_parts_are_read_and_secrets_lose_their_escapes)
{
    CHECK(parses("redis://app:p%40ss%3Aword@10.0.0.1:7000/12"));
    CHECK(place_is(0, "10.0.0.1", 7000) && conf.db == 12);
    CHECK(strcmp(conf.user, "app") == 0 && strcmp(conf.password, "p@ss:word") == 0);
    CHECK(parses("redis://:only@h/"));
    CHECK(conf.user[0] == '\0' && strcmp(conf.password, "only") == 0 && conf.db == 0);
    CHECK(parses("redis://[::1]:6380/1") && place_is(0, "::1", 6380));
    CHECK(parses("redis://[fe80::1]") && place_is(0, "fe80::1", 6379));
}

TEST(a_cluster_has_several_hosts)
{
    CHECK(parses("redis+cluster://u:p@a:7000,b,[::1]:7002/"));
    CHECK(conf.cluster && conf.seed_count == 3);
    CHECK(place_is(0, "a", 7000) && place_is(1, "b", 6379) && place_is(2, "::1", 7002));
    CHECK(strcmp(conf.user, "u") == 0);
}

TEST(a_unix_socket_has_a_path_and_maybe_a_database)
{
    CHECK(parses("unix:///run/redis%20a.sock?db=3"));
    CHECK(place_is(0, "unix:/run/redis a.sock", 0) && conf.db == 3);
    CHECK(parses("unix://:pw@/r") && place_is(0, "unix:/r", 0));
    CHECK(strcmp(conf.password, "pw") == 0);
}

TEST(what_is_no_redis_url_is_refused)
{
    static const char *const bad[] = {
        "",
        "redis",
        "http://h",
        "rediss:/h",
        "rediss+unix:///s",
        "redis://",
        "redis://:6379",
        "redis://h:0",
        "redis://h:65536",
        "redis://h:6x",
        "redis://h:",
        "redis://h/x",
        "redis://h/-1",
        "redis://h/1/2",
        "redis://h/1?timeout=2",
        "redis://h 1",
        "redis://h\r\nX",
        "redis://h,b",
        "redis://[::1",
        "redis://[::1]x",
        "redis://[h]:1",
        "redis://::1",
        "redis://u:%4@h",
        "redis://u:%zz@h",
        "redis://u:%00@h",
        "redis+cluster://",
        "redis+cluster://a,,b",
        "redis+cluster://a/1",
        "redis+cluster://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a",
        "unix://run/x",
        "unix://",
        "unix:///",
        "unix:///x?db=",
        "unix:///x?timeout=1",
        "unix:///x%00y",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parses(bad[i])) {
            printf("# %s\n", bad[i]);
            CHECK(!"parsed");
        }
}

TEST(secrets_and_paths_that_are_too_long_are_refused)
{
    char url[3000], run[2000];

    memset(run, 'x', sizeof run);
    run[sizeof run - 1] = '\0';
    snprintf(url, sizeof url, "redis://:%s@h", run);
    CHECK(!parses(url));
    run[1023] = '\0';
    snprintf(url, sizeof url, "redis://:%s@h", run);
    CHECK(parses(url) && strlen(conf.password) == 1023);
    run[106] = '\0';
    snprintf(url, sizeof url, "unix:///%s", run);
    CHECK(parses(url));
    snprintf(url, sizeof url, "unix:///%sx", run);
    CHECK(!parses(url));
    run[106] = 'x';
    run[254] = '\0';
    snprintf(url, sizeof url, "redis://%s", run);
    CHECK(!parses(url));
}

TEST(no_byte_behind_the_url_is_read)
{
    static const char url[] = "redis+cluster://u:%41@[::1]:7000,b:7001";

    for (size_t len = 0; len < sizeof url; len++) {
        char *copy = test_cliff(url, len);

        ml_redis_conf_parse((struct ml_str){copy, len}, &conf);
        test_cliff_free(copy, len);
    }
    CHECK(conf.seed_count == 2);
}

TEST(equal_urls_give_equal_bytes)
{
    static struct ml_redis_conf other;

    memset(&other, 0xff, sizeof other);
    CHECK(ml_redis_conf_parse(ML_STR("redis://a:b@h/1"), &other) == NULL);
    CHECK(parses("redis://a:b@h/1"));
    CHECK(memcmp(&other, &conf, sizeof conf) == 0);
}
