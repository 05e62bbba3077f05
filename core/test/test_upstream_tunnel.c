/* test_upstream_tunnel.c - an upgrade, and the bytes of another protocol behind it. */
#include "upstream_lab.h"

static void setup(void)
{
    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.max_fails = ~0u, .retries = ~0u, .read_timeout = 5}, NULL);
}

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define KEY_ACCEPT "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"

static const char switched[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               "Connection: upgrade\r\n" KEY_ACCEPT "\r\n";
#define AWAY "\x88\x02\x03\xe9" /* a Close frame with the code 1001 */

static struct link *tunnel(struct call *c, const char *answer)
{
    struct peer *p = &lab.peers[0];

    call_begin(c, "GET", "/ws");
    call_header(c, "Connection", "upgrade");
    call_header(c, "Upgrade", "websocket");
    call_header(c, "Sec-WebSocket-Key", KEY);
    call_header(c, "Sec-WebSocket-Version", "13");
    c->ex->req.upgrade = ML_STR("websocket");
    c->f.allow_upgrade = true;
    call_go(c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    CHECK(link_has(&p->links[0], "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"));
    CHECK(link_has(&p->links[0], "\r\nSec-WebSocket-Key: " KEY "\r\n"));
    link_say(&p->links[0], answer);
    AWAIT(c->told);
    return &p->links[0];
}

TEST(a_tunnel_carries_bytes_both_ways_until_the_server_ends_it)
{
    struct call c;

    setup();
    struct link *l = tunnel(&c, switched);
    CHECK(c.err == ML_OK && c.ex->res.status == 101 && c.ex->req.body != NULL);
    ml_buf_consume(&l->in, ml_buf_len(&l->in));
    ml_pipe_put(c.ex->req.body, ML_STR("up"));
    AWAIT(link_has(l, "up"));
    link_say(l, "down");
    AWAIT(call_body_is(&c, "down"));
    link_close(l);
    AWAIT(c.eof);
    CHECK(c.ex->upstream == NULL && lab.group->roster->members[0].server->pool.idle == 0);
    call_end(&c);
    lab_teardown();
}

TEST(a_tunnel_may_begin_with_bytes_behind_the_head)
{
    struct ml_buf text = {0};
    struct call c;

    setup();
    ml_buf_append(&text, ml_str_of(switched));
    ml_buf_append(&text, ML_STR("first\0"));
    struct link *l = tunnel(&c, text.p + text.start);
    AWAIT(call_body_is(&c, "first"));
    ml_pipe_eof(c.ex->req.body); /* the client has said all */
    AWAIT(l->eof);
    link_say(l, "last");
    link_close(l);
    AWAIT(c.eof && call_body_is(&c, "firstlast"));
    call_end(&c);
    ml_buf_release(&text);
    lab_teardown();
}

TEST(a_client_that_leaves_a_tunnel_ends_it)
{
    struct call c;

    setup();
    struct link *l = tunnel(&c, switched);
    call_end(&c);
    AWAIT(l->eof || l->reset);
    lab_teardown();
}

static bool upgrades_to(const struct call *c, struct ml_str protocol)
{
    const struct ml_field *f = ml_headers_get(&c->ex->res.headers, ML_H_UPGRADE);

    return f != NULL && ml_str_eq(f->value, protocol);
}

TEST(the_client_is_told_which_protocol_it_has_now)
{
    struct call c;

    setup();
    tunnel(&c, switched); /* a browser fails without it, RFC 6455 section 4.1 */
    CHECK(upgrades_to(&c, ML_STR("websocket")));
    call_end(&c);
    lab_teardown();
}

TEST(an_answer_that_demands_an_upgrade_says_which)
{
    struct call c;

    setup();
    tunnel(&c, "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0\r\nConnection: upgrade\r\n"
               "Content-Length: 0\r\n\r\n");
    CHECK(c.ex->res.status == 426 && upgrades_to(&c, ML_STR("TLS/1.0")));
    call_end(&c);
    lab_teardown();
}

TEST(any_other_answer_offers_no_upgrade)
{
    struct call c;

    setup();
    tunnel(&c,
           "HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 0\r\n\r\n");
    CHECK(c.ex->res.status == 200 && ml_headers_get(&c.ex->res.headers, ML_H_UPGRADE) == NULL);
    call_end(&c);
    lab_teardown();
}

TEST(http_1_0_can_not_switch)
{
    struct call c;

    setup();
    tunnel(&c, "HTTP/1.0 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" KEY_ACCEPT "\r\n");
    CHECK(c.err == ML_UP_PROTOCOL);
    call_end(&c);
    lab_teardown();
}

TEST(another_protocol_than_the_one_asked_for_is_502)
{
    struct call c;

    setup();
    tunnel(&c,
           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n" KEY_ACCEPT
           "\r\n");
    CHECK(c.err == ML_UP_PROTOCOL);
    call_end(&c);
    lab_teardown();
}

TEST(a_refused_upgrade_is_an_ordinary_answer)
{
    struct call c;

    setup();
    tunnel(&c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && c.ex->res.status == 403 && call_body_is(&c, "no"));
    call_end(&c);
    lab_teardown();
}

TEST(a_101_that_is_no_answer_to_the_key_is_502)
{
    static const char *const wrong[] = {
        "", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n", KEY_ACCEPT KEY_ACCEPT};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[300];
        struct call c;

        setup();
        snprintf(text, sizeof text,
                 "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n%s\r\n", wrong[i]);
        tunnel(&c, text);
        CHECK(c.err == ML_UP_PROTOCOL);
        call_end(&c);
        lab_teardown();
    }
}

/* A request with a handshake that is not right; what the server sees of it. */
static void passes_plainly(const char *version, const char *key)
{
    struct peer *p = &lab.peers[0];
    struct call c;

    setup();
    call_begin(&c, "GET", "/ws");
    call_header(&c, "Connection", "upgrade");
    call_header(&c, "Upgrade", "websocket");
    if (key != NULL)
        call_header(&c, "Sec-WebSocket-Key", key);
    if (version != NULL)
        call_header(&c, "Sec-WebSocket-Version", version);
    c.ex->req.upgrade = ML_STR("websocket");
    c.f.allow_upgrade = true;
    call_go(&c);
    AWAIT(p->count == 1 && link_has(&p->links[0], "\r\n\r\n"));
    CHECK(!link_has(&p->links[0], "Upgrade: websocket"));
    call_end(&c);
    lab_teardown();
}

TEST(a_handshake_that_no_server_may_accept_is_no_upgrade)
{
    passes_plainly("13", NULL);
    passes_plainly("13", "short");
    passes_plainly("8", KEY);
    passes_plainly(NULL, KEY);
}

/* Does the server have a masked Close frame with the code 1001 at `at`? */
static bool told_away(const struct link *l, size_t at)
{
    const unsigned char *p = (const unsigned char *)l->in.p + l->in.start + at;

    return ml_buf_len(&l->in) == at + 8 && p[0] == 0x88 && p[1] == 0x82 && (p[2] ^ p[6]) == 0x03 &&
           (p[3] ^ p[7]) == 0xe9;
}

static void leave(struct call *c)
{
    struct ml_tunnel *t = &c->ex->res.tunnel;

    t->leave(t->ctx);
}

TEST(a_tunnel_that_must_end_says_good_bye_to_both)
{
    struct call c;

    setup();
    struct link *l = tunnel(&c, switched);
    ml_buf_consume(&l->in, ml_buf_len(&l->in));
    leave(&c);
    AWAIT(told_away(l, 0));
    CHECK(call_body_is(&c, AWAY) && !c.eof);
    link_say(l, "dropped");
    link_close(l); /* the server answers by its end */
    AWAIT(c.eof);
    CHECK(call_body_is(&c, AWAY) && c.ex->upstream == NULL);
    call_end(&c);
    lab_teardown();
}

TEST(good_bye_waits_for_the_ends_of_frames)
{
    struct call c;

    setup();
    struct link *l = tunnel(&c, switched);
    ml_buf_consume(&l->in, ml_buf_len(&l->in));
    link_say(l, "\x81\x05"
                "he");
    ml_pipe_put(c.ex->req.body, ML_STR("\x81\x83"));
    AWAIT(call_body_is(&c, "\x81\x05"
                           "he") &&
          ml_buf_len(&l->in) == 2);
    leave(&c);
    link_say(l, "llo\x81\x01x");
    ml_pipe_put(c.ex->req.body, ML_STR("maskabc\x81"));
    AWAIT(call_body_is(&c, "\x81\x05"
                           "hello" AWAY));
    AWAIT(told_away(l, 9));
    CHECK(memcmp(l->in.p + l->in.start, "\x81\x83maskabc", 9) == 0);
    link_close(l);
    AWAIT(c.eof);
    call_end(&c);
    lab_teardown();
}

TEST(a_server_that_does_not_answer_a_good_bye_is_left)
{
    struct call c;

    setup();
    struct link *l = tunnel(&c, switched);
    leave(&c);
    AWAIT(c.eof && (l->eof || l->reset));
    CHECK(call_body_is(&c, AWAY));
    call_end(&c);
    lab_teardown();
}

TEST(silence_ends_a_tunnel)
{
    struct call c;

    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.max_fails = ~0u, .retries = ~0u, .tunnel_idle = 0.1}, NULL);
    struct link *l = tunnel(&c, switched);
    ml_buf_consume(&l->in, ml_buf_len(&l->in));
    AWAIT(told_away(l, 0) && call_body_is(&c, AWAY));
    AWAIT(c.eof);
    call_end(&c);
    lab_teardown();
}
