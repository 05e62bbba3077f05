/* test_conn.c - what clients may say, and what they are answered. */
#include "conn_lab.h"

#define NOW "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n\r\nnow"

TEST_SPLIT(a_connection_serves_one_request_after_the_other)
{
    struct client c;

    lab_setup();
    client_open(&c);
    for (int i = 0; i < 3; i++) {
        client_say(&c, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
        CLIENT_EXPECT(&c, NOW);
    }
    CHECK(!c.eof && lab.starts == 3 && lab.dones == 3 && lab.cancels == 0);
    client_close(&c);
    AWAIT(lab.in.connections == 0);
    lab_teardown();
}

TEST_SPLIT(pipelined_requests_are_answered_in_order)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\nPOST /b HTTP/1.1\r\nHost: a\r\n"
                   "Content-Length: 5\r\n\r\nhelloGET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    AWAIT(lab.held_count == 1);
    lab_turn();
    CHECK(lab.starts == 1 && ml_buf_len(&c.in) == 0);
    lab_text(lab.held[0], 200, ML_STR("one"));
    AWAIT(lab.held_count == 2);
    CHECK(lab_path_is(lab.held[1], "/b"));
    lab_text(lab.held[1], 201, ML_STR("two"));
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n\r\none"
                      "HTTP/1.1 201 Created\r\nDate\r\nContent-Length: 3\r\n\r\ntwo" NOW);
    CHECK(lab.dones == 3);
    client_close(&c);
    lab_teardown();
}

TEST(a_flood_of_pipelined_requests_lets_others_pass)
{
    struct client flood, other;
    struct ml_buf all = {0};
    size_t answer_len = 0;

    lab_setup();
    client_open(&flood);
    client_open(&other);
    for (int i = 0; i < 2000; i++)
        ml_buf_append(&all, ML_STR("GET /now HTTP/1.1\r\nHost: a\r\n\r\n"));
    client_push(&flood, ml_buf_str(&all));
    for (unsigned before = 0; lab.starts < 2000; before = lab.starts) {
        lab_turn();
        CHECK(lab.starts - before <= 65);
        if (lab.starts > 500 && lab.starts < 600)
            client_push(&other, ML_STR("GET /b HTTP/1.1\r\nHost: a\r\n\r\n"));
        if (lab.held_count > 0)
            CHECK(lab.starts > 0);
    }
    AWAIT(ml_buf_len(&flood.in) > 0);
    answer_len = sizeof "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnow" - 1 + 37;
    AWAIT(ml_buf_len(&flood.in) == 2000 * answer_len - (lab.held_count > 0 ? answer_len : 0) ||
          ml_buf_len(&flood.in) == 2000 * answer_len);
    CHECK(lab.held_count > 0); /* the other one was not the last */
    ml_buf_release(&all);
    client_close(&flood);
    client_close(&other);
    lab_teardown();
}

TEST_SPLIT(http_1_0_ends_the_connection_unless_asked_to_keep_it)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /now HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n"
                      "Connection: keep-alive\r\n\r\nnow");
    client_say(&c, "GET /now HTTP/1.0\r\n\r\n");
    AWAIT(c.eof);
    CLIENT_EXPECT(&c,
                  "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnow");
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(answers_without_a_body_have_none)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "HEAD /now HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n\r\n");
    client_say(&c, "GET /204 HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 204 No Content\r\nDate\r\n\r\n");
    client_say(&c, "GET /304 HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 304 Not Modified\r\nDate\r\n\r\n");
    client_say(&c, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, NOW);
    client_close(&c);
    lab_teardown();
}

TEST(the_answer_to_head_tells_the_length_that_the_upstream_told_or_none)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\nHEAD /b HTTP/1.1\r\nHost: a\r\n\r\n");
    for (unsigned i = 0; i < 2; i++) {
        AWAIT(lab.held_count == i + 1);
        lab.held[i]->res =
            (struct ml_response){.status = 200, .no_body = true, .has_length = i == 1, .length = 7};
        ml_exchange_respond(lab.held[i]);
    }
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\n\r\n"
                      "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 7\r\n\r\n");
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_waiting_client_is_told_to_continue_when_its_body_is_wanted)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                   "Expect: 100-continue\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    client_say(&c, "helloGET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 5\r\n\r\nhello" NOW);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_waiting_client_whose_body_is_not_wanted_gets_the_answer_and_the_end)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                   "Expect: 100-continue\r\n\r\n");
    AWAIT(c.eof);
    CLIENT_EXPECT(&c,
                  "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\nConnection: close\r\n\r\nnow");
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(interim_answers_go_out_before_the_final_one)
{
    struct ml_field link = {.name = ML_STR("Link"), .value = ML_STR("</a.css>")};
    struct ml_headers h = {.v = &link, .count = 1, .cap = 1};
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    AWAIT(lab.held_count == 1);
    lab.held[0]->wire.interim(lab.held[0]->wire.ctx, lab.held[0], 103, &h);
    CLIENT_EXPECT(&c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
    lab_text(lab.held[0], 200, ML_STR("now"));
    CLIENT_EXPECT(&c, NOW);
    client_close(&c);
    lab_teardown();
}

static const struct wrong {
    const char *request;
    int status;
} wrongs[] = {
    {"GET /now HTTP/1.1\r\n\r\n", 400},
    {"GET /now HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
    {"GET /now HTTP/1.1\nHost: a\n\n", 400},
    {"\001", 400},
    {"GET /now HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400},
    {"GET /a/%2f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"GET /now HTTP/2.0\r\nHost: a\r\n\r\n", 505},
    {"GET /0123456789012345678901234567890123456789 HTTP/1.1\r\n", 414},
    {"GET /now HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", 431},
    {"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413},
    {"POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
     400},
    {"POST /now HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"TRACE /now HTTP/1.1\r\nHost: a\r\n\r\n", 405},
    {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501},
    {"GET /now HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", 417},
};

TEST_SPLIT(an_options_that_may_not_be_forwarded_ends_here)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c,
               "OPTIONS /now HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nContent-Length: 3\r\n\r\nabc"
               "GET /now HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    AWAIT(client_has(&c, "HTTP/1.1 204 ") && client_has(&c, "HTTP/1.1 200 "));
    CHECK(client_has(&c, "\r\nAllow: GET,") && lab.starts == 1 && lab.dones == 1);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_request_that_is_wrong_is_answered_and_reaches_no_handler)
{
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        char status[32];
        struct client c;

        lab_setup();
        lab.conf.limits =
            (struct ml_http1_limits){.line_max = 48, .head_max = 512, .fields_max = 4};
        lab.conf.body_max = 100;
        client_open(&c);
        client_say(&c, wrongs[i].request);
        AWAIT(c.eof || c.reset);
        snprintf(status, sizeof status, "HTTP/1.1 %d ", wrongs[i].status);
        CHECK(!c.reset && client_has(&c, status) && client_has(&c, "Connection: close\r\n"));
        CHECK(client_has(&c, "{\"error\":") && lab.starts == 0);
        if (!client_has(&c, status))
            printf("# %zu: %.*s\n", i, (int)ml_buf_len(&c.in), c.in.p);
        client_close(&c);
        lab_teardown();
    }
}

TEST_SPLIT(a_failure_of_the_handler_is_an_answer_like_any_other)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    AWAIT(lab.held_count == 1);
    ml_exchange_fail(lab.held[0], ML_UP_TIMEOUT);
    AWAIT(client_has(&c, "}\n"));
    CHECK(client_has(&c, "HTTP/1.1 504 ") && client_has(&c, "\"upstream_timeout\""));
    CHECK(!client_has(&c, "Connection: close"));
    ml_buf_consume(&c.in, ml_buf_len(&c.in));
    client_say(&c, "GET /now HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, NOW);
    client_close(&c);
    lab_teardown();
}

TEST(only_a_trusted_proxy_says_who_the_client_is)
{
    static const char request[] =
        "GET /now HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1, 198.51.100.7\r\n\r\n";
    struct ml_cidr loopback;
    struct client c;

    lab_setup();
    CHECK(ml_cidr_parse(ML_STR("127.0.0.0/8"), &loopback));
    client_open(&c);
    client_say(&c, request);
    CLIENT_EXPECT(&c, NOW);
    CHECK(strcmp(lab.last_ip, "127.0.0.1") == 0);
    lab.conf.trusted = &loopback;
    lab.conf.trusted_count = 1;
    client_say(&c, request);
    CLIENT_EXPECT(&c, NOW);
    CHECK(strcmp(lab.last_ip, "198.51.100.7") == 0);
    client_close(&c);
    lab_teardown();
}

static void check_scheme(struct client *c, const char *fields, const char *expected)
{
    char request[256];
    unsigned held = lab.held_count;

    snprintf(request, sizeof request, "GET /a HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    client_say(c, request);
    AWAIT(lab.held_count == held + 1);
    CHECK(ml_str_eq(lab.held[held]->req.scheme, ml_str_of(expected)));
}

/* The last word is that of the nearest proxy. */
TEST(only_a_trusted_proxy_says_by_which_scheme_the_client_came)
{
    static const char *const said[][2] = {{"X-Forwarded-Proto: https\r\n", "https"},
                                          {"x-forwarded-proto: HTTPS\r\n", "https"},
                                          {"X-Forwarded-Proto: http, https\r\n", "https"},
                                          {"X-Forwarded-Proto: https, http\r\n", "http"},
                                          {"X-Forwarded-Proto: gopher\r\n", "http"},
                                          {"", "http"}};
    struct ml_cidr loopback;

    CHECK(ml_cidr_parse(ML_STR("127.0.0.0/8"), &loopback));
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        for (unsigned trusted = 0; trusted < 2; trusted++) {
            struct client c;

            lab_setup();
            lab.conf.trusted = &loopback;
            lab.conf.trusted_count = trusted;
            client_open(&c);
            check_scheme(&c, said[i][0], trusted ? said[i][1] : "http");
            client_close(&c);
            lab_teardown();
        }
}
