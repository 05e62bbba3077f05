/* access_log.c - the line of one exchange.
 *
 * Values that a client chooses are cut, then escaped, so that a line stays below 4096 bytes: pipes
 * write that much in one piece, and collectors cut longer lines in the middle.  A byte takes at
 * most six bytes when it is escaped; the long values share a budget that counts what they took. */
#include "inbound/access_log.h"

#include "base/decimal.h"
#include "base/json.h"
#include "base/lines.h"
#include "base/log.h"
#include "base/redact.h"
#include "inbound/access_pretty.h"
#include "inbound/date.h"
#include "inbound/tracing.h"

enum {
    FIXED_MAX = 1550, /* what keys, numbers and the values of our own take at most */
    ESCAPED_MAX = 6,  /* bytes that one byte may become */
    SHORT_MAX = 64
};

/* For then each name is a literal of known length. */
#define INLINE static inline __attribute__((always_inline))

INLINE void key(struct ml_buf *out, const char *name)
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

/* The longest piece of s that surely fits into max escaped bytes, never a part of a UTF-8
 * sequence. */
static struct ml_str cut(struct ml_str s, size_t max)
{
    size_t fits = max / ESCAPED_MAX;

    if (s.len <= fits)
        return s;
    if (ml_json_plain((struct ml_str){s.p, s.len < max ? s.len : max}))
        fits = max;
    if (s.len <= fits)
        return s;
    while (fits > 0 && ((unsigned char)s.p[fits] & 0xc0) == 0x80)
        fits--;
    return (struct ml_str){s.p, fits};
}

/* A string of at most max bytes in its escaped form, null when empty: whoever reads the log finds
 * the same fields in every line. */
INLINE void text_or_null(struct ml_buf *out, const char *name, struct ml_str s, size_t max)
{
    key(out, name);
    if (s.len > 0)
        ml_json_string(out, cut(s, max));
    else
        ml_buf_append(out, ML_STR("null"));
}

/* The same, but left out when empty. */
INLINE void text(struct ml_buf *out, const char *name, struct ml_str s, size_t max)
{
    if (s.len == 0)
        return;
    key(out, name);
    ml_json_string(out, cut(s, max));
}

INLINE void number(struct ml_buf *out, const char *name, uint64_t n)
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

static enum ml_log_level level(int status)
{
    return status < 400 ? ML_LOG_INFO : status < 500 ? ML_LOG_WARN : ML_LOG_ERROR;
}

static void url(struct ml_buf *out, struct ml_str target, size_t max)
{
    struct ml_buf copy = {0};

    text(out, "url", ml_redact_url(target, &copy), max);
    ml_buf_release(&copy);
}

/* conf adds fields, or a script did. */
static size_t reserved(const struct ml_access_conf *conf, const struct ml_exchange *ex)
{
    bool any = ex->notes.fields.len > 0 || (conf != NULL && conf->field_count > 0);

    return any ? FIXED_MAX + ML_LOG_FIELDS_MAX : FIXED_MAX;
}

static void request_part(struct ml_buf *out, const struct ml_access_conf *conf,
                         const struct ml_exchange *ex, int status)
{
    static const struct ml_str agent = {"user-agent", 10};
    const struct ml_field *f = ml_headers_find(&ex->req.headers, agent);
    size_t left = ML_ACCESS_LINE_MAX - reserved(conf, ex), before = ml_buf_len(out), took;

    url(out, ex->req.raw_target, left - left / 4);
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

/* ---- what the site adds ---- */

static void header_field(struct ml_buf *out, const struct ml_exchange *ex,
                         const struct ml_access_field *a, size_t max)
{
    const struct ml_headers *h = a->response ? &ex->res.headers : &ex->req.headers;
    const struct ml_field *f = ml_headers_find(h, a->header);
    struct ml_buf copy = {0};
    struct ml_str value;

    if (f == NULL)
        return;
    value = f->value;
    if (ml_redact_header(a->header))
        value = ML_STR(ML_REDACTED);
    else if (ml_str_ieq(a->header, ML_STR("referer")) || ml_str_ieq(a->header, ML_STR("location")))
        value = ml_redact_url(value, &copy);
    ml_buf_append(out, ML_STR(",\""));
    ml_buf_append(out, a->key);
    ml_buf_append(out, ML_STR("\":"));
    ml_json_string(out, cut(value, max));
    ml_buf_release(&copy);
}

/* Together they stay below ML_LOG_FIELDS_MAX. */
static void site_part(struct ml_buf *out, const struct ml_access_conf *conf,
                      const struct ml_exchange *ex)
{
    size_t begin = ml_buf_len(out);

    ml_buf_append(out, ex->notes.fields);
    for (unsigned i = 0; conf != NULL && i < conf->field_count; i++) {
        size_t took = ml_buf_len(out) - begin + conf->fields[i].key.len + 6;

        if (took >= ML_LOG_FIELDS_MAX)
            return;
        header_field(out, ex, &conf->fields[i], ML_LOG_FIELDS_MAX - took);
    }
}

static void level_and_message(struct ml_buf *out, const struct ml_access_conf *conf,
                              enum ml_log_level level_of)
{
    static const struct ml_str usual[] = {
        [ML_LOG_INFO] = {",\"level\":\"info\",\"message\":\"request\"", 35},
        [ML_LOG_WARN] = {",\"level\":\"warn\",\"message\":\"request\"", 35},
        [ML_LOG_ERROR] = {",\"level\":\"error\",\"message\":\"request\"", 36}};

    if (conf == NULL || conf->message.len == 0) {
        ml_buf_append(out, usual[level_of]);
        return;
    }
    text(out, "level", ml_str_of(ml_log_level_name(level_of)), SHORT_MAX);
    text(out, "message", conf->message, SHORT_MAX);
}

static void trace_part(struct ml_buf *out, const struct ml_trace *trace)
{
    if (trace == NULL)
        return;
    text(out, "traceId", ml_str_of(trace->id), SHORT_MAX);
    text(out, "spanId", ml_str_of(trace->span), SHORT_MAX);
}

void ml_access_log_format(struct ml_buf *out, const struct ml_inbound *in,
                          const struct ml_exchange *ex, int status)
{
    struct ml_str service = ex->notes.service.len > 0 ? ex->notes.service : in->service;

    ml_buf_append(out, ML_STR("{\"@timestamp\":\""));
    ml_buf_append(out, ml_date_rfc3339());
    ml_buf_append(out, ML_STR("\""));
    level_and_message(out, in->access, level(status));
    text(out, "service", service, SHORT_MAX);
    text(out, "requestId", ex->req.id, SHORT_MAX);
    text(out, "ip", ex->req.ip, SHORT_MAX);
    text_or_null(out, "protocol", protocol(&ex->req), SHORT_MAX);
    text(out, "method", ex->req.method, SHORT_MAX);
    request_part(out, in->access, ex, status);
    millis(out, "responseTime", ml_loop_now_s(ex->loop) - ex->notes.start_s);
    notes_part(out, ex);
    trace_part(out, ex->trace);
    site_part(out, in->access, ex);
    ml_buf_append(out, ML_STR("}\n"));
}

/* ---- which exchanges, and where to ---- */

/* Some of those that went well, by chance. */
static bool is_left_out(const struct ml_access_conf *conf, const struct ml_exchange *ex, int status)
{
    static uint64_t random = UINT64_C(0x9e3779b97f4a7c15);

    if (level(status) < conf->level)
        return true;
    if (conf->skip <= 0 || status >= 400 || ex->notes.why != ML_OK)
        return false;
    if (conf->slow_s > 0 && ml_loop_now_s(ex->loop) - ex->notes.start_s >= conf->slow_s)
        return false;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return (double)(random >> 11) * 0x1p-53 < conf->skip;
}

static void write_line(const struct ml_inbound *in, const struct ml_exchange *ex, int status,
                       struct ml_buf *line)
{
    if (in->access_log == NULL)
        return;
    if (in->access != NULL && in->access_pretty) {
        ml_buf_consume(line, ml_buf_len(line));
        ml_access_pretty(line, ex, level(status), status);
    }
    ml_log_line(in->access_log, ml_buf_str(line));
}

void ml_access_log_write(const struct ml_inbound *in, const struct ml_exchange *ex, int status)
{
    static struct ml_buf line; /* keeps its memory: a worker has one thread */

    if (in->access_log == NULL && in->tap == NULL)
        return;
    if (in->access != NULL && is_left_out(in->access, ex, status))
        return;
    ml_access_log_format(&line, in, ex, status);
    if (in->tap != NULL)
        in->tap->line(in->tap->ctx, (struct ml_str){ml_buf_str(&line).p, ml_buf_len(&line) - 1});
    write_line(in, ex, status, &line);
    ml_buf_consume(&line, ml_buf_len(&line));
}
