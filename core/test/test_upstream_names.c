/* test_upstream_names.c - the names of servers: how they are asked for, their addresses, and what
 * becomes of connections. */
#include "upstream_lab.h"

TEST(a_name_from_the_hosts_file_serves)
{
    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    snprintf(p->url, sizeof p->url, "http://localhost:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    CHECK(lab_get("/a", NULL) == 200);
    CHECK(strstr(p->head, "\r\nHost: localhost:") != NULL);
    lab_teardown();
}

/* A DNS server that answers each question for A with answer_ip, or not at all. */
static int dns_open(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char csv[32];

    if (bind(fd, (struct sockaddr *)&a, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    snprintf(csv, sizeof csv, "127.0.0.1:%d", ntohs(a.sin_port));
    setenv("MOONLATCH_DNS", csv, 1);
    return fd;
}

/* Answers what was asked so far: "up.test" is 127.0.0.N for each digit. */
static void dns_serve_as(int fd, const char *digits)
{
    unsigned char m[600], name[] = "\002up\004test";
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t n = recvfrom(fd, m, 512, 0, (struct sockaddr *)&from, &from_len);
    size_t at = 12;

    if (n < 12)
        return;
    while (m[at] != 0)
        at += m[at] + 1u;
    at += 5;
    m[2] = 0x81;
    m[3] = 0x80;
    memset(m + 6, 0, 6);
    if (memcmp(m + 12, name, sizeof name) != 0)
        m[3] = 0x83; /* no such name */
    else if (m[at - 3] == 1)
        for (; *digits != '\0'; digits++, m[7]++, at += 16) {
            unsigned char rr[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 0};

            rr[15] = (unsigned char)(*digits - '0');
            memcpy(m + at, rr, sizeof rr);
        }
    (void)sendto(fd, m, at, 0, (struct sockaddr *)&from, from_len);
}

static void dns_serve(int fd)
{
    dns_serve_as(fd, "21"); /* nothing listens at the first */
}

/* A server at the same port of 127.0.0.3. */
static struct peer *peer_open_beside(const struct peer *p)
{
    struct ml_addr a = {.len = sizeof a.in};
    struct peer *q = &lab.peers[lab.peer_count++];

    a.in = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)p->port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 2)};
    peer_bind(q, &a);
    q->answer = OK_TEXT;
    peer_listen(q);
    return q;
}

/* A GET while the name has these addresses. */
static void get_by_name(int dns, const char *digits)
{
    struct call c;

    call_begin(&c, "GET", "/");
    call_go(&c);
    while (!call_over(&c)) {
        dns_serve_as(dns, digits);
        lab_turn();
    }
    CHECK(c.err == ML_OK);
    call_end(&c);
}

TEST(an_address_that_refuses_is_not_tried_again_and_again)
{
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    snprintf(p->url, sizeof p->url, "http://up.test:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    for (int i = 0; i < 6; i++)
        get_by_name(dns, "21");
    CHECK(p->requests == 6 && p->count == 1);
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}

TEST(the_addresses_of_a_name_take_turns_and_a_change_of_them_counts_at_once)
{
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_open(OK_TEXT), *q = NULL;
    snprintf(p->url, sizeof p->url, "http://up.test:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    q = peer_open_beside(p);
    for (int i = 0; i < 6; i++)
        get_by_name(dns, "13");
    CHECK(p->requests == 3 && p->count == 1 && q->requests == 3 && q->count == 1);
    while (p->requests < 100 && q->requests < 100) { /* the TTL is one second */
        unsigned before = p->requests;

        get_by_name(dns, "3");
        get_by_name(dns, "3");
        if (p->requests == before)
            break;
        for (int i = 0; i < 50; i++) {
            dns_serve_as(dns, "3");
            lab_turn();
        }
    }
    CHECK(q->requests > 3 && p->count == 1 && q->count == 1);
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}

TEST(a_name_is_asked_in_the_background_and_its_addresses_are_tried_in_turn)
{
    struct call c;
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_open(OK_TEXT);
    snprintf(p->url, sizeof p->url, "http://up.test:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    for (int i = 0; i < 4; i++) { /* 127.0.0.2 refuses */
        call_begin(&c, "GET", "/");
        c.f.once = true;
        call_go(&c);
        while (!call_over(&c)) {
            dns_serve(dns);
            lab_turn();
        }
        CHECK(c.err == ML_OK);
        call_end(&c);
    }
    CHECK(p->requests == 4 && lab.group->roster->members[0].server->state->errors == 0);
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}

TEST(a_name_that_does_not_exist_is_503)
{
    struct call c;
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_reserve("");
    snprintf(p->url, sizeof p->url, "http://none.test:%d", p->port);
    lab_group((struct ml_group_conf){0}, NULL);
    for (int i = 0; i < 2; i++) {
        call_begin(&c, "GET", "/");
        call_go(&c);
        while (!c.told) {
            dns_serve(dns);
            lab_turn();
        }
        CHECK(c.err == ML_UP_RESOLVE && ml_err_status(c.err) == 503);
        call_end(&c);
    }
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}

TEST(a_silent_dns_server_is_503_in_the_time_to_connect)
{
    enum ml_err err;
    double begin_s;
    int dns = dns_open();

    lab_setup();
    struct peer *p = peer_reserve("");
    snprintf(p->url, sizeof p->url, "http://up.test:%d", p->port);
    lab_group((struct ml_group_conf){.connect_timeout = 0.1}, NULL);
    begin_s = ml_loop_now_s(lab.loop);
    CHECK(lab_get("/", &err) == 0 && err == ML_UP_RESOLVE);
    CHECK(ml_loop_now_s(lab.loop) - begin_s < 1);
    lab_teardown();
    unsetenv("MOONLATCH_DNS");
    close(dns);
}
