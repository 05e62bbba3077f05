#include "test.h"

#include "protocol/coding.h"

static const enum ml_coding all[] = {ML_CODING_GZIP, ML_CODING_DEFLATE, ML_CODING_BROTLI};
static const enum ml_coding offers[] = {ML_CODING_BROTLI, ML_CODING_GZIP};

static enum ml_coding choose(const char *accept)
{
    return ml_coding_choose(ml_str_of(accept), offers, 2);
}

TEST(the_client_chooses_and_among_equals_the_server)
{
    CHECK(choose("") == ML_CODING_NONE);
    CHECK(choose("gzip") == ML_CODING_GZIP);
    CHECK(choose("gzip, br") == ML_CODING_BROTLI);
    CHECK(choose("gzip;q=1.0, br;q=0.9") == ML_CODING_GZIP);
    CHECK(choose("GZIP;Q=0.001") == ML_CODING_GZIP);
    CHECK(choose("x-gzip") == ML_CODING_GZIP);
    CHECK(choose("*") == ML_CODING_BROTLI);
    CHECK(choose("br;q=0, *;q=0.5") == ML_CODING_GZIP);
    CHECK(choose("identity") == ML_CODING_NONE);
    CHECK(choose("deflate, zstd") == ML_CODING_NONE);
    CHECK(choose("gzip;q=0.2, identity;q=0.3") == ML_CODING_NONE);
    CHECK(choose("gzip ; q=0.8 , br ; q=0") == ML_CODING_GZIP);
}

TEST(a_weight_that_is_none_is_zero)
{
    CHECK(choose("gzip;q=2") == ML_CODING_NONE);
    CHECK(choose("gzip;q=0.0000") == ML_CODING_NONE);
    CHECK(choose("gzip;q=") == ML_CODING_NONE);
    CHECK(choose("gzip;q=0,5") == ML_CODING_NONE);
    CHECK(choose("gzip;level=9") == ML_CODING_NONE);
    CHECK(choose("gzip;q=1.001") == ML_CODING_NONE);
}

static void fill(struct ml_buf *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ml_buf_append(b, (struct ml_str){i % 61 == 0 ? "\n" : "abcdefgh" + (i * i) % 8, 1});
}

/* All of `in` goes through the coder, `piece` bytes at a time, at most `max` out at a time. */
static enum ml_err run(struct ml_coder *c, struct ml_str in, size_t piece, size_t max,
                       struct ml_buf *out)
{
    enum ml_err err;

    do {
        struct ml_buf part = {0};
        struct ml_str s = {in.p, in.len < piece ? in.len : piece};

        ml_buf_append(&part, s);
        in.p += s.len;
        in.len -= s.len;
        do {
            size_t before = ml_buf_len(out);

            err = ml_coder_run(c, &part, in.len > 0 ? ML_CODER_MORE : ML_CODER_FINISH, out, max);
            CHECK(ml_buf_len(out) - before <= max);
        } while (err == ML_AGAIN);
        ml_buf_release(&part);
    } while (err == ML_OK && in.len > 0);
    return err;
}

static void round_trip(enum ml_coding coding, size_t len, size_t piece, size_t max)
{
    struct ml_coder *e = ml_encoder_new(coding, 0), *d = ml_decoder_new(coding);
    struct ml_buf plain = {0}, coded = {0}, back = {0};

    fill(&plain, len);
    CHECK(run(e, ml_buf_str(&plain), piece, max, &coded) == ML_OK);
    CHECK(run(d, ml_buf_str(&coded), piece, max, &back) == ML_OK);
    CHECK(ml_str_eq(ml_buf_str(&plain), ml_buf_str(&back)));
    CHECK(len < 1000 || ml_buf_len(&coded) < len / 2);
    ml_buf_release(&plain);
    ml_buf_release(&coded);
    ml_buf_release(&back);
    ml_coder_free(&e);
    ml_coder_free(&d);
    CHECK(e == NULL && d == NULL);
}

TEST(what_was_encoded_can_be_decoded_in_pieces_of_any_size)
{
    static const size_t lens[] = {0, 1, 1000, 100000};

    for (unsigned k = 0; k < 3; k++)
        for (unsigned i = 0; i < 4; i++) {
            round_trip(all[k], lens[i], 1 << 20, 1 << 20);
            round_trip(all[k], lens[i], 7, 64);
        }
}

TEST(a_flush_lets_the_peer_read_all_that_came)
{
    for (unsigned k = 0; k < 3; k++) {
        struct ml_coder *e = ml_encoder_new(all[k], 0), *d = ml_decoder_new(all[k]);
        struct ml_buf in = {0}, coded = {0}, back = {0};

        for (unsigned i = 0; i < 3; i++) {
            ml_buf_append(&in, ML_STR("data: tick\n\n"));
            CHECK(ml_coder_run(e, &in, ML_CODER_FLUSH, &coded, 4096) == ML_OK);
            CHECK(ml_buf_len(&in) == 0 && ml_buf_len(&coded) > 0);
            CHECK(ml_coder_run(d, &coded, ML_CODER_MORE, &back, 4096) == ML_OK);
            CHECK(ml_str_eq(ml_buf_str(&back), ML_STR("data: tick\n\n")));
            ml_buf_consume(&back, ml_buf_len(&back));
        }
        CHECK(ml_coder_run(e, &in, ML_CODER_FINISH, &coded, 4096) == ML_OK);
        CHECK(ml_coder_run(d, &coded, ML_CODER_FINISH, &back, 4096) == ML_OK);
        CHECK(ml_buf_len(&back) == 0);
        ml_buf_release(&in);
        ml_buf_release(&coded);
        ml_buf_release(&back);
        ml_coder_free(&e);
        ml_coder_free(&d);
    }
}

/* Every prefix of a coded text is cut short, and any byte of it may be wrong. */
TEST(a_coded_text_that_is_cut_or_broken_is_an_error_not_a_crash)
{
    for (unsigned k = 0; k < 3; k++) {
        struct ml_coder *e = ml_encoder_new(all[k], 0);
        struct ml_buf plain = {0}, coded = {0};
        size_t len;

        fill(&plain, 300);
        CHECK(run(e, ml_buf_str(&plain), 300, 4096, &coded) == ML_OK);
        len = ml_buf_len(&coded);
        for (size_t n = 0; n < len; n++) {
            struct ml_coder *d = ml_decoder_new(all[k]);
            struct ml_buf back = {0};
            char *cliff = test_cliff(coded.p + coded.start, n);

            CHECK(run(d, (struct ml_str){cliff, n}, n + 1, 1 << 16, &back) == ML_UP_PROTOCOL);
            test_cliff_free(cliff, n);
            ml_coder_free(&d);
            d = ml_decoder_new(all[k]);
            coded.p[coded.start + n] ^= 0x55;
            (void)run(d, ml_buf_str(&coded), len, 1 << 16, &back);
            coded.p[coded.start + n] ^= 0x55;
            ml_coder_free(&d);
            ml_buf_release(&back);
        }
        ml_buf_release(&plain);
        ml_buf_release(&coded);
        ml_coder_free(&e);
    }
}

TEST(gzip_may_have_several_members_and_nothing_may_follow_brotli)
{
    for (unsigned k = 0; k < 3; k++) {
        struct ml_buf coded = {0}, back = {0};
        struct ml_coder *d = ml_decoder_new(all[k]);
        enum ml_err err;

        for (unsigned i = 0; i < 2; i++) {
            struct ml_coder *e = ml_encoder_new(all[k], 0);

            CHECK(run(e, ML_STR("member"), 6, 4096, &coded) == ML_OK);
            ml_coder_free(&e);
        }
        err = run(d, ml_buf_str(&coded), 5, 4096, &back);
        CHECK(err == (all[k] == ML_CODING_GZIP ? ML_OK : ML_UP_PROTOCOL));
        if (err == ML_OK)
            CHECK(ml_str_eq(ml_buf_str(&back), ML_STR("membermember")));
        ml_buf_release(&coded);
        ml_buf_release(&back);
        ml_coder_free(&d);
    }
}

TEST(there_are_never_more_coders_than_the_limit)
{
    static struct ml_coder *list[ML_CODERS_MAX];
    struct ml_coder *one;

    for (unsigned i = 0; i < ML_CODERS_MAX; i++)
        CHECK((list[i] = ml_decoder_new(ML_CODING_GZIP)) != NULL);
    CHECK(ml_encoder_new(ML_CODING_GZIP, 0) == NULL && ml_decoder_new(ML_CODING_BROTLI) == NULL);
    for (unsigned i = 0; i < ML_CODERS_MAX; i++)
        ml_coder_free(&list[i]);
    one = ml_encoder_new(ML_CODING_GZIP, 0);
    CHECK(one != NULL);
    ml_coder_free(&one);
}

