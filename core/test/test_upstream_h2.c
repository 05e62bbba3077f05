/* test_upstream_h2.c - requests to servers of HTTP/2: nghttp2 on the other side, or raw frames. */
#include "upstream_lab.h"

#include <nghttp2/nghttp2.h>

enum { TALKS = 400 };

struct talk { /* one stream as its server sees it */
    char fields[2048];
    size_t fields_len, body_len;
    char body[256];
    bool ended, closed, held;
    uint32_t code;
    size_t answer_left;
};

static struct server { /* of one connection */
    struct link *l;
    nghttp2_session *session;
    struct talk talks[TALKS];
    bool mute;      /* does not answer by itself */
    bool no_window; /* gives no room for bodies */
    int32_t last;   /* stream */
    unsigned requests, pings;
    size_t answer_len; /* of the body */
    bool goaway;
    bool broke;
} servers[LINKS];
static unsigned server_count;
static nghttp2_settings_entry settings[2];
static size_t setting_count;
static bool all_mute, all_deaf_windows;
static size_t all_answer_len;

static struct talk *talk_of(struct server *v, int32_t id)
{
    if (id / 2 >= TALKS)
        abort();
    return &v->talks[id / 2];
}

static void add(struct talk *t, const uint8_t *s, size_t len, const char *end)
{
    if (t->fields_len + len + 3 > sizeof t->fields)
        abort();
    memcpy(t->fields + t->fields_len, s, len);
    t->fields_len += len;
    t->fields_len += (size_t)snprintf(t->fields + t->fields_len, 3, "%s", end);
}

static int got_field(nghttp2_session *s, const nghttp2_frame *frame, const uint8_t *name,
                     size_t nlen, const uint8_t *value, size_t vlen, uint8_t flags, void *user)
{
    struct talk *t = talk_of(user, frame->hd.stream_id);

    (void)s;
    (void)flags;
    add(t, name, nlen, "=");
    add(t, value, vlen, "\n");
    return 0;
}

static ssize_t give(nghttp2_session *s, int32_t id, uint8_t *buf, size_t max, uint32_t *flags,
                    nghttp2_data_source *source, void *user)
{
    struct talk *t = talk_of(user, id);
    size_t len = t->answer_left < max ? t->answer_left : max;

    (void)s;
    (void)source;
    if (t->held && len == 0)
        return NGHTTP2_ERR_DEFERRED;
    memset(buf, 'a', len);
    t->answer_left -= len;
    if (t->answer_left == 0 && !t->held) {
        nghttp2_nv trailer = {(uint8_t *)"x-sum", (uint8_t *)"7", 5, 1, 0};

        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(s, id, &trailer, 1);
    }
    return (ssize_t)len;
}

static void answer(struct server *v, int32_t id)
{
    nghttp2_nv nv[] = {{(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0},
                       {(uint8_t *)"x-a", (uint8_t *)"1", 3, 1, 0}};
    nghttp2_data_provider body = {.read_callback = give};

    talk_of(v, id)->answer_left = v->answer_len;
    nghttp2_submit_response(v->session, id, nv, 2, &body);
}

static int got_frame(nghttp2_session *s, const nghttp2_frame *frame, void *user)
{
    struct server *v = user;
    int32_t id = frame->hd.stream_id;

    (void)s;
    v->goaway |= frame->hd.type == NGHTTP2_GOAWAY;
    v->pings += frame->hd.type == NGHTTP2_PING && !(frame->hd.flags & NGHTTP2_FLAG_ACK);
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        v->last = id;
        v->requests++;
    }
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    talk_of(v, id)->ended = true;
    if (!v->mute)
        answer(v, id);
    return 0;
}

static int got_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                    void *user)
{
    struct server *v = user;
    struct talk *t = talk_of(v, id);

    (void)flags;
    for (size_t i = 0; i < len && t->body_len + i < sizeof t->body - 1; i++)
        t->body[t->body_len + i] = (char)data[i];
    t->body_len += len;
    if (!v->no_window)
        nghttp2_session_consume(s, id, len);
    return 0;
}

static int got_close(nghttp2_session *s, int32_t id, uint32_t code, void *user)
{
    struct talk *t = talk_of(user, id);

    (void)s;
    t->closed = true;
    t->code = code;
    return 0;
}

static void server_new(struct link *l)
{
    struct server *v = &servers[server_count++];
    nghttp2_session_callbacks *c;
    nghttp2_option *o;

    *v = (struct server){.l = l, .mute = all_mute, .no_window = all_deaf_windows};
    v->answer_len = all_answer_len;
    nghttp2_session_callbacks_new(&c);
    nghttp2_session_callbacks_set_on_header_callback(c, got_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, got_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, got_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, got_close);
    nghttp2_option_new(&o);
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_session_server_new2(&v->session, c, v, o);
    nghttp2_submit_settings(v->session, 0, settings, setting_count);
    nghttp2_session_callbacks_del(c);
    nghttp2_option_del(o);
}

static void flush(struct server *v)
{
    const uint8_t *bytes;
    ssize_t n;

    while (ml_buf_len(&v->l->out) < 1 << 20 &&
           (n = nghttp2_session_mem_send(v->session, &bytes)) > 0)
        link_push(v->l, (struct ml_str){(const char *)bytes, (size_t)n});
}

/* One turn of everything: connections that came get a server. */
static void turn(void)
{
    struct peer *p = &lab.peers[0];

    lab_turn();
    while (server_count < p->count)
        server_new(&p->links[server_count]);
    for (unsigned i = 0; i < server_count; i++) {
        struct server *v = &servers[i];

        if (v->l->s == NULL || v->broke)
            continue;
        if (ml_buf_len(&v->l->in) > 0)
            nghttp2_session_mem_recv(v->session, (const uint8_t *)ml_buf_str(&v->l->in).p,
                                     ml_buf_len(&v->l->in));
        ml_buf_consume(&v->l->in, ml_buf_len(&v->l->in));
        flush(v);
    }
}

#define UNTIL(what)                                                                                \
    do {                                                                                           \
        while (!(what))                                                                            \
            turn();                                                                                \
    } while (0)

static void setup(struct ml_group_conf conf)
{
    struct peer *p;

    lab_setup();
    server_count = 0;
    p = peer_reserve("");
    snprintf(p->url, sizeof p->url, "h2c://127.0.0.1:%d/base", p->port);
    peer_listen(p);
    lab_group(conf, NULL);
}

static void teardown(void)
{
    for (unsigned i = 0; i < server_count; i++)
        nghttp2_session_del(servers[i].session);
    lab_teardown();
    setting_count = 0;
    all_mute = all_deaf_windows = false;
    all_answer_len = 0;
}

static void go(struct call *c, const char *method, const char *target)
{
    call_begin(c, method, target);
    call_go(c);
}

static bool has(const char *fields, const char *text)
{
    return strstr(fields, text) != NULL;
}

/* ---- what goes out and comes in ---- */

TEST(get)
{
    struct call c;
    struct talk *t;

    all_answer_len = 5;
    setup((struct ml_group_conf){0});
    call_begin(&c, "GET", "/a?b=c");
    call_header(&c, "X-One", "Two");
    call_header(&c, "Connection", "x-hop, upgrade");
    call_header(&c, "X-Hop", "no");
    call_header(&c, "Upgrade", "h2c");
    call_header(&c, "Cookie", "a=1");
    call_go(&c);
    UNTIL(call_over(&c));
    t = talk_of(&servers[0], 1);
    CHECK(has(t->fields, ":method=GET\n"));
    CHECK(has(t->fields, ":path=/base/a?b=c\n"));
    CHECK(has(t->fields, ":scheme=http\n"));
    CHECK(has(t->fields, ":authority=127.0.0.1:"));
    CHECK(has(t->fields, "x-one=Two\n"));
    CHECK(has(t->fields, "cookie=a=1\n"));
    CHECK(has(t->fields, "x-forwarded-for=192.0.2.1\n"));
    CHECK(has(t->fields, "via=1.1 moonlatch\n"));
    CHECK(!has(t->fields, "x-hop") && !has(t->fields, "upgrade") && !has(t->fields, "\nhost="));
    CHECK(!has(t->fields, "content-length"));
    CHECK(c.err == ML_OK && c.ex->res.status == 200);
    CHECK(ml_str_eq(ml_buf_str(&c.body), ML_STR("aaaaa")));
    CHECK(c.ex->res.trailers_pass && c.ex->res.body != NULL);
    CHECK(ml_str_eq(ml_buf_str(&c.ex->res.body->trailers), ML_STR("x-sum: 7\r\n")));
    CHECK(c.ex->notes.tries == 1);
    call_end(&c);
    teardown();
}

TEST(body)
{
    struct call c;
    struct ml_pipe *p;

    all_answer_len = 1;
    setup((struct ml_group_conf){0});
    call_begin(&c, "POST", "/");
    p = call_with_body(&c, -1);
    call_go(&c);
    UNTIL(server_count == 1 && servers[0].requests == 1);
    CHECK(c.asked);
    ml_pipe_put(p, ML_STR("hello "));
    UNTIL(talk_of(&servers[0], 1)->body_len == 6);
    ml_pipe_put(p, ML_STR("world"));
    ml_buf_append(&p->trailers, ML_STR("X-Mine: 8\r\n"));
    ml_pipe_eof(p);
    UNTIL(call_over(&c));
    CHECK(strcmp(talk_of(&servers[0], 1)->body, "hello world") == 0);
    CHECK(has(talk_of(&servers[0], 1)->fields, "x-mine=8\n"));
    CHECK(!has(talk_of(&servers[0], 1)->fields, "transfer-encoding"));
    CHECK(c.err == ML_OK);
    call_end(&c);
    teardown();
}

TEST(length)
{
    struct call c;
    struct ml_pipe *p;

    setup((struct ml_group_conf){0});
    call_begin(&c, "PUT", "/");
    p = call_with_body(&c, 3);
    ml_pipe_put(p, ML_STR("abc"));
    ml_pipe_eof(p);
    call_go(&c);
    UNTIL(call_over(&c));
    CHECK(has(talk_of(&servers[0], 1)->fields, "content-length=3\n"));
    call_end(&c);
    call_begin(&c, "PUT", "/"); /* shorter than announced: the server must not take it for whole */
    p = call_with_body(&c, 5);
    ml_pipe_put(p, ML_STR("abc"));
    call_go(&c);
    UNTIL(talk_of(&servers[0], 3)->body_len == 3);
    ml_pipe_eof(p);
    UNTIL(call_over(&c));
    CHECK(c.err == ML_BAD_FRAMING);
    UNTIL(talk_of(&servers[0], 3)->closed);
    CHECK(!talk_of(&servers[0], 3)->ended);
    call_end(&c);
    teardown();
}

/* ---- one connection for all ---- */

TEST(shared)
{
    static struct call c[100];

    all_answer_len = 10;
    setup((struct ml_group_conf){0});
    for (int i = 0; i < 100; i++)
        go(&c[i], "GET", "/");
    for (int i = 0; i < 100; i++) {
        UNTIL(call_over(&c[i]));
        CHECK(c[i].err == ML_OK);
        call_end(&c[i]);
    }
    CHECK(server_count == 1);
    teardown();
}

TEST(full)
{
    static struct call c[6];

    settings[0] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 2};
    setting_count = 1;
    all_mute = true;
    setup((struct ml_group_conf){0});
    go(&c[0], "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    turn();
    turn();
    for (int i = 1; i < 6; i++)
        go(&c[i], "GET", "/");
    UNTIL(server_count == 3 && servers[2].requests == 2);
    for (unsigned v = 0; v < 3; v++)
        for (int32_t id = 1; id <= servers[v].last; id += 2)
            if (!talk_of(&servers[v], id)->closed)
                answer(&servers[v], id);
    for (int i = 0; i < 6; i++) {
        UNTIL(call_over(&c[i]));
        CHECK(c[i].err == ML_OK);
        call_end(&c[i]);
    }
    CHECK(server_count <= 4);
    teardown();
}

TEST(connector_leaves)
{
    struct call a, b;

    setup((struct ml_group_conf){0});
    go(&a, "GET", "/");
    go(&b, "GET", "/");
    call_end(&a); /* who was making the connection */
    UNTIL(call_over(&b));
    CHECK(b.err == ML_OK);
    call_end(&b);
    teardown();
}

TEST(refused_connection)
{
    struct call a, b;
    struct peer *p;

    lab_setup();
    p = peer_reserve("");
    snprintf(p->url, sizeof p->url, "h2c://127.0.0.1:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    go(&a, "GET", "/");
    go(&b, "GET", "/");
    AWAIT(call_over(&a) && call_over(&b));
    CHECK(a.err == ML_UP_CONNECT && b.err == ML_UP_CONNECT);
    call_end(&a);
    call_end(&b);
    lab_teardown();
}

/* ---- a server that says no ---- */

TEST(refused_stream)
{
    struct call c;
    struct ml_pipe *p;

    all_mute = true;
    setup((struct ml_group_conf){0});
    call_begin(&c, "POST", "/"); /* not idempotent, but certainly not looked at */
    p = call_with_body(&c, -1);
    call_go(&c);
    UNTIL(server_count == 1 && servers[0].requests == 1);
    all_mute = false;
    nghttp2_submit_rst_stream(servers[0].session, 0, 1, NGHTTP2_REFUSED_STREAM);
    UNTIL(server_count == 2 && servers[1].requests == 1);
    ml_pipe_put(p, ML_STR("x"));
    ml_pipe_eof(p);
    UNTIL(call_over(&c));
    CHECK(c.err == ML_OK && c.heads == 1);
    call_end(&c);
    teardown();
}

TEST(refused_always)
{
    struct call c;
    unsigned refused = 0;

    all_mute = true;
    setup((struct ml_group_conf){.retries = ~0u});
    go(&c, "GET", "/");
    while (!call_over(&c)) {
        turn();
        for (unsigned i = 0; i < server_count; i++)
            if (servers[i].requests > 0 && !talk_of(&servers[i], 1)->closed) {
                nghttp2_submit_rst_stream(servers[i].session, 0, 1, NGHTTP2_REFUSED_STREAM);
                flush(&servers[i]);
                talk_of(&servers[i], 1)->closed = true;
                refused++;
            }
    }
    CHECK(c.err == ML_UP_CONNECT);
    CHECK(refused == 4); /* and no more */
    call_end(&c);
    teardown();
}

TEST(goaway)
{
    struct call a, b;

    all_mute = true;
    setup((struct ml_group_conf){0});
    go(&a, "GET", "/1");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    go(&b, "POST", "/2");
    UNTIL(servers[0].requests == 2);
    all_mute = false;
    nghttp2_submit_goaway(servers[0].session, 0, 1, NGHTTP2_NO_ERROR, NULL, 0);
    UNTIL(call_over(&b)); /* it went to another connection */
    CHECK(b.err == ML_OK && server_count == 2);
    CHECK(has(talk_of(&servers[1], 1)->fields, ":path=/base/2\n"));
    answer(&servers[0], 1); /* while the first one is finished */
    UNTIL(call_over(&a));
    CHECK(a.err == ML_OK);
    UNTIL(servers[0].l->eof); /* and then the connection goes */
    call_end(&a);
    call_end(&b);
    teardown();
}

TEST(reset)
{
    struct call c;

    all_mute = true;
    setup((struct ml_group_conf){.retries = ~0u});
    go(&c, "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    nghttp2_submit_rst_stream(servers[0].session, 0, 1, NGHTTP2_INTERNAL_ERROR);
    UNTIL(call_over(&c));
    CHECK(c.err == ML_UP_CLOSED);
    call_end(&c);
    teardown();
}

TEST(connection_lost)
{
    struct call a, b, c;

    all_answer_len = 1;
    setup((struct ml_group_conf){.retries = ~0u});
    go(&a, "GET", "/");
    UNTIL(call_over(&a));
    call_end(&a);
    servers[0].mute = true;
    go(&b, "GET", "/");
    go(&c, "POST", "/");
    UNTIL(servers[0].requests == 3);
    link_reset(servers[0].l); /* it was a kept one: what may be asked twice is asked anew */
    UNTIL(call_over(&b) && call_over(&c));
    CHECK(b.err == ML_OK && server_count == 2);
    CHECK(c.err == ML_UP_CLOSED);
    call_end(&b);
    call_end(&c);
    teardown();
}

TEST(broken_answer)
{
    struct call c;
    struct talk *t;

    setup((struct ml_group_conf){0});
    all_mute = true;
    go(&c, "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    t = talk_of(&servers[0], 1);
    t->held = true;
    servers[0].answer_len = 10;
    answer(&servers[0], 1);
    UNTIL(ml_buf_len(&c.body) == 10);
    CHECK(!call_over(&c));
    nghttp2_submit_rst_stream(servers[0].session, 0, 1, NGHTTP2_INTERNAL_ERROR);
    UNTIL(call_over(&c));
    CHECK(c.broken && c.why == ML_UP_CLOSED);
    call_end(&c);
    teardown();
}

/* ---- windows ---- */

TEST(slow_client)
{
    struct call a, b;

    all_answer_len = 3 << 20;
    setup((struct ml_group_conf){0});
    call_begin(&a, "GET", "/big");
    a.hold = true;
    call_go(&a);
    UNTIL(a.told && ml_buf_len(&a.ex->res.body->buf) >= ML_H2_WINDOW);
    servers[0].answer_len = 2;
    go(&b, "GET", "/small"); /* on the same connection, which is not held up */
    UNTIL(call_over(&b));
    CHECK(b.err == ML_OK && server_count == 1);
    CHECK(ml_buf_len(&a.ex->res.body->buf) == ML_H2_WINDOW);
    a.hold = false;
    call_data(&a);
    UNTIL(call_over(&a));
    CHECK(ml_buf_len(&a.body) == 3 << 20);
    call_end(&a);
    call_end(&b);
    teardown();
}

TEST(no_window)
{
    struct call c;
    struct ml_pipe *p;
    static char block[1 << 16];

    all_deaf_windows = all_mute = true;
    setup((struct ml_group_conf){.send_timeout = 0.1});
    call_begin(&c, "POST", "/");
    p = call_with_body(&c, -1);
    for (int i = 0; i < 3; i++)
        ml_pipe_put(p, (struct ml_str){block, sizeof block});
    call_go(&c);
    UNTIL(call_over(&c));
    CHECK(c.err == ML_UP_TIMEOUT);
    UNTIL(talk_of(&servers[0], 1)->closed);
    CHECK(talk_of(&servers[0], 1)->code == NGHTTP2_CANCEL);
    CHECK(talk_of(&servers[0], 1)->body_len == 65535);
    call_end(&c);
    teardown();
}

/* It does not even read: the connection itself is at fault, for all calls. */
TEST(deaf_server)
{
    static char block[1 << 16];
    struct call c[100];
    struct peer *p;

    settings[0] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 30};
    setting_count = 1;
    all_mute = true;
    setup((struct ml_group_conf){.send_timeout = 0.2, .retries = ~0u});
    go(&c[0], "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    turn();
    p = &lab.peers[0];
    p->links[0].deaf = true;
    ml_stream_want_read(p->links[0].s, false);
    for (int i = 1; i < 100; i++) {
        struct ml_pipe *body;

        call_begin(&c[i], "POST", "/");
        body = call_with_body(&c[i], -1);
        ml_pipe_put(body, (struct ml_str){block, sizeof block});
        call_go(&c[i]);
    }
    for (int i = 1; i < 100; i++) {
        AWAIT(call_over(&c[i]));
        CHECK(c[i].err == ML_UP_TIMEOUT || c[i].err == ML_UP_CONNECT_TIMEOUT);
    }
    for (int i = 0; i < 100; i++)
        call_end(&c[i]);
    teardown();
}

/* The group goes while a call is on its way; with the last call go server and connection. */
TEST(last_call_of_a_group)
{
    struct call c;

    all_answer_len = 5;
    setup((struct ml_group_conf){0});
    go(&c, "GET", "/");
    UNTIL(server_count == 1);
    ml_group_release(&lab.group);
    UNTIL(call_over(&c));
    CHECK(c.err == ML_OK && lab.o->servers == NULL);
    UNTIL(servers[0].l->eof);
    call_end(&c);
    teardown();
}

TEST(client_leaves)
{
    struct call c;

    all_mute = true;
    setup((struct ml_group_conf){0});
    go(&c, "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    call_end(&c);
    UNTIL(talk_of(&servers[0], 1)->closed);
    CHECK(talk_of(&servers[0], 1)->code == NGHTTP2_CANCEL);
    go(&c, "GET", "/"); /* and one that leaves before its head does */
    call_end(&c);
    servers[0].mute = false;
    go(&c, "GET", "/");
    UNTIL(call_over(&c));
    CHECK(c.err == ML_OK && server_count == 1);
    call_end(&c);
    teardown();
}

/* ---- time ---- */

TEST(late_head)
{
    struct call c;

    all_mute = true;
    setup((struct ml_group_conf){.first_byte_timeout = 0.05, .retries = ~0u});
    go(&c, "GET", "/");
    UNTIL(call_over(&c));
    CHECK(c.err == ML_UP_TIMEOUT);
    call_end(&c);
    teardown();
}

TEST(late_body)
{
    struct call c;

    all_mute = true;
    setup((struct ml_group_conf){.read_timeout = 0.05});
    go(&c, "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    talk_of(&servers[0], 1)->held = true;
    answer(&servers[0], 1);
    UNTIL(call_over(&c));
    CHECK(c.broken && c.why == ML_UP_TIMEOUT);
    call_end(&c);
    teardown();
}

/* A conversation may be silent; a deadline of the client's own does not blame the server. */
TEST(grpc_times)
{
    struct call c, d;

    all_mute = true;
    setup((struct ml_group_conf){.read_timeout = 0.02, .max_fails = 1});
    call_begin(&c, "POST", "/");
    c.ex->req.major = 2;
    call_header(&c, "Content-Type", "application/grpc+proto");
    call_header(&c, "TE", "trailers");
    call_go(&c);
    UNTIL(server_count == 1 && servers[0].requests == 1);
    CHECK(has(talk_of(&servers[0], 1)->fields, "te=trailers\n"));
    CHECK(c.ex->conversation);
    talk_of(&servers[0], 1)->held = true;
    answer(&servers[0], 1);
    UNTIL(c.told);
    call_begin(&d, "POST", "/");
    d.ex->req.major = 2;
    call_header(&d, "Content-Type", "application/grpc");
    call_header(&d, "grpc-timeout", "100m");
    call_go(&d);
    UNTIL(call_over(&d)); /* five times read_timeout */
    CHECK(d.err == ML_UP_TIMEOUT && !call_over(&c));
    CHECK(atomic_load(&lab.o->servers->state->errors) == 0);
    call_end(&d);
    call_end(&c);
    teardown();
}

TEST(ping)
{
    struct call c;

    all_mute = true;
    setup((struct ml_group_conf){.ping_interval = 0.02});
    go(&c, "GET", "/");
    UNTIL(server_count == 1 && servers[0].pings >= 2);
    CHECK(!call_over(&c));
    call_end(&c);
    teardown();
}

TEST(idle)
{
    struct call c;

    setup((struct ml_group_conf){.keepalive_timeout = 0.05});
    go(&c, "GET", "/");
    UNTIL(call_over(&c));
    CHECK(c.err == ML_OK);
    call_end(&c);
    UNTIL(servers[0].l->eof);
    CHECK(servers[0].goaway);
    teardown();
}

TEST(once)
{
    struct call c;

    setup((struct ml_group_conf){0});
    call_begin(&c, "GET", "/");
    c.f.once = true;
    call_go(&c);
    UNTIL(call_over(&c));
    CHECK(c.err == ML_OK);
    UNTIL(servers[0].l->eof);
    call_end(&c);
    teardown();
}

/* ---- hostile servers: raw bytes ---- */

static struct server *raw(struct call *c, struct ml_group_conf conf)
{
    all_mute = true;
    setup(conf);
    go(c, "GET", "/");
    UNTIL(server_count == 1 && servers[0].requests == 1);
    turn();
    servers[0].broke = true;
    return &servers[0];
}

static void frame(struct server *v, uint8_t type, uint8_t flags, int32_t id, const char *body,
                  size_t len)
{
    char head[9] = {(char)(len >> 16), (char)(len >> 8), (char)len, (char)type, (char)flags, 0, 0,
                    (char)(id >> 8),   (char)id};

    link_push(v->l, (struct ml_str){head, sizeof head});
    link_push(v->l, (struct ml_str){body, len});
}

#define FRAME(v, type, flags, id, body) frame(v, type, flags, id, body, sizeof(body) - 1)

static void fails(enum ml_err want, struct call *c)
{
    while (!call_over(c))
        lab_turn();
    if (c->err != want)
        printf("# %d, not %d\n", c->err, want);
    CHECK(c->err == want);
    call_end(c);
    teardown();
}

TEST(not_http2)
{
    struct call c;
    struct peer *p;

    lab_setup();
    p = peer_open(OK_TEXT);
    snprintf(p->url, sizeof p->url, "h2c://127.0.0.1:%d", p->port);
    lab_group((struct ml_group_conf){.retries = ~0u}, NULL);
    go(&c, "GET", "/");
    AWAIT(call_over(&c));
    CHECK(c.err == ML_UP_PROTOCOL || c.err == ML_UP_CLOSED);
    call_end(&c);
    lab_teardown();
}

TEST(bad_answers)
{
    struct call c;
    struct server *v = raw(&c, (struct ml_group_conf){0});

    FRAME(v, 1, 5, 1,
          "\x88\x00\x0a"
          "connection"
          "\x01x"); /* a field of HTTP/1.1 */
    fails(ML_UP_PROTOCOL, &c);
    v = raw(&c, (struct ml_group_conf){0});
    FRAME(v, 1, 5, 1,
          "\x88\x00\x03"
          "x-a"
          "\x03"
          "a\nb");
    fails(ML_UP_PROTOCOL, &c);
    v = raw(&c, (struct ml_group_conf){0});
    FRAME(v, 1, 5, 1,
          "\x00\x03"
          "x-a"
          "\x01"
          "b"); /* no status */
    fails(ML_UP_PROTOCOL, &c);
    v = raw(&c, (struct ml_group_conf){0});
    FRAME(v, 0, 0, 1, "body without a head");
    fails(ML_UP_PROTOCOL, &c);
    v = raw(&c, (struct ml_group_conf){0});
    FRAME(v, 1, 5, 1,
          "\x88\x0f\x0d\x01"
          "5"); /* Content-Length: 5, and nothing comes */
    fails(ML_UP_PROTOCOL, &c);
    v = raw(&c, (struct ml_group_conf){0});
    FRAME(v, 5, 4, 1, "\0\0\0\2\x88"); /* PUSH_PROMISE */
    fails(ML_UP_PROTOCOL, &c);
}

TEST(large_heads)
{
    struct ml_group_conf conf = {.limits = {.line_max = 100, .head_max = 200, .fields_max = 5}};
    char fields[300] = "\x88\x00\x03x-a\x7f\x7f";
    struct call c;
    struct server *v = raw(&c, conf);

    memset(fields + 8, 'v', 254); /* a value of 254 bytes */
    frame(v, 1, 5, 1, fields, 8 + 254);
    fails(ML_UP_TOO_LARGE, &c);
    v = raw(&c, conf);
    FRAME(v, 1, 5, 1,
          "\x88\x00\x01"
          "a\x01"
          "1"
          "\x00\x01"
          "b\x01"
          "1"
          "\x00\x01"
          "c\x01"
          "1"
          "\x00\x01"
          "d\x01"
          "1"
          "\x00\x01"
          "e\x01"
          "1"
          "\x00\x01"
          "f\x01"
          "1");
    fails(ML_UP_TOO_LARGE, &c);
}

/* HPACK: a small block that says the same large field again and again. */
TEST(header_bomb)
{
    static char block[16000];
    struct call c;
    struct server *v = raw(&c, (struct ml_group_conf){.limits = {8192, 1 << 20, 10000}});
    size_t n = 0;

    block[n++] = '\x88';
    memcpy(block + n,
           "\x40\x01"
           "b\x7f\xf9\x1c",
           6); /* indexed; a value of 127 + 0xe79 bytes */
    n += 6;
    memset(block + n, 'v', 127 + 0x79 + (0x1c << 7));
    n += 127 + 0x79 + (0x1c << 7);
    while (n < sizeof block)
        block[n++] = '\xbe';
    frame(v, 1, 5, 1, block, n);
    while (!call_over(&c))
        lab_turn();
    CHECK(c.err == ML_UP_TOO_LARGE || c.err == ML_UP_PROTOCOL);
    call_end(&c);
    teardown();
}

static void flood(uint8_t type, uint8_t flags, int32_t id, const char *body, size_t len)
{
    struct call c;
    struct server *v = raw(&c, (struct ml_group_conf){.retries = ~0u});

    for (int i = 0; i < 20000 && !call_over(&c); i++) {
        frame(v, type, flags, id, body, len);
        if (i % 64 == 0)
            lab_turn();
    }
    while (!call_over(&c))
        lab_turn();
    CHECK(c.err == ML_UP_PROTOCOL);
    call_end(&c);
    teardown();
}

TEST(floods)
{
    flood(6, 0, 0, "12345678", 8);                 /* PING */
    flood(4, 0, 0, "", 0);                         /* SETTINGS */
    flood(7, 0, 0, "\x7f\xff\xff\xff\0\0\0\0", 8); /* GOAWAY */
    flood(8, 0, 0, "\0\0\0\1", 4);                 /* WINDOW_UPDATE */
    flood(0x77, 0, 0, "", 0);                      /* who knows */
    flood(2, 0, 1, "\0\0\0\0\1", 5);               /* PRIORITY */
}

TEST(interims)
{
    struct call c;
    struct server *v = raw(&c, (struct ml_group_conf){0});

    FRAME(v, 1, 4, 1,
          "\x08\x03"
          "103"
          "\x00\x04"
          "link\x01"
          "x");
    FRAME(v, 1, 5, 1, "\x88");
    while (!call_over(&c))
        lab_turn();
    CHECK(c.err == ML_OK && strcmp(c.interims, "103 link=x;") == 0);
    call_end(&c);
    teardown();
    v = raw(&c, (struct ml_group_conf){0});
    for (int i = 0; i < 20; i++)
        FRAME(v, 1, 4, 1,
              "\x08\x03"
              "103");
    fails(ML_UP_PROTOCOL, &c);
}

TEST(window_games)
{
    struct call c;
    struct server *v = raw(&c, (struct ml_group_conf){0});

    FRAME(v, 8, 0, 1, "\x7f\xff\xff\xff"); /* over 2^31 - 1 */
    fails(ML_UP_PROTOCOL, &c);
    v = raw(&c, (struct ml_group_conf){0});
    FRAME(v, 8, 0, 0, "\0\0\0\0");
    fails(ML_UP_PROTOCOL, &c);
}
