/* test_address.c - addresses and their texts, and which one of a chain of proxies is the client. */
#include "inbound/address.h"

#include "test.h"

static bool text_is(const char *in, const char *out)
{
    struct ml_address a;
    size_t len = strlen(in);
    char text[ML_ADDRESS_TEXT_CAP], *cliff = test_cliff(in, len);
    bool parsed = ml_address_parse((struct ml_str){cliff, len}, &a);

    test_cliff_free(cliff, len);
    return parsed && ml_address_text(&a, text) == strlen(out) && strcmp(text, out) == 0;
}

TEST(texts_are_read_and_written)
{
    CHECK(text_is("192.0.2.7", "192.0.2.7"));
    CHECK(text_is("0.10.100.255", "0.10.100.255"));
    CHECK(text_is("255.255.255.255", "255.255.255.255"));
    CHECK(text_is("2001:DB8:0:0::1", "2001:db8::1"));
    CHECK(text_is("::ffff:192.0.2.7", "192.0.2.7"));
    CHECK(text_is("1111:2222:3333:4444:5555:6666:7777:8888",
                  "1111:2222:3333:4444:5555:6666:7777:8888"));
}

TEST(what_is_no_address_is_refused)
{
    static const char *const bad[] = {"",
                                      "1.2.3",
                                      "1.2.3.4.5",
                                      "1.2.3.256",
                                      "01.2.3.4x",
                                      "1.2.3.4 ",
                                      " ::1",
                                      "[::1]",
                                      "::1%lo",
                                      "a",
                                      "1.2.3.4:80",
                                      "::g",
                                      "1:2:3:4:5:6:7:8:9",
                                      "0000000000000000000000000000000000000000000000001"};
    struct ml_address a;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!ml_address_parse(ml_str_of(bad[i]), &a));
    CHECK(!ml_address_parse(ML_STR("1.2.3.4\0"), &a));
}

TEST(a_unix_peer_has_no_address)
{
    struct ml_addr addr = {0};
    struct ml_address a;
    char text[ML_ADDRESS_TEXT_CAP];

    addr.sa.sa_family = AF_UNIX;
    a = ml_address_of(&addr);
    CHECK(ml_address_text(&a, text) == 4 && strcmp(text, "unix") == 0);
}

/* The client of a request from peer; 10.0.0.0/8 and fd00::/8 are trusted. */
static bool client_is(const char *peer, const char *first, const char *second, const char *client)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_headers h = {0};
    struct ml_cidr trusted[2];
    struct ml_address from, got;
    char text[ML_ADDRESS_TEXT_CAP];

    CHECK(ml_cidr_parse(ML_STR("10.0.0.0/8"), &trusted[0]));
    CHECK(ml_cidr_parse(ML_STR("fd00::/8"), &trusted[1]));
    CHECK(ml_address_parse(ml_str_of(peer), &from));
    if (first != NULL)
        ml_headers_add(&h, arena, ML_STR("X-Forwarded-For"), ml_str_of(first));
    if (second != NULL)
        ml_headers_add(&h, arena, ML_STR("x-forwarded-for"), ml_str_of(second));
    got = ml_address_client(&h, trusted, 2, &from);
    ml_address_text(&got, text);
    ml_arena_free(&arena);
    return strcmp(text, client) == 0;
}

TEST(only_trusted_proxies_are_believed)
{
    CHECK(client_is("192.0.2.1", "203.0.113.5", NULL, "192.0.2.1"));
    CHECK(client_is("10.0.0.1", NULL, NULL, "10.0.0.1"));
    CHECK(client_is("10.0.0.1", "203.0.113.5", NULL, "203.0.113.5"));
    CHECK(client_is("10.0.0.1", "1.1.1.1, 203.0.113.5", NULL, "203.0.113.5"));
    CHECK(client_is("10.0.0.1", "1.1.1.1, 203.0.113.5, 10.2.3.4", NULL, "203.0.113.5"));
    CHECK(client_is("10.0.0.1", "1.1.1.1", "203.0.113.5", "203.0.113.5"));
    CHECK(client_is("10.0.0.1", "203.0.113.5", "10.1.1.1, fd00::2", "203.0.113.5"));
    CHECK(client_is("10.0.0.1", "10.3.3.3, 10.2.2.2", NULL, "10.3.3.3"));
}

TEST(elements_may_have_brackets_and_ports)
{
    CHECK(client_is("10.0.0.1", "203.0.113.5:4711", NULL, "203.0.113.5"));
    CHECK(client_is("10.0.0.1", "[2001:db8::5]:4711", NULL, "2001:db8::5"));
    CHECK(client_is("10.0.0.1", "2001:db8::5", NULL, "2001:db8::5"));
}

TEST(garbage_ends_the_walk_at_the_last_sure_address)
{
    CHECK(client_is("10.0.0.1", "unknown", NULL, "10.0.0.1"));
    CHECK(client_is("10.0.0.1", "203.0.113.5, _hidden, 10.2.3.4", NULL, "10.2.3.4"));
    CHECK(client_is("10.0.0.1", ",, ,", NULL, "10.0.0.1"));
    CHECK(client_is("10.0.0.1", "[", NULL, "10.0.0.1"));
    CHECK(client_is("10.0.0.1", "203.0.113.5, []", NULL, "10.0.0.1"));
}

TEST(a_chain_of_any_length_is_read_from_its_right_end)
{
    char chain[4096] = "";

    for (int i = 0; i < 100; i++)
        strcat(chain, "1.1.1.1, ");
    strcat(chain, "203.0.113.5");
    CHECK(client_is("10.0.0.1", chain, "10.1.1.1", "203.0.113.5"));
    *chain = '\0';
    for (int i = 0; i < 100; i++)
        strcat(chain, i > 0 ? ",10.1.1.1" : "10.1.1.1");
    CHECK(client_is("10.0.0.1", "203.0.113.5", chain, "10.1.1.1"));
}
