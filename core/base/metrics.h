/* metrics.h - counters, gauges and histograms that all workers count together, without a lock.
 *
 *   region: who may have a series | area of worker 0 | area of worker 1 | ...
 *   area:   metric, series, series, metric, series ... | free       only its worker writes there
 *
 * Register once (at start, or when a generation begins to serve), look a series up once, keep its
 * slot: counting is a load, an addition and a store in memory that no other process writes.  A
 * record becomes part of an area by one store, when it is whole, so a worker may be killed at any
 * instruction.  The areas stay: what the dead have counted goes on counting, and a worker that is
 * started again continues in the area of its index.
 *
 * A label set beyond the cap of its metric, or for which there is no room, is counted under the
 * label values "other"; moonlatch_metrics_other_total says how often that was looked up. */
#ifndef ML_BASE_METRICS_H
#define ML_BASE_METRICS_H

#include "base/buf.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdint.h>

enum ml_metric_kind { ML_COUNTER, ML_GAUGE, ML_HISTOGRAM };
/* What a gauge of several workers is together; LAST: what was set last. */
enum ml_metric_merge { ML_MERGE_SUM, ML_MERGE_MAX, ML_MERGE_MIN, ML_MERGE_LAST };

enum {
    ML_METRIC_LABELS_MAX = 8,
    ML_METRIC_BUCKETS_MAX = 40,
    ML_METRIC_VALUE_MAX = 128, /* bytes of a label's value; longer ones are cut */
    ML_METRIC_SERIES_DEFAULT = 1000,
    ML_METRIC_SERIES_MAX = 5000
};

struct ml_metric_def {
    enum ml_metric_kind kind;
    enum ml_metric_merge merge;                   /* of a gauge */
    const char *name, *help;                      /* a counter's name ends with "_total" */
    const char *labels[ML_METRIC_LABELS_MAX + 1]; /* ends with NULL */
    double buckets[ML_METRIC_BUCKETS_MAX];        /* upper bounds, ascending; +Inf is implied */
    unsigned bucket_count;
    unsigned series_max; /* label sets of all workers; 0: ML_METRIC_SERIES_DEFAULT */
};

struct ml_metrics_region; /* in shared memory */
struct ml_metrics;        /* a process that counts: one worker's area, and an index of it */
struct ml_metric;

/* A number that one process writes and others read. */
struct ml_slot {
    _Atomic uint64_t bits; /* of a double */
};

/* Bytes that ml_metrics_init needs; memory is shared, zeroed and aligned to a page. */
size_t ml_metrics_bytes(unsigned workers);
struct ml_metrics_region *ml_metrics_init(void *memory, unsigned workers);

/* Continues in the area of that worker, whose gauges are unset.  Aborts when there is no such area.
 */
struct ml_metrics *ml_metrics_open(struct ml_metrics_region *region, unsigned worker);
void ml_metrics_close(struct ml_metrics **m); /* the counts stay */
/* The worker is gone, and what it last said of itself is true no more. */
void ml_metrics_unset_gauges(struct ml_metrics_region *region, unsigned worker);

/* The metric with that name, made when it is new; lives as long as m.  NULL, with a sentence in why
 * (may be NULL), when there is one that is something else, or too many. */
struct ml_metric *ml_metric_register(struct ml_metrics *m, const struct ml_metric_def *def,
                                     struct ml_buf *why);
/* Would it be registered? */
bool ml_metric_agrees(struct ml_metrics_region *region, const struct ml_metric_def *def,
                      struct ml_buf *why);
/* Unsets all series of a gauge that this worker has. */
void ml_metric_unset(struct ml_metric *metric);
/* The slot of the series with these label values, as many as there are labels; never NULL, lives as
 * long as m.  Bytes that are no UTF-8 are replaced. */
struct ml_slot *ml_metric_slot(struct ml_metric *metric, const struct ml_str *values);
/* The same for at most four values that are C strings; for metrics without labels: all NULL. */
struct ml_slot *ml_metric_slot_of(struct ml_metric *metric, const char *a, const char *b,
                                  const char *c, const char *d);

static inline double ml_slot_value(const struct ml_slot *slot)
{
    uint64_t bits = atomic_load_explicit(&slot->bits, memory_order_relaxed);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline void ml_slot_store(struct ml_slot *slot, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    atomic_store_explicit(&slot->bits, bits, memory_order_relaxed);
}

/* A counter goes up. */
static inline void ml_metric_add(struct ml_slot *slot, double by)
{
    ml_slot_store(slot, ml_slot_value(slot) + by);
}

void ml_gauge_set(struct ml_slot *slot, double value);
void ml_gauge_add(struct ml_slot *slot, double by);
void ml_gauge_unset(struct ml_slot *slot); /* the series is not shown */
void ml_histogram_observe(const struct ml_metric *metric, struct ml_slot *slot, double value);

/* ---- what a scraper reads ---- */

enum ml_exposition { ML_PROMETHEUS, ML_OPENMETRICS }; /* text 0.0.4, or OpenMetrics 1.0 */

const char *ml_exposition_type(enum ml_exposition format); /* Content-Type */
/* What a client with that Accept field gets. */
enum ml_exposition ml_exposition_of(struct ml_str accept);
/* Appends all metrics of the region, sums over its areas. */
void ml_metrics_write(struct ml_metrics_region *region, enum ml_exposition format,
                      struct ml_buf *out);
/* For values that are kept elsewhere: a family, then its samples.  labels: "a=\"b\",c=\"d\"" as
 * ml_exposition_label writes it, or empty. */
void ml_exposition_family(struct ml_buf *out, enum ml_exposition format, enum ml_metric_kind kind,
                          const char *name, const char *help);
void ml_exposition_sample(struct ml_buf *out, const char *name, struct ml_str labels, double value);
void ml_exposition_label(struct ml_buf *out, const char *name, struct ml_str value);
/* The last line, which OpenMetrics asks for. */
void ml_exposition_end(struct ml_buf *out, enum ml_exposition format);

#endif
