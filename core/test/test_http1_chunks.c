/* test_http1_chunks.c - a chunked body is the same bytes however it arrives, or it is refused. */
#include "base/buf.h"
#include "protocol/http1.h"
#include "test.h"

/* Decodes bytes in pieces of step; *used: what was taken in all. */
static enum ml_err decode(const char *bytes, size_t len, size_t step, size_t *used,
                          struct ml_buf *data, struct ml_buf *trailers)
{
    struct ml_http1_chunks c = {0};
    enum ml_err err = ML_AGAIN;

    *used = 0;
    while (err == ML_AGAIN && *used < len) {
        size_t n = len - *used < step ? len - *used : step, took;
        char *cliff = test_cliff(bytes + *used, n);
        struct ml_str run;

        err = ml_http1_dechunk(&c, (struct ml_str){cliff, n}, &took, &run, trailers);
        CHECK(took <= n && (took > 0 || err != ML_AGAIN));
        CHECK(run.len == 0 || (run.p >= cliff && run.p + run.len <= cliff + took));
        ml_buf_append(data, run);
        *used += took;
        test_cliff_free(cliff, n);
    }
    return err;
}

/* Decodes whole and in pieces of 1, 2, 3 and 7 bytes: all the same. */
static enum ml_err outcome(const char *bytes, size_t len, struct ml_buf *data,
                           struct ml_buf *trailers, size_t *used)
{
    static const size_t steps[] = {1, 2, 3, 7};
    enum ml_err err = decode(bytes, len, len > 0 ? len : 1, used, data, trailers);

    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        struct ml_buf other = {0}, other_trailers = {0};
        size_t other_used;

        CHECK(decode(bytes, len, steps[i], &other_used, &other, &other_trailers) == err);
        if (err == ML_OK || err == ML_AGAIN) {
            CHECK(other_used == *used);
            CHECK(ml_str_eq(ml_buf_str(&other), ml_buf_str(data)));
            CHECK(ml_str_eq(ml_buf_str(&other_trailers), ml_buf_str(trailers)));
        }
        ml_buf_release(&other);
        ml_buf_release(&other_trailers);
    }
    return err;
}

static bool is_body(const char *bytes, size_t len, const char *body, const char *trailer_text,
                    size_t rest)
{
    struct ml_buf data = {0}, trailers = {0};
    size_t used;
    bool same = outcome(bytes, len, &data, &trailers, &used) == ML_OK && used == len - rest &&
                ml_str_eq(ml_buf_str(&data), ml_str_of(body)) &&
                ml_str_eq(ml_buf_str(&trailers), ml_str_of(trailer_text));

    for (size_t n = 0; same && n < len - rest; n++) { /* no part of it is the whole */
        struct ml_buf part = {0};

        CHECK(decode(bytes, n, n + 1, &used, &part, NULL) == ML_AGAIN);
        ml_buf_release(&part);
    }
    ml_buf_release(&data);
    ml_buf_release(&trailers);
    return same;
}

static enum ml_err error_of(const char *bytes, size_t len)
{
    struct ml_buf data = {0}, trailers = {0};
    size_t used;
    enum ml_err err = outcome(bytes, len, &data, &trailers, &used);

    ml_buf_release(&data);
    ml_buf_release(&trailers);
    return err;
}

#define BODY(bytes, body, trailers) CHECK(is_body(bytes, sizeof(bytes) - 1, body, trailers, 0))
#define REFUSED(bytes) CHECK(error_of(bytes, sizeof(bytes) - 1) == ML_BAD_CHUNK)
#define UNDECIDED(bytes) CHECK(error_of(bytes, sizeof(bytes) - 1) == ML_AGAIN)

TEST(chunks_are_joined)
{
    BODY("0\r\n\r\n", "", "");
    BODY("5\r\nhello\r\n0\r\n\r\n", "hello", "");
    BODY("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello", "");
    BODY("1\r\n\r\r\n2\r\n\r\n\r\n0\r\n\r\n", "\r\r\n", "");
    BODY("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", "");
}

TEST(leading_zeros_are_digits)
{
    BODY("005\r\nhello\r\n000\r\n\r\n", "hello", "");
    BODY("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello", "");
    REFUSED("00000000000000005\r\nhello\r\n0\r\n\r\n");
}

TEST(what_follows_the_last_crlf_is_left)
{
    const char bytes[] = "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n";

    CHECK(is_body(bytes, sizeof bytes - 1, "hello", "", 16));
}

TEST(extensions_are_skipped)
{
    BODY("5;name=v\r\nhello\r\n0;x\r\n\r\n", "hello", "");
    BODY("5 ;a=\"b;c\"\r\nhello\r\n0\r\n\r\n", "hello", "");
    BODY("5\t;\ta\r\nhello\r\n0\r\n\r\n", "hello", "");
    BODY("5;\r\nhello\r\n0\r\n\r\n", "hello", "");
    BODY("5;\x80\xff\r\nhello\r\n0\r\n\r\n", "hello", "");
    REFUSED("5;a\nhello\r\n0\r\n\r\n");
    REFUSED("5;a\r5\r\nhello\r\n0\r\n\r\n");
    REFUSED("5;a\0\r\nhello\r\n0\r\n\r\n");
    REFUSED("5;a\x7f\r\nhello\r\n0\r\n\r\n");
    REFUSED("5;a\r\r\nhello\r\n0\r\n\r\n");
    REFUSED("0;\n\r\n\r\n");
}

TEST(sizes_that_are_none)
{
    REFUSED("\r\n");
    REFUSED(";a\r\n");
    REFUSED("-1\r\n");
    REFUSED("+1\r\n");
    REFUSED("0x5\r\nhello\r\n");
    REFUSED(" 5\r\nhello\r\n");
    REFUSED("\t5\r\nhello\r\n");
    REFUSED("5 \r\nhello\r\n");
    REFUSED("5 5\r\nhello\r\n");
    REFUSED("5_0\r\n");
    REFUSED("g\r\n");
    REFUSED("5\"\r\n");
    REFUSED("5,5\r\n");
    REFUSED("\0"
            "5\r\n");
    REFUSED("\xef\xbc\x95\r\n");
}

TEST(a_size_that_does_not_fit_is_refused_before_it_wraps)
{
    UNDECIDED("7fffffffffffffff\r\n");
    REFUSED("8000000000000000");
    REFUSED("ffffffffffffffff");
    REFUSED("10000000000000005\r\nhello\r\n");
    REFUSED("fffffffffffffffff\r\n");
}

TEST(only_crlf_ends_sizes_and_data)
{
    REFUSED("5\nhello\r\n0\r\n\r\n");
    REFUSED("5\rhello\r\n0\r\n\r\n");
    REFUSED("5\r\nhello\n0\r\n\r\n");
    REFUSED("5\r\nhello0\r\n\r\n");
    REFUSED("5\r\nhello\r0\r\n\r\n");
    REFUSED("5\r\nhello!\r\n0\r\n\r\n");
    REFUSED("5\r\nhello\r\n\r\n0\r\n\r\n");
    REFUSED("5\r\nhello\r\n0\n\n");
    REFUSED("0\r\n\n");
    REFUSED("0\r\n\r\r");
    REFUSED("0\n\r\n");
}

TEST(trailers_that_could_pose_as_fields_of_the_head_are_left_out)
{
    BODY("0\r\nContent-Length: 5\r\nX: y\r\nTransfer-Encoding: x\r\nHost: a\r\nAuthorization: x\r\n"
         "Cookie: x\r\nSet-Cookie: x\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-User: x\r\nX_Y: "
         "z\r\n\r\n",
         "", "X: y\r\n");
    BODY("0\r\nCONTENT-RANGE: x\r\nIf-Match: x\r\nCache-Control: x\r\nRange: x\r\nVary: *\r\n"
         "WWW-Authenticate: x\r\nProxy-X: x\r\nLocation: x\r\nConnection: X\r\n\r\n",
         "", "");
    BODY("0\r\nContent: a\r\nRanges: b\r\nDigest: c\r\ngrpc-status: 0\r\n\r\n", "",
         "Content: a\r\nRanges: b\r\nDigest: c\r\ngrpc-status: 0\r\n");
}

TEST(trailers_are_checked_and_kept)
{
    BODY("0\r\nA: b\r\nC:d\r\n\r\n", "", "A: b\r\nC: d\r\n");
    BODY("1\r\nx\r\n0\r\nA:\r\nB: \t c d\t\r\n\r\n", "x", "A: \r\nB: c d\r\n");
    REFUSED("0\r\nA\r\n\r\n");
    REFUSED("0\r\n: b\r\n\r\n");
    REFUSED("0\r\nA : b\r\n\r\n");
    REFUSED("0\r\n A: b\r\n\r\n");
    REFUSED("0\r\nA: b\r\n c\r\n\r\n");
    REFUSED("0\r\nA: b\n\r\n");
    REFUSED("0\r\nA: \0\r\n\r\n");
    REFUSED("0\r\nA: b\rC: d\r\n\r\n");
    REFUSED("0\r\nGET / HTTP/1.1\r\n\r\n");
    UNDECIDED("0\r\nA: b\r\n");
    UNDECIDED("0\r\n\r");
}

TEST(an_ended_body_stays_ended)
{
    struct ml_http1_chunks c = {0};
    struct ml_str data;
    size_t used;

    CHECK(ml_http1_dechunk(&c, ML_STR("0\r\n\r\nX"), &used, &data, NULL) == ML_OK && used == 5);
    CHECK(ml_http1_dechunk(&c, ML_STR("X"), &used, &data, NULL) == ML_OK && used == 0);
    CHECK(data.len == 0);
}

TEST(no_bytes_are_no_news)
{
    struct ml_http1_chunks c = {0};
    struct ml_str data;
    size_t used;

    CHECK(ml_http1_dechunk(&c, ML_STR_NONE, &used, &data, NULL) == ML_AGAIN && used == 0);
}

/* One chunk of size n with an extension of ext bytes, again and again until refused. */
static unsigned rounds_until_refused(size_t n, size_t ext)
{
    char *chunk = malloc(n + ext + 32);
    struct ml_http1_chunks c = {0};
    unsigned rounds = 0;
    enum ml_err err = ML_AGAIN;
    size_t len = (size_t)sprintf(chunk, "%zx;", n);

    memset(chunk + len, 'e', ext);
    len += ext;
    len += (size_t)sprintf(chunk + len, "\r\n");
    memset(chunk + len, 'd', n);
    len += n;
    len += (size_t)sprintf(chunk + len, "\r\n");
    while (err == ML_AGAIN && rounds < 100000) {
        size_t at = 0, used;
        struct ml_str data;

        while (err == ML_AGAIN && at < len) {
            err = ml_http1_dechunk(&c, (struct ml_str){chunk + at, len - at}, &used, &data, NULL);
            at += used;
        }
        rounds++;
    }
    CHECK(err == ML_AGAIN || err == ML_HEADERS_TOO_LARGE);
    free(chunk);
    return rounds;
}

TEST(extensions_need_data_that_pays_for_them)
{
    CHECK(rounds_until_refused(1, 100) <= 8192 / 100 + 2);
    CHECK(rounds_until_refused(1, 10000) == 1);
    CHECK(rounds_until_refused(1000, 100) == 100000);
}

TEST(one_byte_chunks_are_free)
{
    struct ml_http1_chunks c = {0};

    for (int i = 0; i < 50000; i++) {
        struct ml_str in = ML_STR("1\r\nx\r\n"), data;
        size_t used;

        while (in.len > 0) {
            CHECK(ml_http1_dechunk(&c, in, &used, &data, NULL) == ML_AGAIN);
            in.p += used;
            in.len -= used;
        }
    }
    CHECK(c.overhead == 0);
}

TEST(trailers_are_bounded)
{
    struct ml_http1_chunks c = {0};
    struct ml_buf trailers = {0};
    struct ml_str data;
    enum ml_err err;
    size_t used;

    CHECK(ml_http1_dechunk(&c, ML_STR("0\r\n"), &used, &data, &trailers) == ML_AGAIN);
    do
        err = ml_http1_dechunk(&c, ML_STR("A: bbbbbbbb\r\n"), &used, &data, &trailers);
    while (err == ML_AGAIN);
    CHECK(err == ML_HEADERS_TOO_LARGE && ml_buf_len(&trailers) <= 8192);
    ml_buf_release(&trailers);
}
