/* test_upstream.c - one request to one server: connections, and what is tried again. */
#include "upstream_lab.h"

/* ---- connections ---- */

TEST(a_connection_is_used_again)
{
    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){0}, NULL);
    for (int i = 0; i < 5; i++)
        CHECK(lab_get("/a", NULL) == 200);
    CHECK(p->count == 1 && p->requests == 5);
    lab_teardown();
}

TEST(a_unix_socket_serves)
{
    lab_setup();
    struct peer *p = peer_open_unix(OK_TEXT);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", NULL) == 200 && lab_get("/b", NULL) == 200);
    CHECK(p->count == 1 && strstr(p->head, "\r\nHost: localhost\r\n") != NULL);
    lab_teardown();
}

TEST(no_more_connections_stay_idle_than_the_cap)
{
    struct call c[3];

    lab_setup();
    struct peer *p = peer_open(NULL);
    lab_group((struct ml_group_conf){.keepalive = 2}, NULL);
    for (int i = 0; i < 3; i++) {
        call_begin(&c[i], "GET", "/");
        call_go(&c[i]);
    }
    AWAIT(p->count == 3 && link_has(&p->links[0], "\r\n\r\n") &&
          link_has(&p->links[1], "\r\n\r\n") && link_has(&p->links[2], "\r\n\r\n"));
    for (int i = 0; i < 3; i++)
        link_say(&p->links[i], OK_TEXT);
    for (int i = 0; i < 3; i++) {
        AWAIT(call_over(&c[i]));
        call_end(&c[i]);
    }
    AWAIT(p->links[0].eof + p->links[1].eof + p->links[2].eof == 1);
    CHECK(lab.group->roster->members[0].server->pool.idle == 2);
    lab_teardown();
}

TEST(without_keepalive_the_server_is_told_and_the_connection_closed)
{
    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){.keepalive = ~0u}, NULL);
    CHECK(lab_get("/a", NULL) == 200);
    CHECK(strstr(p->head, "\r\nConnection: close\r\n") != NULL);
    AWAIT(p->links[0].eof);
    lab_teardown();
}

TEST(an_idle_connection_is_closed_in_time)
{
    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){.keepalive_timeout = 0.05}, NULL);
    CHECK(lab_get("/a", NULL) == 200);
    AWAIT(p->links[0].eof);
    lab_teardown();
}

TEST(a_server_that_says_close_is_believed)
{
    lab_setup();
    struct peer *p =
        peer_open("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", NULL) == 200 && lab_get("/a", NULL) == 200);
    CHECK(p->count == 2);
    lab_teardown();
}

TEST(a_call_of_its_own_connection_closes_it)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", NULL) == 200);
    call_begin(&c, "GET", "/once");
    c.f.once = true;
    call_run(&c);
    CHECK(c.err == ML_OK && p->count == 2);
    CHECK(strstr(p->head, "\r\nConnection: close\r\n") != NULL);
    AWAIT(p->links[1].eof);
    call_end(&c);
    lab_teardown();
}

/* ---- connecting fails ---- */

TEST(a_refused_connection_is_503)
{
    enum ml_err err;

    lab_setup();
    peer_reserve("");
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", &err) == 0 && err == ML_UP_CONNECT && ml_err_status(err) == 503);
    CHECK(lab.group->roster->members[0].server->state->errors == 1);
    lab_teardown();
}

TEST(a_connection_that_is_not_accepted_is_504_in_time)
{
    enum ml_err err;
    int fds[4];
    double begin_s;

    lab_setup();
    fill_backlog(peer_reserve(""), fds, 4);
    lab_group((struct ml_group_conf){.connect_timeout = 0.1}, NULL);
    begin_s = ml_loop_now_s(lab.loop);
    CHECK(lab_get("/a", &err) == 0 && err == ML_UP_CONNECT_TIMEOUT && ml_err_status(err) == 504);
    CHECK(ml_loop_now_s(lab.loop) - begin_s > 0.09 && ml_loop_now_s(lab.loop) - begin_s < 1);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    lab_teardown();
}

TEST(a_call_may_have_its_own_connect_timeout)
{
    struct call c;
    int fds[4];

    lab_setup();
    fill_backlog(peer_reserve(""), fds, 4);
    lab_group((struct ml_group_conf){.connect_timeout = 20}, NULL);
    call_begin(&c, "GET", "/");
    c.f.connect_timeout = 0.05;
    call_run(&c);
    CHECK(c.err == ML_UP_CONNECT_TIMEOUT);
    call_end(&c);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    lab_teardown();
}

TEST(a_unix_socket_that_is_not_there_is_503)
{
    enum ml_err err;

    lab_setup();
    struct peer *p = peer_open_unix(NULL);
    (void)unlink(p->path);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", &err) == 0 && err == ML_UP_CONNECT);
    lab_teardown();
}

TEST(nobody_is_called_back_from_inside_forward)
{
    struct call c;

    lab_setup();
    struct peer *p = peer_open_unix(NULL);
    (void)unlink(p->path);
    lab_group((struct ml_group_conf){0}, NULL);
    call_begin(&c, "GET", "/");
    call_go(&c);
    CHECK(!c.told); /* although the connection failed at once */
    AWAIT(c.told);
    CHECK(c.heads == 1 && c.ex->upstream == NULL);
    call_end(&c);
    call_begin(&c, "GET", "/");
    call_go(&c);
    call_end(&c); /* cancelled between the failure and the news of it */
    CHECK(!c.told);
    lab_teardown();
}

/* ---- other servers, and again ---- */

TEST(another_server_gets_what_a_refusing_one_cannot)
{
    struct call c;

    lab_setup();
    peer_reserve("");
    struct peer *good = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){.retries = ~0u}, NULL);
    call_begin(&c, "POST", "/a"); /* nothing was sent, so any method may go on */
    call_run(&c);
    CHECK(c.err == ML_OK && good->requests == 1);
    CHECK(c.ex->notes.tries <= 2);
    call_end(&c);
    for (int i = 0; i < 6; i++)
        CHECK(lab_get("/a", NULL) == 200);
    CHECK(lab.group->roster->members[0].server->state->errors == 1); /* it was ejected by one failure */
    lab_teardown();
}

/* The first of two servers has died with the request; who gets the second try? */
static enum ml_err die_after_head(const char *method, unsigned retries, bool body)
{
    struct call c;
    enum ml_err err;

    lab_setup();
    struct peer *a = peer_open(NULL), *b = peer_open(NULL);
    lab_group((struct ml_group_conf){.retries = retries}, NULL);
    call_begin(&c, method, "/");
    if (body)
        ml_pipe_put(call_with_body(&c, 3), ML_STR("abc"));
    call_go(&c);
    AWAIT(a->count + b->count == 1 &&
          (link_has(&a->links[0], "\r\n\r\n") || link_has(&b->links[0], "\r\n\r\n")));
    link_close(a->count > 0 ? &a->links[0] : &b->links[0]);
    AWAIT(c.told || (a->count == 1 && b->count == 1));
    if (!c.told) {
        struct peer *other = a->links[0].s == NULL ? b : a;

        AWAIT(link_has(&other->links[0], "\r\n\r\n"));
        link_say(&other->links[0], OK_TEXT);
    }
    AWAIT(call_over(&c));
    err = c.err;
    call_end(&c);
    lab_teardown();
    return err;
}

TEST(idempotent_requests_are_tried_on_other_servers)
{
    CHECK(die_after_head("GET", 0, false) == ML_OK); /* 1 by default */
    CHECK(die_after_head("DELETE", 1, false) == ML_OK);
    CHECK(die_after_head("GET", ~0u, false) == ML_UP_CLOSED);
    CHECK(die_after_head("POST", 3, false) == ML_UP_CLOSED);
    CHECK(die_after_head("PATCH", 3, false) == ML_UP_CLOSED);
    CHECK(die_after_head("PUT", 3, true) == ML_UP_CLOSED); /* its body is gone */
}

/* The server closes a kept connection when the second request comes, without a byte. */
static enum ml_err second_on_a_dead_link(const char *method, bool body, unsigned *links)
{
    struct call c;
    enum ml_err err;

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/first", NULL) == 200);
    p->answer = NULL;
    call_begin(&c, method, "/second");
    if (body)
        ml_pipe_put(call_with_body(&c, 3), ML_STR("abc"));
    call_go(&c);
    AWAIT(link_has(&p->links[0], "\r\n\r\n"));
    link_close(&p->links[0]);
    p->answer = OK_TEXT;
    AWAIT(call_over(&c));
    err = c.err;
    CHECK(err == ML_OK || c.ex->notes.why == ML_UP_CLOSED);
    *links = p->count;
    call_end(&c);
    lab_teardown();
    return err;
}

TEST(a_dead_kept_connection_costs_an_idempotent_request_nothing)
{
    unsigned links;

    CHECK(second_on_a_dead_link("GET", false, &links) == ML_OK && links == 2);
    CHECK(second_on_a_dead_link("DELETE", false, &links) == ML_OK && links == 2);
}

TEST(what_a_server_may_have_done_is_not_done_twice)
{
    unsigned links;

    CHECK(second_on_a_dead_link("POST", false, &links) == ML_UP_CLOSED && links == 1);
    CHECK(second_on_a_dead_link("POST", true, &links) == ML_UP_CLOSED && links == 1);
    CHECK(second_on_a_dead_link("PUT", true, &links) == ML_UP_CLOSED && links == 1);
}

/* The server has closed before the request is written: nothing of it can have been done. */
static enum ml_err second_after_close(const char *method, bool reset)
{
    struct call c;
    enum ml_err err;

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/first", NULL) == 200);
    if (reset)
        link_reset(&p->links[0]);
    else
        link_close(&p->links[0]);
    call_begin(&c, method, "/second"); /* before the loop has seen the end of the first */
    if (strcmp(method, "POST") == 0) {
        struct ml_pipe *body = call_with_body(&c, 3);

        ml_pipe_put(body, ML_STR("abc"));
        ml_pipe_eof(body);
    }
    call_run(&c);
    err = c.err;
    CHECK(err != ML_OK || p->count == 2);
    call_end(&c);
    lab_teardown();
    return err;
}

TEST(a_connection_closed_while_idle_is_no_failure_of_any_request)
{
    CHECK(second_after_close("GET", false) == ML_OK);
    CHECK(second_after_close("GET", true) == ML_OK);
    CHECK(second_after_close("POST", false) == ML_OK);
    CHECK(second_after_close("POST", true) == ML_OK);
}

TEST(a_dead_kept_connection_is_refreshed_once)
{
    enum ml_err err = ML_OK;
    struct call c;

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/first", NULL) == 200);
    p->answer = NULL;
    call_begin(&c, "GET", "/second");
    call_go(&c);
    AWAIT(link_has(&p->links[0], "\r\n\r\n"));
    link_close(&p->links[0]);
    AWAIT(p->count == 2 && link_has(&p->links[1], "\r\n\r\n"));
    link_close(&p->links[1]);
    AWAIT(c.told);
    err = c.err;
    CHECK(err == ML_UP_CLOSED && p->count == 2);
    CHECK(lab.group->roster->members[0].server->state->errors == 1); /* only the fresh one was a failure */
    call_end(&c);
    lab_teardown();
}
