#include "outbound/balance.h"

#include "test.h"

enum { KEYS = 20000 };

static void fill(struct ml_candidate *c, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char name[32];

        snprintf(name, sizeof name, "http://10.0.0.%u:80", i);
        c[i] = (struct ml_candidate){
            .hash = ml_balance_hash_of(ml_str_of(name)), .weight = 1, .usable = true};
    }
}

static uint64_t key_of(unsigned i)
{
    char key[32];

    snprintf(key, sizeof key, "client-%u", i);
    return ml_balance_hash_of(ml_str_of(key));
}

TEST(round_robin_spreads_weights_smoothly)
{
    struct ml_candidate c[3];
    unsigned hits[3] = {0}, in_a_row = 0, longest = 0, last = 3;

    fill(c, 3);
    c[0].weight = 5;
    for (unsigned i = 0; i < 70; i++) {
        unsigned at = ml_balance_round_robin(c, 3);

        hits[at]++;
        in_a_row = at == last ? in_a_row + 1 : 1;
        longest = in_a_row > longest ? in_a_row : longest;
        last = at;
    }
    CHECK(hits[0] == 50 && hits[1] == 10 && hits[2] == 10);
    CHECK(longest <= 4);
}

TEST(no_usable_candidate_is_said)
{
    struct ml_candidate c[2];

    fill(c, 2);
    c[0].usable = c[1].usable = false;
    CHECK(ml_balance_round_robin(c, 2) == 2);
    CHECK(ml_balance_least_conn(c, 2) == 2);
    CHECK(ml_balance_hash(c, 2, 7) == 2);
    CHECK(ml_balance_p2c(c, 2, 7) == 2);
    CHECK(ml_balance_round_robin(c, 0) == 0);
    CHECK(ml_balance_p2c(c, 0, 7) == 0);
}

TEST(least_conn_weighs_and_shares_among_equals)
{
    struct ml_candidate c[3];
    unsigned hits[3] = {0};

    fill(c, 3);
    c[0].in_flight = 4;
    c[0].weight = 4; /* 1 per weight, as the last one */
    c[1].in_flight = 3;
    c[2].in_flight = 1;
    for (unsigned i = 0; i < 50; i++)
        hits[ml_balance_least_conn(c, 3)]++;
    CHECK(hits[1] == 0);
    CHECK(hits[0] == 40 && hits[2] == 10);
    c[2].usable = false;
    CHECK(ml_balance_least_conn(c, 3) == 0);
}

TEST(hash_is_even_and_follows_weights)
{
    struct ml_candidate c[10];
    unsigned hits[10] = {0};

    fill(c, 10);
    c[9].weight = 3;
    for (unsigned i = 0; i < KEYS; i++)
        hits[ml_balance_hash(c, 10, key_of(i))]++;
    for (unsigned i = 0; i < 9; i++)
        CHECK(hits[i] > KEYS / 12 * 0.85 && hits[i] < KEYS / 12 * 1.15);
    CHECK(hits[9] > KEYS / 4 * 0.9 && hits[9] < KEYS / 4 * 1.1);
}

TEST(hash_moves_only_the_share_of_a_new_server)
{
    struct ml_candidate c[11];
    unsigned moved = 0, astray = 0;

    fill(c, 11);
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned before = ml_balance_hash(c, 10, key_of(i));
        unsigned after = ml_balance_hash(c, 11, key_of(i));

        moved += before != after;
        astray += before != after && after != 10;
    }
    CHECK(astray == 0);
    CHECK(moved > KEYS / 11 * 0.85 && moved < KEYS / 11 * 1.15);
}

TEST(hash_leaves_the_keys_of_healthy_servers_alone)
{
    struct ml_candidate c[5];
    unsigned before[1000], wrong = 0;

    fill(c, 5);
    for (unsigned i = 0; i < 1000; i++)
        before[i] = ml_balance_hash(c, 5, key_of(i));
    c[2].usable = false;
    for (unsigned i = 0; i < 1000; i++) {
        unsigned after = ml_balance_hash(c, 5, key_of(i));

        wrong += before[i] == 2 ? after == 2 : after != before[i];
    }
    CHECK(wrong == 0);
}

TEST(p2c_prefers_the_less_loaded_and_reaches_all)
{
    struct ml_candidate c[4];
    unsigned hits[4] = {0};
    uint64_t random = 88172645463325252ULL;

    fill(c, 4);
    c[3].in_flight = 100;
    c[1].usable = false;
    for (unsigned i = 0; i < 3000; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        hits[ml_balance_p2c(c, 4, random)]++;
    }
    CHECK(hits[1] == 0 && hits[3] == 0);
    CHECK(hits[0] > 1000 && hits[2] > 1000);
}
