/* test_cidr.c - networks hold the addresses they say, IPv4 as a part of IPv6. */
#include "inbound/address.h"

#include "test.h"

static bool holds(const char *net, const char *text)
{
    struct ml_cidr cidr;
    struct ml_address a;

    if (!ml_cidr_parse(ml_str_of(net), &cidr) || !ml_address_parse(ml_str_of(text), &a))
        return false;
    return ml_address_within(&cidr, 1, &a);
}

TEST(a_network_holds_its_addresses)
{
    CHECK(holds("10.0.0.0/8", "10.255.255.255") && !holds("10.0.0.0/8", "11.0.0.0"));
    CHECK(holds("192.0.2.128/25", "192.0.2.128") && !holds("192.0.2.128/25", "192.0.2.127"));
    CHECK(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
    CHECK(holds("192.0.2.7/31", "192.0.2.6") && !holds("192.0.2.7/31", "192.0.2.8"));
    CHECK(holds("2001:db8::/33", "2001:db8:7fff::") && !holds("2001:db8::/33", "2001:db8:8000::"));
    CHECK(holds("::1", "::1") && !holds("::1", "::"));
}

TEST(the_whole_of_ipv4_is_not_the_whole_of_ipv6)
{
    CHECK(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
    CHECK(holds("::/0", "2001:db8::1") && holds("::/0", "203.0.113.9"));
    CHECK(holds("10.0.0.0/8", "::ffff:10.1.2.3") && holds("::ffff:10.0.0.0/104", "10.1.2.3"));
}

TEST(what_is_no_network_is_refused)
{
    static const char *const bad[] = {"",
                                      "/8",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "::/129",
                                      "10.0.0.0/-1",
                                      "10.0.0.0/+8",
                                      "10.0.0.0/8 ",
                                      "10.0.0/8",
                                      "10.0.0.0/0x8",
                                      "a/8",
                                      "10.0.0.0/1000",
                                      "10.0.0.0/8/8",
                                      "::/1.2",
                                      "010.0.0.0/8 ",
                                      "[::1]/128"};
    struct ml_cidr cidr;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!ml_cidr_parse(ml_str_of(bad[i]), &cidr));
    CHECK(!ml_cidr_parse(ML_STR("10.0.0.0\0/8"), &cidr));
}

static bool matches(const struct ml_cidr *list, unsigned count, const struct ml_addr *addr)
{
    struct ml_address a = ml_address_of(addr);

    return ml_address_within(list, count, &a);
}

TEST(socket_addresses_match_networks_of_their_kind)
{
    struct ml_cidr any[2];
    struct ml_addr addr = {0};

    CHECK(ml_cidr_parse(ML_STR("127.0.0.0/8"), &any[0]) && ml_cidr_parse(ML_STR("::/0"), &any[1]));
    addr.in.sin_family = AF_INET;
    addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(matches(any, 1, &addr) && !matches(any, 0, &addr));
    addr.in.sin_addr.s_addr = htonl(0x80000001);
    CHECK(!matches(any, 1, &addr) && matches(any, 2, &addr));
    memset(&addr, 0, sizeof addr);
    addr.in6.sin6_family = AF_INET6;
    addr.in6.sin6_addr = in6addr_loopback;
    CHECK(!matches(any, 1, &addr) && matches(any, 2, &addr));
}
