/* test_h2_life.c - how connections of HTTP/2 and their streams end, and what hostile clients get.
 */
#include "h2_lab.h"

static struct h2_client h;

static void begin(void)
{
    lab_setup();
    h2_open(&h);
    H2_AWAIT(&h, h.settled);
}

static void end(void)
{
    h2_close(&h);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

static void expect_goaway(uint32_t code)
{
    H2_AWAIT(&h, h.c.eof || h.c.reset);
    CHECK(h.goaways > 0 && h.goaway_code == code);
}

/* The server has ended the connection on its own; with the code, when there was time to say it. */
static void expect_end(uint32_t code)
{
    H2_AWAIT(&h, h.c.eof || h.c.reset || lab.in.connections == 0);
    CHECK(h.goaways == 0 || h.goaway_code == code);
}

TEST(a_reset_cancels_the_request_and_nothing_else)
{
    int32_t a, b;

    begin();
    a = h2_get(&h, "/a");
    b = h2_get(&h, "/b");
    H2_AWAIT(&h, lab.held_count == 2);
    nghttp2_submit_rst_stream(h.session, 0, a, NGHTTP2_CANCEL);
    h2_flush(&h);
    H2_AWAIT(&h, lab.cancels == 1);
    lab_text(lab.held[1], 200, ML_STR("b"));
    H2_AWAIT(&h, talk_of(&h, b)->closed);
    CHECK(lab.dones == 1);
    end();
}

TEST(a_client_that_leaves_cancels_all_it_asked_for)
{
    begin();
    for (int i = 0; i < 10; i++)
        h2_get(&h, "/held");
    H2_AWAIT(&h, lab.held_count == 10);
    struct ml_pipe *p = ml_arena_zalloc(lab.held[0]->arena, sizeof *p);
    lab.held[0]->res.status = 200;
    lab.held[0]->res.body = p;
    ml_exchange_respond(lab.held[0]);
    H2_AWAIT(&h, h2_has(&h, 1, ":status: 200"));
    h2_close(&h);
    AWAIT(lab.in.connections == 0);
    CHECK(lab.cancels == 10 && lab.dones == 0);
    lab_teardown();
}

TEST(requests_reset_in_the_same_breath_never_start)
{
    struct ml_buf all = {0};

    begin();
    for (uint32_t id = 1; id < 101; id += 2) {
        ml_buf_append(&all, ML_STR("\0\0\6\1\5\0\0\0"));
        ml_buf_append(&all, (struct ml_str){(char[]){(char)id}, 1});
        ml_buf_append(&all, ML_STR("\x82\x84\x86\x41\1a"));
        ml_buf_append(&all, ML_STR("\0\0\4\3\0\0\0\0"));
        ml_buf_append(&all, (struct ml_str){(char[]){(char)id}, 1});
        ml_buf_append(&all, ML_STR("\0\0\0\x8"));
    }
    client_push(&h.c, ml_buf_str(&all));
    ml_buf_release(&all);
    h2_push(&h, NGHTTP2_HEADERS, 5, 201, ML_STR("\x82\x84\x86\x41\1a"));
#ifdef ML_HARD /* each byte is a read by itself: all of them start, and are cancelled */
    AWAIT(lab.starts == 51 && lab.cancels == 50);
#else
    AWAIT(lab.held_count == 1);
    CHECK(lab.starts == 1 && lab.cancels == 0);
#endif
    h2_close(&h);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

/* n times the same frame; the stream id goes up by step. */
static void flood(int n, int type, int flags, uint32_t id, uint32_t step, struct ml_str payload)
{
    begin();
    for (int i = 0; i < n && !h.c.eof && !h.c.reset; i++) {
        h2_push(&h, type, flags, id + (uint32_t)i * step, payload);
        if (i % 64 == 0)
            h2_turn(&h);
    }
    expect_end(NGHTTP2_ENHANCE_YOUR_CALM);
    AWAIT(lab.in.connections == 0 || h.c.eof);
    end();
}

TEST(floods_end_the_connection)
{
    flood(20000, NGHTTP2_PING, 0, 0, 0, ML_STR("12345678"));
    flood(20000, NGHTTP2_SETTINGS, 0, 0, 0, ML_STR(""));
    flood(20000, NGHTTP2_PRIORITY, 0, 1, 2, ML_STR("\0\0\0\0\1"));
    flood(20000, NGHTTP2_WINDOW_UPDATE, 0, 0, 0, ML_STR("\0\0\0\1"));
    flood(20000, 0xfa, 0, 0, 0, ML_STR(""));
    flood(20000, NGHTTP2_HEADERS, 5, 1, 2, ML_STR("\x82")); /* provokes a reset each */
}

TEST(rapid_resets_end_the_connection)
{
    begin();
    for (uint32_t id = 1; id < 20001 && !h.c.eof && !h.c.reset; id += 2) {
        h2_push(&h, NGHTTP2_HEADERS, 5, id, ML_STR("\x82\x84\x86\x41\1a"));
        lab.held_count = 0; /* they are cancelled */
        h2_push(&h, NGHTTP2_RST_STREAM, 0, id, ML_STR("\0\0\0\x8"));
        if (id % 32 == 1)
            h2_turn(&h);
    }
    expect_end(NGHTTP2_ENHANCE_YOUR_CALM);
    CHECK(lab.starts < 300 && lab.starts == lab.cancels);
    end();
}

TEST(a_client_that_reads_nothing_is_not_read_either)
{
    struct ml_str ping = {"\0\0\x8\6\0\0\0\0\0"
                          "12345678",
                          17};
    struct ml_buf some = {0};
    size_t sent = 0;

    lab_setup();
    lab.conf.send_timeout = 0.3;
    h2_open(&h);
    H2_AWAIT(&h, h.settled);
    for (int i = 0; i < 400; i++)
        ml_buf_append(&some, ping);
    h.c.deaf = true;
    while (lab.in.connections > 0) {
        if (ml_buf_len(&h.c.out) == 0 && sent++ < 100)
            client_push(&h.c, ml_buf_str(&some));
        lab_turn();
    }
    ml_buf_release(&some);
    h2_close(&h);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

TEST(more_streams_than_allowed_are_refused)
{
    lab_setup();
    lab.conf.http2_streams = 5;
    h2_open(&h);
    H2_AWAIT(&h, h.settled);
    for (uint32_t id = 1; id < 15; id += 2)
        h2_push(&h, NGHTTP2_HEADERS, 5, id, ML_STR("\x82\x84\x86\x41\1a"));
    H2_AWAIT(&h, h.goaways > 0 || lab.held_count == 5);
    for (int i = 0; i < 10; i++)
        h2_turn(&h);
    CHECK(lab.starts <= 5);
    end();
}

TEST(a_window_that_stays_closed_ends_the_stream)
{
    struct ml_exchange *ex;
    char *bytes = calloc(1, 200000);
    int32_t id;

    lab_setup();
    lab.conf.send_timeout = 0.2;
    h2_open_with(&h, true);
    id = h2_get(&h, "/big");
    H2_AWAIT(&h, lab.held_count == 1);
    ex = lab.held[0];
    ex->res.status = 200;
    ex->res.bytes = (struct ml_str){bytes, 200000};
    ml_exchange_respond(ex);
    H2_AWAIT(&h, talk_of(&h, id)->body_len == 65535);
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM); /* the connection's window is closed, too */
    CHECK(lab.cancels == 1);
    end();
    free(bytes);
}

TEST(a_body_that_does_not_come_is_late)
{
    int32_t id;

    lab_setup();
    lab.conf.body_timeout = 0.2;
    h2_open(&h);
    h2_hold = true;
    id = h2_ask(&h, "POST", "/echo", NULL, 3, "abc");
    h2_hold = false;
    H2_AWAIT(&h, talk_of(&h, id)->ended);
    CHECK(h2_has(&h, id, ":status: 408\n"));
    h2_hold = true;
    static const char *const none[] = {"content-length", "0", NULL};
    id = h2_ask(&h, "POST", "/echo", none, 0, "");
    h2_hold = false;
    H2_AWAIT(&h, talk_of(&h, id)->ended);
    CHECK(h2_has(&h, id, ":status: 408\n"));
    end();
}

TEST(a_field_block_that_is_not_finished_is_late)
{
    lab_setup();
    lab.conf.header_timeout = 0.2;
    h2_open(&h);
    H2_AWAIT(&h, h.settled);
    h2_push(&h, NGHTTP2_HEADERS, 1, 1, ML_STR("\x82"));
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    end();
}

TEST(an_idle_connection_is_told_and_closed)
{
    int32_t id;

    lab_setup();
    lab.conf.idle_timeout = 0.2;
    h2_open(&h);
    id = h2_get(&h, "/now");
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    expect_goaway(NGHTTP2_NO_ERROR);
    CHECK(h.goaway_last[0] == id);
    end();
}

TEST(pings_do_not_keep_an_idle_connection)
{
    double next_s = 0;

    lab_setup();
    lab.conf.idle_timeout = lab.conf.header_timeout = 0.3;
    h2_open(&h);
    while (!h.c.eof && !h.c.reset) {
        if (ml_loop_now_s(lab.loop) >= next_s) {
            nghttp2_submit_ping(h.session, 0, NULL);
            next_s = ml_loop_now_s(lab.loop) + 0.02;
        }
        h2_turn(&h);
    }
    CHECK(h.goaways == 1 && h.goaway_code == NGHTTP2_NO_ERROR);
    end();
}

TEST(a_drain_says_goaway_twice_and_lets_requests_finish)
{
    int32_t a, late;

    begin();
    a = h2_get(&h, "/a");
    H2_AWAIT(&h, lab.held_count == 1);
    ml_inbound_drain(&lab.in);
    late = h2_get(&h, "/b"); /* on its way while we say so */
    H2_AWAIT(&h, lab.held_count == 2 && h.goaways == 2);
    CHECK(h.goaway_last[0] == 0x7fffffff && h.goaway_code == 0);
    CHECK(h.goaway_last[1] == late);
    lab_text(lab.held[0], 200, ML_STR("a"));
    lab_text(lab.held[1], 200, ML_STR("b"));
    H2_AWAIT(&h, talk_of(&h, a)->closed && h.c.eof);
    CHECK(lab.dones == 2 && lab.cancels == 0);
    end();
}

TEST(an_answer_may_end_the_connection_gently)
{
    int32_t a, b;

    begin();
    a = h2_get(&h, "/a");
    b = h2_get(&h, "/b");
    H2_AWAIT(&h, lab.held_count == 2);
    ml_headers_add(&lab.held[0]->res.headers, lab.held[0]->arena, ML_STR("Connection"),
                   ML_STR("close"));
    lab_text(lab.held[0], 200, ML_STR("a"));
    H2_AWAIT(&h, talk_of(&h, a)->closed && h.goaways == 2);
    CHECK(!h2_has(&h, a, "connection") && h.goaway_last[0] == 0x7fffffff && h.goaway_last[1] == b);
    lab_text(lab.held[1], 200, ML_STR("b"));
    H2_AWAIT(&h, talk_of(&h, b)->ended && h.c.eof);
    CHECK(lab.dones == 2 && h.goaway_code == 0);
    end();
}

TEST(the_requests_of_a_connection_may_be_counted)
{
    int32_t a, b;

    lab_setup();
    lab.conf.requests_max = 2;
    h2_open(&h);
    a = h2_get(&h, "/now");
    b = h2_get(&h, "/now");
    H2_AWAIT(&h, h.c.eof);
    CHECK(talk_of(&h, a)->ended && talk_of(&h, b)->ended && h.goaway_last[0] == b);
    CHECK(lab.dones == 2);
    end();
}

TEST(a_listener_that_goes_away_lets_its_streams_finish)
{
    int32_t a;

    begin();
    a = h2_get(&h, "/a");
    H2_AWAIT(&h, lab.held_count == 1);
    ml_listener_free(&lab.listener);
    H2_AWAIT(&h, h.goaways == 2);
    lab_text(lab.held[0], 200, ML_STR("a"));
    H2_AWAIT(&h, talk_of(&h, a)->ended && h.c.eof);
    end();
}

TEST(what_is_open_at_the_end_of_a_drain_is_cancelled)
{
    begin();
    h2_get(&h, "/a");
    H2_AWAIT(&h, lab.held_count == 1);
    ml_inbound_abort(&lab.in);
    CHECK(lab.in.connections == 0 && lab.cancels == 1);
    h2_close(&h);
    lab_teardown();
}

TEST(frames_for_ended_streams_end_the_connection)
{
    int32_t id;

    for (int i = 0; i < 2; i++) {
        begin();
        id = h2_get(&h, "/now");
        H2_AWAIT(&h, talk_of(&h, id)->closed);
        if (i == 0)
            h2_push(&h, NGHTTP2_DATA, 0, (uint32_t)id, ML_STR("x"));
        else
            h2_push(&h, NGHTTP2_HEADERS, 5, (uint32_t)id, ML_STR("\x82\x84\x86\x41\1a"));
        expect_goaway(NGHTTP2_STREAM_CLOSED);
        end();
    }
}

TEST(http_2_can_be_turned_off)
{
    lab_setup();
    lab.conf.http2 = false;
    h2_open(&h);
    AWAIT(client_has(&h.c, "HTTP/1.1 505"));
    h2_close(&h);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

TEST(an_answer_before_the_body_lets_the_client_go_on_for_a_while)
{
    int32_t id;

    begin();
    h2_hold = true;
    id = h2_ask(&h, "POST", "/now", NULL, 1000, NULL);
    h2_hold = false;
    H2_AWAIT(&h, talk_of(&h, id)->ended);
    CHECK(!talk_of(&h, id)->closed && lab.dones == 0);
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(talk_of(&h, id)->code == NGHTTP2_NO_ERROR && lab.dones == 1);
    end();
}

TEST(many_requests_of_one_connection_let_others_pass)
{
    struct h2_client other;

    begin();
    h2_open(&other);
    H2_AWAIT(&other, other.settled);
    for (uint32_t round = 0; round < 40; round++) {
        unsigned before = lab.starts;

        for (uint32_t i = 0; i < 100; i++)
            h2_push(&h, NGHTTP2_HEADERS, 5, 1 + 2 * (100 * round + i),
                    ML_STR("\x82\x86\x41\1a\4\4/now"));
        lab_turn();
        CHECK(lab.starts - before <= 200);
        ml_buf_consume(&h.c.in, ml_buf_len(&h.c.in));
    }
    int32_t id = h2_get(&other, "/now");
    H2_AWAIT(&other, talk_of(&other, id)->closed);
    h2_close(&other);
    h2_close(&h);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}
