/* test_http1_response.c - how a response is framed, and which ones no client may see. */
#include "heads.h"

static struct ml_http1_response r;
static struct ml_arena *arena;
static char *kept;
static size_t kept_len;

static void forget(void)
{
    if (arena != NULL)
        ml_arena_free(&arena);
    if (kept != NULL)
        test_cliff_free(kept, kept_len);
    kept = NULL;
    memset(&r, 0, sizeof r);
}

static enum ml_err parse(const char *method, const char *bytes, size_t len)
{
    size_t head_len = 0;
    enum ml_err err = head_scan(bytes, len, &head_len);

    forget();
    if (err != ML_OK)
        return err == ML_AGAIN ? err : ML_UP_PROTOCOL;
    arena = ml_arena_new();
    kept = test_cliff(bytes, kept_len = head_len);
    return ml_http1_parse_response(kept, kept_len, ml_str_of(method), arena, &head_limits, &r);
}

#define PARSE(method, bytes) parse(method, bytes, sizeof(bytes) - 1)
#define OK(fields) "HTTP/1.1 200 OK\r\n" fields "\r\n"
#define REFUSED(bytes) CHECK(PARSE("GET", bytes) == ML_UP_PROTOCOL)

TEST(a_response_is_read_as_it_was_sent)
{
    CHECK(PARSE("GET", "HTTP/1.1 404 Not \xc3\x84 Found\r\nContent-Length: 12\r\nX_y: z\r\n\r\n") ==
          ML_OK);
    CHECK(r.status == 404 && r.minor == 1 && str_is(r.reason, "Not \xc3\x84 Found"));
    CHECK(r.framing == ML_BODY_LENGTH && r.length == 12 && r.has_length && r.keep_alive);
    CHECK(r.headers.count == 2 && str_is(r.headers.v[1].name, "X_y"));
    forget();
}

TEST(the_reason_may_be_empty_or_missing)
{
    CHECK(PARSE("GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n") == ML_OK && r.reason.len == 0);
    CHECK(PARSE("GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n") == ML_OK && r.reason.len == 0);
    forget();
}

TEST(status_lines_that_are_none)
{
    REFUSED("HTTP/1.1 20 OK\r\n\r\n");
    REFUSED("HTTP/1.1 2000 OK\r\n\r\n");
    REFUSED("HTTP/1.1 099 OK\r\n\r\n");
    REFUSED("HTTP/1.1 2x0 OK\r\n\r\n");
    REFUSED("HTTP/1.1 -20 OK\r\n\r\n");
    REFUSED("HTTP/1.1  200 OK\r\n\r\n");
    REFUSED("HTTP/1.1\t200 OK\r\n\r\n");
    REFUSED("HTTP/1.1 200OK\r\n\r\n");
    REFUSED("HTTP/2.0 200 OK\r\n\r\n");
    REFUSED("HTTP/1.10 200 OK\r\n\r\n");
    REFUSED("http/1.1 200 OK\r\n\r\n");
    REFUSED("ICY 200 OK\r\n\r\n");
    REFUSED("\r\nHTTP/1.1 200 OK\r\n\r\n");
    REFUSED(" HTTP/1.1 200 OK\r\n\r\n");
    REFUSED("HTTP/1.1 200 O\1K\r\n\r\n");
    REFUSED("HTTP/1.1 200 OK\n\n");
    REFUSED("HTTP/1.1\r\n\r\n");
    REFUSED("<html>\r\n\r\n");
    CHECK(PARSE("GET", "HTTP/1.1 200 OK\r\n") == ML_AGAIN);
    forget();
}

TEST(without_framing_the_close_ends_the_body)
{
    CHECK(PARSE("GET", OK("")) == ML_OK && r.framing == ML_BODY_CLOSE && !r.keep_alive);
    CHECK(PARSE("POST", OK("Connection: keep-alive\r\n")) == ML_OK);
    CHECK(r.framing == ML_BODY_CLOSE && !r.keep_alive);
    forget();
}

TEST(framing_in_doubt_is_refused)
{
    REFUSED(OK("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"));
    REFUSED(OK("Content-Length: 5\r\nContent-Length: 5\r\n"));
    REFUSED(OK("Content-Length: 5, 5\r\n"));
    REFUSED(OK("Content-Length: -1\r\n"));
    REFUSED(OK("Content-Length: 9223372036854775808\r\n"));
    REFUSED(OK("Content-Length:\r\n"));
    REFUSED(OK("Transfer-Encoding: gzip\r\n"));
    REFUSED(OK("Transfer-Encoding: gzip, chunked\r\n"));
    REFUSED(OK("Transfer-Encoding: chunked, chunked\r\n"));
    REFUSED(OK("Transfer-Encoding:\r\n"));
    REFUSED("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(PARSE("GET", OK("Transfer-Encoding: chunked\r\n")) == ML_OK);
    CHECK(r.framing == ML_BODY_CHUNKED && r.keep_alive && !r.has_length);
    forget();
}

TEST(malformed_fields_are_refused)
{
    REFUSED(OK("X : y\r\n"));
    REFUSED(OK(" X: y\r\n"));
    REFUSED(OK("X: y\r\n z\r\n"));
    REFUSED(OK("X\r\n"));
    REFUSED(OK(": y\r\n"));
    REFUSED(OK("X: a\nSet-Cookie: b\r\n"));
    REFUSED("HTTP/1.1 200 OK\r\nX: \0\r\n\r\n");
}

TEST(a_response_to_head_has_a_length_but_no_body)
{
    CHECK(PARSE("HEAD", OK("Content-Length: 500\r\n")) == ML_OK);
    CHECK(r.framing == ML_BODY_NONE && r.has_length && r.length == 500 && r.keep_alive);
    CHECK(PARSE("HEAD", OK("Transfer-Encoding: chunked\r\n")) == ML_OK);
    CHECK(r.framing == ML_BODY_NONE && !r.has_length);
    CHECK(PARSE("HEAD", OK("")) == ML_OK && r.framing == ML_BODY_NONE && r.keep_alive);
    CHECK(PARSE("head", OK("Content-Length: 5\r\n")) == ML_OK && r.framing == ML_BODY_LENGTH);
    CHECK(PARSE("HEAD", OK("Content-Length: x\r\n")) == ML_UP_PROTOCOL);
    forget();
}

TEST(statuses_that_have_no_body)
{
    CHECK(PARSE("GET", "HTTP/1.1 304 N\r\nContent-Length: 500\r\n\r\n") == ML_OK);
    CHECK(r.framing == ML_BODY_NONE && r.has_length && r.length == 500);
    CHECK(PARSE("GET", "HTTP/1.1 204 N\r\n\r\n") == ML_OK && r.framing == ML_BODY_NONE);
    CHECK(r.keep_alive);
    CHECK(PARSE("GET", "HTTP/1.1 204 N\r\nContent-Length: 0\r\nA: b\r\n\r\n") == ML_OK);
    CHECK(r.framing == ML_BODY_NONE && !r.has_length && r.headers.count == 1);
    REFUSED("HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n");
    REFUSED("HTTP/1.1 204 N\r\nTransfer-Encoding: chunked\r\n\r\n");
    REFUSED("HTTP/1.1 100 C\r\nContent-Length: 5\r\n\r\n");
    REFUSED("HTTP/1.1 103 C\r\nTransfer-Encoding: chunked\r\n\r\n");
    CHECK(PARSE("GET", "HTTP/1.1 100 C\r\n\r\n") == ML_OK && r.framing == ML_BODY_NONE);
    forget();
}

TEST(connection_ends_or_goes_on)
{
    CHECK(PARSE("GET", OK("Content-Length: 1\r\nConnection: close\r\n")) == ML_OK);
    CHECK(!r.keep_alive);
    CHECK(PARSE("GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n") == ML_OK && !r.keep_alive);
    CHECK(PARSE("GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n") ==
          ML_OK);
    CHECK(r.keep_alive && r.minor == 0);
    forget();
}

TEST(limits_have_their_own_outcome)
{
    char head[1200] = "HTTP/1.1 200 ";
    size_t len = strlen(head);

    arena = ml_arena_new();
    memset(head + len, 'r', 201 - len);
    memcpy(head + 201, "\r\n\r\n", 4);
    CHECK(ml_http1_parse_response(head, 205, ML_STR("GET"), arena, &head_limits, &r) ==
          ML_UP_TOO_LARGE);
    CHECK(ml_http1_parse_response(head, 1001, ML_STR("GET"), arena, &head_limits, &r) ==
          ML_UP_TOO_LARGE);
    forget();
    arena = ml_arena_new();
    strcpy(head, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 9; i++)
        strcat(head, "A: b\r\n");
    strcat(head, "\r\n");
    CHECK(ml_http1_parse_response(head, strlen(head), ML_STR("GET"), arena, &head_limits, &r) ==
          ML_UP_TOO_LARGE);
    forget();
}

TEST(reasons_are_the_registered_ones)
{
    CHECK(strcmp(ml_http1_reason(200), "OK") == 0);
    CHECK(strcmp(ml_http1_reason(404), "Not Found") == 0);
    CHECK(strcmp(ml_http1_reason(431), "Request Header Fields Too Large") == 0);
    CHECK(strcmp(ml_http1_reason(299), "") == 0);
    CHECK(strcmp(ml_http1_reason(999), "") == 0);
    CHECK(strcmp(ml_http1_reason(0), "") == 0);
    for (int status = -5; status < 1100; status++)
        CHECK(ml_http1_reason(status) != NULL);
}

TEST(what_belongs_to_the_connection_is_known)
{
    CHECK(PARSE("GET", OK("Connection: x-a, Set-Cookie\r\nX-A: 1\r\nX-B: 2\r\nSet-Cookie: c\r\n"
                          "Keep-Alive: t\r\nUpgrade: h2c\r\nContent-Length: 0\r\n")) == ML_OK);
    CHECK(ml_http1_hop_by_hop(&r.headers, &r.headers.v[0]));
    CHECK(ml_http1_hop_by_hop(&r.headers, &r.headers.v[1]));
    CHECK(!ml_http1_hop_by_hop(&r.headers, &r.headers.v[2]));
    CHECK(!ml_http1_hop_by_hop(&r.headers, &r.headers.v[3])); /* can not be named away */
    CHECK(ml_http1_hop_by_hop(&r.headers, &r.headers.v[4]));
    CHECK(ml_http1_hop_by_hop(&r.headers, &r.headers.v[5]));
    CHECK(!ml_http1_hop_by_hop(&r.headers, &r.headers.v[6]));
    forget();
}
