#include "redis_lab.h"

#define GET_A "*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
#define GET_B "*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"

static struct peer peer;
static struct ml_redis *redis;

static void begin(double timeout_s)
{
    lab_begin();
    peer_open(&peer);
    redis = client(timeout_s, "redis://127.0.0.1:%d", peer.port);
}

static void finish(void)
{
    ml_redis_release(&redis);
    peer_close(&peer);
    lab_end();
}

/* A connection that works. */
static void connect_it(void)
{
    struct ask a;

    ask(&a, redis, "GET a");
    peer_hello(&peer);
    peer_expect(&peer, GET_A);
    SAY(&peer, "+OK\r\n");
    CHECK(answers(&a, "OK"));
}

TEST(nothing_connects_before_the_first_command)
{
    begin(5);
    lab_turn();
    lab_turn();
    peer_poll(&peer);
    CHECK(peer.accepted == 0 && ml_redis_state_of(redis) == ML_REDIS_IDLE);
    connect_it();
    CHECK(peer.accepted == 1 && ml_redis_state_of(redis) == ML_REDIS_READY);
    finish();
}

TEST(it_signs_in_before_any_command_is_sent)
{
    struct ask a;

    lab_begin();
    peer_open(&peer);
    redis = client(5, "redis://app:s3cret@127.0.0.1:%d/2", peer.port);
    ask(&a, redis, "GET a");
    peer_expect(&peer, "*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$6\r\ns3cret\r\n"
                       "*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n" PING);
    SAY(&peer, "+OK\r\n+OK\r\n");
    for (int i = 0; i < 5; i++) {
        lab_turn();
        peer_poll(&peer);
    }
    CHECK(ml_buf_len(&peer.in) == 0);
    SAY(&peer, "+PONG\r\n");
    peer_expect(&peer, GET_A);
    SAY(&peer, "$1\r\nv\r\n");
    CHECK(answers(&a, "v"));
    finish();
}

TEST(a_refused_password_is_an_outage_and_is_not_told)
{
    struct ask a;

    lab_begin();
    peer_open(&peer);
    redis = client(5, "redis://:SECRET@127.0.0.1:%d", peer.port);
    ask(&a, redis, "GET a");
    peer_expect(&peer, "*2\r\n$4\r\nAUTH\r\n$6\r\nSECRET\r\n" PING);
    SAY(&peer, "-SECRET is wrong\r\n-NOAUTH\r\n");
    ask_wait(&a);
    CHECK(strstr(a.why, "SECRET") == NULL && strstr(a.why, "refused") != NULL);
    CHECK(fails(&a, ML_UP_CONNECT) && ml_redis_state_of(redis) == ML_REDIS_DOWN);
    finish();
}

TEST(commands_of_one_turn_go_in_one_piece_and_replies_keep_their_order)
{
    struct ask a, b, c;

    begin(5);
    connect_it();
    ask(&a, redis, "GET a");
    ask(&b, redis, "GET b");
    ask(&c, redis, "GET a");
    peer_expect(&peer, GET_A GET_B GET_A);
    SAY(&peer, "$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
    CHECK(answers(&a, "1") && answers(&b, "2") && answers(&c, "3"));
    finish();
}

TEST(replies_may_come_in_any_pieces)
{
    static const char text[] = "$3\r\nabc\r\n-ERR x\r\n";
    struct ask a, b;

    begin(5);
    connect_it();
    ask(&a, redis, "GET a");
    ask(&b, redis, "GET b");
    peer_expect(&peer, GET_A GET_B);
    for (size_t i = 0; i < sizeof text - 1; i++) {
        peer_say(&peer, (struct ml_str){text + i, 1});
        lab_turn();
    }
    CHECK(answers(&a, "abc") && answers(&b, "ERR x"));
    finish();
}

TEST(the_reply_of_a_cancelled_command_is_dropped_and_the_order_holds)
{
    struct ask a, b;

    begin(5);
    connect_it();
    ask(&a, redis, "GET a");
    ask(&b, redis, "GET b");
    peer_expect(&peer, GET_A GET_B);
    ml_redis_call_free(&a.call);
    SAY(&peer, "$1\r\n1\r\n$1\r\n2\r\n");
    CHECK(answers(&b, "2") && !a.done);
    finish();
}

TEST(what_was_cancelled_before_the_connection_stood_is_not_sent)
{
    struct ask a, b;

    begin(5);
    ask(&a, redis, "GET a");
    ask(&b, redis, "GET b");
    ml_redis_call_free(&a.call);
    peer_hello(&peer);
    peer_expect(&peer, GET_B);
    SAY(&peer, "$1\r\n2\r\n");
    CHECK(answers(&b, "2"));
    finish();
}

TEST(a_refused_connection_fails_at_once_then_without_an_attempt)
{
    struct ask a, b;

    begin(5);
    close(peer.listener);
    ask(&a, redis, "GET a");
    CHECK(!a.done); /* never from inside */
    CHECK(fails(&a, ML_UP_CONNECT) && ml_redis_state_of(redis) == ML_REDIS_DOWN);
    ask(&b, redis, "GET b");
    CHECK(b.done && fails(&b, ML_UP_CONNECT));
    peer_listen(&peer, peer.port);
    peer_hello(&peer); /* it comes by itself */
    while (ml_redis_state_of(redis) != ML_REDIS_READY)
        lab_turn();
    ask(&a, redis, "GET a");
    peer_expect(&peer, GET_A);
    SAY(&peer, "+OK\r\n");
    CHECK(answers(&a, "OK"));
    finish();
}

TEST(a_lost_connection_fails_what_waits_and_the_next_command_connects)
{
    struct ask a, b;

    begin(5);
    connect_it();
    ask(&a, redis, "GET a");
    ask(&b, redis, "GET b");
    peer_expect(&peer, GET_A GET_B);
    SAY(&peer, "$1\r\n1\r\n$5\r\nab");
    peer_hang_up(&peer);
    CHECK(answers(&a, "1") && fails(&b, ML_UP_CLOSED));
    CHECK(ml_redis_state_of(redis) == ML_REDIS_IDLE);
    connect_it();
    CHECK(peer.accepted == 2);
    finish();
}

TEST(an_idle_connection_that_the_server_closes_is_made_anew)
{
    begin(5);
    connect_it();
    peer_hang_up(&peer);
    while (ml_redis_state_of(redis) != ML_REDIS_IDLE)
        lab_turn();
    connect_it();
    finish();
}

TEST(a_silent_server_times_out_and_is_down_until_it_answers)
{
    struct ask a, b, c;

    begin(0.05);
    connect_it();
    ask(&a, redis, "GET a");
    ask(&b, redis, "GET b");
    CHECK(fails(&a, ML_UP_TIMEOUT) && fails(&b, ML_UP_TIMEOUT));
    CHECK(ml_redis_state_of(redis) == ML_REDIS_DOWN);
    ask(&c, redis, "GET a");
    CHECK(c.done && fails(&c, ML_UP_CONNECT));
    while (peer.accepted < 2) { /* it accepts, but does not answer */
        lab_turn();
        peer_poll(&peer);
    }
    ask(&c, redis, "GET a");
    CHECK(c.done && fails(&c, ML_UP_CONNECT));
    peer_hello(&peer);
    while (ml_redis_state_of(redis) != ML_REDIS_READY)
        lab_turn();
    ask(&a, redis, "GET a");
    peer_expect(&peer, GET_A);
    SAY(&peer, "+OK\r\n");
    CHECK(answers(&a, "OK"));
    finish();
}

TEST(a_late_reply_is_not_taken_for_that_of_the_next_command)
{
    struct ask a, b;
    struct ml_timer timer = {0};

    begin(0.6);
    connect_it();
    ask(&a, redis, "GET a");
    peer_expect(&peer, GET_A);
    ml_timer_init(&timer, lab.loop, lab_nothing, NULL);
    ml_timer_set(&timer, 0.3);
    while (timer.due_s > 0)
        lab_turn();
    SAY(&peer, "$4\r\nla"); /* the server lives, but the reply is too late */
    CHECK(fails(&a, ML_UP_TIMEOUT));
    CHECK(ml_redis_state_of(redis) == ML_REDIS_READY);
    ask(&b, redis, "GET b");
    peer_expect(&peer, GET_B);
    SAY(&peer, "te\r\n$1\r\n2\r\n");
    CHECK(answers(&b, "2"));
    ml_timer_drop(&timer);
    finish();
}

TEST(a_server_that_drips_does_not_hold_a_place_for_ever)
{
    struct ask a;

    begin(0.03);
    connect_it();
    ask(&a, redis, "GET a");
    peer_expect(&peer, GET_A);
    SAY(&peer, "$9999\r\n");
    CHECK(fails(&a, ML_UP_TIMEOUT));
    while (!peer.eof && ml_redis_state_of(redis) != ML_REDIS_DOWN) {
        SAY(&peer, "x");
        lab_turn();
    }
    CHECK(ml_redis_state_of(redis) == ML_REDIS_DOWN);
    finish();
}

TEST(garbage_too_much_and_what_nobody_asked_for_end_the_connection)
{
    static const char *const bad[] = {
        "HTTP/1.1 400\r\n", "$99999999999\r\n", "*2147483647\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "$1\r\nabc\r\n"};
    struct ask a;

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin(5);
        connect_it();
        ask(&a, redis, "GET a");
        peer_expect(&peer, GET_A);
        peer_say(&peer, ml_str_of(bad[i]));
        ask_wait(&a);
        CHECK(a.err != ML_UP_TIMEOUT);
        ml_redis_call_free(&a.call);
        while (ml_redis_state_of(redis) != ML_REDIS_DOWN)
            lab_turn();
        finish();
    }
    begin(5);
    connect_it();
    SAY(&peer, "+nobody asked\r\n");
    while (ml_redis_state_of(redis) != ML_REDIS_DOWN)
        lab_turn();
    finish();
}

TEST(more_than_the_queue_holds_is_refused_at_once)
{
    enum { MANY = 16384 }; /* ML_REDIS_QUEUE_MAX */
    static struct ask asks[MANY + 1];
    unsigned ok = 0;

    begin(5);
    for (unsigned i = 0; i <= MANY; i++)
        ask(&asks[i], redis, "GET a");
    CHECK(asks[MANY].done && asks[MANY].err == ML_OVERLOAD && !asks[0].done);
    peer_hello(&peer);
    for (unsigned i = 0; i < MANY; i++) {
        peer_expect(&peer, GET_A);
        SAY(&peer, ":1\r\n");
    }
    for (unsigned i = 0; i <= MANY; i++) {
        ask_wait(&asks[i]);
        ok += asks[i].err == ML_OK;
        ml_redis_call_free(&asks[i].call);
    }
    CHECK(ok == MANY);
    finish();
}

TEST(a_pipeline_has_all_replies_in_order)
{
    struct ask a;

    begin(5);
    ask_new(&a, redis);
    ask_add(&a, "GET a");
    ask_add(&a, "GET b");
    ask_add(&a, "GET a");
    ask_send(&a);
    peer_hello(&peer);
    peer_expect(&peer, GET_A GET_B GET_A);
    SAY(&peer, ":1\r\n-ERR x\r\n");
    lab_turn();
    CHECK(!a.done);
    SAY(&peer, "$-1\r\n");
    ask_wait(&a);
    CHECK(a.err == ML_OK && ml_redis_call_count(a.call) == 3);
    CHECK(ml_redis_call_reply(a.call, 0)->integer == 1);
    CHECK(ml_redis_call_reply(a.call, 1)->type == ML_REDIS_ERROR);
    CHECK(ml_redis_call_reply(a.call, 2)->type == ML_REDIS_NIL);
    ml_redis_call_free(&a.call);
    finish();
}

#define MULTI "*1\r\n$5\r\nMULTI\r\n"
#define EXEC "*1\r\n$4\r\nEXEC\r\n"

static void transaction(struct ask *a)
{
    ask_new(a, redis);
    ml_redis_call_atomic(a->call);
    ask_add(a, "GET a");
    ask_add(a, "GET b");
    ask_send(a);
    peer_expect(&peer, MULTI GET_A GET_B EXEC);
}

TEST(a_transaction_has_one_reply)
{
    struct ask a;

    begin(5);
    connect_it();
    transaction(&a);
    SAY(&peer, "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n:2\r\n");
    ask_wait(&a);
    CHECK(a.err == ML_OK && ml_redis_call_count(a.call) == 1);
    CHECK(ml_redis_call_reply(a.call, 0)->items[1]->integer == 2);
    ml_redis_call_free(&a.call);
    transaction(&a);
    SAY(&peer, "+OK\r\n+QUEUED\r\n-ERR no such\r\n-EXECABORT x\r\n");
    CHECK(answers(&a, "ERR no such"));
    finish();
}

TEST(a_transaction_that_is_cancelled_leaves_the_order_as_it_was)
{
    struct ask a, b;

    begin(5);
    connect_it();
    transaction(&a);
    ask(&b, redis, "GET b");
    ml_redis_call_free(&a.call);
    SAY(&peer, "+OK\r\n-ERR x\r\n+QUEUED\r\n-EXECABORT x\r\n$1\r\n2\r\n");
    CHECK(answers(&b, "2"));
    finish();
}

TEST(a_script_that_the_server_does_not_know_is_sent_in_the_same_call)
{
    struct ml_redis_script *script = ml_redis_script_new(ML_STR("return 1"));
    char sha[128];
    struct ask a;

    CHECK(strcmp(script->sha, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db") == 0);
    begin(5);
    connect_it();
    ask_new(&a, redis);
    snprintf(sha, sizeof sha, "EVALSHA %s 1 key arg", script->sha);
    ask_add(&a, sha);
    ml_redis_call_script(a.call, script);
    ml_redis_script_release(&script);
    ask_send(&a);
    peer_expect(&peer, "*5\r\n$7\r\nEVALSHA\r\n$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n"
                       "$1\r\n1\r\n$3\r\nkey\r\n$3\r\narg\r\n");
    SAY(&peer, "-NOSCRIPT No matching script.\r\n");
    peer_expect(&peer,
                "*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n$3\r\narg\r\n");
    SAY(&peer, "+done\r\n");
    CHECK(answers(&a, "done"));
    finish();
}

TEST(clients_of_one_configuration_share_the_connection)
{
    struct ml_redis *other, *third;

    begin(5);
    connect_it();
    other = client(5, "redis://127.0.0.1:%d", peer.port);
    third = client(4, "redis://127.0.0.1:%d", peer.port);
    CHECK(other == redis && third != redis);
    ml_redis_release(&other);
    ml_redis_release(&third);
    CHECK(ml_redis_state_of(redis) == ML_REDIS_READY);
    finish();
}

TEST(a_call_keeps_its_client)
{
    struct ask a;

    begin(5);
    ask(&a, redis, "GET a");
    ml_redis_release(&redis);
    peer_hello(&peer);
    peer_expect(&peer, GET_A);
    SAY(&peer, "+OK\r\n");
    CHECK(answers(&a, "OK"));
    peer_wait_eof(&peer); /* it was the last one who held it */
    peer_close(&peer);
    lab_end();
}

static struct ask again;

static void ask_again(void *ctx)
{
    struct ask *a = ctx;

    ask_done(a);
    ml_redis_call_free(&a->call);
    ask(&again, redis, "GET b");
}

TEST(who_is_told_of_an_end_may_ask_again)
{
    struct ask a;

    begin(5);
    connect_it();
    a = (struct ask){.call = ml_redis_call_new(redis, ask_again, &a)};
    ask_add(&a, "GET a");
    ask_send(&a);
    peer_expect(&peer, GET_A);
    peer_hang_up(&peer);
    ask_wait(&a);
    CHECK(a.err == ML_UP_CLOSED);
    peer_hello(&peer);
    peer_expect(&peer, GET_B);
    SAY(&peer, "+OK\r\n");
    CHECK(answers(&again, "OK"));
    finish();
}

#ifndef ML_HARD /* 80 MB, a byte at a time */
TEST(replies_of_one_call_are_bounded_together)
{
    enum { LEN = 20 << 20 };
    struct ml_buf text = {0};
    struct ask a;

    begin(30);
    ask_new(&a, redis);
    for (int i = 0; i < 4; i++)
        ask_add(&a, "GET a");
    ask_send(&a);
    peer_hello(&peer);
    peer_expect(&peer, GET_A GET_A GET_A GET_A);
    ml_buf_printf(&text, "$%d\r\n", LEN);
    memset(ml_buf_reserve(&text, LEN + 2), 'v', LEN);
    ml_buf_commit(&text, LEN);
    ml_buf_append(&text, ML_STR("\r\n"));
    for (int i = 0; i < 4; i++)
        peer_say(&peer, ml_buf_str(&text));
    CHECK(fails(&a, ML_LIMIT));
    CHECK(ml_redis_state_of(redis) == ML_REDIS_READY);
    ml_buf_release(&text);
    finish();
}
#endif
