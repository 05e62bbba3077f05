/* test_upstream_answer.c - what servers answer, well and badly, as bytes. */
#include "upstream_lab.h"

/* A GET that is answered with these bytes and then nothing, or the end of the connection. */
static void ask(struct call *c, const char *method, const char *answer, bool close)
{
    struct peer *p = &lab.peers[0];
    unsigned before = p->count;

    p->answer = NULL;
    call_begin(c, method, "/");
    call_go(c);
    AWAIT(p->count == before + 1 && link_has(&p->links[before], "\r\n\r\n"));
    link_say(&p->links[before], answer);
    if (close)
        link_close(&p->links[before]);
    AWAIT(call_over(c));
}

static void setup(void)
{
    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.max_fails = ~0u, .retries = ~0u, .read_timeout = 5}, NULL);
}

static unsigned idle(void)
{
    return lab.group->roster->members[0].server->pool.idle;
}

/* ---- malformed ---- */

/* 502; or, when the head was passed on before the bad part came (in the hard build bytes come one
 * by one), an answer that breaks off. */
static bool is_refused(const struct call *c)
{
    if (c->heads != 1)
        return false;
    if (c->err == ML_UP_PROTOCOL)
        return ml_err_status(c->err) == 502 && c->ex->res.status == 0;
    return c->err == ML_OK && c->broken && c->why == ML_UP_PROTOCOL;
}

TEST(malformed_answers_are_502_and_end_the_connection)
{
    static const char *const bad[] = {
        "nonsense\r\n\r\n",
        "<html>no head at all",
        "\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nabc",
    };
    struct call c;

    setup();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct link *l = &lab.peers[0].links[i];

        ask(&c, "GET", bad[i], false);
        CHECK(is_refused(&c));
        if (!is_refused(&c))
            printf("# %s\n", bad[i]);
        AWAIT(l->eof || l->reset);
        call_end(&c);
        CHECK(idle() == 0);
    }
    lab_teardown();
}

TEST(a_nul_in_a_head_is_502)
{
    static const char bad[] = "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok";
    struct call c;

    setup();
    struct peer *p = &lab.peers[0];
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    link_push(&p->links[0], (struct ml_str){bad, sizeof bad - 1});
    AWAIT(c.told);
    CHECK(c.err == ML_UP_PROTOCOL);
    call_end(&c);
    lab_teardown();
}

TEST(a_server_that_closes_before_its_head_is_whole_is_502)
{
    static const char *const early[] = {"", "H", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\nContent-Le"};
    struct call c;

    setup();
    for (size_t i = 0; i < sizeof early / sizeof *early; i++) {
        ask(&c, "GET", early[i], true);
        CHECK(c.err == ML_UP_CLOSED && ml_err_status(c.err) == 502);
        call_end(&c);
    }
    lab_teardown();
}

TEST(a_flood_of_fields_is_502)
{
    struct ml_buf many = {0}, large = {0};
    struct call c;

    setup();
    ml_buf_append(&many, ML_STR("HTTP/1.1 200 OK\r\n"));
    for (int i = 0; i < 300; i++)
        ml_buf_append(&many, ML_STR("a: b\r\n"));
    ml_buf_append(&many, ML_STR("\r\n\0"));
    ml_buf_append(&large, ML_STR("HTTP/1.1 200 OK\r\nX: "));
    for (int i = 0; i < 4000; i++)
        ml_buf_append(&large, ML_STR("0123456789"));
    ml_buf_append(&large, ML_STR("\0"));
    ask(&c, "GET", many.p + many.start, false);
    CHECK(c.err == ML_UP_TOO_LARGE && ml_err_status(c.err) == 502);
    call_end(&c);
    ask(&c, "GET", large.p + large.start, false); /* its end never comes */
    CHECK(c.err == ML_UP_TOO_LARGE);
    call_end(&c);
    ml_buf_release(&many);
    ml_buf_release(&large);
    lab_teardown();
}

/* ---- interim answers ---- */

TEST(interim_answers_pass_without_fields_of_the_connection_and_without_100)
{
    struct call c;

    setup();
    ask(&c, "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-A\r\n"
        "X-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n" OK_TEXT,
        false);
    CHECK(c.err == ML_UP_PROTOCOL); /* a body, RFC 9112 section 6.1 */
    call_end(&c);
    ask(&c, "GET",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: X-A\r\n"
        "X-A: 1\r\nKeep-Alive: 9\r\n\r\nHTTP/1.1 102 x\r\n\r\n" OK_TEXT,
        false);
    CHECK(strcmp(c.interims, "103 Link=</a>;102;") == 0);
    CHECK(c.err == ML_OK && c.ex->res.status == 200 && call_body_is(&c, "ok"));
    CHECK(call_field(&c, "link").len == 0 && idle() == 1);
    call_end(&c);
    lab_teardown();
}

TEST(a_flood_of_interim_answers_is_502)
{
    struct ml_buf flood = {0};
    struct call c;

    setup();
    for (int i = 0; i < 100; i++)
        ml_buf_append(&flood, ML_STR("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n"));
    ml_buf_append(&flood, ML_STR("\0"));
    ask(&c, "GET", flood.p + flood.start, false);
    CHECK(c.err == ML_UP_PROTOCOL);
    call_end(&c);
    ml_buf_release(&flood);
    lab_teardown();
}

TEST(heads_may_come_one_byte_at_a_time)
{
    static const char text[] =
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello";
    struct call c;

    setup();
    struct peer *p = &lab.peers[0];
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    for (size_t i = 0; i < sizeof text - 1; i++) {
        CHECK(!c.eof);
        link_push(&p->links[0], (struct ml_str){text + i, 1});
        lab_turn();
    }
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && call_body_is(&c, "hello") && c.ex->res.length == 5);
    CHECK(ml_str_eq(call_field(&c, "x"), ML_STR("y")) && idle() == 1);
    call_end(&c);
    lab_teardown();
}

/* ---- bodies ---- */

TEST(bodies_of_every_framing_arrive_whole)
{
    static const struct {
        const char *answer;
        bool close, keeps;
    } good[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
         false, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: t\r\n\r\n5\r\nhello\r\n0\r\nt: "
         "u\r\n\r\n",
         false, true},
        {"HTTP/1.1 200 OK\r\n\r\nhello", true, false},
        {"HTTP/1.0 200 OK\r\n\r\nhello", true, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", false,
         true},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", false, false},
    };
    struct call c;

    setup();
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        ask(&c, "GET", good[i].answer, good[i].close);
        CHECK(c.err == ML_OK && c.eof && call_body_is(&c, "hello"));
        CHECK(idle() == good[i].keeps);
        ml_pool_configure(&lab.group->roster->members[0].server->pool, 0, 60); /* the next one connects anew */
        ml_pool_configure(&lab.group->roster->members[0].server->pool, 64, 60);
        call_end(&c);
    }
    lab_teardown();
}

TEST(answers_without_a_body_have_none)
{
    struct call c;

    setup();
    ask(&c, "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", false);
    CHECK(c.err == ML_OK && c.eof && c.ex->res.no_body && c.ex->res.body == NULL);
    CHECK(c.ex->res.has_length && c.ex->res.length == 1000 && idle() == 1);
    call_end(&c);
    ml_pool_configure(&lab.group->roster->members[0].server->pool, 0, 60);
    ask(&c, "GET", "HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", false);
    CHECK(c.err == ML_OK && c.ex->res.status == 204 && c.ex->res.no_body);
    call_end(&c);
    ask(&c, "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false);
    CHECK(c.err == ML_OK && c.ex->res.status == 304 && c.ex->res.no_body && c.ex->res.length == 7);
    call_end(&c);
    lab_teardown();
}

TEST(a_body_where_none_may_be_ends_the_connection)
{
    struct call c;

    setup();
    ask(&c, "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false);
    CHECK(c.err == ML_OK && ml_buf_len(&c.body) == 0 && idle() == 0);
    call_end(&c);
    ask(&c, "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", false);
    CHECK(c.err == ML_OK && ml_buf_len(&c.body) == 0 && idle() == 0);
    call_end(&c);
    lab_teardown();
}

TEST(bytes_behind_a_body_end_the_connection)
{
    struct call c;

    setup();
    ask(&c, "GET", OK_TEXT "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", false);
    CHECK(c.err == ML_OK && call_body_is(&c, "ok") && idle() == 0);
    call_end(&c);
    ask(&c, "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nX",
        false);
    CHECK(c.err == ML_OK && call_body_is(&c, "ok") && idle() == 0);
    call_end(&c);
    lab_teardown();
}

TEST(bytes_behind_a_body_that_came_in_parts_end_the_connection)
{
    struct call c;

    setup();
    struct peer *p = &lab.peers[0];
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    link_say(&p->links[0], "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe");
    AWAIT(c.told);
    link_say(&p->links[0], "lloX");
    AWAIT(call_over(&c));
    CHECK(c.eof && call_body_is(&c, "hello") && idle() == 0);
    call_end(&c);
    lab_teardown();
}

TEST(an_unasked_answer_ends_an_idle_connection)
{
    struct call c;

    setup();
    ask(&c, "GET", OK_TEXT, false);
    CHECK(idle() == 1);
    call_end(&c);
    link_say(&lab.peers[0].links[0], "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    AWAIT(idle() == 0);
    ask(&c, "GET", OK_TEXT, false);
    CHECK(call_body_is(&c, "ok"));
    call_end(&c);
    lab_teardown();
}

/* How an answer that is broken off in its body ends. */
static enum ml_err broken(const char *first, const char *rest, bool reset)
{
    struct call c;
    enum ml_err why;

    setup();
    struct peer *p = &lab.peers[0];
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    link_say(&p->links[0], first);
    AWAIT(c.told);
    if (reset)
        link_reset(&p->links[0]);
    else {
        link_say(&p->links[0], rest);
        link_close(&p->links[0]);
    }
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && c.broken && !c.eof && c.ex->notes.why == c.why && idle() == 0);
    CHECK(c.ex->upstream == NULL && c.heads == 1);
    why = c.why;
    call_end(&c);
    lab_teardown();
    return why;
}

TEST(a_body_that_breaks_off_is_never_an_end)
{
    static const char length[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
    static const char chunks[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    static const char closing[] = "HTTP/1.1 200 OK\r\n\r\nabc";

    CHECK(broken(length, "de", false) == ML_UP_CLOSED);
    CHECK(broken(length, "", true) == ML_UP_CLOSED);
    CHECK(broken(chunks, "cde\r\n", false) == ML_UP_CLOSED);
    CHECK(broken(chunks, "cde\r\n0\r\n", false) == ML_UP_CLOSED); /* its last CRLF is missing */
    CHECK(broken(chunks, "cdeX", false) == ML_UP_PROTOCOL);
    CHECK(broken(chunks, "cde\r\nq\r\n", false) == ML_UP_PROTOCOL);
    CHECK(broken(closing, "", true) == ML_UP_CLOSED);
}

/* ---- fields ---- */

TEST(fields_of_the_connection_stop_here)
{
    struct call c;

    setup();
    ask(&c, "GET",
        "HTTP/1.1 200 OK\r\nConnection: X-Hop, Content-Type\r\nX-Hop: 1\r\nContent-Type: a/b\r\n"
        "Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\nServer: s\r\n"
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
        "Via: 1.1 x\r\nContent-Length: 2\r\n\r\nok",
        false);
    CHECK(c.err == ML_OK && c.ex->res.from == ML_FROM_UPSTREAM);
    CHECK(call_field(&c, "x-hop").len == 0 && call_field(&c, "keep-alive").len == 0);
    CHECK(call_field(&c, "connection").len == 0 && call_field(&c, "upgrade").len == 0);
    CHECK(call_field(&c, "proxy-authenticate").len == 0);
    CHECK(call_field(&c, "content-length").len == 0 && c.ex->res.length == 2);
    CHECK(ml_str_eq(call_field(&c, "server"), ML_STR("s")));
    CHECK(ml_str_eq(call_field(&c, "content-type"), ML_STR("a/b")));
    CHECK(ml_str_eq(call_field(&c, "date"), ML_STR("Sun, 06 Nov 1994 08:49:37 GMT")));
    CHECK(ml_str_eq(call_field(&c, "via"), ML_STR("1.1 x")));
    const struct ml_field *f = ml_headers_get(&c.ex->res.headers, ML_H_SET_COOKIE);
    CHECK(f != NULL && ml_headers_next(&c.ex->res.headers, f) != NULL);
    call_end(&c);
    lab_teardown();
}

TEST(a_server_says_how_long_it_keeps_a_connection)
{
    struct call c;

    setup();
    ask(&c, "GET", "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok",
        false);
    CHECK(idle() == 1);
    call_end(&c);
    AWAIT(idle() == 0); /* half a second, where the group would wait for 60 */
    lab_teardown();
}
