/* test_tls.c - two streams that talk TLS: handshakes, trust, ends, back-pressure, contexts. */
#include "tls_lab.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

static struct identity ca, leaf;
static struct ml_tls *server, *client;
static char error[ML_TLS_ERROR_MAX];

static void contexts(struct ml_tls_client_conf conf)
{
    struct ml_tls_pair pair;

    ca = identity(false, "test authority", NULL, NULL, 30);
    leaf = identity(false, "a.test", "DNS:a.test,DNS:*.w.test,IP:127.0.0.1", &ca, 30);
    pair = pair_of(&leaf);
    server = ml_tls_server_new(
        &(struct ml_tls_server_conf){.pairs = &pair, .pair_count = 1, .session_s = 60}, error);
    if (conf.ca.len == 0)
        conf.ca = ca.cert_pem;
    client = ml_tls_client_new(&conf, error);
    if (server == NULL || client == NULL) {
        printf("# %s\n", error);
        abort();
    }
}

static void drop_contexts(void)
{
    ml_tls_free(&server);
    ml_tls_free(&client);
    identity_free(&ca);
    identity_free(&leaf);
}

/* a is the client, b the server. */
static void start(struct side *a, struct side *b, const char *name)
{
    contexts((struct ml_tls_client_conf){0});
    lab_open(a, b);
    ml_stream_start_tls(a->s, client, name);
    ml_stream_start_tls(b->s, server, NULL);
}

static void stop(struct side *a, struct side *b)
{
    lab_close(a, b);
    drop_contexts();
}

static void turn_until_failed(struct side *a)
{
    while (a->read == ML_OK && a->write != ML_RESET)
        ml_loop_turn(loop);
}

TEST(words_pass_both_ways_and_the_handshake_does_not_show)
{
    struct side a, b;

    start(&a, &b, "a.test");
    CHECK(ml_stream_shaking_hands(a.s) && ml_stream_is_tls(a.s));
    say(&a, "question");
    CHECK(a.write == ML_AGAIN);
    CHECK(heard(&b, "question"));
    say(&b, "answer");
    CHECK(said(&b));
    CHECK(heard(&a, "answer"));
    CHECK(a.write == ML_OK && !ml_stream_shaking_hands(a.s));
    CHECK(ml_stream_splice_fd(a.s) == -1);
    CHECK(ERR_peek_error() == 0);
    stop(&a, &b);
}

TEST(the_handshake_can_be_driven_alone)
{
    struct side a, b;
    enum ml_err err;

    start(&a, &b, "x.w.test");
    while ((err = ml_stream_handshake(a.s)) == ML_AGAIN) {
        a.writable = false;
        while (!a.writable)
            ml_loop_turn(loop);
    }
    CHECK(err == ML_OK && ml_stream_tls_failure(a.s) == NULL);
    say(&a, "x");
    CHECK(heard(&b, "x"));
    stop(&a, &b);
}

static const char *failure_for(const char *name, struct ml_tls_client_conf conf)
{
    static char why[200];
    struct side a, b;

    contexts(conf);
    lab_open(&a, &b);
    ml_stream_start_tls(a.s, client, name);
    ml_stream_start_tls(b.s, server, NULL);
    say(&a, "secret");
    turn_until_failed(&a);
    turn_until_failed(&b);
    CHECK(ml_buf_len(&b.in) == 0);
    snprintf(why, sizeof why, "%s", ml_stream_tls_failure(a.s));
    stop(&a, &b);
    return why;
}

TEST(a_client_refuses_a_certificate_for_another_name)
{
    const char *const wrong[] = {"b.test", "a.test.evil", "w.test", "x.y.w.test", "127.0.0.2"};

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(strstr(failure_for(wrong[i], (struct ml_tls_client_conf){0}), "mismatch") != NULL);
}

TEST(a_client_refuses_an_authority_it_does_not_know)
{
    struct identity other = identity(false, "another authority", NULL, NULL, 30);

    CHECK(strstr(failure_for("a.test", (struct ml_tls_client_conf){.ca = other.cert_pem}),
                 "unable to get local issuer") != NULL);
    identity_free(&other);
}

TEST(an_address_is_checked_as_an_address)
{
    struct side a, b;

    start(&a, &b, "127.0.0.1");
    say(&a, "x");
    CHECK(heard(&b, "x"));
    stop(&a, &b);
}

TEST(an_end_without_goodbye_is_a_reset_and_one_with_it_is_an_end)
{
    for (int honest = 0; honest < 2; honest++) {
        struct side a, b;

        start(&a, &b, "a.test");
        say(&a, "x");
        CHECK(heard(&b, "x"));
        say(&b, "y");
        CHECK(said(&b));
        if (honest)
            ml_stream_shutdown(b.s);
        else
            ml_stream_poison(b.s); /* on a unix socket: an end without close_notify */
        if (!honest)
            ml_stream_close(&b.s);
        CHECK(heard(&a, "y"));
        while (a.read == ML_OK)
            ml_loop_turn(loop);
        CHECK(a.read == (honest ? ML_EOF : ML_RESET));
        if (honest) { /* the other direction stays open */
            say(&a, "late");
            CHECK(said(&a) && heard(&b, "late"));
        }
        stop(&a, &b);
    }
}

static void fill(struct ml_buf *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        *ml_buf_reserve(b, 1) = (char)(i * 7 + i / 251);
        ml_buf_commit(b, 1);
    }
}

static bool filled(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] != (char)(i * 7 + i / 251))
            return false;
    return true;
}

static void narrow(struct ml_stream *s, int fd_of_pair)
{
    int small = 4096;

    (void)s;
    setsockopt(fd_of_pair, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
}

/* len bytes from the server, the first cut of them as a head, through a narrow socket. */
static void much(size_t len, size_t cut, bool is_narrow)
{
    struct side a, b;
    struct ml_buf all = {0};
    int fd;

    contexts((struct ml_tls_client_conf){0});
    lab_open(&a, &b);
    fd = ml_stream_splice_fd(b.s);
    if (is_narrow)
        narrow(b.s, fd);
    ml_stream_start_tls(a.s, client, "a.test");
    ml_stream_start_tls(b.s, server, NULL);
    say(&a, "x");
    CHECK(heard(&b, "x"));
    fill(&all, len);
    ml_buf_append(&b.out, (struct ml_str){all.p + all.start, cut});
    ml_buf_append(&b.body, (struct ml_str){all.p + all.start + cut, len - cut});
    b.write = ml_stream_write2(b.s, &b.out, &b.body);
    while (ml_buf_len(&a.in) < len && a.read == ML_OK)
        ml_loop_turn(loop);
    while (b.write == ML_AGAIN)
        ml_loop_turn(loop);
    CHECK(ml_buf_len(&b.out) == 0 && ml_buf_len(&b.body) == 0 && b.write == ML_OK);
    CHECK(ml_buf_len(&a.in) == len && filled(ml_buf_str(&a.in)));
    ml_buf_release(&all);
    stop(&a, &b);
}

TEST(much_arrives_whole_however_it_is_cut)
{
    const size_t cuts[] = {0, 1, 300, 16383, 16384, 16385, 70000};

    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        for (int is_narrow = 0; is_narrow < 2; is_narrow++)
            much(150001, cuts[i], is_narrow);
    much(9, 4, false);
    much(16384, 100, false);
}

TEST(a_small_answer_is_one_record)
{
    struct side a, b;
    char raw[4096];
    int fd;

    contexts((struct ml_tls_client_conf){0});
    lab_open(&a, &b);
    fd = dup(ml_stream_splice_fd(a.s));
    ml_stream_start_tls(a.s, client, "a.test");
    ml_stream_start_tls(b.s, server, NULL);
    say(&a, "x");
    CHECK(heard(&b, "x"));
    say(&b, "y"); /* the ticket has gone with the handshake */
    CHECK(heard(&a, "y"));
    ml_stream_want_read(a.s, false);
    ml_buf_append(&b.out, ML_STR("head"));
    ml_buf_append(&b.body, ML_STR("and body"));
    b.write = ml_stream_write2(b.s, &b.out, &b.body);
    CHECK(said(&b));
    ssize_t n = recv(fd, raw, sizeof raw, MSG_DONTWAIT);
    CHECK(n == 5 + 12 + 1 + 16);
    /* a record's head, the bytes, their type, the tag */
    close(fd);
    stop(&a, &b);
}

TEST(bytes_that_wait_inside_are_told_again_when_reading_is_wanted)
{
    struct side a, b;

    start(&a, &b, "a.test");
    say(&a, "x");
    CHECK(heard(&b, "x"));
    b.reads = false;
    say(&a, "0123456789");
    while (!b.readable || ml_stream_read(b.s, &b.in, 1, NULL) != ML_OK)
        ml_loop_turn(loop);
    ml_stream_want_read(b.s, false);
    b.reads_told = 0;
    say(&b, "z"); /* so that a turn has something to wait for */
    CHECK(heard(&a, "z"));
    ml_stream_want_read(b.s, true);
    ml_loop_turn(loop);
    ml_loop_turn(loop);
    CHECK(b.reads_told > 0);
    b.reads_told = 0;
    while (ml_buf_len(&b.in) < 10) { /* one byte at a time: each leaves the rest inside */
        while (b.reads_told == 0)
            ml_loop_turn(loop);
        b.reads_told = 0;
        enum ml_err err = ml_stream_read(b.s, &b.in, 1, NULL);
        CHECK(err == ML_OK || err == ML_AGAIN);
    }
    CHECK(ml_str_eq(ml_buf_str(&b.in), ML_STR("0123456789")));
    stop(&a, &b);
}

TEST(rubbish_and_plain_http_end_the_connection)
{
    const char *const rubbish[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\xff\xff\x01",
                                   "\x80\x2e\x01\x03\x01 an old hello, and some more of that"};

    for (size_t i = 0; i < sizeof rubbish / sizeof *rubbish; i++) {
        struct side a, b;

        contexts((struct ml_tls_client_conf){0});
        lab_open(&a, &b);
        ml_stream_start_tls(b.s, server, NULL);
        say(&a, rubbish[i]);
        ml_stream_shutdown(a.s);
        while (b.read == ML_OK)
            ml_loop_turn(loop);
        CHECK(b.read == ML_RESET && ml_buf_len(&b.in) == 0);
        CHECK(ml_stream_tls_failure(b.s) != NULL);
        stop(&a, &b);
    }
}

TEST(a_peer_that_demands_answers_and_takes_none_is_not_read)
{
    struct side a, b;
    SSL *ssl;
    int fd;

    contexts((struct ml_tls_client_conf){0});
    lab_open(&a, &b);
    narrow(b.s, ml_stream_splice_fd(b.s));
    fd = dup(ml_stream_splice_fd(a.s));
    ml_stream_close(&a.s);
    ml_stream_start_tls(b.s, server, NULL);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    SSL_set_connect_state(ssl);
    while (SSL_do_handshake(ssl) != 1)
        ml_loop_turn(loop);
    ml_timer_set(&guard, 30);
    bool stuck = false;
    for (int i = 0; i < 200000 && !stuck; i++) { /* "change your keys", and never a read */
        CHECK(SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1);
        for (int tries = 0; SSL_do_handshake(ssl) != 1; tries++) {
            if (tries > 100) {
                stuck = true;
                break;
            }
            ml_stream_want_write(b.s); /* a turn that does not wait, as far as the socket allows */
            struct ml_deferred d = {.fire = (void (*)(void *))ERR_clear_error};
            ml_loop_defer(loop, &d);
            ml_loop_turn(loop);
        }
    }
    CHECK(stuck && b.read == ML_OK);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    stop(&a, &b);
}

TEST(a_second_connection_resumes_with_a_ticket_of_the_first)
{
    SSL_SESSION *kept = NULL;

    contexts((struct ml_tls_client_conf){0});
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        for (int i = 0; i < 2; i++) {
            struct side a, b;
            char answer[8];

            lab_open(&a, &b);
            int fd = dup(ml_stream_splice_fd(a.s));
            ml_stream_close(&a.s);
            ml_stream_start_tls(b.s, server, NULL);
            SSL *ssl = SSL_new(ctx);
            SSL_set_fd(ssl, fd);
            SSL_set_max_proto_version(ssl, version);
            SSL_set_connect_state(ssl);
            if (i > 0)
                SSL_set_session(ssl, kept);
            while (SSL_do_handshake(ssl) != 1)
                ml_loop_turn(loop);
            say(&b, "answer");
            CHECK(said(&b));
            while (SSL_read(ssl, answer, sizeof answer) <= 0)
                ml_loop_turn(loop);
            CHECK(SSL_session_reused(ssl) == i);
            SSL_SESSION_free(kept);
            kept = SSL_get1_session(ssl);
            SSL_shutdown(ssl); /* or OpenSSL takes the session for a bad one */
            SSL_free(ssl);
            close(fd);
            lab_close(&a, &b);
        }
    }
    SSL_SESSION_free(kept);
    SSL_CTX_free(ctx);
    drop_contexts();
}

TEST(an_old_context_serves_its_connections_after_it_was_replaced)
{
    struct side a, b;

    start(&a, &b, "a.test");
    say(&a, "x");
    CHECK(heard(&b, "x"));
    ml_tls_free(&server);
    ml_tls_free(&client);
    say(&a, "y");
    CHECK(heard(&b, "y"));
    stop(&a, &b);
}
