/* ships.c - the collectors of a worker, and how they change with its site. */
#include "outbound/ship_parts.h"

#include "outbound/client_tls.h"

#include <stdlib.h>

struct ml_ships {
    struct ml_outbound *o; /* borrowed */
    struct ml_ship *list[ML_SHIPS_MAX];
    unsigned count;
    bool logs, spans, hurry;
    struct ml_tap logs_tap, spans_tap;
};

static void push(struct ml_ships *s, struct ml_str line, bool spans)
{
    for (unsigned i = 0; i < s->count; i++)
        if ((ml_ship_conf_of(s->list[i])->kind == ML_SHIP_OTLP_TRACES) == spans)
            ml_ship_push(s->list[i], line);
}

static void on_line(void *ctx, struct ml_str line)
{
    push(ctx, line, false);
}

static void on_span(void *ctx, struct ml_str line)
{
    push(ctx, line, true);
}

struct ml_ships *ml_ships_new(struct ml_outbound *o)
{
    struct ml_ships *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->o = o;
    s->logs_tap = (struct ml_tap){on_line, s};
    s->spans_tap = (struct ml_tap){on_span, s};
    return s;
}

void ml_ships_free(struct ml_ships **ships)
{
    struct ml_ships *s = *ships;

    *ships = NULL;
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->count; i++)
        ml_ship_free(&s->list[i]);
    free(s);
}

/* ---- a site that takes the place of another ---- */

static struct ml_ship *make(struct ml_outbound *o, const struct ml_ship_conf *conf)
{
    struct ml_arena *memory = ml_arena_new();
    struct ml_ship_conf copy = *conf;

    copy.origin = ml_arena_dup(memory, conf->origin);
    copy.path = ml_arena_dup(memory, conf->path);
    copy.index = ml_arena_dup(memory, conf->index);
    copy.resource = ml_arena_dup(memory, conf->resource);
    copy.headers = ml_arena_zalloc(memory, (conf->header_count + 1) * sizeof *copy.headers);
    for (unsigned i = 0; i < conf->header_count; i++) {
        copy.headers[i].name = ml_arena_dup(memory, conf->headers[i].name);
        copy.headers[i].value = ml_arena_dup(memory, conf->headers[i].value);
    }
    return ml_ship_new(o, &copy, memory);
}

static bool same_headers(const struct ml_ship_conf *a, const struct ml_ship_conf *b)
{
    if (a->header_count != b->header_count)
        return false;
    for (unsigned i = 0; i < a->header_count; i++)
        if (!ml_str_eq(a->headers[i].name, b->headers[i].name) ||
            !ml_str_eq(a->headers[i].value, b->headers[i].value))
            return false;
    return true;
}

static bool same_tls(struct ml_outbound *o, const struct ml_client_tls *is,
                     const struct ml_ship_conf *conf)
{
    char error[ML_TLS_ERROR_MAX];
    struct ml_client_tls *tls;
    bool same;

    if (conf->tls == NULL || is == NULL)
        return conf->tls == NULL && is == NULL;
    tls = ml_client_tls_hold(o, conf->tls, conf->tls_name, error);
    same = tls == is;
    if (tls != NULL)
        ml_client_tls_release(&tls);
    return same;
}

/* Would conf make the same one? */
static bool is_same(struct ml_outbound *o, const struct ml_ship *s, const struct ml_ship_conf *b)
{
    const struct ml_ship_conf *a = ml_ship_conf_of(s);

    return ml_str_eq(a->origin, b->origin) && ml_str_eq(a->path, b->path) &&
           ml_str_eq(a->index, b->index) && ml_str_eq(a->resource, b->resource) &&
           a->daily == b->daily && a->no_template == b->no_template && a->batch == b->batch &&
           a->batch_bytes == b->batch_bytes && a->buffer == b->buffer &&
           a->interval == b->interval && a->timeout == b->timeout && a->gzip == b->gzip &&
           same_headers(a, b) && same_tls(o, ml_ship_tls(s), b);
}

/* The one of the same kind among those before, which is taken out of there; or NULL. */
static struct ml_ship *former(struct ml_ship *list[], unsigned count, enum ml_ship_kind kind)
{
    for (unsigned i = 0; i < count; i++) {
        struct ml_ship *s = list[i];

        if (s != NULL && ml_ship_conf_of(s)->kind == kind) {
            list[i] = NULL;
            return s;
        }
    }
    return NULL;
}

static struct ml_ship *successor(struct ml_ships *s, struct ml_ship *before,
                                 const struct ml_ship_conf *conf)
{
    struct ml_ship *made;

    if (before != NULL && is_same(s->o, before, conf))
        return before;
    made = make(s->o, conf);
    if (before != NULL) {
        ml_ship_inherit(made, before);
        ml_ship_free(&before);
    }
    if (s->hurry)
        ml_ship_hurry(made);
    return made;
}

void ml_ships_use(struct ml_ships *s, const struct ml_ship_conf *list, unsigned count)
{
    struct ml_ship *before[ML_SHIPS_MAX];
    unsigned before_count = s->count;

    memcpy(before, s->list, sizeof before);
    s->count = 0;
    s->logs = s->spans = false;
    for (unsigned i = 0; i < count && i < ML_SHIPS_MAX; i++) {
        s->list[s->count++] = successor(s, former(before, before_count, list[i].kind), &list[i]);
        if (list[i].kind == ML_SHIP_OTLP_TRACES)
            s->spans = true;
        else
            s->logs = true;
    }
    for (unsigned i = 0; i < before_count; i++)
        if (before[i] != NULL)
            ml_ship_free(&before[i]);
}

const struct ml_tap *ml_ships_logs(const struct ml_ships *s)
{
    return s->logs ? &s->logs_tap : NULL;
}

const struct ml_tap *ml_ships_spans(const struct ml_ships *s)
{
    return s->spans ? &s->spans_tap : NULL;
}

void ml_ships_hurry(struct ml_ships *s)
{
    s->hurry = true;
    for (unsigned i = 0; i < s->count; i++)
        ml_ship_hurry(s->list[i]);
}

bool ml_ships_idle(const struct ml_ships *s)
{
    for (unsigned i = 0; i < s->count; i++)
        if (!ml_ship_idle(s->list[i]))
            return false;
    return true;
}

void ml_ships_tick(struct ml_ships *s)
{
    for (unsigned i = 0; i < s->count; i++)
        ml_ship_tick(s->list[i]);
}
