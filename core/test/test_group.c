/* test_group.c - the options of a group, and which of its servers is next. */
#include "upstream_lab.h"

static struct peer *servers[PEERS];

static void setup(unsigned count, struct ml_group_conf conf, const unsigned *weights)
{
    lab_setup();
    for (unsigned i = 0; i < count; i++)
        servers[i] = peer_open(OK_TEXT);
    lab_group(conf, weights);
}

static void gets(int count)
{
    while (count-- > 0)
        CHECK(lab_get("/", NULL) == 200);
}

static struct ml_shm_server *state_of(unsigned i)
{
    return lab.group->roster->members[i].server->state;
}

static uint64_t now_ms(void)
{
    return (uint64_t)(ml_loop_now_s(lab.loop) * 1000);
}

/* Index of the server that would get the next request. */
static unsigned pick(const char *key, const bool *tried)
{
    return ml_group_pick(lab.group, lab.group->roster, ml_str_of(key), tried).index;
}

TEST(options_have_defaults)
{
    setup(1, (struct ml_group_conf){0}, NULL);
    const struct ml_group_conf *c = &lab.group->conf;
    CHECK(c->connect_timeout == 2 && c->first_byte_timeout == 60 && c->read_timeout == 60);
    CHECK(c->send_timeout == 60 && c->total_timeout == 0 && c->keepalive == 64);
    CHECK(c->keepalive_timeout == 60 && c->max_fails == 1 && c->fail_timeout == 10);
    CHECK(c->retries == 1 && c->limits.head_max == 32768 && !c->preserve_host);
    lab_teardown();
    setup(1, (struct ml_group_conf){.keepalive = ~0u, .retries = ~0u, .max_fails = ~0u}, NULL);
    CHECK(lab.group->conf.keepalive == 0 && lab.group->conf.retries == 0);
    CHECK(lab.group->health.max_fails == ~0u);
    lab_teardown();
}

TEST(servers_take_turns_by_weight)
{
    setup(3, (struct ml_group_conf){0}, (unsigned[]){5, 2, 1});
    gets(16);
    CHECK(servers[0]->requests == 10 && servers[1]->requests == 4 && servers[2]->requests == 2);
    lab_teardown();
}

TEST(a_key_keeps_its_server_and_only_the_share_of_one_that_failed_moves)
{
    unsigned first[100], moved = 0, used = 0;
    bool tried[3] = {false};
    char key[24];

    setup(3, (struct ml_group_conf){.balance = ML_HASH}, NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "user-%d", i);
        first[i] = pick(key, NULL);
        used |= 1u << first[i];
        CHECK(pick(key, NULL) == first[i]);
    }
    CHECK(used == 7);
    tried[1] = true;
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "user-%d", i);
        moved += pick(key, tried) != first[i];
        CHECK(first[i] == 1 || pick(key, tried) == first[i]);
    }
    CHECK(moved > 10 && moved < 70);
    lab_teardown();
}

TEST(without_a_key_the_clients_address_is_hashed)
{
    setup(3, (struct ml_group_conf){.balance = ML_HASH}, NULL);
    gets(6);
    CHECK(servers[0]->requests % 6 + servers[1]->requests % 6 + servers[2]->requests % 6 == 0);
    CHECK(servers[pick("192.0.2.1", NULL)]->requests == 6);
    lab_teardown();
}

TEST(the_least_busy_server_is_next)
{
    struct call c[2];

    setup(2, (struct ml_group_conf){.balance = ML_LEAST_CONN}, NULL);
    servers[0]->answer = servers[1]->answer = NULL;
    for (int i = 0; i < 2; i++) {
        call_begin(&c[i], "GET", "/");
        call_go(&c[i]);
    }
    AWAIT(servers[0]->count == 1 && servers[1]->count == 1);
    call_end(&c[0]);
    unsigned idle = state_of(0)->in_flight == 0 ? 0 : 1;
    for (int i = 0; i < 5; i++)
        CHECK(pick("", NULL) == idle);
    call_end(&c[1]);
    lab_teardown();
}

TEST(two_choices_avoid_a_busy_server)
{
    unsigned got[3] = {0};

    setup(3, (struct ml_group_conf){.balance = ML_P2C}, NULL);
    for (int i = 0; i < 50; i++)
        ml_server_begin(lab.group->roster->members[0].server);
    for (int i = 0; i < 300; i++)
        got[pick("", NULL)]++;
    CHECK(got[0] == 0 && got[1] > 50 && got[2] > 50);
    for (int i = 0; i < 50; i++)
        ml_server_end(lab.group->roster->members[0].server);
    lab_teardown();
}

TEST(a_server_that_fails_is_left_out_and_comes_back_by_a_probe)
{
    setup(2, (struct ml_group_conf){.max_fails = 2, .fail_timeout = 0.2}, NULL);
    servers[0]->answer = "nonsense\r\n";
    for (int i = 0; i < 6; i++)
        (void)lab_get("/", NULL);
    CHECK(state_of(0)->errors == 2 && state_of(0)->last_error == ML_UP_PROTOCOL);
    CHECK(ml_health_state(state_of(0), now_ms()) == ML_HEALTH_DOWN);
    for (int i = 0; i < 4; i++)
        CHECK(lab_get("/", NULL) == 200);
    CHECK(servers[0]->requests == 2);
    servers[0]->answer = OK_TEXT;
    AWAIT(ml_health_state(state_of(0), now_ms()) == ML_HEALTH_PROBE);
    gets(4);
    CHECK(ml_health_state(state_of(0), now_ms()) == ML_HEALTH_UP);
    CHECK(servers[0]->requests > 2);
    lab_teardown();
}

TEST(a_probe_that_fails_ejects_for_another_time)
{
    setup(2, (struct ml_group_conf){.max_fails = 3, .fail_timeout = 0.1}, NULL);
    for (int i = 0; i < 3; i++)
        ml_health_failed(state_of(0), &lab.group->health, now_ms(), ML_UP_CLOSED);
    servers[0]->answer = "nonsense\r\n";
    AWAIT(ml_health_state(state_of(0), now_ms()) == ML_HEALTH_PROBE);
    for (int i = 0; i < 2; i++)
        (void)lab_get("/", NULL);
    CHECK(servers[0]->requests == 1); /* one probe, not one request each */
    CHECK(ml_health_state(state_of(0), now_ms()) == ML_HEALTH_DOWN);
    lab_teardown();
}

TEST(when_all_servers_are_down_all_are_tried)
{
    enum ml_err err;

    setup(2, (struct ml_group_conf){.fail_timeout = 60, .retries = ~0u}, NULL);
    servers[0]->answer = servers[1]->answer = "nonsense\r\n";
    for (int i = 0; i < 4; i++)
        CHECK(lab_get("/", &err) == 0 && err == ML_UP_PROTOCOL);
    CHECK(servers[0]->requests == 2 && servers[1]->requests == 2);
    servers[0]->answer = servers[1]->answer = OK_TEXT;
    gets(4); /* at once: a wrong verdict is no outage */
    CHECK((ml_health_state(state_of(0), now_ms()) == ML_HEALTH_UP) +
              (ml_health_state(state_of(1), now_ms()) == ML_HEALTH_UP) ==
          1); /* the other one waits for its probe */
    lab_teardown();
}

TEST(a_single_server_is_never_left_out)
{
    enum ml_err err;

    setup(1, (struct ml_group_conf){.fail_timeout = 60}, NULL);
    servers[0]->answer = "nonsense\r\n";
    CHECK(lab_get("/", &err) == 0 && lab_get("/", &err) == 0);
    servers[0]->answer = OK_TEXT;
    gets(2);
    CHECK(ml_health_state(state_of(0), now_ms()) == ML_HEALTH_UP);
    lab_teardown();
}

TEST(max_fails_off_never_ejects)
{
    setup(2, (struct ml_group_conf){.max_fails = ~0u}, NULL);
    servers[0]->answer = "nonsense\r\n";
    for (int i = 0; i < 8; i++)
        (void)lab_get("/", NULL);
    CHECK(servers[0]->requests == 4 && servers[1]->requests == 4);
    lab_teardown();
}

TEST(a_group_without_servers_says_so)
{
    enum ml_err err;

    setup(0, (struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/", &err) == 0 && err == ML_UP_NO_SERVER && ml_err_status(err) == 503);
    lab_teardown();
}

TEST(each_server_is_tried_once)
{
    enum ml_err err;

    lab_setup();
    for (int i = 0; i < 3; i++)
        peer_reserve(""); /* all refuse */
    lab_group((struct ml_group_conf){.retries = 10}, NULL);
    CHECK(lab_get("/", &err) == 0 && err == ML_UP_CONNECT);
    for (unsigned i = 0; i < 3; i++)
        CHECK(state_of(i)->errors == 1);
    lab_teardown();
}

TEST(retries_are_bounded)
{
    setup(3, (struct ml_group_conf){.retries = 1, .first_byte_timeout = 0.05}, NULL);
    for (int i = 0; i < 3; i++)
        servers[i]->answer = "";
    enum ml_err err;
    CHECK(lab_get("/", &err) == 0 && err == ML_UP_TIMEOUT);
    CHECK(servers[0]->requests + servers[1]->requests + servers[2]->requests == 2);
    lab_teardown();
}

TEST(the_host_field_is_the_servers_or_the_clients_or_the_scripts)
{
    struct call c;

    setup(1, (struct ml_group_conf){0}, NULL);
    gets(1);
    char want[64];
    snprintf(want, sizeof want, "\r\nHost: 127.0.0.1:%d\r\n", servers[0]->port);
    CHECK(strstr(servers[0]->head, want) != NULL);
    call_begin(&c, "GET", "/");
    c.f.host = ML_STR("other.test");
    call_run(&c);
    CHECK(strstr(servers[0]->head, "\r\nHost: other.test\r\n") != NULL);
    call_end(&c);
    lab_teardown();
    setup(1, (struct ml_group_conf){.preserve_host = true, .via_off = true}, NULL);
    gets(1);
    CHECK(strstr(servers[0]->head, "\r\nHost: gw.test:8080\r\n") != NULL);
    CHECK(strstr(servers[0]->head, "\r\nVia:") == NULL);
    call_begin(&c, "GET", "/");
    c.ex->req.authority = ML_STR_NONE; /* HTTP/1.0 */
    call_run(&c);
    CHECK(strstr(servers[0]->head, want + 2) == NULL && strstr(servers[0]->head, "Host: 127."));
    call_end(&c);
    lab_teardown();
}

TEST(the_prefix_of_a_server_is_joined_with_the_path)
{
    lab_setup();
    struct peer *p = peer_reserve("/base/");
    p->answer = OK_TEXT;
    peer_listen(p);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/x?y=1", NULL) == 200);
    CHECK(strncmp(p->head, "GET /base/x?y=1 HTTP/1.1\r\n", 26) == 0);
    lab_teardown();
}

TEST(a_released_group_lives_until_its_last_request_ends)
{
    struct call c;

    setup(1, (struct ml_group_conf){0}, NULL);
    servers[0]->answer = NULL;
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(servers[0]->count == 1 && link_has(&servers[0]->links[0], "\r\n\r\n"));
    ml_group_release(&lab.group); /* a reload took it out */
    link_say(&servers[0]->links[0], OK_TEXT);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && call_body_is(&c, "ok"));
    call_end(&c);
    AWAIT(servers[0]->links[0].eof); /* the server's last group went: its connections too */
    lab_teardown();
}

TEST(a_new_generation_takes_the_connections_over)
{
    struct ml_group *old;

    setup(1, (struct ml_group_conf){.keepalive = 8}, NULL);
    gets(1);
    old = lab.group;
    lab_group((struct ml_group_conf){.keepalive = 4}, NULL);
    ml_group_release(&old);
    gets(2);
    CHECK(servers[0]->count == 1 && servers[0]->requests == 3);
    CHECK(lab.group->roster->members[0].server->pool.idle_max == 4);
    lab_teardown();
}

/* ---- tiers, limits, drain, slow start, panic, other lists ---- */

static void group_of(struct ml_group_conf conf, struct ml_server_conf *list, unsigned count)
{
    lab_setup();
    conf.name = ML_STR("tiers");
    conf.servers = list;
    conf.server_count = count;
    lab.group = ml_group_new(lab.o, &conf);
}

static struct ml_server_conf local(const char *url)
{
    return (struct ml_server_conf){.url = ml_str_of(url), .weight = 1};
}

static unsigned picks_of(unsigned index, int count)
{
    unsigned got = 0;

    while (count-- > 0)
        got += pick("", NULL) == index;
    return got;
}

TEST(backups_are_used_when_no_other_server_can_be)
{
    struct ml_server_conf list[3] = {local("http://127.0.0.1:1"), local("http://127.0.0.1:2"),
                                     local("http://127.0.0.1:3")};

    list[2].backup = true;
    group_of((struct ml_group_conf){.fail_timeout = 60}, list, 3);
    CHECK(picks_of(2, 20) == 0);
    ml_health_failed(state_of(0), &lab.group->health, now_ms(), ML_UP_CLOSED);
    CHECK(picks_of(1, 20) == 20);
    ml_health_drain(state_of(1), true, now_ms());
    CHECK(picks_of(2, 20) == 20);
    ml_health_failed(state_of(2), &lab.group->health, now_ms(), ML_UP_CLOSED);
    CHECK(picks_of(1, 20) == 0); /* drained: not even now */
    CHECK(picks_of(0, 20) == 10 && picks_of(2, 20) == 10);
    lab_teardown();
}

TEST(a_server_takes_no_more_than_its_limit)
{
    struct ml_server_conf list[2] = {local("http://127.0.0.1:1"), local("http://127.0.0.1:2")};

    list[0].max_conns = 1;
    group_of((struct ml_group_conf){0}, list, 2);
    ml_server_begin(lab.group->roster->members[0].server);
    CHECK(picks_of(1, 10) == 10);
    ml_health_drain(state_of(1), true, now_ms());
    CHECK(picks_of(2, 10) == 10); /* none is left */
    ml_server_end(lab.group->roster->members[0].server);
    CHECK(picks_of(0, 10) == 10);
    lab_teardown();
    group_of((struct ml_group_conf){0}, list, 1); /* and when it is the only one */
    ml_server_begin(lab.group->roster->members[0].server);
    CHECK(picks_of(1, 1) == 1);
    ml_server_end(lab.group->roster->members[0].server);
    ml_health_drain(state_of(0), true, now_ms());
    CHECK(picks_of(1, 1) == 1);
    lab_teardown();
}

TEST(below_the_panic_threshold_all_servers_are_used)
{
    struct ml_server_conf list[3] = {local("http://127.0.0.1:1"), local("http://127.0.0.1:2"),
                                     local("http://127.0.0.1:3")};

    group_of((struct ml_group_conf){.panic_threshold = 50, .fail_timeout = 60}, list, 3);
    ml_health_failed(state_of(0), &lab.group->health, now_ms(), ML_UP_CLOSED);
    CHECK(picks_of(0, 30) == 0); /* two of three are enough */
    ml_health_failed(state_of(1), &lab.group->health, now_ms(), ML_UP_CLOSED);
    CHECK(picks_of(0, 30) == 10);
    ml_health_drain(state_of(0), true, now_ms()); /* it counts as none: one of two is up */
    CHECK(picks_of(2, 30) == 30);
    lab_teardown();
}

TEST(a_server_that_is_up_again_starts_slowly)
{
    struct ml_server_conf list[2] = {local("http://127.0.0.1:1"), local("http://127.0.0.1:2")};

    group_of((struct ml_group_conf){.slow_start = 1000}, list, 2);
    CHECK(picks_of(0, 20) == 10);
    atomic_store(&state_of(0)->recovered_ms, now_ms());
    CHECK(picks_of(0, 200) <= 5);
    atomic_store(&state_of(0)->recovered_ms, now_ms() - 500000);
    CHECK(picks_of(0, 300) >= 95 && picks_of(0, 300) <= 105); /* half a weight of one and a half */
    atomic_store(&state_of(1)->recovered_ms, now_ms() - 500000);
    CHECK(picks_of(0, 20) == 10); /* all slow: all equal */
    ml_health_drain(state_of(1), true, now_ms());
    CHECK(picks_of(0, 20) == 20);
    lab_teardown();
}

TEST(another_list_counts_for_the_next_request_and_not_for_one_in_flight)
{
    struct call c;

    setup(1, (struct ml_group_conf){0}, NULL);
    servers[0]->answer = NULL;
    call_begin(&c, "GET", "/");
    call_go(&c);
    AWAIT(servers[0]->count == 1 && link_has(&servers[0]->links[0], "\r\n\r\n"));
    struct peer *next = peer_open(OK_TEXT);
    struct ml_server_conf list[1] = {{.url = ml_str_of(next->url), .weight = 1}};
    ml_group_set_servers(lab.group, list, 1);
    CHECK(lab.group->roster->count == 1);
    CHECK(lab_get("/", NULL) == 200 && next->requests == 1);
    link_say(&servers[0]->links[0], OK_TEXT);
    AWAIT(call_over(&c));
    CHECK(c.err == ML_OK && call_body_is(&c, "ok"));
    call_end(&c);
    lab_teardown();
}

TEST(a_list_that_stays_the_same_keeps_its_turns)
{
    struct ml_server_conf list[2] = {local("http://127.0.0.1:1"), local("http://127.0.0.1:2")};

    group_of((struct ml_group_conf){0}, list, 2);
    struct ml_roster *before = lab.group->roster;
    unsigned first = pick("", NULL);
    ml_group_set_servers(lab.group, list, 2);
    CHECK(lab.group->roster == before && pick("", NULL) != first);
    list[1].weight = 2;
    ml_group_set_servers(lab.group, list, 2);
    CHECK(lab.group->roster != before && lab.group->roster->members[1].weight == 2);
    lab_teardown();
}
