/* test_upstream_body.c - bodies of requests and answers: framing, back-pressure, early answers. */
#include "upstream_lab.h"

#ifdef ML_HARD
enum { LARGE = 1 << 20 }; /* byte by byte */
#else
enum { LARGE = 10 << 20 };
#endif

static char byte_at(uint64_t i)
{
    return (char)(i * 7 + i / 251);
}

static void setup(void)
{
    lab_setup();
    peer_open(NULL);
    lab_group((struct ml_group_conf){.max_fails = ~0u, .retries = ~0u}, NULL);
}

/* Waits for the head of the request and takes it; what follows stays. */
static struct link *await_head(unsigned index)
{
    struct peer *p = &lab.peers[0];

    AWAIT(p->count > index && link_take_head(&p->links[index]));
    return &p->links[index];
}

static bool in_is(const struct link *l, const char *text)
{
    return ml_str_eq(ml_buf_str(&l->in), ml_str_of(text));
}

/* ---- to the server ---- */

TEST(a_body_of_known_length_has_that_length)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    call_header(&c, "Expect", "100-continue");
    body = call_with_body(&c, 6);
    call_go(&c);
    struct link *l = await_head(0);
    CHECK(strstr(l->peer->head, "\r\nContent-Length: 6\r\n") != NULL);
    CHECK(strcasestr(l->peer->head, "transfer-encoding") == NULL);
    CHECK(strcasestr(l->peer->head, "expect") == NULL && c.asked);
    ml_pipe_put(body, ML_STR("abc"));
    AWAIT(in_is(l, "abc"));
    ml_pipe_put(body, ML_STR("def"));
    ml_pipe_eof(body);
    AWAIT(in_is(l, "abcdef"));
    link_say(l, OK_TEXT);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && lab.group->roster->members[0].server->pool.idle == 1);
    call_end(&c);
    lab_teardown();
}

TEST(a_body_of_unknown_length_goes_in_chunks)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, -1);
    call_go(&c);
    struct link *l = await_head(0);
    CHECK(strstr(l->peer->head, "\r\nTransfer-Encoding: chunked\r\n") != NULL);
    CHECK(strcasestr(l->peer->head, "content-length") == NULL);
    ml_pipe_put(body, ML_STR("abc"));
    AWAIT(in_is(l, "3\r\nabc\r\n"));
    ml_pipe_put(body, ML_STR("0123456789abcdefg"));
    ml_pipe_eof(body);
    AWAIT(in_is(l, "3\r\nabc\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n"));
    link_say(l, OK_TEXT);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && lab.group->roster->members[0].server->pool.idle == 1);
    call_end(&c);
    lab_teardown();
}

TEST(a_body_that_is_there_leaves_with_its_head)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, 3);
    ml_pipe_put(body, ML_STR("abc"));
    ml_pipe_eof(body);
    call_go(&c);
    struct link *l = await_head(0);
    CHECK(in_is(l, "abc"));
    link_say(l, OK_TEXT);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK);
    call_end(&c);
    lab_teardown();
}

TEST(an_empty_body_is_told)
{
    struct call c;

    setup();
    call_begin(&c, "POST", "/");
    call_go(&c);
    struct link *l = await_head(0);
    CHECK(strstr(l->peer->head, "\r\nContent-Length: 0\r\n") != NULL);
    link_say(l, OK_TEXT);
    AWAIT(call_over(&c));
    call_end(&c);
    call_begin(&c, "GET", "/");
    call_go(&c);
    await_head(0);
    CHECK(strcasestr(l->peer->head, "content-length") == NULL);
    link_say(l, OK_TEXT);
    AWAIT(call_over(&c));
    call_end(&c);
    lab_teardown();
}

/* The client's body breaks off for this reason: what does the server see, and what the client? */
static void break_off(long length, const char *first, bool eof, enum ml_err why, enum ml_err want)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, length);
    ml_pipe_put(body, ml_str_of(first));
    call_go(&c);
    struct link *l = await_head(0);
    if (eof)
        ml_pipe_eof(body);
    else
        ml_pipe_abort(body, why);
    AWAIT(c.told);
    CHECK(c.err == want && c.heads == 1);
    AWAIT(l->reset);                  /* no clean end */
    CHECK(!link_has(l, "\r\n0\r\n")); /* no last chunk */
    CHECK(lab.group->roster->members[0].server->state->errors == 0);
    call_end(&c);
    lab_teardown();
}

TEST(a_request_that_breaks_off_never_looks_whole)
{
    break_off(10, "abc", false, ML_BAD_CHUNK, ML_BAD_CHUNK);
    break_off(-1, "abc", false, ML_BAD_CHUNK, ML_BAD_CHUNK);
    break_off(-1, "abc", false, ML_BODY_TOO_LARGE, ML_BODY_TOO_LARGE);
    break_off(-1, "", false, ML_REQUEST_TIMEOUT, ML_REQUEST_TIMEOUT);
    break_off(10, "abc", true, ML_OK, ML_BAD_FRAMING); /* shorter than announced */
}

struct source { /* a client that sends as fast as it may */
    struct ml_pipe *pipe;
    uint64_t sent, len;
    size_t most; /* ever held */
};

static void pump(void *ctx)
{
    struct source *s = ctx;
    char piece[8192];

    while (s->sent < s->len && s->pipe->state == ML_PIPE_OPEN && !ml_pipe_full(s->pipe)) {
        size_t len = s->len - s->sent < sizeof piece ? (size_t)(s->len - s->sent) : sizeof piece;

        for (size_t i = 0; i < len; i++)
            piece[i] = byte_at(s->sent + i);
        s->sent += len;
        ml_buf_append(&s->pipe->buf, (struct ml_str){piece, len}); /* tells once, below */
    }
    if (ml_buf_len(&s->pipe->buf) > s->most)
        s->most = ml_buf_len(&s->pipe->buf);
}

static void upload(long length)
{
    struct call c;
    struct source s = {.len = LARGE};
    struct ml_http1_chunks chunks = {0};
    struct ml_buf got = {0};
    uint64_t at = 0;
    bool good = true;

    setup();
    call_begin(&c, "POST", "/");
    s.pipe = call_with_body(&c, length);
    s.pipe->on_room = pump;
    s.pipe->room_ctx = &s;
    pump(&s);
    call_go(&c);
    struct link *l = await_head(0);
    l->deaf = true; /* at first the server does not read: the client has to wait */
    ml_stream_want_read(l->s, false);
    lab_turns(20);
    CHECK(s.sent < LARGE);
    link_hear(l);
    while (at < LARGE && good) {
        lab_turn();
        pump(&s);
        if (s.sent == s.len)
            ml_pipe_eof(s.pipe);
        else if (s.pipe->on_data != NULL)
            s.pipe->on_data(s.pipe->data_ctx);
        while (length < 0 && ml_buf_len(&l->in) > 0) {
            size_t used;
            struct ml_str data;
            enum ml_err err = ml_http1_dechunk(&chunks, ml_buf_str(&l->in), &used, &data, NULL);

            good &= err == ML_AGAIN || err == ML_OK;
            ml_buf_append(&got, data);
            ml_buf_consume(&l->in, used);
            if (err != ML_AGAIN)
                break;
        }
        struct ml_buf *from = length < 0 ? &got : &l->in;
        for (size_t i = 0; i < ml_buf_len(from); i++)
            good &= from->p[from->start + i] == byte_at(at++);
        ml_buf_consume(from, ml_buf_len(from));
    }
    CHECK(good && at == LARGE && s.most <= ML_PIPE_CAP + 8192);
    link_say(l, OK_TEXT);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK);
    ml_buf_release(&got);
    call_end(&c);
    lab_teardown();
}

TEST(ten_megabytes_go_up_by_length_through_a_small_pipe)
{
    upload(LARGE);
}

TEST(ten_megabytes_go_up_in_chunks_through_a_small_pipe)
{
    upload(-1);
}

/* ---- from the server ---- */

/* The server has LARGE; the consumer takes nothing at first. */
static void download(bool chunked)
{
    struct call c;
    char head[64];
    uint64_t at = 0, fed = 0;
    size_t most = 0;
    bool good = true, last = false;

    setup();
    call_begin(&c, "GET", "/");
    c.hold = true;
    call_go(&c);
    struct link *l = await_head(0);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LARGE);
    link_say(l, chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" : head);
    while (at < LARGE && good && !c.broken) {
        while (fed < LARGE && ml_buf_len(&l->out) < 65536) {
            char piece[4096];

            for (size_t i = 0; i < sizeof piece; i++)
                piece[i] = byte_at(fed + i);
            fed += sizeof piece;
            if (chunked)
                ml_buf_append(&l->out, ML_STR("1000\r\n"));
            ml_buf_append(&l->out, (struct ml_str){piece, sizeof piece});
            if (chunked)
                ml_buf_append(&l->out, ML_STR("\r\n"));
        }
        if (fed == LARGE && chunked && !last) {
            ml_buf_append(&l->out, ML_STR("0\r\n\r\n"));
            last = true;
        }
        lab_write(l->s, &l->out);
        lab_turn();
        if (c.hold && c.told && ml_pipe_full(c.ex->res.body)) {
            c.hold = false;
            call_data(&c);
        }
        if (c.told && c.ex->res.body != NULL && ml_buf_len(&c.ex->res.body->buf) > most)
            most = ml_buf_len(&c.ex->res.body->buf);
        for (size_t i = 0; i < ml_buf_len(&c.body); i++)
            good &= c.body.p[c.body.start + i] == byte_at(at++);
        ml_buf_consume(&c.body, ml_buf_len(&c.body));
    }
    AWAIT(call_over(&c));
    CHECK(good && at == LARGE && c.eof && most <= ML_PIPE_CAP + ML_BUF_BLOCK);
    CHECK(lab.group->roster->members[0].server->pool.idle == 1);
    call_end(&c);
    lab_teardown();
}

TEST(ten_megabytes_come_down_by_length_through_a_small_pipe)
{
    download(false);
}

TEST(ten_megabytes_come_down_in_chunks_through_a_small_pipe)
{
    download(true);
}

/* ---- both at once ---- */

TEST(a_server_may_answer_while_the_request_is_on_its_way)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, 10);
    ml_pipe_put(body, ML_STR("abc"));
    call_go(&c);
    struct link *l = await_head(0);
    link_say(l, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    AWAIT(c.told && call_body_is(&c, "ab"));
    ml_pipe_put(body, ML_STR("defghij"));
    ml_pipe_eof(body);
    AWAIT(in_is(l, "abcdefghij")); /* the rest still goes up */
    link_say(l, "cd");
    AWAIT(call_over(&c));
    CHECK(c.eof && call_body_is(&c, "abcd") && lab.group->roster->members[0].server->pool.idle == 1);
    call_end(&c);
    lab_teardown();
}

TEST(an_early_answer_ends_the_request_and_its_connection)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, 10);
    ml_pipe_put(body, ML_STR("abc"));
    call_go(&c);
    struct link *l = await_head(0);
    link_say(l, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && c.ex->res.status == 413 && call_body_is(&c, "no"));
    CHECK(body->state == ML_PIPE_ABORTED); /* nobody wants the rest */
    AWAIT(l->reset || l->eof);
    CHECK(lab.group->roster->members[0].server->pool.idle == 0);
    call_end(&c);
    lab_teardown();
}

TEST(an_early_answer_of_a_server_that_closes_is_not_lost)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "POST", "/");
    body = call_with_body(&c, 1 << 20);
    ml_pipe_put(body, ML_STR("abc"));
    call_go(&c);
    struct link *l = await_head(0);
    link_say(l, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    link_close(l);
    for (int i = 0; i < 100 && !c.told; i++) { /* these meet a reset */
        ml_pipe_put(body, ML_STR("more and more"));
        lab_turn();
    }
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && c.ex->res.status == 413 && call_body_is(&c, "no"));
    call_end(&c);
    lab_teardown();
}

TEST(a_server_that_closes_inside_the_request_is_502)
{
    struct call c;
    struct ml_pipe *body;

    setup();
    call_begin(&c, "PUT", "/");
    body = call_with_body(&c, 1 << 20);
    ml_pipe_put(body, ML_STR("abc"));
    call_go(&c);
    struct link *l = await_head(0);
    link_reset(l);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_UP_CLOSED && lab.peers[0].count == 1);
    call_end(&c);
    lab_teardown();
}
