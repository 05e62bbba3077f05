/* test_hash.c - the hash is SipHash-1-3, for any length, and reads no byte too much. */
#include "base/hash.h"

#include "test.h"

static uint64_t hash_of(struct ml_hash_seed seed, const char *bytes, size_t len)
{
    char *cliff = test_cliff(bytes, len);
    uint64_t h = ml_hash_bytes(seed, (struct ml_str){cliff, len});

    test_cliff_free(cliff, len);
    return h;
}

TEST(it_gives_the_values_of_siphash_1_3)
{
    static const struct ml_hash_seed zero, counting = {{0x0706050403020100, 0x0f0e0d0c0b0a0908}};

    CHECK(hash_of(counting, "", 0) == 0xabac0158050fc4dc);
    CHECK(hash_of(zero, "a", 1) == 0x407448d2b89b1813);
    CHECK(hash_of(zero, "abcdefg", 7) == 0x6db12aae9070f506);
    CHECK(hash_of(zero, "abcdefgh", 8) == 0x3f7b849c0b8e35ea);
    CHECK(hash_of(zero, "abcdefghi", 9) == 0xf89b34a3d11eb6e5);
    CHECK(hash_of(zero, "The quick brown fox jumps over the lazy dog", 43) == 0x8df676d3d00c451e);
}

TEST(every_byte_the_length_and_the_seed_count)
{
    struct ml_hash_seed seed = {{1, 2}};
    char bytes[40] = {0};
    uint64_t seen[42];

    seen[0] = hash_of(seed, bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = 1;
        seen[i + 1] = hash_of(seed, bytes, sizeof bytes);
        bytes[i] = 0;
    }
    seen[41] = hash_of((struct ml_hash_seed){{1, 3}}, bytes, sizeof bytes);
    for (size_t i = 0; i < 42; i++)
        for (size_t j = 0; j < i; j++)
            CHECK(seen[i] != seen[j]);
    for (size_t len = 1; len < sizeof bytes; len++)
        CHECK(hash_of(seed, bytes, len) != hash_of(seed, bytes, len - 1));
}
