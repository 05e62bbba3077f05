/* test_h2.c - what clients of HTTP/2 may say, and what they are answered. */
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

static bool is_reset(int32_t id, uint32_t code)
{
    return talk_of(&h, id)->closed && talk_of(&h, id)->code == code;
}

/* The connection ends with that code. */
static void expect_goaway(uint32_t code)
{
    H2_AWAIT(&h, h.c.eof || h.c.reset);
    CHECK(h.goaways > 0 && h.goaway_code == code);
}

TEST_SPLIT(requests_are_answered)
{
    int32_t ids[3];

    begin();
    for (int i = 0; i < 3; i++)
        ids[i] = h2_get(&h, "/now");
    for (int i = 0; i < 3; i++) {
        H2_AWAIT(&h, talk_of(&h, ids[i])->closed);
        CHECK(is_reset(ids[i], 0) && talk_of(&h, ids[i])->ended);
        CHECK(h2_has(&h, ids[i], ":status: 200\n") && h2_has(&h, ids[i], "content-length: 3\n"));
        CHECK(h2_has(&h, ids[i], "\ndate: ") && memcmp(talk_of(&h, ids[i])->body, "now", 3) == 0);
    }
    CHECK(lab.starts == 3 && lab.dones == 3 && lab.cancels == 0);
    end();
}

TEST(answers_come_when_they_are_ready)
{
    int32_t a, b;

    begin();
    a = h2_get(&h, "/a");
    b = h2_get(&h, "/b");
    H2_AWAIT(&h, lab.held_count == 2);
    CHECK(lab_path_is(lab.held[0], "/a") && lab.held[0]->req.major == 2);
    lab_text(lab.held[1], 200, ML_STR("second"));
    H2_AWAIT(&h, talk_of(&h, b)->closed);
    CHECK(!talk_of(&h, a)->closed && talk_of(&h, a)->fields_len == 0);
    lab_text(lab.held[0], 404, ML_STR("first"));
    H2_AWAIT(&h, talk_of(&h, a)->closed);
    CHECK(h2_has(&h, a, ":status: 404\n"));
    end();
}

TEST(a_request_looks_to_the_handler_as_one_of_http_1)
{
    static const char *const more[] = {"cookie", "a=b", "x-a", "1",  "cookie",
                                       "c=d",    "x_y", "2",   NULL, NULL};
    const struct ml_request *req;

    begin();
    h2_ask(&h, "GET", "/x/../b%2Dc?q=1", more, -1, NULL);
    H2_AWAIT(&h, lab.held_count == 1);
    req = &lab.held[0]->req;
    CHECK(ml_str_eq(req->path, ML_STR("/b-c")) && ml_str_eq(req->query, ML_STR("q=1")));
    CHECK(ml_str_eq(req->host, ML_STR("a")) && ml_str_eq(req->scheme, ML_STR("http")));
    CHECK(ml_str_eq(ml_headers_get(&req->headers, ML_H_HOST)->value, ML_STR("a")));
    CHECK(ml_str_eq(ml_headers_get(&req->headers, ML_H_COOKIE)->value, ML_STR("a=b; c=d")));
    CHECK(req->headers.count == 3 && req->body == NULL && !req->has_length);
    CHECK(ml_headers_find(&req->headers, ML_STR("x_y")) == NULL && req->id.len == 32);
    end();
}

TEST(a_body_gets_to_the_handler_and_back)
{
    int32_t id;

    begin();
    id = h2_ask(&h, "POST", "/echo", NULL, 5, "hello");
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(talk_of(&h, id)->body_len == 5 && memcmp(talk_of(&h, id)->body, "hello", 5) == 0);
    id = h2_ask(&h, "POST", "/echo", NULL, 0, "");
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(talk_of(&h, id)->body_len == 0 && h2_has(&h, id, ":status: 200\n"));
    end();
}

TEST(a_large_body_waits_for_its_consumer)
{
    const size_t len = 3 << 20;
    size_t got = 0;
    struct ml_pipe *p;
    struct talk *t;
    int32_t id;

    begin();
    id = h2_ask(&h, "POST", "/slow", NULL, (ssize_t)len, NULL);
    t = talk_of(&h, id);
    H2_AWAIT(&h, lab.held_count == 1 && t->sent >= (128 << 10));
    for (int i = 0; i < 50; i++)
        h2_turn(&h);
    p = lab.held[0]->req.body;
    H2_AWAIT(&h, ml_buf_len(&p->buf) == 128 << 10); /* ML_HARD reads byte by byte */
    CHECK(t->sent == 128 << 10);
    while (got < len) {
        size_t n = ml_buf_len(&p->buf);

        got += n;
        ml_buf_consume(&p->buf, n);
        if (n > 0)
            ml_pipe_took(p, n);
        h2_turn(&h);
    }
    H2_AWAIT(&h, p->state == ML_PIPE_EOF);
    CHECK(t->sent == len);
    lab_text(lab.held[0], 200, ML_STR("ok"));
    H2_AWAIT(&h, t->closed);
    end();
}

static struct ml_pipe *stream_answer(struct ml_exchange *ex)
{
    struct ml_pipe *p = ml_arena_zalloc(ex->arena, sizeof *p);

    ex->res.status = 200;
    ex->res.body = p;
    ml_exchange_respond(ex);
    return p;
}

TEST(a_streamed_answer_flows_as_far_as_the_client_has_room)
{
    char block[16384];
    struct ml_pipe *p;
    struct talk *t;
    int32_t id;

    memset(block, 'd', sizeof block);
    lab_setup();
    h2_open_with(&h, true);
    id = h2_get(&h, "/stream");
    t = talk_of(&h, id);
    H2_AWAIT(&h, lab.held_count == 1);
    p = stream_answer(lab.held[0]);
    H2_AWAIT(&h, h2_has(&h, id, ":status: 200\n"));
    CHECK(!h2_has(&h, id, "content-length"));
    ml_pipe_put(p, ML_STR("first"));
    H2_AWAIT(&h, t->body_len == 5);
    for (int i = 0; i < 8; i++)
        ml_pipe_put(p, (struct ml_str){block, sizeof block});
    H2_AWAIT(&h, t->body_len == 65535);
    for (int i = 0; i < 50; i++)
        h2_turn(&h);
    CHECK(t->body_len == 65535 && ml_buf_len(&p->buf) == 8 * sizeof block + 5 - 65535);
    nghttp2_session_consume(h.session, id, 65535);
    ml_pipe_eof(p);
    h2_flush(&h);
    H2_AWAIT(&h, t->body_len == 2 * 65535);
    nghttp2_session_consume(h.session, id, 65535);
    H2_AWAIT(&h, t->closed);
    CHECK(t->body_len == 8 * sizeof block + 5 && t->code == 0);
    end();
}

TEST(streams_share_the_connection)
{
    char block[16384];
    int32_t big, small;

    memset(block, 'd', sizeof block);
    begin();
    big = h2_get(&h, "/big");
    small = h2_get(&h, "/small");
    H2_AWAIT(&h, lab.held_count == 2);
    lab.held[0]->res.status = 200;
    lab.held[0]->res.bytes = (struct ml_str){calloc(1, 8 << 20), 8 << 20};
    char *bytes = (char *)(uintptr_t)lab.held[0]->res.bytes.p;
    ml_exchange_respond(lab.held[0]);
    H2_AWAIT(&h, talk_of(&h, big)->body_len > 200000);
    lab_text(lab.held[1], 200, ML_STR("small"));
    H2_AWAIT(&h, talk_of(&h, small)->closed);
    CHECK(talk_of(&h, big)->body_len < 4 << 20); /* it did not wait for the big one */
    H2_AWAIT(&h, talk_of(&h, big)->closed);
    CHECK(talk_of(&h, big)->body_len == 8 << 20);
    end();
    free(bytes);
}

TEST(an_answer_that_breaks_off_is_reset)
{
    struct ml_pipe *p;
    int32_t id;

    begin();
    id = h2_get(&h, "/broken");
    H2_AWAIT(&h, lab.held_count == 1);
    p = stream_answer(lab.held[0]);
    ml_pipe_put(p, ML_STR("some"));
    H2_AWAIT(&h, talk_of(&h, id)->body_len == 4);
    ml_pipe_abort(p, ML_UP_CLOSED);
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(is_reset(id, NGHTTP2_INTERNAL_ERROR) && !talk_of(&h, id)->ended && lab.cancels == 1);
    end();
}

TEST(trailers_pass_both_ways_where_the_listener_lets_them)
{
    struct ml_pipe *p;
    int32_t id;

    for (int pass = 0; pass < 2; pass++) {
        begin();
        lab.conf.trailers_pass = pass == 1;
        h2_hold = true;
        id = h2_ask(&h, "POST", "/t", NULL, 2, "ab");
        h2_hold = false;
        H2_AWAIT(&h, lab.held_count == 1);
        h2_push(&h, NGHTTP2_HEADERS, 5, (uint32_t)id,
                ML_STR("\0\3x-t\1"
                       "2\0\xc"
                       "content-type\1"
                       "3"));
        H2_AWAIT(&h, lab.held[0]->req.body->state == ML_PIPE_EOF);
        CHECK(ml_str_eq(ml_buf_str(&lab.held[0]->req.body->trailers), ML_STR("x-t: 2\r\n")));
        CHECK(lab.held[0]->req.body->trailers_h2 == !pass); /* then for servers of HTTP/2 only */
        p = stream_answer(lab.held[0]);
        ml_pipe_put(p, ML_STR("body"));
        ml_buf_append(&p->trailers, ML_STR("X-Sum: 7\r\nx-b: \r\n"));
        ml_pipe_eof(p);
        H2_AWAIT(&h, talk_of(&h, id)->ended);
        CHECK(h2_has(&h, id, "\n\nx-sum: 7\nx-b: \n\n") == (pass == 1));
        end();
    }
}

TEST(the_body_of_some_answers_is_not_sent)
{
    int32_t head, no_content, not_modified;

    begin();
    head = h2_ask(&h, "HEAD", "/now", NULL, -1, NULL);
    no_content = h2_get(&h, "/204");
    not_modified = h2_get(&h, "/304");
    H2_AWAIT(&h, talk_of(&h, head)->closed && talk_of(&h, no_content)->closed);
    H2_AWAIT(&h, talk_of(&h, not_modified)->closed);
    CHECK(h2_has(&h, head, "content-length: 3\n") && talk_of(&h, head)->body_len == 0);
    CHECK(h2_has(&h, no_content, ":status: 204\n") && !h2_has(&h, no_content, "content-length"));
    CHECK(!h2_has(&h, not_modified, "content-length"));
    end();
}

TEST(fields_of_an_http_1_connection_are_left_out_of_answers)
{
    int32_t id;

    begin();
    id = h2_get(&h, "/fields");
    H2_AWAIT(&h, lab.held_count == 1);
    struct ml_exchange *ex = lab.held[0];
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Connection"), ML_STR("close"));
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Keep-Alive"), ML_STR("timeout=5"));
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Transfer-Encoding"), ML_STR("chunked"));
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("Upgrade"), ML_STR("h2c"));
    ml_headers_add(&ex->res.headers, ex->arena, ML_STR("X-Mixed-Case"), ML_STR("Yes"));
    lab_text(ex, 200, ML_STR(""));
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(h2_has(&h, id, "x-mixed-case: Yes\n") && !h2_has(&h, id, "connection"));
    CHECK(!h2_has(&h, id, "keep-alive") && !h2_has(&h, id, "transfer") && !h2_has(&h, id, "upgr"));
    end();
}

TEST(a_client_that_expects_100_gets_it_when_the_body_is_wanted)
{
    static const char *const expect[] = {"expect", "100-continue", NULL};
    int32_t here, later;

    begin();
    here = h2_ask(&h, "POST", "/wait", expect, 2, "ab");
    h2_hold = true;
    later = h2_ask(&h, "POST", "/wait", expect, 0, "");
    h2_hold = false;
    H2_AWAIT(&h, lab.held_count == 2);
    ml_exchange_ask_body(lab.held[0]); /* which was there */
    ml_exchange_ask_body(lab.held[1]);
    H2_AWAIT(&h, h2_has(&h, later, ":status: 100\n\n"));
    lab_text(lab.held[0], 200, ML_STR(""));
    H2_AWAIT(&h, talk_of(&h, here)->closed);
    CHECK(!h2_has(&h, here, ":status: 100\n"));
    talk_of(&h, later)->hold = false;
    nghttp2_session_resume_data(h.session, later);
    h2_flush(&h);
    H2_AWAIT(&h, lab.held[1]->req.body->state == ML_PIPE_EOF);
    end();
    CHECK(lab.cancels == 1);
}

TEST(what_is_wrong_beyond_the_protocol_is_answered_without_a_handler)
{
    static const char *const hosts[] = {"host", "b", NULL}, *const expect[] = {"expect", "x", NULL};
    static const struct {
        const char *method, *path;
        const char *const *more;
        const char *status;
    } wrong[] = {
        {"GET", "/%00", NULL, ":status: 400\n"},  {"GET", "/a", hosts, ":status: 400\n"},
        {"TRACE", "/a", NULL, ":status: 405\n"},  {"GET", "/a#b", NULL, ":status: 400\n"},
        {"POST", "/a", expect, ":status: 417\n"}, {"OPTIONS", "/%2fx", NULL, ":status: 400\n"},
    };

    begin();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int32_t id = h2_ask(&h, wrong[i].method, wrong[i].path, wrong[i].more, -1, NULL);

        H2_AWAIT(&h, talk_of(&h, id)->closed);
        CHECK(h2_has(&h, id, wrong[i].status) && h2_has(&h, id, "content-type: application/json"));
    }
    CHECK(lab.starts == 0 && h.goaways == 0);
    end();
}

TEST(a_malformed_request_is_reset_and_the_others_go_on)
{
    static const char *const bad[][4] = {{"X-Upper", "1", NULL},
                                         {"connection", "close", NULL},
                                         {"transfer-encoding", "chunked", NULL},
                                         {"te", "gzip", NULL},
                                         {"x-a", "b\r\nc: d", NULL},
                                         {"content-length", "5", NULL},
                                         {"content-length", "x", NULL}};

    begin();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t id = h2_ask(&h, "GET", "/now", bad[i], -1, NULL);

        H2_AWAIT(&h, talk_of(&h, id)->closed);
        CHECK(is_reset(id, NGHTTP2_PROTOCOL_ERROR));
    }
    CHECK(lab.starts == 0 && h.goaways == 0);
    int32_t good = h2_get(&h, "/now");
    H2_AWAIT(&h, talk_of(&h, good)->closed);
    CHECK(h2_has(&h, good, ":status: 200\n"));
    end();
}

TEST(limits_of_heads_are_those_of_the_listener)
{
    static char long_value[5000], long_path[3000];
    const char *big[] = {"x-long", long_value, NULL}, *many[2 * 30 + 1] = {NULL};
    int32_t id;

    memset(long_value, 'v', sizeof long_value - 1);
    memset(long_path, 'p', sizeof long_path - 1);
    long_path[0] = '/';
    for (int i = 0; i < 60; i += 2)
        many[i] = "x-many", many[i + 1] = "1";
    lab_setup();
    lab.conf.limits = (struct ml_http1_limits){2048, 4096, 20};
    h2_open(&h);
    id = h2_ask(&h, "GET", "/now", big, -1, NULL);
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(h2_has(&h, id, ":status: 431\n"));
    id = h2_ask(&h, "GET", "/now", many, -1, NULL);
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(h2_has(&h, id, ":status: 431\n"));
    id = h2_get(&h, long_path);
    H2_AWAIT(&h, talk_of(&h, id)->closed);
    CHECK(h2_has(&h, id, ":status: 414\n") && lab.starts == 0);
    end();
}

/* Each field is one byte on the wire, for it is in the table of HPACK. */
TEST(a_field_block_that_unfolds_without_end_ends_the_connection)
{
    static char value[2900];
    const char *more[2 * 60 + 1] = {NULL};

    memset(value, 'v', sizeof value - 1);
    for (int i = 0; i < 120; i += 2)
        more[i] = "x-bomb", more[i + 1] = value;
    begin();
    h2_ask(&h, "GET", "/now", more, -1, NULL);
    expect_goaway(NGHTTP2_ENHANCE_YOUR_CALM);
    CHECK(lab.starts == 0);
    end();
}

TEST(a_body_over_the_limit_is_refused)
{
    static const char *const length[] = {"content-length", "2000", NULL};
    int32_t id;

    lab_setup();
    lab.conf.body_max = 1000;
    h2_open(&h);
    id = h2_ask(&h, "POST", "/echo", length, 2000, NULL);
    H2_AWAIT(&h, talk_of(&h, id)->ended);
    CHECK(h2_has(&h, id, ":status: 413\n") && lab.starts == 0);
    id = h2_ask(&h, "POST", "/echo", NULL, 100000, NULL);
    H2_AWAIT(&h, talk_of(&h, id)->ended);
    CHECK(h2_has(&h, id, ":status: 413\n"));
    end();
}

TEST(more_or_less_than_content_length_is_refused)
{
    static const char *const five[] = {"content-length", "5", NULL}, *const none[] = {
                                                                         "content-length", "0",
                                                                         NULL};
    int32_t less, more, zero;

    begin();
    less = h2_ask(&h, "POST", "/echo", five, 4, "abcd");
    more = h2_ask(&h, "POST", "/echo", five, 6, "abcdef");
    zero = h2_ask(&h, "POST", "/now", none, 6, "abcdef");
    H2_AWAIT(&h, talk_of(&h, less)->closed && talk_of(&h, more)->closed);
    H2_AWAIT(&h, talk_of(&h, zero)->closed);
    CHECK(is_reset(less, NGHTTP2_PROTOCOL_ERROR) && is_reset(more, NGHTTP2_PROTOCOL_ERROR));
    CHECK(is_reset(zero, NGHTTP2_PROTOCOL_ERROR) && lab.dones == 0);
    end();
}
