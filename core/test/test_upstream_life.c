/* test_upstream_life.c - one request to one server: its time, its ends, the name of the server. */
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
    CHECK(lab.group->servers[0]->state->errors == 0);
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
    CHECK(!c.told && lab.group->servers[0]->own.in_flight == 0);
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
    CHECK(lab.group->servers[0]->own.in_flight == 1);
    call_end(&c);
    CHECK(!c.told && lab.group->servers[0]->own.in_flight == 0);
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
    CHECK(lab.group->servers[0]->pool.idle == 0);
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
        CHECK(lab.group->servers[0]->own.in_flight == 0);
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

/* ---- names ---- */

TEST(a_name_from_the_hosts_file_serves)
{
    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    snprintf(p->url, sizeof p->url, "http://localhost:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", NULL) == 200);
    CHECK(strstr(p->head, "\r\nHost: localhost:") != NULL);
    lab_teardown();
}

/* A DNS server that answers each question for A with answer_ip, or not at all. */
static int dns_open(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char csv[32];

    if (bind(fd, (struct sockaddr *)&a, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    snprintf(csv, sizeof csv, "127.0.0.1:%d", ntohs(a.sin_port));
    setenv("MOONLATCH_DNS", csv, 1);
    return fd;
}

/* Answers what was asked so far: "up.test" is 127.0.0.1, twice: first where nothing listens. */
static void dns_serve(int fd)
{
    unsigned char m[600], name[] = "\002up\004test";
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t n = recvfrom(fd, m, 512, 0, (struct sockaddr *)&from, &from_len);
    size_t at = 12;

    if (n < 12)
        return;
    while (m[at] != 0)
        at += m[at] + 1u;
    at += 5;
    m[2] = 0x81;
    m[3] = 0x80;
    memset(m + 6, 0, 6);
    if (memcmp(m + 12, name, sizeof name) != 0)
        m[3] = 0x83; /* no such name */
    else if (m[at - 3] == 1)
        for (int i = 0; i < 2; i++, m[7]++, at += 16) {
            unsigned char rr[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 2};

            rr[15] = i == 0 ? 2 : 1;
            memcpy(m + at, rr, sizeof rr);
        }
    (void)sendto(fd, m, at, 0, (struct sockaddr *)&from, from_len);
}

TEST(a_name_is_asked_in_the_background_and_its_addresses_are_tried_in_turn)
{
    struct call c;
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    snprintf(p->url, sizeof p->url, "http://up.test:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    for (int i = 0; i < 4; i++) { /* 127.0.0.2 refuses */
        call_begin(&c, "GET", "/");
        c.f.once = true;
        call_go(&c);
        while (!call_over(&c)) {
            dns_serve(dns);
            lab_turn();
        }
        CHECK(c.err == ML_OK);
        call_end(&c);
    }
    CHECK(p->requests == 4 && lab.group->servers[0]->state->errors == 0);
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}

TEST(a_name_that_does_not_exist_is_503)
{
    struct call c;
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_reserve("");
    snprintf(p->url, sizeof p->url, "http://none.test:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    for (int i = 0; i < 2; i++) {
        call_begin(&c, "GET", "/");
        call_go(&c);
        while (!c.told) {
            dns_serve(dns);
            lab_turn();
        }
        CHECK(c.err == ML_UP_RESOLVE && ml_err_status(c.err) == 503);
        call_end(&c);
    }
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}

TEST(a_silent_dns_server_is_503_in_the_time_to_connect)
{
    enum ml_err err;
    double begin_s;
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_reserve("");
    snprintf(p->url, sizeof p->url, "http://up.test:%d", p->port);
    lab_group((struct ml_group_conf){.connect_timeout = 0.1}, NULL);
    begin_s = ml_loop_now_s(lab.loop);
    CHECK(lab_get("/", &err) == 0 && err == ML_UP_RESOLVE);
    CHECK(ml_loop_now_s(lab.loop) - begin_s < 1);
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}
