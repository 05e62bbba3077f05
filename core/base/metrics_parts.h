/* metrics_parts.h - how the records of an area lie; for metrics.c and metrics_register.c, which
 * write them, and metrics_text.c, which reads those of all workers.  Nobody else includes it. */
#ifndef ML_BASE_METRICS_PARTS_H
#define ML_BASE_METRICS_PARTS_H

#include "base/hash.h"
#include "base/metrics.h"

enum {
    AREA_BYTES = 4 << 20,
    METRICS_MAX = 512,
    KEYS_CAP = 1 << 15,
    KEYS_MAX = KEYS_CAP / 4 * 3, /* series of all metrics */
    CELLS_MAX = ML_METRIC_BUCKETS_MAX + 2
};

enum record_tag { RECORD_METRIC = 1, RECORD_SERIES };

struct record {
    uint32_t len; /* of the whole record, a multiple of 8 */
    uint8_t tag, kind, merge, label_count;
};

struct metric_record {
    struct record head;
    uint32_t name_len, help_len, labels_len; /* with their NULs */
    uint32_t bucket_count, series_max, reserved;
    uint64_t hash;        /* of the name */
    struct ml_slot other; /* how often a label set was not admitted */
    double buckets[];     /* then the name, the help, the labels, each with NUL */
};

/* Cells: a counter's value; a gauge's value and when it was set; of a histogram the sum, then the
 * observations of each bucket, the last one for +Inf. */
struct series_record {
    struct record head;
    uint32_t metric_at; /* offset of its metric in the area */
    uint32_t cell_count, key_len, reserved;
    uint64_t hash;          /* of metric and label set */
    struct ml_slot cells[]; /* then the key: the label set as it is exposed */
};

struct area {
    _Alignas(64) _Atomic uint64_t used; /* records are whole up to here */
    struct ml_slot lost;                /* records for which there was no room */
    char bytes[AREA_BYTES - 64];
};

struct ml_metrics_region {
    uint32_t workers;
    struct ml_hash_seed seed;
    _Atomic uint32_t admitted;
    struct {
        _Atomic uint64_t hash; /* of the name; 0: free */
        _Atomic uint32_t count;
    } metrics[METRICS_MAX];
    _Atomic uint64_t keys[KEYS_CAP]; /* hashes of the series that are admitted */
    struct area areas[];
};

struct ml_metric {
    struct ml_metrics *owner;
    struct ml_metric *next;
    struct metric_record *record;
    uint32_t at;                    /* offset of the record */
    unsigned place;                 /* in the region's list of metrics */
    struct ml_slot *other;          /* NULL: not made yet */
    struct ml_slot sink[CELLS_MAX]; /* where counts go that have no room */
};

struct ml_metrics {
    struct ml_metrics_region *region; /* borrowed */
    struct area *area;
    struct ml_metric *metrics; /* owned */
    uint32_t *index;           /* owned: offsets of series + 1, by hash; 0: free */
    uint32_t index_cap, index_used;
    struct ml_buf text;
};

/* ---- metrics.c ---- */

/* Never 0, which means free. */
uint64_t ml_metrics_hash(const struct ml_metrics_region *region, struct ml_str text);
/* The place of a name in the list of metrics, made when it is new; METRICS_MAX: the list is full.
 */
unsigned ml_metrics_place(struct ml_metrics_region *region, uint64_t hash);
/* Zeroed room for a record that nobody sees yet; NULL when the area is full. */
void *ml_metrics_record_begin(struct ml_metrics *m, size_t len);
/* It is whole: part of the area from now on.  Its offset. */
uint32_t ml_metrics_record_end(struct ml_metrics *m, const struct record *r);
/* The metric whose record lies at that offset. */
struct ml_metric *ml_metrics_metric_new(struct ml_metrics *m, uint32_t at);

/* ---- records ---- */

static inline const char *metric_name(const struct metric_record *m)
{
    return (const char *)(m->buckets + m->bucket_count);
}

static inline const char *metric_help(const struct metric_record *m)
{
    return metric_name(m) + m->name_len;
}

static inline const char *metric_labels(const struct metric_record *m)
{
    return metric_help(m) + m->help_len;
}

static inline struct ml_str series_key(const struct series_record *s)
{
    return (struct ml_str){(const char *)(s->cells + s->cell_count), s->key_len};
}

/* The record at *at, which moves behind it; NULL after the last one. */
static inline struct record *area_next(struct area *a, uint64_t used, uint64_t *at)
{
    struct record *r = (struct record *)(a->bytes + *at);

    if (*at >= used)
        return NULL;
    *at += r->len;
    return r;
}

#endif
