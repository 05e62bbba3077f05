/* test_http2.c - the preface, the patience, and frame heads however they are cut. */
#include "protocol/http2.h"

#include "test.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

static struct ml_http2_scan scan;
static struct ml_http2_patience patience;

static void begin(void)
{
    memset(&scan, 0, sizeof scan);
    ml_http2_patience_init(&patience, 100);
    CHECK(ml_http2_scan(&scan, ML_STR(PREFACE), 100, &patience) == ML_OK);
}

static enum ml_err frame(uint32_t len, int type, int flags, uint32_t id, char fill)
{
    char bytes[9 + 64];

    CHECK(len <= 64);
    bytes[0] = bytes[1] = 0;
    bytes[2] = (char)len;
    bytes[3] = (char)type;
    bytes[4] = (char)flags;
    for (int i = 0; i < 4; i++)
        bytes[5 + i] = (char)(id >> (24 - 8 * i));
    memset(bytes + 9, fill, len);
    for (uint32_t i = 0; i < 9 + len; i++) { /* each byte alone */
        enum ml_err err = ml_http2_scan(&scan, (struct ml_str){bytes + i, 1}, 100, &patience);

        if (err != ML_OK)
            return err;
    }
    return ML_OK;
}

/* How many of these frames are borne. */
static int borne(uint32_t len, int type, int flags, uint32_t id, char fill)
{
    int n = 0;

    begin();
    while (frame(len, type, flags, id, fill) == ML_OK && n < 100000)
        n++;
    return n;
}

TEST(the_preface_is_known_by_every_byte_of_it)
{
    char bytes[] = PREFACE;

    for (size_t n = 0; n < ML_HTTP2_PREFACE_LEN; n++)
        CHECK(ml_http2_preface((struct ml_str){bytes, n}) == ML_AGAIN);
    CHECK(ml_http2_preface(ML_STR(PREFACE)) == ML_OK);
    CHECK(ml_http2_preface(ML_STR(PREFACE "x")) == ML_OK);
    for (size_t i = 0; i < ML_HTTP2_PREFACE_LEN; i++) {
        bytes[i] ^= 0x20;
        CHECK(ml_http2_preface((struct ml_str){bytes, ML_HTTP2_PREFACE_LEN}) == ML_VERSION);
        bytes[i] ^= 0x20;
    }
}

TEST(frames_that_are_of_no_use_are_borne_for_a_while)
{
    CHECK(borne(8, 6, 0, 0, 0) == ML_HTTP2_PATIENCE / 10);   /* PING */
    CHECK(borne(0, 4, 0, 0, 0) == ML_HTTP2_PATIENCE / 50);   /* SETTINGS */
    CHECK(borne(5, 2, 0, 3, 0) == ML_HTTP2_PATIENCE / 10);   /* PRIORITY */
    CHECK(borne(4, 8, 0, 0, 1) == ML_HTTP2_PATIENCE / 5);    /* WINDOW_UPDATE */
    CHECK(borne(0, 200, 0, 0, 0) == ML_HTTP2_PATIENCE / 10); /* no known type */
    CHECK(borne(0, 0, 0, 1, 0) == ML_HTTP2_PATIENCE / 50);   /* DATA without any */
    CHECK(scan.toll == ML_HTTP2_EMPTY_DATA);
    CHECK(borne(8, 0, 8, 1, 7) == ML_HTTP2_PATIENCE / 50); /* nothing but padding */
    CHECK(borne(8, 0, 8, 1, 6) == 100000);                 /* a byte and padding */
    CHECK(borne(4, 3, 0, 1, 0) == ML_HTTP2_PATIENCE / 25); /* RST_STREAM */
    CHECK(strcmp(ml_http2_toll_word(scan.toll), "rapid_reset") == 0);
}

TEST(nothing_is_looked_at_behind_an_error)
{
    begin();
    CHECK(frame(3, 1, 5, 1, 0) == ML_OK && frame(8, 0, 8, 1, 0) == ML_EOF);
    for (int i = 0; i < 1000; i++)
        CHECK(frame(8, 6, 0, 0, 0) == ML_EOF && scan.have <= sizeof scan.head);
}

TEST(patience_comes_back_with_time_and_with_what_is_served)
{
    begin();
    while (ml_http2_patience_pay(&patience, ML_HTTP2_PING, 100))
        ;
    CHECK(!ml_http2_patience_pay(&patience, ML_HTTP2_PING, 100));
    CHECK(ml_http2_patience_pay(&patience, ML_HTTP2_PING, 101));
    CHECK(patience.left <= ML_HTTP2_PER_SECOND);
    ml_http2_patience_earn(&patience, 1e9);
    CHECK(patience.left == ML_HTTP2_PATIENCE);
    CHECK(ml_http2_patience_pay(&patience, ML_HTTP2_STALL, 50)); /* a clock that stood still */
}

TEST(a_stream_that_the_client_has_ended_takes_no_more)
{
    begin();
    CHECK(frame(3, 1, 5, 1, 0) == ML_OK); /* HEADERS with END_STREAM */
    CHECK(frame(4, 8, 0, 1, 1) == ML_OK); /* WINDOW_UPDATE may follow */
    CHECK(frame(1, 0, 0, 1, 0) == ML_EOF);
    begin();
    CHECK(frame(3, 1, 4, 1, 0) == ML_OK);
    CHECK(frame(1, 0, 0, 1, 0) == ML_OK && frame(1, 0, 1, 1, 0) == ML_OK);
    CHECK(frame(3, 1, 5, 1, 0) == ML_EOF);
    begin();
    CHECK(frame(3, 1, 4, 1, 0) == ML_OK && frame(4, 3, 0, 1, 0) == ML_OK);
    CHECK(frame(1, 0, 0, 1, 0) == ML_EOF);
}

TEST(a_stream_that_was_passed_over_can_not_be_begun)
{
    begin();
    CHECK(frame(3, 1, 4, 7, 0) == ML_OK && frame(3, 1, 5, 7, 0) == ML_OK); /* with trailers */
    CHECK(frame(3, 1, 5, 5, 0) == ML_BAD_REQUEST);
    begin();
    for (uint32_t id = 1; id < 5000; id += 2)
        CHECK(frame(3, 1, 4, id, 0) == ML_OK);
    CHECK(frame(3, 1, 5, 1, 0) == ML_OK);    /* forgotten: others have to judge it */
    CHECK(frame(3, 1, 5, 4999, 0) == ML_OK); /* open */
    CHECK(frame(3, 1, 5, 0x7fffffff, 0) == ML_OK);
    CHECK(frame(3, 1, 5, 0x7ffffffd, 0) == ML_BAD_REQUEST);
}

TEST(a_field_block_is_on_its_way_until_its_last_byte)
{
    begin();
    CHECK(!ml_http2_scan_in_block(&scan));
    CHECK(frame(3, 1, 1, 1, 0) == ML_OK && ml_http2_scan_in_block(&scan));
    CHECK(frame(3, 9, 0, 1, 0) == ML_OK && ml_http2_scan_in_block(&scan));
    CHECK(frame(3, 9, 4, 1, 0) == ML_OK && !ml_http2_scan_in_block(&scan));
    CHECK(ml_http2_scan(&scan, ML_STR("\0\0\4\1\4\0\0\0\3x"), 100, &patience) == ML_OK);
    CHECK(ml_http2_scan_in_block(&scan));
    CHECK(ml_http2_scan(&scan, ML_STR("xxx"), 100, &patience) == ML_OK);
    CHECK(!ml_http2_scan_in_block(&scan));
}
