/* test_http1_request.c - what is a request and what is refused, whole and byte by byte. */
#include "heads.h"

/* The request that parse() left, and what its strings point into. */
static struct ml_http1_request r;
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

/* Scans and parses; the bytes behind the head, which the parser must not see, are cut off. */
static enum ml_err parse(const char *bytes, size_t len)
{
    size_t head_len = 0;
    enum ml_err err = head_scan(bytes, len, &head_len);

    forget();
    if (err != ML_OK)
        return err;
    CHECK(head_len <= len);
    arena = ml_arena_new();
    kept = test_cliff(bytes, kept_len = head_len);
    return ml_http1_parse_request(kept, kept_len, arena, &head_limits, &r);
}

#define PARSE(bytes) parse(bytes, sizeof(bytes) - 1)
#define REFUSED(err, bytes) CHECK(PARSE(bytes) == ML_##err)
#define GET(fields) "GET /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define POST(fields) "POST /a HTTP/1.1\r\nHost: a\r\n" fields "\r\n"
#define WITH_LINE(line) line "\r\nHost: a\r\n\r\n"

TEST(a_request_is_read_as_it_was_sent)
{
    CHECK(PARSE("GET /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nX-One:1\r\nX-two: \t 2 \t \r\n"
                "Empty:\r\n\r\n") == ML_OK);
    CHECK(str_is(r.method, "GET") && str_is(r.target, "/a?b=c") && r.minor == 1);
    CHECK(r.headers.count == 4 && r.headers.v[0].id == ML_H_HOST);
    CHECK(str_is(r.headers.v[0].value, "example.com:8080"));
    CHECK(str_is(r.headers.v[1].name, "X-One") && str_is(r.headers.v[1].value, "1"));
    CHECK(str_is(r.headers.v[2].value, "2") && str_is(r.headers.v[3].value, ""));
    CHECK(r.framing == ML_BODY_NONE && r.keep_alive && !r.expect_continue && r.upgrade.len == 0);
    forget();
}

TEST(what_follows_the_head_is_left_alone)
{
    CHECK(PARSE(GET("") "\1\2\3GET") == ML_OK);
    CHECK(kept_len == sizeof(GET("")) - 1);
    forget();
}

TEST(one_empty_line_ahead_is_skipped_and_no_more)
{
    CHECK(PARSE("\r\n" GET("")) == ML_OK && str_is(r.method, "GET"));
    REFUSED(BAD_REQUEST, "\r\n\r\n" GET(""));
    REFUSED(BAD_REQUEST, "\n" GET(""));
    REFUSED(BAD_REQUEST, "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    REFUSED(AGAIN, "\r\n");
    forget();
}

TEST(a_head_without_its_empty_line_is_incomplete)
{
    REFUSED(AGAIN, "");
    REFUSED(AGAIN, "G");
    REFUSED(AGAIN, "GET /a HTTP/1.1");
    REFUSED(AGAIN, "GET /a HTTP/1.1\r");
    REFUSED(AGAIN, "GET /a HTTP/1.1\r\nHost: a\r\n");
    REFUSED(AGAIN, "GET /a HTTP/1.1\r\nHost: a\r\n\r");
}

TEST(a_byte_that_cannot_begin_a_request_is_refused_at_once)
{
    for (int c = 0; c < 256; c++) {
        char first = (char)c;
        size_t head_len;
        bool fine = c == '\r' || (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL) ||
                    (c < 128 && ((c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z')));

        CHECK(head_scan(&first, 1, &head_len) == (fine ? ML_AGAIN : ML_BAD_REQUEST));
    }
    REFUSED(BAD_REQUEST, "\x16\x03\x01\x02"); /* a TLS ClientHello */
}

TEST(only_crlf_ends_a_line)
{
    REFUSED(BAD_REQUEST, "GET /a HTTP/1.1\nHost: a\r\n\r\n");
    REFUSED(BAD_REQUEST, "GET /a HTTP/1.1\r\nHost: a\n\r\n");
    REFUSED(BAD_REQUEST, "GET /a HTTP/1.1\r\nHost: a\r\n\n");
    REFUSED(BAD_REQUEST, "GET /a HTTP/1.1\r\nHost: a\r\r\n\r\n");
    REFUSED(BAD_REQUEST, "GET /a HTTP/1.1\rHost: a\r\n\r\n");
    REFUSED(BAD_REQUEST, GET("X: a\rb\r\n"));
    REFUSED(BAD_REQUEST, GET("X: a\nY: b\r\n"));
}

/* In the target, a name and a value; only HTAB may be, and only in a value. */
TEST(no_control_character_passes)
{
    for (int c = 0; c < 0x20; c++) {
        char target[] = "GET /_ HTTP/1.1\r\nHost: a\r\n\r\n";
        char name[] = "GET /a HTTP/1.1\r\nHost: a\r\nX_: b\r\n\r\n";
        char value[] = "GET /a HTTP/1.1\r\nHost: a\r\nX-: b_c\r\n\r\n";

        *strchr(target, '_') = (char)c;
        *strchr(name, '_') = (char)c;
        *strchr(value, '_') = (char)c;
        CHECK(parse(target, sizeof target - 1) == ML_BAD_REQUEST);
        CHECK(parse(name, sizeof name - 1) == ML_BAD_REQUEST);
        CHECK(parse(value, sizeof value - 1) == (c == '\t' ? ML_OK : ML_BAD_REQUEST));
    }
    REFUSED(BAD_REQUEST, GET("X: a\x7f\r\n"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /\x7f HTTP/1.1"));
    CHECK(PARSE(GET("X: \x80\xff\r\n")) == ML_OK); /* obs-text */
    forget();
}

TEST(the_request_line_has_two_single_spaces)
{
    REFUSED(BAD_REQUEST, WITH_LINE("GET"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET  /a HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a  HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTP/1.1 "));
    REFUSED(BAD_REQUEST, WITH_LINE(" GET /a HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET\t/a HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a\tHTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a b HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("/a GET HTTP/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GE(T /a HTTP/1.1"));
}

TEST(versions_other_than_http_1_are_told_apart_from_garbage)
{
    REFUSED(VERSION, WITH_LINE("GET /a HTTP/2.0"));
    REFUSED(VERSION, WITH_LINE("GET /a HTTP/0.9"));
    REFUSED(VERSION, "PRI * HTTP/2.0\r\n\r\n");
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a http/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTP/1.11"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTP/1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTP/01.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTP/1,1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTPS/1.1"));
    REFUSED(BAD_REQUEST, WITH_LINE("GET /a HTTP /1.1"));
    CHECK(PARSE(WITH_LINE("GET /a HTTP/1.2")) == ML_OK && r.minor == 1);
    forget();
}

TEST(a_field_is_a_token_a_colon_and_a_value)
{
    REFUSED(BAD_REQUEST, GET("X : b\r\n"));
    REFUSED(BAD_REQUEST, GET("X\t: b\r\n"));
    REFUSED(BAD_REQUEST, GET(": b\r\n"));
    REFUSED(BAD_REQUEST, GET("X\r\n"));
    REFUSED(BAD_REQUEST, GET("X Y: b\r\n"));
    REFUSED(BAD_REQUEST, GET("X(: b\r\n"));
    REFUSED(BAD_REQUEST, GET("X\x80: b\r\n"));
    REFUSED(BAD_REQUEST, GET("\"X\": b\r\n"));
}

TEST(obs_fold_is_refused_everywhere)
{
    REFUSED(BAD_REQUEST, GET("X: a\r\n b\r\n"));
    REFUSED(BAD_REQUEST, GET("X: a\r\n\tb\r\n"));
    REFUSED(BAD_REQUEST, GET("X:\r\n a: b\r\n"));
    REFUSED(BAD_REQUEST, "GET /a HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n");
    REFUSED(BAD_REQUEST, GET(" \r\n"));
}

TEST(host_is_there_once_and_valid)
{
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\n\r\n");
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\nHost:\r\n\r\n");
    REFUSED(BAD_HOST, GET("Host: a\r\n"));
    REFUSED(BAD_HOST, GET("hOST: b\r\n"));
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\nHost: a,b\r\n\r\n");
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n");
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\nHost: a/b\r\n\r\n");
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\nHost: u@a\r\n\r\n");
    REFUSED(BAD_HOST, "GET /a HTTP/1.1\r\nHost: http://a\r\n\r\n");
    REFUSED(BAD_HOST, "GET http://b/a HTTP/1.1\r\n\r\n");
    REFUSED(BAD_HOST, "GET /a HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n");
    CHECK(PARSE("GET /a HTTP/1.0\r\n\r\n") == ML_OK && !r.keep_alive && r.minor == 0);
    forget();
}

TEST(content_length_is_digits_and_nothing_else)
{
    CHECK(PARSE(POST("Content-Length: 0\r\n")) == ML_OK && r.framing == ML_BODY_LENGTH);
    CHECK(PARSE(POST("content-length:  007 \r\n")) == ML_OK && r.length == 7);
    CHECK(PARSE(POST("Content-Length: 9223372036854775807\r\n")) == ML_OK);
    CHECK(r.length == INT64_MAX);
    REFUSED(BAD_FRAMING, POST("Content-Length: 9223372036854775808\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 18446744073709551617\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length:\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: +5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: -5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 0x5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5 5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5,5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5.0\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5;a\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5\r\nContent-Length: 5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5\r\nCONTENT-LENGTH: 6\r\n"));
    REFUSED(BAD_FRAMING, GET("Content-Length: a\r\n"));
    forget();
}

TEST(transfer_encoding_is_chunked_once_and_alone)
{
    CHECK(PARSE(POST("Transfer-Encoding: chunked\r\n")) == ML_OK && r.framing == ML_BODY_CHUNKED);
    CHECK(PARSE(POST("TRANSFER-ENCODING:\tChunked \r\n")) == ML_OK);
    CHECK(r.framing == ML_BODY_CHUNKED);
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"));
    REFUSED(BAD_FRAMING, POST("Content-Length: 5\r\nTransfer-Encoding: identity\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked, chunked\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked, gzip\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding:\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: ,chunked\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked,\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: \"chunked\"\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chunked;q=1\r\n"));
    REFUSED(BAD_FRAMING, POST("Transfer-Encoding: chun ked\r\n"));
    REFUSED(NOT_IMPLEMENTED, POST("Transfer-Encoding: gzip, chunked\r\n"));
    REFUSED(NOT_IMPLEMENTED, POST("Transfer-Encoding: xchunked\r\n"));
    REFUSED(NOT_IMPLEMENTED, POST("Transfer-Encoding: identity\r\n"));
    REFUSED(BAD_FRAMING, "POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    forget();
}

TEST(names_with_an_underscore_are_left_out_but_checked)
{
    CHECK(PARSE(GET("X_User: root\r\nX-B: c\r\n")) == ML_OK && r.headers.count == 2);
    CHECK(ml_headers_find(&r.headers, ML_STR("x_user")) == NULL);
    CHECK(PARSE(POST("Content_Length: 5\r\n")) == ML_OK && r.framing == ML_BODY_NONE);
    REFUSED(BAD_REQUEST, GET("X_User : root\r\n"));
    forget();
}

TEST(connection_decides_how_it_goes_on)
{
    CHECK(PARSE(GET("Connection: close\r\n")) == ML_OK && !r.keep_alive);
    CHECK(PARSE(GET("Connection: x, CLOSE\r\n")) == ML_OK && !r.keep_alive);
    CHECK(PARSE(GET("Connection: keep-alive\r\nConnection: close\r\n")) == ML_OK);
    CHECK(!r.keep_alive);
    CHECK(PARSE("GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n") == ML_OK && r.keep_alive);
    CHECK(PARSE("GET /a HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n") == ML_OK);
    CHECK(!r.keep_alive);
    CHECK(PARSE(GET("Connection: \"close\", closed\r\n")) == ML_OK && r.keep_alive);
    forget();
}

TEST(connection_may_not_name_what_decides)
{
    REFUSED(BAD_REQUEST, GET("Connection: host\r\n"));
    REFUSED(BAD_REQUEST, GET("Connection: close, Content-Length\r\n"));
    REFUSED(BAD_REQUEST, GET("Connection: a\r\nConnection: transfer-encoding\r\n"));
    REFUSED(BAD_REQUEST, GET("Connection: AUTHORIZATION\r\n"));
    REFUSED(BAD_REQUEST, GET("Connection: ,,cookie\r\n"));
}

TEST(only_100_continue_can_be_expected)
{
    CHECK(PARSE(POST("Expect: 100-Continue\r\nContent-Length: 5\r\n")) == ML_OK);
    CHECK(r.expect_continue);
    CHECK(PARSE(POST("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")) == ML_OK);
    CHECK(r.expect_continue);
    CHECK(PARSE(POST("Expect: 100-continue\r\nContent-Length: 0\r\n")) == ML_OK);
    CHECK(!r.expect_continue);
    CHECK(PARSE(GET("Expect: 100-continue\r\n")) == ML_OK && !r.expect_continue);
    CHECK(PARSE("POST /a HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n") == ML_OK);
    CHECK(!r.expect_continue);
    REFUSED(EXPECTATION, POST("Expect: 200-ok\r\n"));
    REFUSED(EXPECTATION, POST("Expect: 100-continue, x\r\n"));
    REFUSED(EXPECTATION, POST("Expect: 100-continue\r\nExpect: x\r\n"));
    forget();
}

TEST(an_upgrade_counts_only_where_it_is_clear)
{
    CHECK(PARSE(GET("Connection: Upgrade\r\nUpgrade: websocket\r\n")) == ML_OK);
    CHECK(str_is(r.upgrade, "websocket"));
    CHECK(PARSE(GET("Upgrade: websocket\r\n")) == ML_OK && r.upgrade.len == 0);
    CHECK(PARSE(GET("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n")) == ML_OK);
    CHECK(r.upgrade.len == 0);
    CHECK(PARSE(POST("Connection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n")) == ML_OK);
    CHECK(r.upgrade.len == 0);
    CHECK(PARSE("GET /a HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n") == ML_OK);
    CHECK(r.upgrade.len == 0);
    forget();
}

TEST(methods_that_are_never_served)
{
    REFUSED(NOT_IMPLEMENTED, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    REFUSED(METHOD_REFUSED, WITH_LINE("TRACE /a HTTP/1.1"));
    CHECK(PARSE(WITH_LINE("connect /a HTTP/1.1")) == ML_OK);
    CHECK(PARSE(WITH_LINE("M-SEARCH /a HTTP/1.1")) == ML_OK && str_is(r.method, "M-SEARCH"));
    REFUSED(
        NOT_IMPLEMENTED,
        WITH_LINE("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1"));
    forget();
}

TEST(results_change_on_success_only)
{
    struct ml_http1_request before;

    forget();
    memset(&r, 0x55, sizeof r);
    before = r;
    arena = ml_arena_new();
    CHECK(ml_http1_parse_request("GET / HTTP/1.1\r\n\r\n", 18, arena, &head_limits, &r) ==
          ML_BAD_HOST);
    CHECK(memcmp(&before, &r, sizeof r) == 0);
    forget();
}

static enum ml_err parse_sized(size_t line_len, size_t fields, size_t value_len)
{
    char *head = malloc(line_len + 64 + fields * (value_len + 8)), *w = head;
    enum ml_err err;

    w += sprintf(w, "GET /");
    memset(w, 'a', line_len - 14);
    w += line_len - 14;
    w += sprintf(w, " HTTP/1.1\r\nHost: a\r\n");
    for (size_t i = 0; i < fields; i++) {
        w += sprintf(w, "X: ");
        memset(w, 'v', value_len);
        w += value_len;
        w += sprintf(w, "\r\n");
    }
    w += sprintf(w, "\r\n");
    err = parse(head, (size_t)(w - head));
    free(head);
    return err;
}

TEST(limits_hold_to_the_byte)
{
    CHECK(parse_sized(200, 0, 0) == ML_OK);
    CHECK(parse_sized(201, 0, 0) == ML_URI_TOO_LONG);
    CHECK(parse_sized(5000, 0, 0) == ML_URI_TOO_LONG);
    CHECK(parse_sized(50, 7, 1) == ML_OK);
    CHECK(parse_sized(50, 8, 1) == ML_HEADERS_TOO_LARGE);
    CHECK(parse_sized(52, 1, 930) == ML_OK && kept_len == 1000);
    CHECK(parse_sized(52, 1, 931) == ML_HEADERS_TOO_LARGE);
    CHECK(parse_sized(52, 1, 5000) == ML_HEADERS_TOO_LARGE);
    forget();
}

/* Whatever one byte of a good head is changed into: it is parsed or refused, never past the end. */
TEST(any_byte_may_be_any_other)
{
    static const char head[] = "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\n";
    size_t len = sizeof head - 1;
    char copy[sizeof head];

    for (size_t i = 0; i < len; i++)
        for (int c = 0; c < 256; c += 1) {
            struct ml_http1_scan scan = {0};
            size_t head_len;

            memcpy(copy, head, len);
            copy[i] = (char)c;
            if (scan_on_cliff(&scan, &head_limits, copy, len, &head_len) != ML_OK)
                continue;
            forget();
            arena = ml_arena_new();
            kept = test_cliff(copy, kept_len = head_len);
            if (ml_http1_parse_request(kept, kept_len, arena, &head_limits, &r) != ML_OK)
                continue;
            CHECK(ml_headers_get(&r.headers, ML_H_HOST) != NULL);
            CHECK(r.framing != ML_BODY_CHUNKED && r.framing != ML_BODY_CLOSE);
        }
    forget();
}
