/* spans.c - what exchange, trail and timing have noted, written once at the end. */
#include "process/spans.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/redact.h"
#include "inbound/listener.h"
#include "inbound/tracing.h"
#include "outbound/server.h"
#include "script/steps.h"

#include <stdio.h>

enum { SERVER_SPAN = 2, CLIENT_SPAN = 3, INTERNAL_SPAN = 1, VALUE_MAX = 1024 };

struct span {
    struct ml_buf *out;
    double wall_s; /* what is to be added to a monotonic time */
    bool has_attribute;
};

/* ---- one span ---- */

static void begin(struct span *s, const struct ml_trace *t, const char *id, const char *parent,
                  int kind)
{
    ml_buf_consume(s->out, ml_buf_len(s->out));
    ml_buf_printf(s->out, "{\"traceId\":\"%s\",\"spanId\":\"%s\",\"kind\":%d", t->id, id, kind);
    if (parent[0] != '\0')
        ml_buf_printf(s->out, ",\"parentSpanId\":\"%s\"", parent);
    s->has_attribute = false;
}

static void name(struct span *s, const char *before, struct ml_str text)
{
    struct ml_buf whole = {0};

    ml_buf_append(&whole, ml_str_of(before));
    ml_buf_append(&whole, text);
    ml_buf_append(s->out, ML_STR(",\"name\":"));
    ml_json_string(s->out, ml_buf_str(&whole));
    ml_buf_release(&whole);
}

static void times(struct span *s, double from_s, double to_s)
{
    to_s = to_s > from_s ? to_s : from_s;
    ml_buf_printf(s->out, ",\"startTimeUnixNano\":\"%.0f\",\"endTimeUnixNano\":\"%.0f\"",
                  (from_s + s->wall_s) * 1e9, (to_s + s->wall_s) * 1e9);
    ml_buf_append(s->out, ML_STR(",\"attributes\":["));
}

static void key(struct span *s, const char *key_name)
{
    ml_buf_printf(s->out, "%s{\"key\":\"%s\",\"value\":", s->has_attribute ? "," : "", key_name);
    s->has_attribute = true;
}

static void text(struct span *s, const char *key_name, struct ml_str value)
{
    if (value.len == 0)
        return;
    key(s, key_name);
    ml_buf_append(s->out, ML_STR("{\"stringValue\":"));
    ml_json_string(s->out, (struct ml_str){value.p, value.len < VALUE_MAX ? value.len : VALUE_MAX});
    ml_buf_append(s->out, ML_STR("}}"));
}

static void number(struct span *s, const char *key_name, long long value)
{
    key(s, key_name);
    ml_buf_printf(s->out, "{\"intValue\":\"%lld\"}}", value);
}

static void end(struct span *s, bool failed, const struct ml_spans *to)
{
    ml_buf_append(s->out, ML_STR("]"));
    if (failed)
        ml_buf_append(s->out, ML_STR(",\"status\":{\"code\":2}"));
    ml_buf_append(s->out, ML_STR("}"));
    to->tap->line(to->tap->ctx, ml_buf_str(s->out));
}

/* ---- the request ---- */

static const char *method_of(struct ml_str method)
{
    static const char *const known[] = {"GET",     "HEAD",    "POST",  "PUT",   "DELETE",
                                        "CONNECT", "OPTIONS", "TRACE", "PATCH", NULL};

    for (const char *const *k = known; *k != NULL; k++)
        if (ml_str_eq(ml_str_of(*k), method))
            return *k;
    return NULL;
}

static void method(struct span *s, struct ml_str sent)
{
    const char *known = method_of(sent);

    text(s, "http.request.method", ml_str_of(known != NULL ? known : "_OTHER"));
    if (known == NULL)
        text(s, "http.request.method_original", sent);
}

static void error_type(struct span *s, enum ml_err why, int status)
{
    char digits[12];

    snprintf(digits, sizeof digits, "%d", status);
    text(s, "error.type", ml_str_of(why != ML_OK ? ml_err_word(why) : digits));
}

static void query(struct span *s, struct ml_str target)
{
    struct ml_buf copy = {0};
    struct ml_str shown = ml_redact_url(target, &copy);
    const char *mark = shown.len > 0 ? memchr(shown.p, '?', shown.len) : NULL;

    if (mark != NULL)
        text(s, "url.query", (struct ml_str){mark + 1, shown.len - (size_t)(mark + 1 - shown.p)});
    ml_buf_release(&copy);
}

static void request_attributes(struct span *s, const struct ml_exchange *ex, int status)
{
    const struct ml_request *req = &ex->req;
    const struct ml_listener_conf *conf = ex->server_conf;
    const struct ml_field *agent = ml_headers_find(&req->headers, ML_STR("user-agent"));
    char version[8];

    method(s, req->method);
    text(s, "url.scheme", req->scheme);
    text(s, "url.path", req->path);
    query(s, req->raw_target);
    text(s, "http.route", ex->notes.route);
    number(s, "http.response.status_code", status);
    text(s, "server.address", req->host);
    if (conf != NULL)
        number(s, "server.port", conf->port);
    text(s, "client.address", req->ip);
    text(s, "network.peer.address", req->peer_ip);
    number(s, "network.peer.port", req->peer_port);
    snprintf(version, sizeof version, req->major > 1 ? "%d" : "%d.%d", req->major, req->minor);
    text(s, "network.protocol.version", ml_str_of(version));
    if (agent != NULL)
        text(s, "user_agent.original", agent->value);
    text(s, "moonlatch.request_id", req->id);
    if (status >= 500)
        error_type(s, ex->notes.why, status);
}

static void request(struct span *s, const struct ml_exchange *ex, int status,
                    const struct ml_spans *to)
{
    const char *known = method_of(ex->req.method);
    char before[16];

    begin(s, ex->trace, ex->trace->span, ex->trace->parent, SERVER_SPAN);
    snprintf(before, sizeof before, "%s%s", known != NULL ? known : "HTTP",
             ex->notes.route.len > 0 ? " " : "");
    name(s, before, ex->notes.route);
    times(s, ex->notes.start_s, ml_clock_mono_s());
    request_attributes(s, ex, status);
    end(s, status >= 500, to);
}

/* ---- what it waited for ---- */

static void middlewares(struct span *s, const struct ml_exchange *ex, const struct ml_spans *to)
{
    const struct ml_timing *t = ex->timing;
    char id[17];

    for (unsigned i = 1; t != NULL && i < ML_STEPS_PLACES_MAX; i++) {
        const struct ml_mark *m = &t->marks[i];
        struct ml_str label = ml_steps_label(t->steps, m->step);

        if (m->waits == 0 || label.len == 0)
            continue;
        ml_random_hex(id, 8);
        begin(s, ex->trace, id, ex->trace->span, INTERNAL_SPAN);
        name(s, "middleware ", label);
        times(s, m->begin_s, t->step == m->step ? ml_clock_mono_s() : m->end_s);
        text(s, "moonlatch.middleware", label);
        end(s, false, to);
    }
}

static void server(struct span *s, struct ml_str url)
{
    struct ml_server_url parts;

    if (ml_server_url_parse(url, &parts) != NULL)
        return;
    text(s, "server.address", parts.host);
    if (parts.port > 0)
        number(s, "server.port", parts.port);
}

static void full_url(struct span *s, const struct ml_exchange *ex, struct ml_str origin)
{
    struct ml_buf url = {0}, copy = {0};

    ml_buf_append(&url, origin);
    ml_buf_append(&url, ex->req.path);
    if (ex->req.has_query) {
        ml_buf_append(&url, ML_STR("?"));
        ml_buf_append(&url, ex->req.query);
    }
    text(s, "url.full", ml_redact_url(ml_buf_str(&url), &copy));
    ml_buf_release(&url);
    ml_buf_release(&copy);
}

/* One that was given up in the middle ends now. */
static void try_span(struct span *s, const struct ml_exchange *ex, const struct ml_try *t,
                     unsigned number_of, const struct ml_spans *to)
{
    const char *known = method_of(ex->req.method);
    bool failed = t->why != ML_OK || t->status >= 400 || t->status == 0;

    begin(s, ex->trace, ex->trace->try_spans[number_of], ex->trace->span, CLIENT_SPAN);
    name(s, known != NULL ? known : "HTTP", ML_STR(""));
    times(s, t->begin_s, t->end_s > 0 ? t->end_s : ml_clock_mono_s());
    method(s, ex->req.method);
    server(s, t->server);
    full_url(s, ex, t->server);
    text(s, "moonlatch.upstream", ex->notes.upstream);
    if (t->status > 0)
        number(s, "http.response.status_code", t->status);
    if (number_of > 0)
        number(s, "http.request.resend_count", number_of);
    if (failed)
        error_type(s, t->why != ML_OK ? t->why : t->status == 0 ? ML_CANCELLED : ML_OK, t->status);
    end(s, failed, to);
}

void ml_spans_write(void *ctx, const struct ml_exchange *ex, int status)
{
    static struct ml_buf scratch; /* keeps its memory */
    const struct ml_spans *to = ctx;
    struct span s = {.out = &scratch, .wall_s = ml_clock_wall_s() - ml_clock_mono_s()};
    const struct ml_try *t = ex->trail.tries;

    if (to->tap == NULL)
        return;
    request(&s, ex, status, to);
    middlewares(&s, ex, to);
    for (unsigned i = 0; t != NULL && i < ex->trace->tries; i++, t = t->next)
        try_span(&s, ex, t, i, to);
}
