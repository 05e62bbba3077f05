/* metrics_register.c - a name stands for one metric, in all workers and all generations. */
#include "base/metrics.h"

#include "base/metrics_parts.h"

#include <assert.h>

static unsigned label_count(const struct ml_metric_def *def)
{
    unsigned n = 0;

    while (n < ML_METRIC_LABELS_MAX && def->labels[n] != NULL)
        n++;
    return n;
}

static unsigned series_max(const struct ml_metric_def *def)
{
    unsigned max = def->series_max > 0 ? def->series_max : ML_METRIC_SERIES_DEFAULT;

    return max < ML_METRIC_SERIES_MAX ? max : ML_METRIC_SERIES_MAX;
}

/* Appends the labels with their NULs. */
static void add_labels(struct ml_buf *out, const struct ml_metric_def *def)
{
    for (unsigned i = 0; i < label_count(def); i++)
        ml_buf_append(out, (struct ml_str){def->labels[i], strlen(def->labels[i]) + 1});
}

static struct ml_metric *find(struct ml_metrics *m, const char *name)
{
    for (struct ml_metric *metric = m->metrics; metric != NULL; metric = metric->next)
        if (strcmp(metric_name(metric->record), name) == 0)
            return metric;
    return NULL;
}

static const char *kind_word(unsigned kind)
{
    static const char *const words[] = {"counter", "gauge", "histogram"};

    return words[kind];
}

/* NULL, or in what r is not what def says. */
static const char *difference(const struct metric_record *r, const struct ml_metric_def *def)
{
    struct ml_buf labels = {0};
    bool same;

    if (r->head.kind != def->kind)
        return "kind";
    if (r->head.merge != def->merge)
        return "merge";
    add_labels(&labels, def);
    same = ml_str_eq(ml_buf_str(&labels), (struct ml_str){metric_labels(r), r->labels_len});
    ml_buf_release(&labels);
    if (!same)
        return "labels";
    if (r->bucket_count != def->bucket_count ||
        memcmp(r->buckets, def->buckets, def->bucket_count * sizeof *r->buckets) != 0)
        return "buckets";
    return NULL;
}

static bool same(const struct metric_record *r, const struct ml_metric_def *def, struct ml_buf *why)
{
    const char *what = difference(r, def);

    if (what == NULL)
        return true;
    if (why != NULL)
        ml_buf_printf(why,
                      "the metric %s is in use since the gateway was started as a %s with another "
                      "%s: give it another name, or restart the gateway",
                      def->name, kind_word(r->head.kind), what);
    return false;
}

static bool full(struct ml_buf *why)
{
    if (why != NULL)
        ml_buf_append(why, ML_STR("there are too many metrics"));
    return false;
}

/* The record of that name in one of the areas, or NULL. */
static const struct metric_record *record_named(struct ml_metrics_region *region, const char *name)
{
    for (uint32_t w = 0; w < region->workers; w++) {
        struct area *a = &region->areas[w];
        uint64_t used = atomic_load_explicit(&a->used, memory_order_acquire), at = 0;
        struct record *r;

        while ((r = area_next(a, used, &at)) != NULL)
            if (r->tag == RECORD_METRIC &&
                strcmp(metric_name((const struct metric_record *)r), name) == 0)
                return (const struct metric_record *)r;
    }
    return NULL;
}

bool ml_metric_agrees(struct ml_metrics_region *region, const struct ml_metric_def *def,
                      struct ml_buf *why)
{
    const struct metric_record *r = record_named(region, def->name);
    unsigned used = 0;

    if (r != NULL)
        return same(r, def, why);
    for (unsigned i = 0; i < METRICS_MAX; i++)
        used += atomic_load(&region->metrics[i].hash) != 0;
    return used < METRICS_MAX || full(why);
}

static struct ml_metric *metric_make(struct ml_metrics *m, const struct ml_metric_def *def,
                                     uint64_t hash)
{
    size_t name_len = strlen(def->name) + 1, help_len = strlen(def->help) + 1;
    size_t buckets_len = def->bucket_count * sizeof(double);
    struct metric_record *r;
    struct ml_buf labels = {0};

    add_labels(&labels, def);
    r = ml_metrics_record_begin(m, sizeof *r + buckets_len + name_len + help_len +
                                       ml_buf_len(&labels));
    if (r == NULL) {
        ml_buf_release(&labels);
        return NULL;
    }
    r->head.tag = RECORD_METRIC;
    r->head.kind = (uint8_t)def->kind;
    r->head.merge = (uint8_t)def->merge;
    r->head.label_count = (uint8_t)label_count(def);
    r->name_len = (uint32_t)name_len;
    r->help_len = (uint32_t)help_len;
    r->labels_len = (uint32_t)ml_buf_len(&labels);
    r->bucket_count = def->bucket_count;
    r->series_max = series_max(def);
    r->hash = hash;
    memcpy(r->buckets, def->buckets, buckets_len);
    memcpy((char *)metric_name(r), def->name, name_len);
    memcpy((char *)metric_help(r), def->help, help_len);
    if (r->labels_len > 0)
        memcpy((char *)metric_labels(r), ml_buf_str(&labels).p, r->labels_len);
    ml_buf_release(&labels);
    return ml_metrics_metric_new(m, ml_metrics_record_end(m, &r->head));
}

struct ml_metric *ml_metric_register(struct ml_metrics *m, const struct ml_metric_def *def,
                                     struct ml_buf *why)
{
    struct ml_metric *metric = find(m, def->name);
    uint64_t hash = ml_metrics_hash(m->region, ml_str_of(def->name));

    assert(def->bucket_count <= ML_METRIC_BUCKETS_MAX);
    if (metric != NULL)
        return same(metric->record, def, why) ? metric : NULL;
    if (ml_metrics_place(m->region, hash) < METRICS_MAX)
        metric = metric_make(m, def, hash);
    if (metric == NULL)
        full(why);
    return metric;
}

void ml_metric_unset(struct ml_metric *metric)
{
    struct area *a = metric->owner->area;
    uint64_t used = atomic_load_explicit(&a->used, memory_order_relaxed), at = 0;
    struct record *r;

    assert(metric->record->head.kind == ML_GAUGE);
    while ((r = area_next(a, used, &at)) != NULL)
        if (r->tag == RECORD_SERIES && ((struct series_record *)r)->metric_at == metric->at)
            ml_gauge_unset(((struct series_record *)r)->cells);
}
