/* test_cidr_set.c - a set of networks answers what a walk through its list would. */
#include "inbound/address.h"

#include "test.h"

enum { NETS = 10000 };

static struct ml_cidr net(const char *text)
{
    struct ml_cidr n;

    if (!ml_cidr_parse(ml_str_of(text), &n))
        abort();
    return n;
}

static struct ml_address address(const char *text)
{
    struct ml_address a;

    if (!ml_address_parse(ml_str_of(text), &a))
        abort();
    return a;
}

static bool has(const struct ml_cidr *set, unsigned count, const char *text)
{
    struct ml_address a = address(text);

    return ml_cidr_set_has(set, count, &a);
}

TEST(networks_within_others_are_dropped)
{
    struct ml_cidr set[] = {net("10.1.2.0/24"), net("10.0.0.0/8"),    net("10.255.0.9/8"),
                            net("10.9.9.9"),    net("192.0.2.7"),     net("2001:db8::/32"),
                            net("192.0.2.7"),   net("2001:db8:1::1"), net("11.0.0.0/8")};
    unsigned count = ml_cidr_set_make(set, sizeof set / sizeof *set);

    CHECK(count == 4);
    CHECK(has(set, count, "10.0.0.0") && has(set, count, "10.255.255.255"));
    CHECK(has(set, count, "11.0.0.0") && !has(set, count, "12.0.0.0"));
    CHECK(!has(set, count, "9.255.255.255") && has(set, count, "192.0.2.7"));
    CHECK(!has(set, count, "192.0.2.6") && !has(set, count, "192.0.2.8"));
    CHECK(has(set, count, "2001:db8:ffff::") && !has(set, count, "2001:db9::"));
}

TEST(the_bounds_of_the_address_space_are_no_bounds_of_the_search)
{
    struct ml_cidr all[] = {net("::/0"), net("10.0.0.0/8")};
    struct ml_cidr ends[] = {net("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), net("::/128")};
    unsigned count = ml_cidr_set_make(all, 2);

    CHECK(count == 1 && has(all, count, "::") && has(all, count, "203.0.113.9"));
    CHECK(!has(all, 0, "::1") && ml_cidr_set_make(all, 0) == 0);
    count = ml_cidr_set_make(ends, 2);
    CHECK(count == 2 && has(ends, count, "::") && !has(ends, count, "::1"));
    CHECK(has(ends, count, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
    CHECK(!has(ends, count, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"));
}

static uint32_t rnd(void)
{
    static uint32_t x = 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

TEST(ten_thousand_networks_answer_as_a_walk_through_the_list)
{
    static struct ml_cidr list[NETS], set[NETS];
    unsigned count, wrong = 0, held = 0;

    for (unsigned i = 0; i < NETS; i++) {
        char text[64];

        snprintf(text, sizeof text, "%u.%u.%u.%u/%u", rnd() % 256, rnd() % 256, rnd() % 256,
                 rnd() % 256, 12 + rnd() % 21);
        if (i % 4 == 0)
            snprintf(text, sizeof text, "2001:%x:%x::/%u", rnd() % 16, rnd() % 65536,
                     30 + rnd() % 40);
        list[i] = set[i] = net(text);
    }
    count = ml_cidr_set_make(set, NETS);
    for (unsigned i = 0; i < 5000; i++) {
        struct ml_address a = {.port = 0};
        bool expected;

        memcpy(a.bytes, list[rnd() % NETS].bytes, sizeof a.bytes);
        a.bytes[i % 2 == 0 ? 15 : 5] ^= (uint8_t)rnd();
        a.bytes[13] ^= (uint8_t)(rnd() % 3);
        expected = ml_address_within(list, NETS, &a);
        held += expected;
        wrong += ml_cidr_set_has(set, count, &a) != expected;
    }
    CHECK(wrong == 0 && held > 500 && held < 5000);
}
