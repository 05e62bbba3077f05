/* ship_otlp.c - logs and traces by OTLP/HTTP 1.x with JSON bodies.
 *
 * A line of a log is one JSON object; its members become the record's attributes, but for those
 * that OTLP has a place for.  A span comes as OTLP wants it already: inbound/spans.c. */
#include "outbound/ship_parts.h"

#include "base/json.h"
#include "base/json_scan.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- one line of a log ---- */

struct record {
    struct ml_buf *attributes;
    struct ml_str time, level, message, trace, span;
};

static void add_value(struct ml_buf *out, const struct ml_json_item *item)
{
    bool whole = item->text.len > 0 && item->text.len < 19 &&
                 memchr(item->text.p, '.', item->text.len) == NULL &&
                 memchr(item->text.p, 'e', item->text.len) == NULL &&
                 memchr(item->text.p, 'E', item->text.len) == NULL;
    const char *before = "{\"stringValue\":\"", *after = "\"}";

    if (item->kind == ML_JSON_OBJECT || item->kind == ML_JSON_ARRAY) {
        ml_buf_append(out, ML_STR("{\"stringValue\":"));
        ml_json_string(out, item->text);
        ml_buf_append(out, ML_STR("}"));
        return;
    }
    if (item->kind == ML_JSON_NUMBER)
        before = whole ? "{\"intValue\":\"" : "{\"doubleValue\":";
    else if (item->kind != ML_JSON_STRING)
        before = "{\"boolValue\":";
    if (item->kind != ML_JSON_STRING && !(item->kind == ML_JSON_NUMBER && whole))
        after = "}";
    ml_buf_append(out, ml_str_of(before));
    ml_buf_append(out, item->text);
    ml_buf_append(out, ml_str_of(after));
}

static bool has_place(struct record *r, const struct ml_json_item *item)
{
    const struct {
        struct ml_str name, *to;
    } places[] = {{ML_STR("@timestamp"), &r->time},
                  {ML_STR("level"), &r->level},
                  {ML_STR("message"), &r->message},
                  {ML_STR("traceId"), &r->trace},
                  {ML_STR("spanId"), &r->span}};

    if (item->kind != ML_JSON_STRING)
        return item->kind == ML_JSON_NULL;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (ml_str_eq(places[i].name, item->name)) {
            *places[i].to = item->text;
            return true;
        }
    return false;
}

static void on_member(void *ctx, const struct ml_json_item *item)
{
    struct record *r = ctx;

    if (has_place(r, item))
        return;
    if (ml_buf_len(r->attributes) > 0)
        ml_buf_append(r->attributes, ML_STR(","));
    ml_buf_append(r->attributes, ML_STR("{\"key\":"));
    ml_json_string(r->attributes, item->name);
    ml_buf_append(r->attributes, ML_STR(",\"value\":"));
    add_value(r->attributes, item);
    ml_buf_append(r->attributes, ML_STR("}"));
}

/* "2024-05-06T07:08:09.123Z" as nanoseconds since 1970; 0 when it is none. */
static unsigned long long nanoseconds(struct ml_str text)
{
    char copy[32];
    struct tm t = {0};
    int ms = 0;

    if (text.len >= sizeof copy)
        return 0;
    memcpy(copy, text.p, text.len);
    copy[text.len] = '\0';
    if (sscanf(copy, "%d-%d-%dT%d:%d:%d.%d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
               &t.tm_min, &t.tm_sec, &ms) != 7)
        return 0;
    t.tm_year -= 1900;
    t.tm_mon--;
    return (unsigned long long)timegm(&t) * 1000000000ULL + (unsigned long long)ms * 1000000ULL;
}

static int severity(struct ml_str level)
{
    char c = level.len > 0 ? level.p[0] : 'i';

    return c == 'd' ? 5 : c == 'w' ? 13 : c == 'e' ? 17 : 9;
}

static void member(struct ml_buf *out, const char *name, struct ml_str escaped)
{
    if (escaped.len > 0)
        ml_buf_printf(out, ",\"%s\":\"%.*s\"", name, (int)escaped.len, escaped.p);
}

static void log_record(const struct ml_ship_conf *conf, struct ml_str line, uint64_t number,
                       bool first, struct ml_buf *out)
{
    struct ml_buf attributes = {0};
    struct record r = {.attributes = &attributes};
    unsigned long long ns;

    (void)conf;
    (void)number;
    if (!ml_json_scan(line, ML_JSON_OBJECT, on_member, &r))
        ml_buf_release(&attributes); /* then it has no attributes */
    ns = nanoseconds(r.time);
    ml_buf_printf(out, "%s{\"timeUnixNano\":\"%llu\",\"observedTimeUnixNano\":\"%llu\"",
                  first ? "" : ",", ns, ns);
    ml_buf_printf(out, ",\"severityNumber\":%d", severity(r.level));
    member(out, "severityText", r.level);
    member(out, "traceId", r.trace);
    member(out, "spanId", r.span);
    ml_buf_append(out, ML_STR(",\"body\":{\"stringValue\":\""));
    ml_buf_append(out, r.message);
    ml_buf_append(out, ML_STR("\"},\"attributes\":["));
    ml_buf_append(out, ml_buf_str(&attributes));
    ml_buf_append(out, ML_STR("]}"));
    ml_buf_release(&attributes);
}

static void span(const struct ml_ship_conf *conf, struct ml_str line, uint64_t number, bool first,
                 struct ml_buf *out)
{
    (void)conf;
    (void)number;
    if (!first)
        ml_buf_append(out, ML_STR(","));
    ml_buf_append(out, line);
}

/* ---- what is around them ---- */

static void path(const struct ml_ship_conf *conf, struct ml_buf *out)
{
    ml_buf_append(out, conf->path);
}

static void begin(const struct ml_ship_conf *conf, struct ml_buf *out)
{
    bool traces = conf->kind == ML_SHIP_OTLP_TRACES;

    ml_buf_printf(
        out, "{\"%s\":[{\"resource\":{\"attributes\":", traces ? "resourceSpans" : "resourceLogs");
    ml_buf_append(out, conf->resource.len > 0 ? conf->resource : ML_STR("[]"));
    ml_buf_printf(out, "},\"%s\":[{\"scope\":{\"name\":\"moonlatch\"},\"%s\":[",
                  traces ? "scopeSpans" : "scopeLogs", traces ? "spans" : "logRecords");
}

static void end(const struct ml_ship_conf *conf, struct ml_buf *out)
{
    (void)conf;
    ml_buf_append(out, ML_STR("]}]}]}"));
}

static void on_partial(void *ctx, const struct ml_json_item *item)
{
    struct ml_ship_result *r = ctx;
    char digits[20];
    size_t len = item->text.len < sizeof digits - 1 ? item->text.len : sizeof digits - 1;

    if (!ml_str_eq(item->name, ML_STR("rejectedLogRecords")) &&
        !ml_str_eq(item->name, ML_STR("rejectedSpans")))
        return;
    if (item->kind != ML_JSON_NUMBER && item->kind != ML_JSON_STRING)
        return;
    memcpy(digits, item->text.p, len);
    digits[len] = '\0';
    r->refused = (unsigned)strtoul(digits, NULL, 10);
    snprintf(r->why, sizeof r->why, "partial success");
}

static void on_top(void *ctx, const struct ml_json_item *item)
{
    if (ml_str_eq(item->name, ML_STR("partialSuccess")) && item->kind == ML_JSON_OBJECT)
        ml_json_scan(item->text, ML_JSON_OBJECT, on_partial, ctx);
}

/* The specification of OTLP/HTTP names what may be sent again; everything else must not be. */
static enum ml_ship_verdict judge(int status, struct ml_str body, unsigned lines,
                                  struct ml_ship_result *r)
{
    if (status >= 200 && status < 300) {
        ml_json_scan(body, ML_JSON_OBJECT, on_top, r);
        r->refused = r->refused < lines ? r->refused : lines;
        return ML_SHIP_DONE;
    }
    if (status == 429 || (status >= 502 && status <= 504))
        return ML_SHIP_AGAIN;
    if (status == 413)
        return ML_SHIP_SMALLER;
    r->refused = lines;
    snprintf(r->why, sizeof r->why, "status %d", status);
    return ML_SHIP_DONE;
}

const struct ml_ship_protocol ml_ship_otlp_logs = {.path = path,
                                                   .type = "application/json",
                                                   .begin = begin,
                                                   .line = log_record,
                                                   .end = end,
                                                   .judge = judge};
const struct ml_ship_protocol ml_ship_otlp_traces = {.path = path,
                                                     .type = "application/json",
                                                     .begin = begin,
                                                     .line = span,
                                                     .end = end,
                                                     .judge = judge};
