/* metrics.c - areas, looking up, counting.
 *
 * A series is found by the text of its label set, as it will be exposed, under a keyed hash: values
 * may come from clients.  Which series exist is decided for all workers together, by a set of
 * hashes that only grows; each worker makes its own record when it first counts for one. */
#include "base/metrics.h"

#include "base/clock.h"
#include "base/metrics_parts.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the region ---- */

size_t ml_metrics_bytes(unsigned workers)
{
    return sizeof(struct ml_metrics_region) + workers * sizeof(struct area) + 64;
}

struct ml_metrics_region *ml_metrics_init(void *memory, unsigned workers)
{
    struct ml_metrics_region *region = memory;

    region->workers = workers;
    ml_random_bytes(&region->seed, sizeof region->seed);
    return region;
}

uint64_t ml_metrics_hash(const struct ml_metrics_region *region, struct ml_str text)
{
    uint64_t hash = ml_hash_bytes(region->seed, text);

    return hash != 0 ? hash : 1;
}

unsigned ml_metrics_place(struct ml_metrics_region *region, uint64_t hash)
{
    for (unsigned i = 0; i < METRICS_MAX; i++) {
        unsigned at = (unsigned)((hash + i) % METRICS_MAX);
        uint64_t found = atomic_load(&region->metrics[at].hash);

        if (found == hash)
            return at;
        if (found == 0 &&
            (atomic_compare_exchange_strong(&region->metrics[at].hash, &found, hash) ||
             found == hash))
            return at;
    }
    return METRICS_MAX;
}

/* May there be a series with this hash?  Workers that ask at the same time may together pass the
 * cap by one each. */
static bool admit(struct ml_metrics_region *region, const struct ml_metric *metric, uint64_t hash)
{
    _Atomic uint32_t *count = &region->metrics[metric->place].count;

    for (unsigned i = 0; i < KEYS_CAP; i++) {
        _Atomic uint64_t *key = &region->keys[(hash + i) % KEYS_CAP];
        uint64_t found = atomic_load(key);

        if (found == hash)
            return true;
        if (found != 0)
            continue;
        if (atomic_load(count) >= metric->record->series_max ||
            atomic_load(&region->admitted) >= KEYS_MAX)
            return false;
        if (atomic_compare_exchange_strong(key, &found, hash)) {
            atomic_fetch_add(count, 1);
            atomic_fetch_add(&region->admitted, 1);
            return true;
        }
        if (found == hash)
            return true;
    }
    return false;
}

/* ---- records ---- */

static struct record *record_at(struct ml_metrics *m, uint32_t at)
{
    return (struct record *)(m->area->bytes + at);
}

void *ml_metrics_record_begin(struct ml_metrics *m, size_t len)
{
    uint64_t used = atomic_load_explicit(&m->area->used, memory_order_relaxed);
    struct record *r = record_at(m, (uint32_t)used);

    len = (len + 7) & ~(size_t)7;
    if (len > sizeof m->area->bytes - used) {
        ml_metric_add(&m->area->lost, 1);
        return NULL;
    }
    memset(r, 0, len); /* what a killed predecessor may have left */
    r->len = (uint32_t)len;
    return r;
}

uint32_t ml_metrics_record_end(struct ml_metrics *m, const struct record *r)
{
    uint64_t used = atomic_load_explicit(&m->area->used, memory_order_relaxed);

    atomic_store_explicit(&m->area->used, used + r->len, memory_order_release);
    return (uint32_t)used;
}

/* ---- the index of this process ---- */

static void index_put(struct ml_metrics *m, uint32_t at)
{
    const struct series_record *s = (const struct series_record *)record_at(m, at);
    uint32_t i = (uint32_t)s->hash & (m->index_cap - 1);

    while (m->index[i] != 0)
        i = (i + 1) & (m->index_cap - 1);
    m->index[i] = at + 1;
    m->index_used++;
}

static void index_grow(struct ml_metrics *m)
{
    uint32_t *old = m->index, old_cap = m->index_cap;

    m->index_cap = old_cap > 0 ? old_cap * 2 : 256;
    m->index = calloc(m->index_cap, sizeof *m->index);
    if (m->index == NULL)
        abort();
    m->index_used = 0;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i] != 0)
            index_put(m, old[i] - 1);
    free(old);
}

static struct series_record *index_find(struct ml_metrics *m, uint32_t metric_at, uint64_t hash,
                                        struct ml_str key)
{
    for (uint32_t i = (uint32_t)hash & (m->index_cap - 1); m->index[i] != 0;
         i = (i + 1) & (m->index_cap - 1)) {
        struct series_record *s = (struct series_record *)record_at(m, m->index[i] - 1);

        if (s->hash == hash && s->metric_at == metric_at && ml_str_eq(series_key(s), key))
            return s;
    }
    return NULL;
}

/* ---- opening ---- */

struct ml_metric *ml_metrics_metric_new(struct ml_metrics *m, uint32_t at)
{
    struct ml_metric *metric = calloc(1, sizeof *metric);

    if (metric == NULL)
        abort();
    metric->owner = m;
    metric->at = at;
    metric->record = (struct metric_record *)record_at(m, at);
    metric->place = ml_metrics_place(m->region, metric->record->hash);
    metric->next = m->metrics;
    m->metrics = metric;
    return metric;
}

static void read_area(struct ml_metrics *m)
{
    uint64_t used = atomic_load_explicit(&m->area->used, memory_order_acquire), at = 0, begin = 0;
    struct record *r;

    for (; (r = area_next(m->area, used, &at)) != NULL; begin = at) {
        if (r->tag == RECORD_METRIC) {
            ml_metrics_metric_new(m, (uint32_t)begin);
            continue;
        }
        if ((m->index_used + 1) * 2 > m->index_cap)
            index_grow(m);
        index_put(m, (uint32_t)begin);
    }
}

struct ml_metrics *ml_metrics_open(struct ml_metrics_region *region, unsigned worker)
{
    struct ml_metrics *m = calloc(1, sizeof *m);

    if (m == NULL || worker >= region->workers)
        abort();
    m->region = region;
    m->area = &region->areas[worker];
    index_grow(m);
    ml_metrics_unset_gauges(region, worker);
    read_area(m);
    return m;
}

void ml_metrics_close(struct ml_metrics **mp)
{
    struct ml_metrics *m = *mp;
    struct ml_metric *metric;

    *mp = NULL;
    if (m == NULL)
        return;
    while ((metric = m->metrics) != NULL) {
        m->metrics = metric->next;
        free(metric);
    }
    free(m->index);
    ml_buf_release(&m->text);
    free(m);
}

void ml_metrics_unset_gauges(struct ml_metrics_region *region, unsigned worker)
{
    struct area *a;
    uint64_t used, at = 0;
    struct record *r;

    if (worker >= region->workers)
        return;
    a = &region->areas[worker];
    used = atomic_load_explicit(&a->used, memory_order_acquire);
    while ((r = area_next(a, used, &at)) != NULL)
        if (r->tag == RECORD_SERIES && r->kind == ML_GAUGE)
            ml_gauge_unset(((struct series_record *)r)->cells);
}

/* ---- series ---- */

static uint32_t cell_count(const struct metric_record *r)
{
    return r->head.kind == ML_HISTOGRAM ? r->bucket_count + 2 : r->head.kind == ML_GAUGE ? 2 : 1;
}

static struct ml_slot *series_make(struct ml_metric *metric, uint64_t hash, struct ml_str key)
{
    struct ml_metrics *m = metric->owner;
    uint32_t cells = cell_count(metric->record);
    struct series_record *s;

    if ((m->index_used + 1) * 2 > m->index_cap)
        index_grow(m);
    s = ml_metrics_record_begin(m, sizeof *s + cells * sizeof(struct ml_slot) + key.len);
    if (s == NULL)
        return NULL;
    s->head.tag = RECORD_SERIES;
    s->head.kind = metric->record->head.kind;
    s->metric_at = metric->at;
    s->cell_count = cells;
    s->key_len = (uint32_t)key.len;
    s->hash = hash;
    if (key.len > 0)
        memcpy((char *)series_key(s).p, key.p, key.len);
    if (s->head.kind == ML_GAUGE)
        ml_gauge_unset(s->cells);
    index_put(m, ml_metrics_record_end(m, &s->head));
    return s->cells;
}

/* The text of the label set behind the name of the metric: together they are hashed. */
static struct ml_str write_key(struct ml_metric *metric, const struct ml_str *values)
{
    struct ml_buf *text = &metric->owner->text;
    const char *label = metric_labels(metric->record);
    size_t name_len = metric->record->name_len;
    struct ml_str all;

    ml_buf_consume(text, ml_buf_len(text));
    ml_buf_append(text, (struct ml_str){metric_name(metric->record), name_len});
    for (unsigned i = 0; i < metric->record->head.label_count; i++) {
        if (i > 0)
            ml_buf_append(text, ML_STR(","));
        ml_exposition_label(text, label, values[i]);
        label += strlen(label) + 1;
    }
    all = ml_buf_str(text);
    return (struct ml_str){all.p + name_len, all.len - name_len};
}

static struct ml_slot *other(struct ml_metric *metric)
{
    struct ml_str values[ML_METRIC_LABELS_MAX], key;
    struct series_record *s;
    uint64_t hash;

    ml_metric_add(&metric->record->other, 1);
    if (metric->other != NULL)
        return metric->other;
    for (unsigned i = 0; i < ML_METRIC_LABELS_MAX; i++)
        values[i] = ML_STR("other");
    key = write_key(metric, values);
    hash = ml_metrics_hash(metric->owner->region, ml_buf_str(&metric->owner->text));
    s = index_find(metric->owner, metric->at, hash, key);
    metric->other = s != NULL ? s->cells : series_make(metric, hash, key);
    if (metric->other == NULL)
        metric->other = metric->sink;
    return metric->other;
}

struct ml_slot *ml_metric_slot(struct ml_metric *metric, const struct ml_str *values)
{
    struct ml_metrics *m = metric->owner;
    struct ml_str key = write_key(metric, values);
    uint64_t hash = ml_metrics_hash(m->region, ml_buf_str(&m->text));
    struct series_record *s = index_find(m, metric->at, hash, key);
    struct ml_slot *made = NULL;

    if (s != NULL)
        return s->cells;
    if (admit(m->region, metric, hash))
        made = series_make(metric, hash, key);
    return made != NULL ? made : other(metric);
}

struct ml_slot *ml_metric_slot_of(struct ml_metric *metric, const char *a, const char *b,
                                  const char *c, const char *d)
{
    const char *texts[] = {a, b, c, d};
    struct ml_str values[ML_METRIC_LABELS_MAX] = {{0}};

    assert(metric->record->head.label_count <= 4);
    for (unsigned i = 0; i < metric->record->head.label_count; i++)
        values[i] = ml_str_of(texts[i]);
    return ml_metric_slot(metric, values);
}

/* ---- counting ---- */

/* The value first: a reader, or a kill, between the two sees a new value with an old time, which
 * harms nobody. */
void ml_gauge_set(struct ml_slot *slot, double value)
{
    ml_slot_store(slot, value);
    ml_slot_store(slot + 1, ml_clock_mono_s());
}

void ml_gauge_add(struct ml_slot *slot, double by)
{
    double value = ml_slot_value(slot);

    ml_gauge_set(slot, isnan(value) ? by : value + by);
}

void ml_gauge_unset(struct ml_slot *slot)
{
    ml_slot_store(slot, (double)NAN);
}

void ml_histogram_observe(const struct ml_metric *metric, struct ml_slot *slot, double value)
{
    const struct metric_record *r = metric->record;
    uint32_t i = 0;

    while (i < r->bucket_count && value > r->buckets[i])
        i++;
    ml_metric_add(slot + 1 + i, 1);
    ml_metric_add(slot, value);
}
