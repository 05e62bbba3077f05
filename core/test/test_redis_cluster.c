#include "redis_lab.h"

#define SLOTS "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n"
#define GET_FOO "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n" /* slot 12182 */
#define GET_BAR "*2\r\n$3\r\nGET\r\n$3\r\nbar\r\n" /* slot 5061 */
#define ASKING "*1\r\n$6\r\nASKING\r\n"

static struct peer low, high; /* slots up to 8191, and from there on */
static struct ml_redis *redis;

static void begin(void)
{
    lab_begin();
    peer_open(&low);
    peer_open(&high);
    redis = client(1, "redis+cluster://127.0.0.1:%d", low.port);
}

static void finish(void)
{
    ml_redis_release(&redis);
    peer_close(&low);
    peer_close(&high);
    lab_end();
}

static void say(struct peer *p, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    peer_say(p, ml_str_of(text));
}

static void say_map(struct peer *p, int low_port, int high_port)
{
    say(p,
        "*2\r\n*3\r\n:0\r\n:8191\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n"
        "*3\r\n:8192\r\n:16383\r\n*3\r\n$0\r\n\r\n:%d\r\n$2\r\nid\r\n",
        low_port, high_port);
}

/* Both nodes connected, the map known. */
static void connect_both(void)
{
    struct ask a, b;

    ask(&a, redis, "GET foo");
    ask(&b, redis, "GET bar");
    peer_hello(&low);
    peer_expect(&low, SLOTS);
    say_map(&low, low.port, high.port);
    peer_hello(&high);
    peer_expect(&high, GET_FOO);
    SAY(&high, "+foo\r\n");
    peer_expect(&low, GET_BAR);
    SAY(&low, "+bar\r\n");
    CHECK(answers(&a, "foo") && answers(&b, "bar"));
}

TEST(commands_wait_for_the_map_and_go_to_the_owners_of_their_keys)
{
    begin();
    CHECK(ml_redis_state_of(redis) == ML_REDIS_IDLE);
    connect_both();
    CHECK(ml_redis_state_of(redis) == ML_REDIS_READY);
    CHECK(low.accepted == 1 && high.accepted == 1);
    finish();
}

TEST(a_pipeline_is_split_among_the_nodes)
{
    struct ask a;

    begin();
    connect_both();
    ask_new(&a, redis);
    ask_add(&a, "GET foo");
    ask_add(&a, "GET bar");
    ask_add(&a, "GET foo");
    ask_send(&a);
    peer_expect(&high, GET_FOO GET_FOO);
    peer_expect(&low, GET_BAR);
    SAY(&low, ":2\r\n");
    SAY(&high, ":1\r\n:3\r\n");
    ask_wait(&a);
    CHECK(a.err == ML_OK);
    for (unsigned i = 0; i < 3; i++)
        CHECK(ml_redis_call_reply(a.call, i)->integer == i + 1);
    ml_redis_call_free(&a.call);
    finish();
}

TEST(moved_is_followed_remembered_and_the_map_is_asked_for_again)
{
    struct ask a;

    begin();
    connect_both();
    ask(&a, redis, "GET foo");
    peer_expect(&high, GET_FOO);
    say(&high, "-MOVED 12182 127.0.0.1:%d\r\n", low.port);
    peer_expect(&low, GET_FOO);
    SAY(&low, "+there\r\n");
    CHECK(answers(&a, "there"));
    ask(&a, redis, "GET foo"); /* straight to the new owner */
    peer_expect(&low, GET_FOO);
    SAY(&low, "+there\r\n");
    CHECK(answers(&a, "there"));
    for (bool asked = false; !asked;) { /* at most once a second: a command later than that asks */
        struct ask b;

        ask(&b, redis, "GET bar");
        while (!b.done) {
            lab_turn();
            peer_poll(&low);
            if (ml_buf_len(&low.in) >= sizeof GET_BAR - 1 &&
                memcmp(low.in.p + low.in.start, GET_BAR, sizeof GET_BAR - 1) == 0) {
                ml_buf_consume(&low.in, sizeof GET_BAR - 1);
                SAY(&low, "+bar\r\n");
            } else if (ml_buf_len(&low.in) >= sizeof SLOTS - 1) {
                peer_expect(&low, SLOTS);
                say_map(&low, low.port, high.port);
                asked = true;
            }
        }
        CHECK(answers(&b, "bar"));
    }
    finish();
}

TEST(ask_is_followed_once_and_not_remembered)
{
    struct ask a;

    begin();
    connect_both();
    ask(&a, redis, "GET foo");
    peer_expect(&high, GET_FOO);
    say(&high, "-ASK 12182 127.0.0.1:%d\r\n", low.port);
    peer_expect(&low, ASKING GET_FOO);
    SAY(&low, "+OK\r\n+moving\r\n");
    CHECK(answers(&a, "moving"));
    ask(&a, redis, "GET foo");
    peer_expect(&high, GET_FOO);
    SAY(&high, "+still\r\n");
    CHECK(answers(&a, "still"));
    finish();
}

TEST(redirects_end_although_the_nodes_do_not_agree)
{
    struct ask a;

    begin();
    connect_both();
    ask(&a, redis, "GET foo");
    for (int i = 0; i < 6; i++) {
        struct peer *p = i % 2 == 0 ? &high : &low;

        peer_expect(p, GET_FOO);
        say(p, "-MOVED 12182 127.0.0.1:%d\r\n", i % 2 == 0 ? low.port : high.port);
    }
    ask_wait(&a);
    CHECK(a.err == ML_OK && strncmp(a.text.p, "MOVED", 5) == 0);
    ml_redis_call_free(&a.call);
    finish();
}

TEST(a_redirect_to_nowhere_is_an_error_reply)
{
    static const char *const bad[] = {"MOVED",
                                      "MOVED 1",
                                      "MOVED x 127.0.0.1:1",
                                      "MOVED 99999 127.0.0.1:1",
                                      "MOVED 12182 127.0.0.1",
                                      "MOVED 12182 127.0.0.1:0",
                                      "MOVED 12182 unix:/etc:6379",
                                      "MOVED 12182 a/b:6379",
                                      "ASK 12182 :99999"};

    begin();
    connect_both();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ask a;

        ask(&a, redis, "GET foo");
        peer_expect(&high, GET_FOO);
        say(&high, "-%s\r\n", bad[i]);
        CHECK(answers(&a, bad[i]));
    }
    finish();
}

TEST(a_map_that_can_not_be_had_fails_those_who_wait_and_the_next_at_once)
{
    struct ask a, b;

    begin();
    ask(&a, redis, "GET foo");
    ask(&b, redis, "GET bar");
    peer_hello(&low);
    peer_expect(&low, SLOTS);
    SAY(&low, "-ERR This instance has cluster support disabled\r\n");
    CHECK(fails(&a, ML_UP_CONNECT) && fails(&b, ML_UP_CONNECT));
    ask(&a, redis, "GET foo");
    CHECK(a.done && ml_redis_state_of(redis) == ML_REDIS_DOWN);
    ml_redis_call_free(&a.call);
    finish();
}

TEST(a_call_that_waits_for_the_map_can_be_cancelled)
{
    struct ask a, b;

    begin();
    ask(&a, redis, "GET foo");
    ask(&b, redis, "GET bar");
    ml_redis_call_free(&a.call);
    peer_hello(&low);
    peer_expect(&low, SLOTS);
    say_map(&low, low.port, high.port);
    peer_expect(&low, GET_BAR);
    SAY(&low, "+bar\r\n");
    CHECK(answers(&b, "bar") && high.accepted == 0);
    finish();
}

TEST(maps_that_are_none_are_not_believed)
{
    static const char *const bad[] = {
        "*0\r\n",
        ":1\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n*2\r\n:0\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:-1\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:2\r\n:1\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\na\r\n:65536\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$3\r\na/b\r\n:1\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\na\r\n",
        "*1\r\n*3\r\n:0\r\n:1\r\n$1\r\na\r\n",
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ask a;

        begin();
        ask(&a, redis, "GET foo");
        peer_hello(&low);
        peer_expect(&low, SLOTS);
        peer_say(&low, ml_str_of(bad[i]));
        CHECK(fails(&a, ML_UP_CONNECT));
        finish();
    }
}

TEST(a_transaction_has_keys_of_one_slot)
{
    const char *v[] = {"GET", "foo"}, *w[] = {"GET", "bar"}, *x[] = {"GET", "x{foo}"};
    const size_t len[] = {3, 3}, x_len[] = {3, 6};
    struct ml_redis_argv foo = {2, v, len}, bar = {2, w, len}, tagged = {2, x, x_len};
    struct ask a;

    begin();
    ask_new(&a, redis);
    ml_redis_call_atomic(a.call);
    CHECK(ml_redis_call_add(a.call, &foo) && ml_redis_call_add(a.call, &tagged));
    CHECK(!ml_redis_call_add(a.call, &bar));
    ml_redis_call_free(&a.call);
    finish();
}

TEST(a_node_that_is_gone_is_asked_about_and_its_successor_used)
{
    struct ask a;

    begin();
    connect_both();
    close(high.listener);
    ask(&a, redis, "GET foo");
    peer_expect(&high, GET_FOO);
    peer_hang_up(&high);
    CHECK(fails(&a, ML_UP_CLOSED));
    for (bool moved = false; !moved;) {
        ask(&a, redis, "GET foo");
        while (!a.done) {
            lab_turn();
            peer_poll(&low);
            if (ml_buf_len(&low.in) >= sizeof SLOTS - 1) {
                peer_expect(&low, SLOTS);
                say_map(&low, low.port, low.port); /* it has all slots now */
            } else if (ml_buf_len(&low.in) >= sizeof GET_FOO - 1 &&
                       low.in.p[low.in.start + 5] == '3') {
                peer_expect(&low, GET_FOO);
                SAY(&low, "+foo\r\n");
            }
        }
        moved = a.err == ML_OK;
        ml_redis_call_free(&a.call);
        lab_turn();
        peer_poll(&low);
        if (ml_buf_len(&low.in) >= sizeof SLOTS - 1) {
            peer_expect(&low, SLOTS);
            say_map(&low, low.port, low.port);
        }
    }
    high.listener = dup(low.listener); /* for finish() */
    finish();
}
