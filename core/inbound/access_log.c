/* access_log.c - the line of one exchange.
 *
 * Values that a client chooses are cut, then escaped, so that a line stays below 4096 bytes: pipes
 * write that much in one piece, and collectors cut longer lines in the middle.  A byte takes at
 * most six bytes when it is escaped; the long values share a budget that counts what they took. */
#include "inbound/access_log.h"

#include "base/decimal.h"
#include "base/json.h"
#include "base/log.h"
#include "inbound/date.h"

enum {
    FIXED_MAX = 1400, /* what keys, numbers and the values of our own take at most */
    ESCAPED_MAX = 6,  /* bytes that one byte may become */
    SHORT_MAX = 64
};

static void key(struct ml_buf *out, const char *name)
{
    size_t len = strlen(name);
    char *p = ml_buf_reserve(out, len + 4);

    p[0] = ',';
    p[1] = '"';
    memcpy(p + 2, name, len);
    p[len + 2] = '"';
    p[len + 3] = ':';
    ml_buf_commit(out, len + 4);
}

/* Does s stay as it is in JSON?  Nearly always. */
static bool plain(struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return true;
}

/* The longest piece of s that surely fits into max escaped bytes, never a part of a UTF-8
 * sequence. */
static struct ml_str cut(struct ml_str s, size_t max)
{
    size_t fits = max / ESCAPED_MAX;

    if (s.len <= fits)
        return s;
    if (plain((struct ml_str){s.p, s.len < max ? s.len : max}))
        fits = max;
    if (s.len <= fits)
        return s;
    while (fits > 0 && ((unsigned char)s.p[fits] & 0xc0) == 0x80)
        fits--;
    return (struct ml_str){s.p, fits};
}

/* A string of at most max bytes in its escaped form, null when empty: whoever reads the log finds
 * the same fields in every line. */
static void text_or_null(struct ml_buf *out, const char *name, struct ml_str s, size_t max)
{
    key(out, name);
    if (s.len > 0)
        ml_json_string(out, cut(s, max));
    else
        ml_buf_append(out, ML_STR("null"));
}

/* The same, but left out when empty. */
static void text(struct ml_buf *out, const char *name, struct ml_str s, size_t max)
{
    if (s.len == 0)
        return;
    key(out, name);
    ml_json_string(out, cut(s, max));
}

static void number(struct ml_buf *out, const char *name, uint64_t n)
{
    char digits[ML_DECIMAL_CAP];

    key(out, name);
    ml_buf_append(out, (struct ml_str){digits, ml_decimal(digits, n)});
}

/* Seconds as milliseconds with three decimals: whole microseconds. */
static void millis(struct ml_buf *out, const char *name, double s)
{
    uint64_t us = s > 0 ? (uint64_t)(s * 1e6 + 0.5) : 0;
    char frac[4] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                    (char)('0' + us % 10)};

    number(out, name, us / 1000);
    ml_buf_append(out, (struct ml_str){frac, sizeof frac});
}

static const char *level(int status)
{
    return status < 400 ? "info" : status < 500 ? "warn" : "error";
}

static void request_part(struct ml_buf *out, const struct ml_exchange *ex, int status)
{
    static const struct ml_str agent = {"user-agent", 10};
    const struct ml_field *f = ml_headers_find(&ex->req.headers, agent);
    size_t left = ML_ACCESS_LINE_MAX - FIXED_MAX, before = ml_buf_len(out), took;

    text(out, "url", ex->req.raw_target, left - left / 4);
    took = ml_buf_len(out) - before;
    left -= took < left ? took : left;
    text_or_null(out, "userId", ex->notes.user_id, left / 3);
    if (f != NULL)
        text(out, "userAgent", f->value, left / 2);
    number(out, "statusCode", (uint64_t)status);
}

/* Empty when the client's bytes have not told it. */
static struct ml_str protocol(const struct ml_request *req)
{
    if (req->major == 2)
        return ML_STR("HTTP/2.0");
    if (req->major != 1)
        return ML_STR_NONE;
    return req->minor == 0 ? ML_STR("HTTP/1.0") : ML_STR("HTTP/1.1");
}

static void notes_part(struct ml_buf *out, const struct ml_exchange *ex)
{
    const struct ml_exchange_notes *n = &ex->notes;

    text_or_null(out, "upstream", n->upstream, SHORT_MAX);
    text(out, "server", n->server, 2 * SHORT_MAX);
    text_or_null(out, "route", n->route, 3 * SHORT_MAX);
    number(out, "bytesIn", n->bytes_in);
    number(out, "bytes", n->bytes_out);
    number(out, "generation", n->generation);
    if (n->upstream_s >= 0)
        millis(out, "upstreamTime", n->upstream_s);
    if (n->tries > 0)
        number(out, "tries", n->tries);
    if (n->why != ML_OK)
        text(out, "reason", ml_str_of(ml_err_word(n->why)), SHORT_MAX);
}

void ml_access_log_format(struct ml_buf *out, const struct ml_inbound *in,
                          const struct ml_exchange *ex, int status)
{
    struct ml_str service = ex->notes.service.len > 0 ? ex->notes.service : in->service;

    ml_buf_append(out, ML_STR("{\"@timestamp\":\""));
    ml_buf_append(out, ml_date_rfc3339());
    ml_buf_append(out, ML_STR("\""));
    text(out, "level", ml_str_of(level(status)), SHORT_MAX);
    text(out, "message", ML_STR("request"), SHORT_MAX);
    text(out, "service", service, SHORT_MAX);
    text(out, "requestId", ex->req.id, SHORT_MAX);
    text(out, "ip", ex->req.ip, SHORT_MAX);
    text_or_null(out, "protocol", protocol(&ex->req), SHORT_MAX);
    text(out, "method", ex->req.method, SHORT_MAX);
    request_part(out, ex, status);
    millis(out, "responseTime", ml_loop_now_s(ex->loop) - ex->notes.start_s);
    notes_part(out, ex);
    ml_buf_append(out, ML_STR("}\n"));
}

void ml_access_log_write(const struct ml_inbound *in, const struct ml_exchange *ex, int status)
{
    static struct ml_buf line; /* keeps its memory: a worker has one thread */

    if (in->access_log == NULL)
        return;
    ml_access_log_format(&line, in, ex, status);
    ml_log_line(in->access_log, ml_buf_str(&line));
    ml_buf_consume(&line, ml_buf_len(&line));
}
