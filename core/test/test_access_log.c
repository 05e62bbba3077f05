/* test_access_log.c - one line per exchange: all fields, valid JSON whatever the client sent, short
 * enough for one write to a pipe. */
#include "inbound/access_log.h"

#include "test.h"

static struct ml_loop *loop;
static struct ml_inbound in;
static struct ml_exchange *ex;
static struct ml_buf line;

static void respond(void *ctx, struct ml_exchange *e)
{
    (void)ctx;
    (void)e;
}

static void setup(void)
{
    loop = ml_loop_new();
    in = (struct ml_inbound){.loop = loop, .service = ML_STR("gateway")};
    ex = ml_exchange_new(loop, NULL, (struct ml_wire){.respond = respond});
    ex->req.method = ML_STR("GET");
    ex->req.raw_target = ML_STR("/api/a?b=c");
    ex->req.id = ML_STR("0123456789abcdef0123456789abcdef");
    ex->req.ip = ML_STR("192.0.2.7");
}

static void teardown(void)
{
    ml_exchange_finish(&ex);
    ml_buf_release(&line);
    ml_loop_free(&loop);
}

static void format(int status)
{
    ml_buf_consume(&line, ml_buf_len(&line));
    ml_access_log_format(&line, &in, ex, status);
}

static bool has(const char *text)
{
    struct ml_str s = ml_buf_str(&line);

    return memmem(s.p, s.len, text, strlen(text)) != NULL;
}

/* One object in one line: no control bytes but the last, quotes and braces in balance. */
static bool well_formed(void)
{
    struct ml_str s = ml_buf_str(&line);
    bool quoted = false;

    if (s.len < 3 || s.len > ML_ACCESS_LINE_MAX || s.p[0] != '{' || s.p[s.len - 2] != '}')
        return false;
    for (size_t i = 0; i + 1 < s.len; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
            return false;
        if (s.p[i] == '\\')
            i++;
        else if (s.p[i] == '"')
            quoted = !quoted;
    }
    return !quoted && s.p[s.len - 1] == '\n';
}

/* No byte that is not part of well-formed UTF-8 (lengths and continuations; json.h does the rest).
 */
static bool is_utf8(struct ml_str s)
{
    for (size_t i = 0; i < s.len;) {
        unsigned char c = (unsigned char)s.p[i++];
        int more = c < 0x80 ? 0 : c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc2 ? 1 : -1;

        if (more < 0 || c > 0xf4)
            return false;
        for (; more > 0; more--, i++)
            if (i == s.len || ((unsigned char)s.p[i] & 0xc0) != 0x80)
                return false;
    }
    return true;
}

TEST(a_line_has_all_fields)
{
    setup();
    ex->notes.user_id = ML_STR("u1");
    ex->notes.upstream = ML_STR("patients");
    ex->notes.server = ML_STR("http://127.0.0.1:3003");
    ex->notes.route = ML_STR("GET /api/*rest");
    ex->notes.generation = 7;
    ex->notes.bytes_in = 5;
    ex->notes.bytes_out = 18446744073709551615u;
    ex->notes.upstream_s = 0.0015;
    ex->notes.tries = 2;
    ex->req.major = 2;
    format(200);
    CHECK(well_formed());
    CHECK(has("{\"@timestamp\":\"20") && has("Z\",\"level\":\"info\",\"message\":\"request\""));
    CHECK(has(",\"service\":\"gateway\",\"requestId\":\"0123456789abcdef0123456789abcdef\""));
    CHECK(has(",\"ip\":\"192.0.2.7\",\"protocol\":\"HTTP/2.0\",\"method\":\"GET\",\"url\":\"/api/a?b=c\""));
    CHECK(has(",\"userId\":\"u1\"") && has(",\"statusCode\":200,\"responseTime\":"));
    CHECK(has(",\"upstream\":\"patients\",\"server\":\"http://127.0.0.1:3003\""));
    CHECK(has(",\"route\":\"GET /api/*rest\",\"bytesIn\":5,\"bytes\":18446744073709551615"));
    CHECK(has(",\"generation\":7,\"upstreamTime\":1.500,\"tries\":2}\n"));
    teardown();
}

TEST(what_is_not_known_is_null)
{
    setup();
    format(404);
    CHECK(well_formed());
    CHECK(has(",\"userId\":null") && has(",\"upstream\":null") && has(",\"route\":null"));
    CHECK(has("\"level\":\"warn\"") && !has("\"reason\"") && !has("\"tries\""));
    teardown();
}

TEST(a_failure_says_its_reason)
{
    setup();
    ex->notes.why = ML_UP_TIMEOUT;
    format(504);
    CHECK(has("\"level\":\"error\"") && has(",\"reason\":\"upstream_timeout\"}\n"));
    teardown();
}

TEST(bytes_that_are_no_text_are_escaped)
{
    setup();
    ex->req.method = ML_STR("G\"\\T");
    ex->req.raw_target =
        ML_STR("/a\n\x1b[31m\x7f\"},{\"x\":\"\xff\xc0\xae\xed\xa0\x80\xe2\x82\xac\xc2\x9b");
    ml_headers_add(&ex->req.headers, ex->arena, ML_STR("User-Agent"), ML_STR("a\tb\x80"));
    format(400);
    CHECK(well_formed() && is_utf8(ml_buf_str(&line)));
    CHECK(has("\"method\":\"G\\\"\\\\T\"") && has("/a\\n\\u001b[31m") && has("\xe2\x82\xac"));
    CHECK(!has("\xc2\x9b") && has("\\\"},{\\\"x\\\":\\\""));
    teardown();
}

static void long_values(const char *unit)
{
    size_t unit_len = strlen(unit), len = 30000 / unit_len * unit_len;
    char *p;
    struct ml_str s;

    setup();
    p = ml_arena_alloc(ex->arena, len);
    for (size_t i = 0; i < len; i++)
        p[i] = unit[i % unit_len];
    s = (struct ml_str){p, len};
    ex->req.method = ex->req.raw_target = ex->req.id = ex->req.ip = s;
    ex->notes.user_id = ex->notes.route = ex->notes.upstream = ex->notes.server = s;
    ex->notes.service = s;
    ml_headers_add(&ex->req.headers, ex->arena, ML_STR("User-Agent"), s);
    ex->notes.bytes_in = ex->notes.bytes_out = UINT64_MAX;
    ex->notes.generation = UINT32_MAX;
    ex->notes.why = ML_UP_CONNECT_TIMEOUT;
    ex->notes.upstream_s = 1e9;
    ex->notes.tries = UINT32_MAX;
    format(599);
    CHECK(well_formed() && is_utf8(ml_buf_str(&line)));
    CHECK(has("\"userAgent\"") && has("\"statusCode\":599") && has("\"tries\":4294967295"));
    teardown();
}

TEST(long_values_are_cut_but_never_the_line)
{
    long_values("x");
    long_values("\x01");
    long_values("\"");
    long_values("\xff");
    long_values("\xe2\x82\xac");
    long_values("\xf0\x9f\x98\x80");
    long_values("abcdefghij\x01");
}

static void read_back(FILE *f, char *out, size_t cap)
{
    size_t len;

    rewind(f);
    len = fread(out, 1, cap - 1, f);
    out[len] = '\0';
}

TEST(lines_go_to_the_log_of_the_listener_if_it_has_one)
{
    char text[ML_ACCESS_LINE_MAX * 2];
    FILE *f = tmpfile();

    setup();
    ml_access_log_write(&in, ex, 200);
    in.access_log = ml_log_on_fd(fileno(f));
    ml_access_log_write(&in, ex, 200);
    ml_access_log_write(&in, ex, ML_STATUS_CLIENT_GONE);
    ml_log_flush(in.access_log);
    read_back(f, text, sizeof text);
    CHECK(strstr(text, "\"statusCode\":200") != NULL && strstr(text, "\"statusCode\":499") != NULL);
    CHECK(strlen(text) > 2 && strchr(text, '\n') != strrchr(text, '\n'));
    ml_log_free(&in.access_log);
    fclose(f);
    teardown();
}
