/* ship_count.c - what is counted of a collector. */
#include "outbound/ship_parts.h"

static const struct ml_metric_def
    shipped_def = {.kind = ML_COUNTER,
                   .name = "moonlatch_log_shipped_total",
                   .help = "Lines and spans that a collector has taken",
                   .labels = {"to"}},
    refused_def = {.kind = ML_COUNTER,
                   .name = "moonlatch_log_refused_total",
                   .help = "Lines and spans that a collector does not want, which are lost",
                   .labels = {"to"}},
    errors_def = {.kind = ML_COUNTER,
                  .name = "moonlatch_log_ship_failures_total",
                  .help = "Requests to a collector that failed and are made again",
                  .labels = {"to"}},
    queued_def = {.kind = ML_GAUGE,
                  .name = "moonlatch_log_buffered_lines",
                  .help = "Lines and spans that wait for a collector",
                  .labels = {"to"}};

const char *ml_ship_label(enum ml_ship_kind kind)
{
    static const char *const names[] = {"elasticsearch", "otlp", "otlp_traces"};

    return names[kind];
}

static struct ml_slot *slot(struct ml_metrics *m, const struct ml_metric_def *def,
                            enum ml_ship_kind kind)
{
    struct ml_metric *metric = ml_metric_register(m, def, NULL);

    return metric != NULL ? ml_metric_slot_of(metric, ml_ship_label(kind), NULL, NULL, NULL) : NULL;
}

void ml_ship_count_open(struct ml_ship_count *c, struct ml_metrics *m, enum ml_ship_kind kind)
{
    if (m == NULL)
        return;
    c->shipped = slot(m, &shipped_def, kind);
    c->refused = slot(m, &refused_def, kind);
    c->errors = slot(m, &errors_def, kind);
    c->queued = slot(m, &queued_def, kind);
    c->dropped = slot(m, &ml_lines_dropped_def, kind);
}

void ml_ship_add(struct ml_slot *to, double by)
{
    if (to != NULL && by > 0)
        ml_metric_add(to, by);
}

void ml_ship_count_look(struct ml_ship_count *c, const struct ml_lines *lines)
{
    uint64_t dropped = ml_lines_dropped(lines);

    ml_ship_add(c->dropped, (double)(dropped - c->told_dropped));
    c->told_dropped = dropped;
    if (c->queued != NULL)
        ml_gauge_set(c->queued, ml_lines_count(lines));
}

void ml_ship_count_close(struct ml_ship_count *c, const struct ml_lines *lines)
{
    ml_ship_count_look(c, lines);
    ml_ship_add(c->dropped, ml_lines_count(lines));
    if (c->queued != NULL)
        ml_gauge_set(c->queued, 0);
}
