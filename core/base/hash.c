/* hash.c - SipHash (Aumasson and Bernstein, 2012) with one round per word and three at the end. */
#include "base/hash.h"

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void sip_round(struct sip *s)
{
    s->a += s->b, s->c += s->d;
    s->b = rotate(s->b, 13) ^ s->a, s->d = rotate(s->d, 16) ^ s->c;
    s->a = rotate(s->a, 32);
    s->c += s->b, s->a += s->d;
    s->b = rotate(s->b, 17) ^ s->c, s->d = rotate(s->d, 21) ^ s->a;
    s->c = rotate(s->c, 32);
}

static inline void sip_word(struct sip *s, uint64_t word)
{
    s->d ^= word;
    sip_round(s);
    s->a ^= word;
}

uint64_t ml_hash_bytes(struct ml_hash_seed seed, struct ml_str s)
{
    struct sip h = {
        seed.word[0] ^ UINT64_C(0x736f6d6570736575), seed.word[1] ^ UINT64_C(0x646f72616e646f6d),
        seed.word[0] ^ UINT64_C(0x6c7967656e657261), seed.word[1] ^ UINT64_C(0x7465646279746573)};
    uint64_t word, last = (uint64_t)s.len << 56;
    const char *p = s.p, *end = s.p + (s.len & ~(size_t)7);

    for (; p != end; p += 8) {
        memcpy(&word, p, 8);
        sip_word(&h, word);
    }
    for (size_t i = 0; i < (s.len & 7); i++)
        last |= (uint64_t)(unsigned char)p[i] << (8 * i);
    sip_word(&h, last);
    h.c ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(&h);
    return h.a ^ h.b ^ h.c ^ h.d;
}
