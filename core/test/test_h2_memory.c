/* test_h2_memory.c - pieces keep what is in them, whatever becomes of their neighbours. */
#include "inbound/h2_parts.h"

#include "test.h"

#include <stdlib.h>

enum { PIECES = 64 };

/* Under a sanitizer nghttp2 uses malloc, which this then tests. */
static void *get(size_t len)
{
    nghttp2_mem *m = ml_h2_memory();

    return m != NULL ? m->malloc(len, m->mem_user_data) : malloc(len);
}

static void *resize(void *p, size_t len)
{
    nghttp2_mem *m = ml_h2_memory();

    return m != NULL ? m->realloc(p, len, m->mem_user_data) : realloc(p, len);
}

static void *zeroed(size_t count, size_t len)
{
    nghttp2_mem *m = ml_h2_memory();

    return m != NULL ? m->calloc(count, len, m->mem_user_data) : calloc(count, len);
}

static void give(void *p)
{
    nghttp2_mem *m = ml_h2_memory();

    if (m != NULL)
        m->free(p, m->mem_user_data);
    else
        free(p);
}

static bool holds(const unsigned char *p, size_t len, unsigned char what)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != what)
            return false;
    return true;
}

TEST(pieces_of_all_sizes_are_apart)
{
    unsigned char *p[PIECES];
    size_t len[PIECES];

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < PIECES; i++) {
            len[i] = (i * 37 + (size_t)round * 5) % 1300;
            p[i] = get(len[i]);
            CHECK((uintptr_t)p[i] % 16 == 0);
            memset(p[i], (int)i, len[i]);
        }
        for (size_t i = 0; i < PIECES; i++) {
            CHECK(holds(p[i], len[i], (unsigned char)i));
            give(p[i]);
        }
    }
    give(NULL);
}

TEST(a_piece_grows_and_shrinks_with_its_content)
{
    static const size_t steps[] = {1, 40, 48, 49, 500, 1008, 1009, 5000, 20000, 900, 10, 3000};
    size_t had = 0;
    unsigned char *p = NULL;

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        size_t same = had < steps[i] ? had : steps[i];

        p = resize(p, steps[i]);
        CHECK(holds(p, same, 'x'));
        memset(p, 'x', steps[i]);
        had = steps[i];
    }
    give(p);
}

TEST(zeroed_pieces_are_that_although_they_were_used)
{
    for (size_t len = 1; len < 2000; len += 63) {
        unsigned char *p = get(len);

        memset(p, 0xff, len);
        give(p);
        p = zeroed(1, len);
        CHECK(holds(p, len, 0));
        give(p);
    }
}
