/* tracing.c - the header `traceparent` read and written: 00-TRACE-PARENT-FLAGS (W3C Trace Context
 * section 3.2).  A malformed one, or two of them, begin a new trace (section 4.3), and then
 * `tracestate` is of no use. */
#include "inbound/tracing.h"

#include "base/clock.h"
#include "inbound/address.h"

enum { TRACE_LEN = 32, SPAN_LEN = 16, TEXT_LEN = 55 };

static const struct ml_str traceparent = {"traceparent", 11}, tracestate = {"tracestate", 10};

static bool is_hex(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return false;
    return true;
}

static bool is_zero(const char *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != '0')
            return false;
    return true;
}

static bool parse(struct ml_str s, struct ml_trace *t)
{
    const char *p = s.p;

    if (s.len < TEXT_LEN || p[2] != '-' || p[35] != '-' || p[52] != '-')
        return false;
    if (!is_hex(p, 2) || memcmp(p, "ff", 2) == 0 || !is_hex(p + 3, TRACE_LEN) ||
        !is_hex(p + 36, SPAN_LEN) || !is_hex(p + 53, 2))
        return false;
    if (is_zero(p + 3, TRACE_LEN) || is_zero(p + 36, SPAN_LEN))
        return false;
    if (s.len > TEXT_LEN && (memcmp(p, "00", 2) == 0 || p[TEXT_LEN] != '-'))
        return false;
    memcpy(t->id, p + 3, TRACE_LEN);
    memcpy(t->parent, p + 36, SPAN_LEN);
    t->sampled = strchr("13579bdf", p[54]) != NULL;
    return true;
}

static bool continues(const struct ml_tracing_conf *conf, struct ml_exchange *ex,
                      struct ml_trace *t)
{
    const struct ml_field *f = ml_headers_find(&ex->req.headers, traceparent);
    struct ml_address peer;

    if (f == NULL || ml_headers_next(&ex->req.headers, f) != NULL)
        return false;
    if (conf->accept != NULL && (!ml_address_parse(ex->req.peer_ip, &peer) ||
                                 !ml_address_within(conf->accept, conf->accept_count, &peer)))
        return false;
    return parse(f->value, t);
}

static void set_header(struct ml_exchange *ex, const char *span)
{
    struct ml_str text =
        ml_arena_printf(ex->arena, "00-%s-%s-0%d", ex->trace->id, span, ex->trace->sampled);

    ml_headers_set(&ex->req.headers, ex->arena, traceparent, text);
}

void ml_trace_begin(const struct ml_tracing_conf *conf, struct ml_exchange *ex)
{
    struct ml_trace *t = ml_arena_zalloc(ex->arena, sizeof *t);
    uint32_t random;

    if (!continues(conf, ex, t)) {
        ml_random_hex(t->id, TRACE_LEN / 2);
        ml_random_bytes(&random, sizeof random);
        t->parent[0] = '\0';
        t->sampled = (double)random / ((double)UINT32_MAX + 1) < conf->sample;
        ml_headers_remove(&ex->req.headers, tracestate);
    }
    ml_random_hex(t->span, SPAN_LEN / 2);
    ex->trace = t;
    set_header(ex, t->span);
}

void ml_trace_try(struct ml_exchange *ex)
{
    struct ml_trace *t = ex->trace;

    if (!t->sampled || t->tries >= ML_TRACE_TRIES_MAX)
        return;
    ml_random_hex(t->try_spans[t->tries], SPAN_LEN / 2);
    set_header(ex, t->try_spans[t->tries]);
    t->tries++;
}
