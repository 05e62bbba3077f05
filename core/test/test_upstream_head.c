/* test_upstream_head.c - which fields of a request reach a server, and what the gateway adds. */
#include "outbound/upstream_head.h"

#include "test.h"

static struct ml_loop *loop;
static struct ml_exchange *ex;
static char head[65536];

static void begin(const char *method, const char *path)
{
    struct ml_request *r;

    loop = ml_loop_new();
    ex = ml_exchange_new(loop, NULL, (struct ml_wire){0});
    r = &ex->req;
    r->method = ml_str_of(method);
    r->path = ml_str_of(path);
    r->scheme = ML_STR("http");
    r->host = ML_STR("shop.test");
    r->authority = ML_STR("Shop.test:8080");
    r->major = r->minor = 1;
    r->peer_ip = r->ip = ML_STR("192.0.2.1");
}

static void add(const char *name, const char *value)
{
    ml_headers_add(&ex->req.headers, ex->arena, ml_str_of(name), ml_str_of(value));
}

static void write_conf(struct ml_head_conf conf)
{
    struct ml_buf out = {0};

    if (conf.host.len == 0)
        conf.host = ML_STR("up:3000");
    ml_upstream_head_write(&out, ex, &conf);
    snprintf(head, sizeof head, "%.*s", (int)ml_buf_len(&out), out.p + out.start);
    ml_buf_release(&out);
}

static void write_head(void)
{
    write_conf((struct ml_head_conf){.via = true});
}

static void end(void)
{
    ml_exchange_cancel(&ex, ML_CANCELLED);
    ml_loop_free(&loop);
}

/* Is there a line that begins with this (after CRLF)? */
static bool has(const char *line)
{
    char text[256];

    snprintf(text, sizeof text, "\r\n%s", line);
    return strcasestr(head, text) != NULL;
}

static unsigned count(const char *name)
{
    char text[256];
    unsigned n = 0;

    snprintf(text, sizeof text, "\r\n%s:", name);
    for (const char *p = head; (p = strcasestr(p, text)) != NULL; p++)
        n++;
    return n;
}

static bool ends_once(void)
{
    const char *end_at = strstr(head, "\r\n\r\n");

    return end_at != NULL && end_at[4] == '\0';
}

TEST(the_whole_head_of_a_plain_request)
{
    begin("GET", "/a/b");
    ex->req.has_query = true;
    ex->req.query = ML_STR("x=1&y=%20");
    add("Host", "Shop.test:8080");
    add("Accept", "*/*");
    add("X-Empty", "");
    write_head();
    CHECK(strcmp(head, "GET /a/b?x=1&y=%20 HTTP/1.1\r\n"
                       "Host: up:3000\r\n"
                       "Accept: */*\r\n"
                       "X-Empty: \r\n"
                       "X-Forwarded-For: 192.0.2.1\r\n"
                       "X-Forwarded-Proto: http\r\n"
                       "X-Forwarded-Host: Shop.test:8080\r\n"
                       "X-Real-IP: 192.0.2.1\r\n"
                       "Via: 1.1 moonlatch\r\n"
                       "\r\n") == 0);
    end();
}

TEST(an_empty_query_keeps_its_mark)
{
    begin("GET", "/a");
    ex->req.has_query = true;
    write_head();
    CHECK(strncmp(head, "GET /a? HTTP/1.1\r\n", 18) == 0);
    end();
}

TEST(the_prefix_of_the_server_goes_before_the_path)
{
    begin("GET", "/x");
    write_conf((struct ml_head_conf){.prefix = ML_STR("/base/v1")});
    CHECK(strncmp(head, "GET /base/v1/x HTTP/1.1\r\n", 25) == 0);
    end();
    begin("OPTIONS", "*");
    write_conf((struct ml_head_conf){.prefix = ML_STR("/base/v1")});
    CHECK(strncmp(head, "OPTIONS * HTTP/1.1\r\n", 20) == 0);
    end();
}

TEST(fields_of_the_connection_stay_here)
{
    static const char *const names[] = {
        "Connection",     "Keep-Alive", "Proxy-Connection", "Proxy-Authorization",
        "Proxy",          "TE",         "Trailer",          "Upgrade",
        "HTTP2-Settings", "Expect",     "Transfer-Encoding"};

    begin("GET", "/");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        add(names[i], "x");
    write_head();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(count(names[i]) == 0);
    CHECK(ends_once());
    end();
}

TEST(fields_that_connection_names_stay_here)
{
    begin("GET", "/");
    add("Connection", "keep-alive, X-Hop");
    add("x-hop", "1");
    add("X-Other", "2");
    add("Connection", " x-two ,, close");
    add("X-Two", "3");
    add("X-Two", "4");
    write_head();
    CHECK(count("X-Hop") == 0 && count("X-Two") == 0 && has("X-Other: 2"));
    CHECK(count("Connection") == 0);
    end();
}

TEST(connection_can_not_remove_what_the_server_relies_on)
{
    static const char *const names[] = {"Authorization",
                                        "Cookie",
                                        "X-Forwarded-For",
                                        "X-Forwarded-Proto",
                                        "X-Forwarded-Host",
                                        "X-Real-IP",
                                        "Via",
                                        "Host",
                                        "X-Request-Id",
                                        "Content-Type"};

    begin("GET", "/");
    ex->req.trusted = true;
    ex->req.ip = ML_STR("198.51.100.7");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        add("Connection", names[i]);
        add(names[i], "198.51.100.7");
    }
    write_head();
    CHECK(has("Authorization: 198.51.100.7") && has("Cookie: 198.51.100.7"));
    CHECK(has("X-Forwarded-For: 198.51.100.7, 192.0.2.1\r\n"));
    CHECK(has("X-Forwarded-Proto: 198.51.100.7") && has("X-Forwarded-Host: 198.51.100.7"));
    CHECK(has("X-Real-IP: 198.51.100.7") && has("X-Request-Id: ") && has("Content-Type: "));
    CHECK(count("Host") == 1 && has("Host: up:3000") && count("Via") == 2);
    end();
}

TEST(a_client_says_nothing_of_its_own_address)
{
    begin("GET", "/");
    add("X-Forwarded-For", "6.6.6.6");
    add("x-forwarded-for", "7.7.7.7");
    add("X-Real-IP", "6.6.6.6");
    add("X-Forwarded-Proto", "https");
    add("X-Forwarded-Host", "evil.test");
    add("X-Forwarded-Port", "1");
    add("Forwarded", "for=6.6.6.6");
    write_head();
    CHECK(strstr(head, "6.6.6.6") == NULL && strstr(head, "evil") == NULL);
    CHECK(has("X-Forwarded-For: 192.0.2.1\r\n") && has("X-Forwarded-Proto: http\r\n"));
    CHECK(has("X-Forwarded-Host: Shop.test:8080\r\n") && has("X-Real-IP: 192.0.2.1\r\n"));
    CHECK(count("X-Forwarded-For") == 1 && count("X-Forwarded-Proto") == 1);
    CHECK(count("X-Forwarded-Port") == 0 && count("Forwarded") == 0);
    end();
}

TEST(a_trusted_proxy_is_believed_and_appended_to)
{
    begin("GET", "/");
    ex->req.trusted = true;
    ex->req.peer_ip = ML_STR("10.0.0.1");
    ex->req.ip = ML_STR("198.51.100.7");
    add("X-Forwarded-For", "6.6.6.6");
    add("X-Forwarded-For", "");
    add("X-Forwarded-For", "198.51.100.7");
    add("X-Forwarded-Proto", "https");
    add("X-Forwarded-Host", "front.test");
    add("X-Forwarded-Port", "443");
    add("Forwarded", "for=198.51.100.7");
    add("X-Real-IP", "6.6.6.6");
    write_head();
    CHECK(has("X-Forwarded-For: 6.6.6.6, 198.51.100.7, 10.0.0.1\r\n"));
    CHECK(count("X-Forwarded-For") == 1);
    CHECK(has("X-Forwarded-Proto: https\r\n") && count("X-Forwarded-Proto") == 1);
    CHECK(has("X-Forwarded-Host: front.test\r\n") && count("X-Forwarded-Host") == 1);
    CHECK(has("X-Forwarded-Port: 443\r\n") && has("Forwarded: for=198.51.100.7\r\n"));
    CHECK(has("X-Real-IP: 198.51.100.7\r\n") && count("X-Real-IP") == 1);
    end();
}

static bool says_port(const char *authority, const char *scheme, const char *line)
{
    bool ok;

    begin("GET", "/");
    add("X-Forwarded-Port", "1");
    ex->req.authority = ml_str_of(authority);
    ex->req.scheme = ml_str_of(scheme);
    write_conf((struct ml_head_conf){.forwarded_port = true});
    ok = count("X-Forwarded-Port") == 1 && has(line);
    end();
    return ok;
}

TEST(the_port_that_was_asked_for)
{
    CHECK(says_port("shop.test", "http", "X-Forwarded-Port: 80\r\n"));
    CHECK(says_port("shop.test", "https", "X-Forwarded-Port: 443\r\n"));
    CHECK(says_port("shop.test:8080", "https", "X-Forwarded-Port: 8080\r\n"));
    CHECK(says_port("[::1]:8443", "https", "X-Forwarded-Port: 8443\r\n"));
    CHECK(says_port("[::1]", "http", "X-Forwarded-Port: 80\r\n"));
    CHECK(says_port("", "http", "X-Forwarded-Port: 80\r\n"));
}

TEST(the_address_may_be_kept_from_the_server)
{
    begin("GET", "/");
    add("X-Real-IP", "6.6.6.6");
    write_conf((struct ml_head_conf){.no_real_ip = true});
    CHECK(count("X-Real-IP") == 0 && count("X-Forwarded-Port") == 0);
    end();
}

TEST(via_is_appended_or_left_alone)
{
    begin("GET", "/");
    ex->req.minor = 0;
    add("Via", "1.1 front");
    write_head();
    CHECK(has("Via: 1.1 front\r\n") && has("Via: 1.0 moonlatch\r\n"));
    write_conf((struct ml_head_conf){.via = false});
    CHECK(has("Via: 1.1 front\r\n") && count("Via") == 1);
    end();
}

TEST(the_length_is_written_anew)
{
    struct ml_pipe pipe = {0};

    begin("PUT", "/");
    add("Content-Length", "999");
    add("content-length", "998");
    ex->req.body = &pipe;
    ex->req.has_length = true;
    ex->req.length = 1234567890123;
    write_head();
    CHECK(has("Content-Length: 1234567890123\r\n") && count("Content-Length") == 1);
    ex->req.has_length = false;
    write_head();
    CHECK(has("Transfer-Encoding: chunked\r\n") && count("Content-Length") == 0);
    ex->req.body = NULL;
    write_head();
    CHECK(has("Content-Length: 0\r\n") && count("Content-Length") == 1);
    ex->req.method = ML_STR("DELETE");
    write_head();
    CHECK(count("Content-Length") == 0 && count("Transfer-Encoding") == 0);
    end();
}

TEST(a_request_of_our_own_says_nothing_of_a_client)
{
    begin("GET", "/");
    ex->req.peer_ip = ex->req.ip = ML_STR_NONE;
    add("X-Forwarded-For", "203.0.113.9"); /* as the script wants it */
    write_conf((struct ml_head_conf){.client = true, .via = true, .close = true});
    CHECK(strcmp(head, "GET / HTTP/1.1\r\nHost: up:3000\r\nX-Forwarded-For: 203.0.113.9\r\n"
                       "Connection: close\r\n\r\n") == 0);
    end();
}

TEST(only_a_websocket_may_be_asked_for)
{
    struct ml_pipe pipe = {0};

    begin("GET", "/");
    add("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    add("Sec-WebSocket-Version", "13");
    ex->req.upgrade = ML_STR("WebSocket");
    CHECK(ml_upstream_head_upgrade(&ex->req));
    ex->req.upgrade = ML_STR("h2c");
    CHECK(!ml_upstream_head_upgrade(&ex->req));
    ex->req.upgrade = ML_STR("websocket, h2c");
    CHECK(!ml_upstream_head_upgrade(&ex->req));
    ex->req.upgrade = ML_STR("websocket");
    ex->req.method = ML_STR("POST");
    CHECK(!ml_upstream_head_upgrade(&ex->req));
    ex->req.method = ML_STR("GET");
    ex->req.body = &pipe;
    CHECK(!ml_upstream_head_upgrade(&ex->req));
    ex->req.body = NULL;
    end();
}

TEST(a_head_of_any_size_fits)
{
    static char value[8001];

    begin("GET", "/");
    memset(value, 'v', sizeof value - 1);
    ex->req.trusted = true;
    for (int i = 0; i < 3; i++) {
        add("X-Forwarded-For", value);
        add("X-Long", value);
    }
    ex->req.authority = ex->req.host = ex->req.path = ml_str_of(value);
    write_head();
    CHECK(ends_once() && strlen(head) > 8 * 8000u);
    end();
}

/* Seconds for the value of Keep-Alive. */
static double keep_s(const char *value)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_http1_response r = {0};
    double s;

    if (value != NULL)
        ml_headers_add(&r.headers, arena, ML_STR("Keep-Alive"), ml_str_of(value));
    s = ml_upstream_head_keep_s(&r);
    ml_arena_free(&arena);
    return s;
}

TEST(the_time_a_server_keeps_a_connection_is_read)
{
    CHECK(keep_s(NULL) == 0);
    CHECK(keep_s("timeout=5") == 4);
    CHECK(keep_s("max=100, Timeout=60") == 59);
    CHECK(keep_s("timeout=1") == 0.5 && keep_s("timeout=0") == 0.5);
    CHECK(keep_s("timeout=") == 0 && keep_s("max=5") == 0);
    CHECK(keep_s("timeout=99999999999999999999") == 0);
}
