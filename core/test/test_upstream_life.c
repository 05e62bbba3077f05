/* test_upstream_life.c - one request to one server: its time, its ends. */
#include "upstream_lab.h"

/* ---- time ---- */

TEST(a_server_that_says_nothing_is_504_in_time)
{
    enum ml_err err;

    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.first_byte_timeout = 0.08, .retries = ~0u}, NULL);
    CHECK(lab_get("/a", &err) == 0 && err == ML_UP_TIMEOUT && ml_err_status(err) == 504);
    lab_teardown();
}

TEST(a_call_may_have_its_own_first_byte_timeout)
{
    struct call c;

    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.first_byte_timeout = 20, .retries = ~0u}, NULL);
    call_begin(&c, "GET", "/");
    c.f.timeout = 0.05;
    call_run(&c);
    CHECK(c.err == ML_UP_TIMEOUT);
    call_end(&c);
    lab_teardown();
}

TEST(a_head_that_trickles_is_504)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open(NULL);
    lab_group((struct ml_group_conf){.first_byte_timeout = 0.08, .retries = ~0u}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    link_say(&p->links[0], "HTTP/1.1 200 OK\r\nX: ");
    while (!c.told) {
        link_say(&p->links[0], "x");
        lab_turn();
    }
    CHECK(c.err == ML_UP_TIMEOUT);
    call_end(&c);
    lab_teardown();
}

TEST(a_body_that_stops_breaks_off)
{
    struct call c;

    lab_setup();
    peer_open("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    lab_group((struct ml_group_conf){.read_timeout = 0.08}, NULL);
    call_begin(&c, "GET", "/");
    call_run(&c);
    CHECK(c.err == ML_OK && c.broken && !c.eof && c.why == ML_UP_TIMEOUT);
    CHECK(call_body_is(&c, "abc"));
    call_end(&c);
    lab_teardown();
}

TEST(a_body_that_goes_on_may_take_longer_than_the_time_between_bytes)
{
    struct call c;
    double begin_s;

    lab_setup();
    struct peer *p = peer_open("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    lab_group((struct ml_group_conf){.read_timeout = 0.1}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(c.told);
    begin_s = ml_loop_now_s(lab.loop);
    while (!c.broken && ml_loop_now_s(lab.loop) - begin_s < 0.3) {
        link_say(&p->links[0], "x");
        lab_turn();
    }
    CHECK(!c.broken);
    call_end(&c);
    lab_teardown();
}

TEST(the_total_time_ends_everything)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    lab_group((struct ml_group_conf){.total_timeout = 0.15}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(c.told);
    while (!c.broken) {
        link_say(&p->links[0], "x");
        lab_turn();
    }
    CHECK(c.why == ML_UP_TIMEOUT);
    call_end(&c);
    p->answer = NULL;
    call_begin(&c, "GET", "/");
    call_run(&c);
    CHECK(c.err == ML_UP_TIMEOUT);
    call_end(&c);
    lab_teardown();
}

TEST(the_total_time_includes_connecting)
{
    enum ml_err err;
    int fds[4];

    lab_setup();
    fill_backlog(peer_reserve(""), fds, 4);
    lab_group((struct ml_group_conf){.connect_timeout = 20, .total_timeout = 0.1}, NULL);
    CHECK(lab_get("/a", &err) == 0 && ml_err_status(err) == 504);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    lab_teardown();
}

TEST(a_slow_client_is_not_the_servers_failure)
{
    struct call c;

    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.total_timeout = 0.1}, NULL);
    call_begin(&c, "POST", "/");
    ml_pipe_put(call_with_body(&c, 10), ML_STR("abc"));
    call_run(&c);
    CHECK(c.asked && c.err == ML_UP_TIMEOUT);
    CHECK(lab.group->roster->members[0].server->state->errors == 0);
    call_end(&c);
    lab_teardown();
}

TEST(a_server_that_does_not_read_is_504_in_time)
{
    struct call c;
    struct ml_pipe *body;
    char *bytes = calloc(1, 32 << 20);

    lab_setup();
    struct peer *p = peer_open(NULL);
    lab_group((struct ml_group_conf){.send_timeout = 0.1}, NULL);
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, 32 << 20);
    ml_pipe_put(body, (struct ml_str){bytes, 32 << 20}); /* a pipe does not refuse */
    call_go(&c);
    AWAIT(p->count == 1);
    p->links[0].deaf = true;
    AWAIT(c.told);
    CHECK(c.err == ML_UP_TIMEOUT);
    call_end(&c);
    free(bytes);
    lab_teardown();
}

/* ---- the client goes away ---- */

TEST(a_client_may_leave_while_connecting)
{
    struct call c;
    int fds[4];

    lab_setup();
    fill_backlog(peer_reserve(""), fds, 4);
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    lab_turns(3);
    call_end(&c);
    CHECK(!c.told && lab.group->roster->members[0].server->own.in_flight == 0);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    lab_teardown();
}

TEST(a_client_may_leave_while_the_head_is_awaited)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open(NULL);
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    CHECK(lab.group->roster->members[0].server->own.in_flight == 1);
    call_end(&c);
    CHECK(!c.told && lab.group->roster->members[0].server->own.in_flight == 0);
    AWAIT(p->links[0].eof || p->links[0].reset); /* the server sees it */
    lab_teardown();
}

TEST(a_client_may_leave_inside_the_answer)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(ml_buf_len(&c.body) == 3);
    call_end(&c);
    AWAIT(p->links[0].eof || p->links[0].reset);
    CHECK(lab.group->roster->members[0].server->pool.idle == 0);
    lab_teardown();
}

TEST(a_client_may_leave_inside_its_request)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open(NULL);
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "POST", "/");
    ml_pipe_put(call_with_body(&c, 10), ML_STR("abc"));
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "abc"));
    call_end(&c);
    AWAIT(p->links[0].reset); /* not a clean end, which could pass for a whole request */
    lab_teardown();
}

TEST(a_consumer_that_gives_the_answer_up_ends_the_request)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(ml_buf_len(&c.body) == 3);
    ml_pipe_abort(c.ex->res.body, ML_CANCELLED);
    CHECK(c.ex->upstream == NULL);
    AWAIT(p->links[0].eof || p->links[0].reset);
    call_end(&c);
    lab_teardown();
}

/* ---- the head's callback may do what it likes ---- */

static void end_at_head(void *ctx, enum ml_err err)
{
    struct call *c = ctx;

    c->told = true;
    c->err = err;
    ml_exchange_cancel(&c->ex, ML_CANCELLED);
}

TEST(an_exchange_may_end_inside_the_news_of_its_head)
{
    static const char *const answers[] = {
        OK_TEXT, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "nonsense\r\n"};

    lab_setup();
    struct peer *p = peer_open(NULL);
    lab_group((struct ml_group_conf){.max_fails = ~0u}, NULL);
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct call c;

        p->answer = answers[i];
        call_begin(&c, "GET", "/");
        c.f.head = end_at_head;
        c.f.ctx = &c;
        ml_upstream_forward(lab.group, c.ex, &c.f);
        AWAIT(c.told);
        lab_turn();
        CHECK(lab.group->roster->members[0].server->own.in_flight == 0);
        ml_buf_release(&c.body);
    }
    lab_teardown();
}

static struct call again;

static void ask_again(void *ctx, enum ml_err err)
{
    struct call *c = ctx;

    CHECK(err == ML_UP_PROTOCOL);
    lab.peers[0].answer = OK_TEXT;
    ml_exchange_reset_response(c->ex);
    call_go(c);
}

TEST(a_second_forward_may_follow_inside_the_news_of_a_failure)
{
    lab_setup();
    peer_open("nonsense\r\n");
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&again, "GET", "/");
    again.f.head = ask_again;
    again.f.ctx = &again;
    ml_upstream_forward(lab.group, again.ex, &again.f);
    AWAIT(call_over(&again));
    CHECK(again.err == ML_OK && call_body_is(&again, "ok"));
    call_end(&again);
    lab_teardown();
}

/* ---- answers of the gateway ---- */

TEST(failures_are_json_with_the_request_id)
{
    struct call c;

    lab_setup();
    peer_open("nonsense\r\n");
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "GET", "/");
    call_run(&c);
    CHECK(c.err == ML_UP_PROTOCOL);
    ml_exchange_error_response(c.ex, c.err);
    CHECK(c.ex->res.status == 502);
    CHECK(ml_str_eq(c.ex->res.bytes, ML_STR("{\"error\":\"upstream_protocol\",\"message\":\"the "
                                            "upstream's answer is malformed\",\"requestId\":"
                                            "\"0123456789abcdef0123456789abcdef\"}\n")));
    call_end(&c);
    lab_teardown();
}
