/* test_conn_life.c - how connections end: by time, by the client, by a drain, by a limit; and how
 * one becomes a tunnel. */
#include "conn_lab.h"

static const char get_a[] = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
static const char get_now[] = "GET /now HTTP/1.1\r\nHost: a\r\n\r\n";

#define NOW "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n\r\nnow"
#define NOW_CLOSE "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnow"

/* ---- time ---- */

TEST_SPLIT(half_a_head_is_answered_when_its_time_is_over)
{
    struct client c;

    lab_setup();
    lab.conf.header_timeout = 0.15;
    client_open(&c);
    client_say(&c, "GET /now HTTP/1.1\r\nHo");
    AWAIT(c.eof || c.reset);
    CHECK(c.eof && client_has(&c, "HTTP/1.1 408 ") && client_has(&c, "Connection: close\r\n"));
    CHECK(lab.starts == 0);
    client_close(&c);
    lab_teardown();
}

TEST(a_client_that_says_nothing_is_let_go_in_silence)
{
    struct client c, d;

    lab_setup();
    lab.conf.header_timeout = 0.05;
    lab.conf.idle_timeout = 0.1;
    client_open(&c);
    AWAIT(c.eof);
    CHECK(ml_buf_len(&c.in) == 0);
    client_open(&d);
    client_say(&d, get_now);
    CLIENT_EXPECT(&d, NOW);
    AWAIT(d.eof);
    CHECK(!d.reset && ml_buf_len(&d.in) == 0);
    client_close(&c);
    client_close(&d);
    lab_teardown();
}

TEST_SPLIT(a_body_that_stops_coming_is_answered_when_its_time_is_over)
{
    struct client c;

    lab_setup();
    lab.conf.body_timeout = 0.05;
    client_open(&c);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    AWAIT(c.eof || c.reset);
    CHECK(c.eof && client_has(&c, "HTTP/1.1 408 ") && lab.body_err == ML_REQUEST_TIMEOUT);
    client_close(&c);
    lab_teardown();
}

TEST(a_body_that_its_consumer_holds_up_is_not_late)
{
    static char piece[ML_PIPE_CAP];
    struct client c;
    struct ml_pipe *p;
    double until_s;

    lab_setup();
    lab.conf.body_timeout = 0.05;
    client_open(&c);
    client_push(&c, ML_STR("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n"));
    client_push(&c, (struct ml_str){memset(piece, 'x', sizeof piece), sizeof piece});
    AWAIT(lab.held_count == 1);
    p = lab.held[0]->req.body;
    AWAIT(ml_pipe_full(p));
    for (until_s = ml_loop_now_s(lab.loop) + 0.15; ml_loop_now_s(lab.loop) < until_s;)
        lab_turn();
    CHECK(p->state == ML_PIPE_OPEN);
    ml_buf_consume(&p->buf, ML_PIPE_CAP);
    ml_pipe_took(p, ML_PIPE_CAP);
    client_push(&c, ML_STR("x"));
    AWAIT(p->state != ML_PIPE_OPEN);
    CHECK(p->state == ML_PIPE_EOF);
    client_close(&c);
    lab_teardown();
}

TEST(a_client_that_does_not_read_is_dropped_when_its_time_is_over)
{
    struct ml_buf big = {0};
    struct client c;

    lab_setup();
    lab.conf.send_timeout = 0.05;
    client_open(&c);
    c.deaf = true;
    client_say(&c, get_a);
    AWAIT(lab.held_count == 1);
    memset(ml_buf_reserve(&big, 16 << 20), 'x', 16 << 20);
    ml_buf_commit(&big, 16 << 20);
    lab_text(lab.held[0], 200, ml_buf_str(&big));
    AWAIT(lab.cancels == 1);
    CHECK(lab.in.connections == 0 && lab.dones == 0);
    ml_buf_release(&big);
    client_close(&c);
    lab_teardown();
}

/* ---- the client leaves ---- */

TEST_SPLIT(a_client_that_resets_cancels_its_request_once)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, get_a);
    AWAIT(lab.held_count == 1);
    ml_stream_poison(c.s);
    client_close(&c);
    AWAIT(lab.cancels > 0);
    CHECK(lab.cancels == 1 && lab.dones == 0 && lab.in.connections == 0);
    lab_teardown();
}

TEST_SPLIT(a_client_that_closes_cancels_its_request_once)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, get_a);
    AWAIT(lab.held_count == 1);
    client_close(&c);
    AWAIT(lab.cancels > 0);
    CHECK(lab.cancels == 1 && lab.dones == 0 && lab.in.connections == 0);
    lab_teardown();
}

TEST_SPLIT(a_client_that_leaves_in_its_body_cancels_its_request_once)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel");
    AWAIT(lab.held_count == 1);
    client_close(&c);
    AWAIT(lab.cancels > 0);
    CHECK(lab.cancels == 1 && lab.dones == 0);
    lab_teardown();
}

TEST_SPLIT(a_client_that_half_closes_still_gets_its_answer)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, get_a);
    AWAIT(ml_buf_len(&c.out) == 0);
    ml_stream_shutdown(c.s);
    AWAIT(lab.held_count == 1);
    lab_turn();
    lab_text(lab.held[0], 200, ML_STR("now"));
    AWAIT(c.eof || c.reset);
    CHECK(c.eof && lab.cancels == 0 && lab.dones == 1);
    CLIENT_EXPECT(&c, NOW_CLOSE);
    client_close(&c);
    lab_teardown();
}

TEST(nothing_is_left_of_a_client_that_leaves_in_its_head)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /now HTT");
    AWAIT(lab.in.connections == 1);
    client_close(&c);
    AWAIT(lab.in.connections == 0);
    CHECK(lab.starts == 0);
    lab_teardown();
}

/* ---- we leave ---- */

TEST_SPLIT(bytes_behind_the_last_request_do_not_reset_its_answer)
{
    static char more[1 << 20];
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /now HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client_push(&c, (struct ml_str){memset(more, 'x', sizeof more), sizeof more});
    AWAIT(c.eof || c.reset);
    CHECK(!c.reset && lab.starts == 1);
    CLIENT_EXPECT(&c, NOW_CLOSE);
    client_close(&c);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

TEST_SPLIT(the_last_of_the_requests_that_a_connection_may_make_says_so)
{
    struct client c;

    lab_setup();
    lab.conf.requests_max = 2;
    client_open(&c);
    client_say(&c, get_now);
    CLIENT_EXPECT(&c, NOW);
    client_say(&c, get_now);
    AWAIT(c.eof);
    CLIENT_EXPECT(&c, NOW_CLOSE);
    client_push(&c, ML_STR("GET /now")); /* was on its way already */
    for (int i = 0; i < 5; i++)
        lab_turn();
    CHECK(!c.reset && lab.starts == 2);
    client_close(&c);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

TEST(a_drain_closes_the_idle_and_lets_the_busy_finish)
{
    struct client idle, busy, asking, next;

    lab_setup();
    client_open(&idle);
    client_say(&idle, get_now);
    CLIENT_EXPECT(&idle, NOW);
    client_open(&next);
    client_say(&next, get_now);
    CLIENT_EXPECT(&next, NOW);
    client_open(&busy);
    client_say(&busy, get_a);
    AWAIT(lab.held_count == 1);
    client_open(&asking);
    AWAIT(lab.in.connections == 4);
    client_push(&asking, ml_str_of(get_now)); /* in our socket, but not read yet */
    ml_inbound_drain(&lab.in);
    AWAIT(asking.eof);
    CHECK(!idle.eof);
    client_say(&next, get_now); /* it was on the way already */
    AWAIT(next.eof && idle.eof);
    CLIENT_EXPECT(&next, NOW_CLOSE);
    CHECK(!idle.reset && ml_buf_len(&idle.in) == 0);
    CLIENT_EXPECT(&asking, NOW_CLOSE);
    CHECK(!busy.eof);
    lab_text(lab.held[0], 200, ML_STR("now"));
    AWAIT(busy.eof);
    CLIENT_EXPECT(&busy, NOW_CLOSE);
    client_close(&idle);
    client_close(&busy);
    client_close(&asking);
    client_close(&next);
    AWAIT(lab.in.connections == 0);
    CHECK(lab.cancels == 0);
    lab_teardown();
}

TEST(what_is_still_open_at_the_end_of_a_drain_is_cancelled)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, get_a);
    AWAIT(lab.held_count == 1);
    ml_inbound_drain(&lab.in);
    ml_inbound_abort(&lab.in);
    CHECK(lab.cancels == 1 && lab.in.connections == 0);
    AWAIT(c.eof || c.reset);
    client_close(&c);
    lab_teardown();
}

TEST(a_listener_that_goes_away_lives_until_its_last_answer)
{
    struct client busy, idle;

    lab_setup();
    client_open(&idle);
    client_say(&idle, get_now);
    CLIENT_EXPECT(&idle, NOW);
    client_open(&busy);
    client_say(&busy, get_a);
    AWAIT(lab.held_count == 1);
    ml_listener_free(&lab.listener);
    AWAIT(idle.eof);
    lab_text(lab.held[0], 200, ML_STR("now"));
    AWAIT(busy.eof);
    CLIENT_EXPECT(&busy, NOW_CLOSE);
    client_close(&busy);
    client_close(&idle);
    AWAIT(lab.in.connections == 0);
    lab_turn();
    CHECK(lab.in.listeners == NULL);
    lab_teardown();
}

TEST(a_client_too_many_is_told_so)
{
    struct client first, second;

    lab_setup();
    lab.conf.connections_max = 1;
    client_open(&first);
    client_say(&first, get_now);
    CLIENT_EXPECT(&first, NOW);
    client_open(&second);
    AWAIT(second.eof || second.reset);
    CHECK(client_has(&second, "HTTP/1.1 503 ") && client_has(&second, "\"overload\""));
    client_say(&first, get_now);
    CLIENT_EXPECT(&first, NOW);
    client_close(&second);
    client_close(&first);
    AWAIT(lab.in.connections == 0);
    client_open(&second);
    client_say(&second, get_now);
    CLIENT_EXPECT(&second, NOW);
    client_close(&second);
    lab_teardown();
}

/* ---- tunnels ---- */

static const char upgrade[] = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                              "Upgrade: websocket\r\n\r\n";

/* Answers the held request with 101; *down is the body towards the client. */
static struct ml_pipe *switch_protocols(void)
{
    struct ml_exchange *ex = lab.held[0];
    struct ml_pipe *down = ml_arena_zalloc(ex->arena, sizeof *down);

    ex->res = (struct ml_response){.status = 101, .body = down};
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Upgrade"), ML_STR("websocket"));
    ml_exchange_respond(ex);
    return down;
}

TEST_SPLIT(a_tunnel_carries_bytes_both_ways_until_one_side_ends)
{
    struct client c;
    struct ml_pipe *down, *up;

    lab_setup();
    client_open(&c);
    client_say(&c, upgrade);
    AWAIT(lab.held_count == 1);
    CHECK(ml_str_eq(lab.held[0]->req.upgrade, ML_STR("websocket")));
    down = switch_protocols();
    up = lab.held[0]->req.body;
    CLIENT_EXPECT(&c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                      "Connection: upgrade\r\n\r\n");
    client_say(&c, "GET / HTTP/1.1\r\n\r\n");
    AWAIT(ml_buf_len(&up->buf) == 18);
    ml_pipe_put(down, ML_STR("hi"));
    CLIENT_EXPECT(&c, "hi");
    ml_pipe_put(down, ML_STR("bye"));
    ml_pipe_eof(down);
    AWAIT(c.eof || c.reset);
    CHECK(c.eof && lab.dones == 1 && lab.starts == 1);
    CLIENT_EXPECT(&c, "bye");
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_client_that_leaves_its_tunnel_ends_its_side_of_it)
{
    struct client c;
    struct ml_pipe *down, *up;

    lab_setup();
    client_open(&c);
    client_say(&c, upgrade);
    AWAIT(lab.held_count == 1);
    down = switch_protocols();
    up = lab.held[0]->req.body;
    AWAIT(client_has(&c, "\r\n\r\n"));
    client_say(&c, "x");
    AWAIT(ml_buf_len(&c.out) == 0);
    ml_stream_shutdown(c.s);
    AWAIT(up->state == ML_PIPE_EOF && ml_buf_len(&up->buf) == 1);
    CHECK(lab.cancels == 0);
    ml_pipe_put(down, ML_STR("bye"));
    ml_pipe_eof(down);
    AWAIT(c.eof);
    CHECK(client_has(&c, "bye") && lab.dones == 1);
    client_close(&c);
    lab_teardown();
}
