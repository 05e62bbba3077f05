/* test_upstream_splice.c - large bodies between a client and a server: through the kernel where
 * that is possible, whole and in order, and never taken for whole when they are not. */
#include "gate_lab.h"

/* ---- all together ---- */

static void setup(bool unix_server)
{
    lab_setup();
    if (unix_server)
        peer_open_unix(NULL);
    else
        peer_open(NULL);
    lab_group((struct ml_group_conf){.max_fails = ~0u, .retries = ~0u, .read_timeout = 10}, NULL);
    gate_open();
}

static void teardown(void)
{
    client_close();
    ml_inbound_abort(&gate.in);
    ml_listener_free(&gate.listener);
    CHECK(gate.in.connections == 0 && gate.ex == NULL);
    close(gate.fd);
    CHECK(lab.group->roster->members[0].server->own.in_flight == 0);
    lab_teardown();
}

static struct link *await_head(void)
{
    struct peer *p = &lab.peers[0];

    AWAIT(p->count > 0 && link_take_head(&p->links[p->count - 1]));
    return &p->links[p->count - 1];
}

/* Feeds the client bytes [*fed, end) by way of the server. */
static void serve(struct link *l, uint64_t *fed, uint64_t end)
{
    char piece[16384];

    while (*fed < end && ml_buf_len(&l->out) < 4 * sizeof piece) {
        size_t len = end - *fed < sizeof piece ? (size_t)(end - *fed) : sizeof piece;

        for (size_t i = 0; i < len; i++)
            piece[i] = byte_at(*fed + i);
        *fed += len;
        ml_buf_append(&l->out, (struct ml_str){piece, len});
    }
    lab_write(l->s, &l->out);
}

/* A whole answer of that length; was it spliced? */
static bool down(uint64_t length, bool unix_server, bool slow)
{
    char head[128];
    uint64_t fed = 0, before = 0;
    int still = 0;

    setup(unix_server);
    client_open("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    struct link *l = await_head();
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)length);
    link_say(l, head);
    client.deaf = slow;
    while (client.got < length && client.good && !client.eof && !client.reset) {
        serve(l, &fed, length);
        lab_turn();
        still = fed == before ? still + 1 : 0;
        before = fed;
        if (client.deaf && still > 20 && gate.ex->res.body->splice_blocked) {
            CHECK(fed < length); /* although all buffers are full */
            client_hear();
        }
    }
    AWAIT(gate.dones == 1);
    CHECK(client.good && client.got == length && gate.cancels == 0);
    CHECK(lab.group->roster->members[0].server->pool.idle == 1);
    client_close();
    client_open("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0); /* the connection is good for another */
    await_head();
    CHECK(lab.peers[0].count == 1);
    link_say(l, "HTTP/1.1 204 No Content\r\n\r\n");
    AWAIT(gate.dones == 2);
    bool spliced = gate.spliced_down;
    teardown();
    return spliced;
}

TEST(a_large_answer_goes_through_the_kernel)
{
    CHECK(down(LARGE, false, false));
    CHECK(down(LARGE, true, false));
    CHECK(down(256 << 10, false, false));
}

TEST(a_large_answer_waits_for_a_slow_client)
{
    CHECK(down(4 * LARGE, false, true));
    CHECK(down(4 * LARGE, true, true));
}

TEST(a_small_answer_is_copied)
{
    CHECK(!down(200 << 10, false, false));
    CHECK(!down(10, false, false));
}

/* A whole request of that length; was it spliced? */
static bool up(uint64_t length, bool unix_server, bool slow)
{
    char head[128];
    uint64_t at = 0;
    bool good = true;

    setup(unix_server);
    snprintf(head, sizeof head, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %llu\r\n\r\n",
             (unsigned long long)length);
    client_open(head, length);
    struct link *l = await_head();
    if (slow) {
        l->deaf = true;
        for (uint64_t before = 0; before != client.fed || ml_buf_len(&client.out) == 0;) {
            before = client.fed; /* until nothing moves any more */
            for (int i = 0; i < 20; i++) {
                client_feed();
                lab_turn();
            }
        }
        CHECK(client.fed < length);
        link_hear(l);
    }
    while (at < length && good && !l->eof && !l->reset) {
        client_feed();
        lab_turn();
        for (size_t i = 0; i < ml_buf_len(&l->in); i++)
            good &= l->in.p[l->in.start + i] == byte_at(at++);
        ml_buf_consume(&l->in, ml_buf_len(&l->in));
    }
    CHECK(good && at == length);
    link_say(l, "HTTP/1.1 204 No Content\r\n\r\n");
    AWAIT(gate.dones == 1 && client.headed);
    CHECK(gate.cancels == 0 && lab.group->roster->members[0].server->pool.idle == 1);
    bool spliced = gate.spliced_up;
    client.feed = client.fed = 0;
    client.headed = false;
    ml_buf_append(&client.out, ML_STR("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    client_feed(); /* both connections are good for another */
    await_head();
    link_say(l, "HTTP/1.1 204 No Content\r\n\r\n");
    AWAIT(gate.dones == 2 && client.headed);
    CHECK(lab.peers[0].count == 1);
    teardown();
    return spliced;
}

TEST(a_large_request_goes_through_the_kernel)
{
    CHECK(up(LARGE, false, false));
    CHECK(up(LARGE, true, false));
    CHECK(up(256 << 10, false, false));
}

TEST(a_large_request_waits_for_a_slow_server)
{
    CHECK(up(4 * LARGE, false, true));
    CHECK(up(4 * LARGE, true, true));
}

TEST(a_small_request_is_copied)
{
    CHECK(!up(200 << 10, false, false));
    CHECK(!up(10, false, false));
}

TEST(a_chunked_answer_is_copied)
{
    uint64_t left = 1 << 19;
    char piece[4096 + 8];

    setup(false);
    client_open("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    struct link *l = await_head();
    link_say(l, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    memcpy(piece, "1000\r\n", 6);
    memset(piece + 6, 'x', 4096);
    memcpy(piece + 4102, "\r\n", 2);
    for (; left > 0; left -= 4096) {
        link_push(l, (struct ml_str){piece, 4104});
        lab_turn();
    }
    link_say(l, "0\r\n\r\n");
    AWAIT(gate.dones == 1);
    CHECK(!gate.spliced_down && lab.group->roster->members[0].server->pool.idle == 1);
    teardown();
}

/* ---- ends in the middle ---- */

/* A download is under way in the kernel. */
static struct link *down_midway(uint64_t *fed, bool deaf)
{
    setup(false);
    client_open("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0);
    struct link *l = await_head();
    link_say(l, "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n");
    *fed = 0;
    while (gate.ex == NULL || gate.ex->res.body == NULL || gate.ex->res.body->splice == NULL) {
        serve(l, fed, 100u << 20);
        lab_turn();
    }
    client.deaf = deaf;
    for (int i = 0; deaf && !gate.ex->res.body->splice_blocked && i < 10000; i++) {
        serve(l, fed, 100u << 20);
        lab_turn();
    }
    return l;
}

TEST(a_client_that_leaves_a_spliced_answer_ends_it)
{
    uint64_t fed;

    for (int deaf = 0; deaf < 2; deaf++) {
        struct link *l = down_midway(&fed, deaf);

        ml_stream_poison(client.s);
        client_close();
        AWAIT(gate.cancels == 1);
        AWAIT(l->eof || l->reset);
        CHECK(lab.group->roster->members[0].server->pool.idle == 0);
        teardown();
    }
}

TEST(a_server_that_leaves_its_spliced_answer_is_no_end_of_it)
{
    uint64_t fed;

    for (int way = 0; way < 4; way++) {
        struct link *l = down_midway(&fed, way & 1);

        if (way & 2)
            link_reset(l);
        else
            link_close(l);
        if (way & 1) {
            CHECK(gate.ex->res.body->splice_blocked);
            client_hear();
        }
        AWAIT(gate.cancels == 1 && (client.eof || client.reset));
        CHECK(client.good && client.got < (100u << 20));
        teardown();
    }
}

TEST(a_server_that_stops_inside_a_spliced_answer_is_late)
{
    uint64_t fed;

    struct link *l = down_midway(&fed, false);
    lab.group->conf.read_timeout = 0.1;
    serve(l, &fed, fed + 1);
    AWAIT(gate.cancels == 1);
    teardown();
}

/* An upload is under way in the kernel. */
static struct link *up_midway(bool deaf)
{
    setup(false);
    client_open("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n", 64u << 20);
    struct link *l = await_head();
    while (gate.ex == NULL || gate.ex->req.body->splice == NULL) {
        client_feed();
        lab_turn();
        ml_buf_consume(&l->in, ml_buf_len(&l->in));
    }
    l->deaf = deaf;
    for (int i = 0; deaf && !gate.ex->req.body->splice_blocked && i < 10000; i++) {
        client_feed();
        lab_turn();
    }
    return l;
}

TEST(a_client_that_leaves_its_spliced_request_is_no_end_of_it)
{
    for (int way = 0; way < 4; way++) {
        struct link *l = up_midway(way & 1);

        if (way & 2)
            ml_stream_poison(client.s);
        client_close();
        link_hear(l);
        while (!l->reset && !l->eof) {
            ml_buf_consume(&l->in, ml_buf_len(&l->in));
            lab_turn();
        }
        CHECK(l->reset && gate.cancels == 1);
        teardown();
    }
}

TEST(a_server_that_leaves_a_spliced_request_is_502)
{
    for (int deaf = 0; deaf < 2; deaf++) {
        struct link *l = up_midway(deaf);

        link_reset(l);
        while (!client.headed && !client.eof && !client.reset) {
            client_feed();
            lab_turn();
        }
        CHECK(client.headed && strncmp(client.head, "HTTP/1.1 502 ", 13) == 0);
        teardown();
    }
}

TEST(a_server_that_stops_reading_a_spliced_request_is_504)
{
    up_midway(true);
    lab.group->conf.send_timeout = 0.1;
    CHECK(gate.ex->req.body->splice_blocked);
    ml_pipe_writable(gate.ex->req.body); /* as if it had taken a little: the timer begins anew */
    AWAIT(client.headed);
    CHECK(strncmp(client.head, "HTTP/1.1 504 ", 13) == 0);
    teardown();
}

TEST(an_early_answer_to_a_spliced_request_passes)
{
    for (int deaf = 0; deaf < 2; deaf++) {
        struct link *l = up_midway(deaf);

        link_say(l, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n");
        while (!client.headed && !client.eof && !client.reset) {
            client_feed();
            lab_turn();
        }
        CHECK(client.headed && strncmp(client.head, "HTTP/1.1 413 ", 13) == 0);
        CHECK(lab.group->roster->members[0].server->pool.idle == 0);
        teardown();
    }
}
