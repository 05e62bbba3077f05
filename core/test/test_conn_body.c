/* test_conn_body.c - bodies through a connection: with back-pressure, to their end, or visibly
 * broken off. */
#include "conn_lab.h"
#include "collect.h"

enum {
    BIG = 2 << 20,
    PIECE = 1 << 16
}; /* several times what the kernel holds in lab_small_buffers */

static char pattern_at(size_t i)
{
    return (char)('a' + i % 23);
}

static void pattern(char *out, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        out[i] = pattern_at(from + i);
}

static bool is_pattern(struct ml_str s, size_t from)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] != pattern_at(from + i))
            return false;
    return true;
}

/* ---- requests ---- */

/* Sends the next piece of a big body when the one before has left. */
static void push_big(struct client *c, size_t *sent, bool chunked)
{
    static char piece[PIECE];

    if (*sent == BIG || ml_buf_len(&c->out) > 0)
        return;
    pattern(piece, *sent, PIECE);
    *sent += PIECE;
    if (chunked)
        ml_buf_append(&c->out, ML_STR("10000\r\n"));
    ml_buf_append(&c->out, (struct ml_str){piece, PIECE});
    if (chunked)
        ml_buf_append(&c->out, *sent < BIG ? ML_STR("\r\n") : ML_STR("\r\n0\r\n\r\n"));
    (void)ml_stream_write(c->s, &c->out);
}

/* The client sends until the unread pipe and the kernel's buffers hold it up. */
static void check_back_pressure(struct client *c, struct ml_pipe *p, size_t *sent, bool chunked)
{
    size_t before;

    while (!ml_pipe_full(p)) {
        push_big(c, sent, chunked);
        lab_turn();
    }
    do {
        before = *sent;
        for (int i = 0; i < 50; i++) {
            push_big(c, sent, chunked);
            lab_turn();
        }
    } while (*sent > before);
    CHECK(*sent < BIG);
    CHECK(ml_pipe_full(p) && ml_buf_len(&p->buf) <= 2 * ML_PIPE_CAP);
}

static void send_big(bool chunked)
{
    struct client c;
    struct ml_pipe *p;
    size_t sent = 0, taken = 0;

    lab_setup();
    lab.conf.body_max = BIG;
    client_open(&c);
    client_say(&c, chunked ? "PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                           : "PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2097152\r\n\r\n");
    AWAIT(lab.held_count == 1);
    p = lab.held[0]->req.body;
    check_back_pressure(&c, p, &sent, chunked);
    while (p->state == ML_PIPE_OPEN || ml_buf_len(&p->buf) > 0) {
        size_t len = ml_buf_len(&p->buf);

        CHECK(len <= 2 * ML_PIPE_CAP && is_pattern(ml_buf_str(&p->buf), taken));
        taken += len;
        ml_buf_consume(&p->buf, len);
        ml_pipe_took(p, len);
        push_big(&c, &sent, chunked);
        lab_turn();
    }
    CHECK(p->state == ML_PIPE_EOF && taken == BIG && lab.held[0]->notes.bytes_in == BIG);
    lab_text(lab.held[0], 200, ML_STR("ok"));
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 2\r\n\r\nok");
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_body_with_a_length_waits_for_its_consumer)
{
    send_big(false);
}

TEST_SPLIT(a_chunked_body_waits_for_its_consumer)
{
    send_big(true);
}

TEST_SPLIT(chunks_are_put_together_and_the_next_request_follows)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nA: b\r\n\r\n"
                   "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nyou");
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 5\r\n\r\nhello"
                      "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n\r\nyou");
    client_close(&c);
    lab_teardown();
}

#ifndef ML_HARD /* which reads one byte at a time */
TEST(a_chunked_body_that_came_with_its_head_has_a_length)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    AWAIT(lab.held_count == 1);
    CHECK(lab.held[0]->req.has_length && lab.held[0]->req.length == 5);
    client_close(&c);
    lab_teardown();
}
#endif

TEST_SPLIT(trailers_pass_when_the_listener_says_so)
{
    struct client c;

    lab_setup();
    lab.conf.trailers_pass = true;
    client_open(&c);
    client_say(&c, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "2\r\nhi\r\n0\r\nA: b\r\n\r\n");
    AWAIT(lab.held_count == 1 && lab.held[0]->req.body->state == ML_PIPE_EOF);
    CHECK(ml_str_eq(ml_buf_str(&lab.held[0]->req.body->trailers), ML_STR("A: b\r\n")));
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_chunked_body_beyond_the_limit_is_refused)
{
    struct client c;

    lab_setup();
    lab.conf.body_max = 4;
    client_open(&c);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "5\r\nhello\r\n");
    AWAIT(c.eof || c.reset);
    CHECK(c.eof && client_has(&c, "HTTP/1.1 413 ") && client_has(&c, "Connection: close\r\n"));
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_limit_that_a_policy_sets_counts_the_chunks_from_then_on)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
    AWAIT(lab.held_count == 1 && lab.held[0]->notes.bytes_in == 2);
    lab.held[0]->body_limited = true;
    lab.held[0]->body_max = 4;
    client_say(&c, "2\r\nll\r\n");
    AWAIT(lab.held[0]->notes.bytes_in == 4);
    CHECK(lab.held[0]->req.body->state == ML_PIPE_OPEN);
    client_say(&c, "1\r\no\r\n");
    AWAIT(lab.held[0]->req.body->state == ML_PIPE_ABORTED);
    CHECK(lab.held[0]->req.body->why == ML_BODY_TOO_LARGE);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_chunk_that_is_malformed_breaks_the_body_off)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "5\r\nhello\r\n");
    AWAIT(lab.starts == 1);
    client_say(&c, "5\nworld\r\n0\r\n\r\n");
    AWAIT(c.eof || c.reset);
    CHECK(c.eof && client_has(&c, "HTTP/1.1 400 ") && lab.body_err == ML_BAD_CHUNK);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_body_nobody_wants_is_read_when_it_is_short)
{
    struct client c;

    lab_setup();
    client_open(&c);
    client_say(&c, "POST /now HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 3\r\n\r\nnow");
    client_say(&c, "12345678GET /204 HTTP/1.1\r\nHost: a\r\n\r\n");
    CLIENT_EXPECT(&c, "HTTP/1.1 204 No Content\r\nDate\r\n\r\n");
    client_close(&c);
    lab_teardown();
}

TEST(a_long_body_nobody_wants_ends_the_connection_without_a_reset)
{
    struct client c;
    size_t sent = 0;

    lab_setup();
    client_open(&c);
    client_push(&c, ML_STR("PUT /now HTTP/1.1\r\nHost: a\r\nContent-Length: 2097152\r\n\r\n"));
    while (!c.eof && !c.reset) {
        push_big(&c, &sent, false);
        lab_turn();
    }
    CHECK(!c.reset && client_has(&c, "Connection: close\r\n") && client_has(&c, "\r\n\r\nnow"));
    client_close(&c);
    lab_teardown();
}

/* ---- answers ---- */

static bool wants_room;

static void on_room(void *ctx)
{
    (void)ctx;
    wants_room = true;
}

/* The answer to the last held request, whose body the test produces. */
static struct ml_pipe *stream_answer(bool has_length, uint64_t length)
{
    struct ml_exchange *ex = lab.held[lab.held_count - 1];
    struct ml_pipe *p = ml_arena_zalloc(ex->arena, sizeof *p);

    wants_room = false;
    p->on_room = on_room;
    ex->res =
        (struct ml_response){.status = 200, .body = p, .has_length = has_length, .length = length};
    ml_exchange_respond(ex);
    return p;
}

static void fill_big(struct ml_pipe *p, size_t *made)
{
    static char piece[PIECE];

    while (*made < BIG && !ml_pipe_full(p)) {
        pattern(piece, *made, PIECE);
        *made += PIECE;
        ml_pipe_put(p, (struct ml_str){piece, PIECE});
    }
    if (*made == BIG)
        ml_pipe_eof(p);
}

TEST(an_answer_waits_for_its_client)
{
    struct client c;
    struct ml_pipe *p;
    size_t made = 0, before, seen = 0;

    lab_setup();
    client_open(&c);
    client_push(&c, ML_STR("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"));
    AWAIT(lab.held_count == 1);
    c.deaf = true;
    p = stream_answer(true, BIG);
    do {
        before = made;
        for (int i = 0; i < 50; i++) {
            fill_big(p, &made);
            lab_turn();
        }
    } while (made > before);
    CHECK(made < BIG && ml_buf_len(&p->buf) <= 2 * ML_PIPE_CAP);
    client_listen_again(&c);
    AWAIT(client_has(&c, "\r\n\r\n"));
    while (ml_buf_str(&c.in).p[0] != 'a' || ml_buf_str(&c.in).p[1] != 'b')
        ml_buf_consume(&c.in, 1);
    while (seen < BIG) {
        CHECK(is_pattern(ml_buf_str(&c.in), seen));
        seen += ml_buf_len(&c.in);
        ml_buf_consume(&c.in, ml_buf_len(&c.in));
        if (lab.dones == 0)
            fill_big(p, &made);
        lab_turn();
    }
    CHECK(seen == BIG && lab.dones == 1 && wants_room);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(an_answer_of_unknown_length_comes_in_chunks)
{
    struct client c;
    struct ml_pipe *p;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    AWAIT(lab.held_count == 1);
    p = stream_answer(false, 0);
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nTransfer-Encoding: chunked\r\n\r\n");
    ml_pipe_put(p, ML_STR("hello, world"));
    CLIENT_EXPECT(&c, "c\r\nhello, world\r\n");
    ml_pipe_eof(p);
    CLIENT_EXPECT(&c, "0\r\n\r\n");
    CHECK(lab.dones == 1);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(an_answer_of_unknown_length_ends_an_http_1_0_connection)
{
    struct client c;
    struct ml_pipe *p;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    AWAIT(lab.held_count == 1);
    p = stream_answer(false, 0);
    ml_pipe_put(p, ML_STR("hello"));
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nConnection: close\r\n\r\nhello");
    ml_pipe_eof(p);
    AWAIT(c.eof || c.reset);
    CHECK(c.eof);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(a_short_answer_that_is_complete_has_a_length)
{
    struct client c;
    struct ml_pipe *p;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    AWAIT(lab.held_count == 1);
    p = stream_answer(false, 0);
    ml_pipe_put(p, ML_STR("hello"));
    ml_pipe_eof(p);
    CLIENT_EXPECT(&c, "HTTP/1.1 200 OK\r\nDate\r\nContent-Length: 5\r\n\r\nhello");
    client_close(&c);
    lab_teardown();
}

/* ---- broken answers ---- */

/* Asks, gets "hello" of an answer, which then breaks off. */
static void break_off(struct client *c, const char *request, bool has_length)
{
    struct ml_pipe *p;

    lab_setup();
    client_open(c);
    client_say(c, request);
    AWAIT(lab.held_count == 1);
    p = stream_answer(has_length, 10);
    ml_pipe_put(p, ML_STR("hello"));
    AWAIT(client_has(c, "hello"));
    ml_pipe_abort(p, ML_UP_CLOSED);
    AWAIT(c->eof || c->reset);
    CHECK(lab.cancels == 1 && lab.dones == 0 && lab.in.connections == 0);
}

TEST_SPLIT(an_answer_that_breaks_off_is_seen_to_be_short)
{
    struct client c;

    break_off(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", true);
    CHECK(client_has(&c, "Content-Length: 10\r\n"));
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(chunks_that_break_off_have_no_last_chunk)
{
    struct client c;

    break_off(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n", false);
    CHECK(!client_has(&c, "\r\n0\r\n"));
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(an_answer_that_only_the_end_would_complete_is_reset)
{
    struct client c;

    break_off(&c, "GET /a HTTP/1.0\r\n\r\n", false);
    CHECK(c.reset);
    client_close(&c);
    lab_teardown();
}

TEST_SPLIT(an_answer_that_breaks_before_its_head_was_sent_becomes_an_error)
{
    struct client c;
    struct ml_pipe *p;

    lab_setup();
    client_open(&c);
    client_say(&c, "GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    AWAIT(lab.held_count == 1);
    p = stream_answer(true, 10);
    ml_pipe_abort(p, ML_UP_CLOSED);
    AWAIT(client_has(&c, "}\n"));
    CHECK(client_has(&c, "HTTP/1.1 502 ") && !c.eof && lab.dones == 1 && lab.cancels == 0);
    client_close(&c);
    lab_teardown();
}

/* ---- collecting ---- */

static unsigned collected;

static void on_collected(void *ctx, enum ml_err err, struct ml_str bytes)
{
    (void)ctx;
    collected++;
    CHECK(err == ML_OK && ml_str_eq(bytes, ML_STR("onetwo")));
}

static void put_the_rest(void *ctx)
{
    struct ml_pipe *p = ctx;

    p->on_room = NULL;
    ml_pipe_put(p, ML_STR("two"));
    ml_pipe_eof(p);
}

TEST(a_body_is_collected_once_when_its_producer_ends_inside_the_call)
{
    struct client c;
    struct ml_pipe *p;

    lab_setup();
    client_open(&c);
    client_push(&c, ML_STR("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"));
    AWAIT(lab.held_count == 1);
    collected = 0;
    p = ml_arena_zalloc(lab.held[0]->arena, sizeof *p);
    p->on_room = put_the_rest;
    p->room_ctx = p;
    ml_pipe_put(p, ML_STR("one"));
    ml_exchange_collect(lab.held[0], p, 100, on_collected, NULL);
    CHECK(collected == 1);
    ml_pipe_free(p);
    client_close(&c);
    lab_teardown();
}
