/* metrics_text.c - what a scraper reads: Prometheus text 0.0.4 or OpenMetrics 1.0.
 *
 * Reads the areas of all workers as they are and puts series of one name and label set together.
 * The observations of a histogram are the sum of its buckets, so the two always agree; its sum may
 * be behind by what is being observed at this moment. */
#include "base/metrics.h"

#include "base/decimal.h"
#include "base/metrics_parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NONE = UINT32_MAX };

struct family {
    const struct metric_record *metric;
    double other;
    uint32_t first, last; /* in the list of its series */
};

struct merged {
    const struct series_record *series;
    uint32_t family, next;
    double cells[]; /* CELLS_MAX of them would be too many for most */
};

struct page {
    struct family families[METRICS_MAX];
    unsigned family_count;
    struct merged **all;
    uint32_t count, cap;
    uint32_t *table; /* number + 1 by hash */
    uint32_t table_cap;
};

/* ---- text ---- */

static void text(struct ml_buf *out, const char *z)
{
    ml_buf_append(out, ml_str_of(z));
}

static void number(struct ml_buf *out, double v)
{
    char digits[ML_DECIMAL_CAP];

    if (isnan(v)) {
        text(out, "NaN");
    } else if (isinf(v)) {
        text(out, v > 0 ? "+Inf" : "-Inf");
    } else if (v >= 0 && v < 9e15 && v == floor(v)) {
        ml_buf_append(out, (struct ml_str){digits, ml_decimal(digits, (uint64_t)v)});
    } else {
        char shortest[32];

        snprintf(shortest, sizeof shortest, "%.15g", v);
        if (strtod(shortest, NULL) != v)
            snprintf(shortest, sizeof shortest, "%.17g", v);
        text(out, shortest);
    }
}

/* The length of the UTF-8 sequence at p (RFC 3629), or 0 when it is none. */
static size_t sequence(const unsigned char *p, size_t len)
{
    size_t need = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (need == 0 || p[0] > 0xf4 || need > len)
        return 0;
    for (size_t i = 1; i < need; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return need;
}

/* A backslash, a quote and a newline are escaped; what is no text is replaced. */
static void escaped(struct ml_buf *out, struct ml_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;

    for (size_t i = 0, n; i<s.len; i += n> 0 ? n : 1) {
        n = sequence(p + i, s.len - i);
        if (n == 0)
            text(out, "\xef\xbf\xbd");
        else if (p[i] == '\n')
            text(out, "\\n");
        else if (p[i] == '"' || p[i] == '\\')
            ml_buf_append(out, (struct ml_str){p[i] == '"' ? "\\\"" : "\\\\", 2});
        else if (p[i] < ' ' || p[i] == 0x7f)
            text(out, "?");
        else
            ml_buf_append(out, (struct ml_str){s.p + i, n});
    }
}

void ml_exposition_label(struct ml_buf *out, const char *name, struct ml_str value)
{
    if (value.len > ML_METRIC_VALUE_MAX) {
        value.len = ML_METRIC_VALUE_MAX;
        while (value.len > 0 && ((unsigned char)value.p[value.len] & 0xc0) == 0x80)
            value.len--;
    }
    text(out, name);
    text(out, "=\"");
    escaped(out, value);
    text(out, "\"");
}

/* In OpenMetrics the family of a counter has no "_total" in its name. */
static struct ml_str family_name(enum ml_exposition format, enum ml_metric_kind kind,
                                 const char *name)
{
    static const char suffix[] = "_total";
    struct ml_str s = ml_str_of(name);
    size_t len = sizeof suffix - 1;

    if (format == ML_OPENMETRICS && kind == ML_COUNTER && s.len > len &&
        memcmp(s.p + s.len - len, suffix, len) == 0)
        s.len -= len;
    return s;
}

void ml_exposition_family(struct ml_buf *out, enum ml_exposition format, enum ml_metric_kind kind,
                          const char *name, const char *help)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    struct ml_str family = family_name(format, kind, name);

    text(out, "# HELP ");
    ml_buf_append(out, family);
    text(out, " ");
    escaped(out, ml_str_of(help));
    text(out, "\n# TYPE ");
    ml_buf_append(out, family);
    text(out, " ");
    text(out, kinds[kind]);
    text(out, "\n");
}

static void sample(struct ml_buf *out, const char *name, const char *suffix, struct ml_str labels,
                   double value)
{
    text(out, name);
    text(out, suffix);
    if (labels.len > 0) {
        text(out, "{");
        ml_buf_append(out, labels);
        text(out, "}");
    }
    text(out, " ");
    number(out, value);
    text(out, "\n");
}

void ml_exposition_sample(struct ml_buf *out, const char *name, struct ml_str labels, double value)
{
    sample(out, name, "", labels, value);
}

void ml_exposition_end(struct ml_buf *out, enum ml_exposition format)
{
    if (format == ML_OPENMETRICS)
        text(out, "# EOF\n");
}

const char *ml_exposition_type(enum ml_exposition format)
{
    return format == ML_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                    : "text/plain; version=0.0.4; charset=utf-8";
}

/* The q of a media range, which ends at a comma (RFC 9110 section 12.4.2); 1 when it has none. */
static double quality(struct ml_str range)
{
    for (size_t i = 0; i + 2 < range.len; i++) {
        char number_text[8] = "";
        size_t len = range.len - i - 2;

        if (ml_lower(range.p[i]) != 'q' || range.p[i + 1] != '=' ||
            (i > 0 && range.p[i - 1] != ';' && range.p[i - 1] != ' '))
            continue;
        memcpy(number_text, range.p + i + 2, len < 7 ? len : 7);
        return strtod(number_text, NULL);
    }
    return 1;
}

static double asked_for(struct ml_str accept, const char *type)
{
    const char *at = memmem(accept.p, accept.len, type, strlen(type));
    struct ml_str range;
    const char *end;

    if (at == NULL)
        return 0;
    range = (struct ml_str){at, accept.len - (size_t)(at - accept.p)};
    end = memchr(range.p, ',', range.len);
    if (end != NULL)
        range.len = (size_t)(end - range.p);
    return quality(range);
}

enum ml_exposition ml_exposition_of(struct ml_str accept)
{
    double open, plain;

    if (accept.len == 0)
        return ML_PROMETHEUS;
    open = asked_for(accept, "application/openmetrics-text");
    plain = asked_for(accept, "text/plain");
    return open > 0 && open >= plain ? ML_OPENMETRICS : ML_PROMETHEUS;
}

/* ---- merging ---- */

static uint32_t family_of(struct page *p, const struct metric_record *m)
{
    for (unsigned i = 0; i < p->family_count; i++)
        if (p->families[i].metric->hash == m->hash &&
            strcmp(metric_name(p->families[i].metric), metric_name(m)) == 0)
            return i;
    if (p->family_count == METRICS_MAX)
        return NONE;
    p->families[p->family_count] = (struct family){.metric = m, .first = NONE, .last = NONE};
    return p->family_count++;
}

static bool same_shape(const struct metric_record *a, const struct metric_record *b)
{
    return a->head.kind == b->head.kind && a->head.merge == b->head.merge &&
           a->bucket_count == b->bucket_count;
}

static void table_grow(struct page *p)
{
    free(p->table);
    p->table_cap = p->table_cap > 0 ? p->table_cap * 2 : 1024;
    p->table = calloc(p->table_cap, sizeof *p->table);
    if (p->table == NULL)
        abort();
    for (uint32_t n = 0; n < p->count; n++) {
        uint32_t i = (uint32_t)p->all[n]->series->hash & (p->table_cap - 1);

        while (p->table[i] != 0)
            i = (i + 1) & (p->table_cap - 1);
        p->table[i] = n + 1;
    }
}

static struct merged *merged_new(struct page *p, const struct series_record *s, uint32_t family)
{
    struct merged *m = calloc(1, sizeof *m + s->cell_count * sizeof(double));
    struct family *f = &p->families[family];

    if (p->count == p->cap) {
        p->cap = p->cap > 0 ? p->cap * 2 : 256;
        p->all = realloc(p->all, p->cap * sizeof *p->all);
    }
    if (m == NULL || p->all == NULL)
        abort();
    *m = (struct merged){.series = s, .family = family, .next = NONE};
    if (f->last != NONE)
        p->all[f->last]->next = p->count;
    else
        f->first = p->count;
    f->last = p->count;
    p->all[p->count++] = m;
    if (s->head.kind == ML_GAUGE)
        m->cells[0] = (double)NAN;
    return m;
}

static struct merged *merged_of(struct page *p, const struct series_record *s, uint32_t family)
{
    uint32_t i;

    if ((p->count + 1) * 2 > p->table_cap)
        table_grow(p);
    for (i = (uint32_t)s->hash & (p->table_cap - 1); p->table[i] != 0;
         i = (i + 1) & (p->table_cap - 1)) {
        struct merged *m = p->all[p->table[i] - 1];

        if (m->series->hash == s->hash && m->family == family &&
            ml_str_eq(series_key(m->series), series_key(s)))
            return m;
    }
    p->table[i] = p->count + 1;
    return merged_new(p, s, family);
}

static void merge_gauge(struct merged *m, const struct series_record *s, unsigned how)
{
    double value = ml_slot_value(s->cells), stamp = ml_slot_value(s->cells + 1);

    if (isnan(value))
        return;
    if (isnan(m->cells[0])) {
        m->cells[0] = value;
        m->cells[1] = stamp;
        return;
    }
    if (how == ML_MERGE_SUM)
        m->cells[0] += value;
    else if (how == ML_MERGE_MAX)
        m->cells[0] = fmax(m->cells[0], value);
    else if (how == ML_MERGE_MIN)
        m->cells[0] = fmin(m->cells[0], value);
    else if (stamp > m->cells[1])
        m->cells[0] = value;
    m->cells[1] = fmax(m->cells[1], stamp);
}

static void merge_series(struct page *p, struct area *a, const struct series_record *s)
{
    const struct metric_record *metric = (const struct metric_record *)(a->bytes + s->metric_at);
    uint32_t family = family_of(p, metric);
    struct merged *m;

    if (family == NONE || !same_shape(p->families[family].metric, metric))
        return;
    m = merged_of(p, s, family);
    if (s->head.kind == ML_GAUGE) {
        merge_gauge(m, s, metric->head.merge);
        return;
    }
    for (uint32_t i = 0; i < s->cell_count; i++)
        m->cells[i] += ml_slot_value(&s->cells[i]);
}

static double merge(struct page *p, struct ml_metrics_region *region)
{
    double lost = 0;

    for (uint32_t w = 0; w < region->workers; w++) {
        struct area *a = &region->areas[w];
        uint64_t used = atomic_load_explicit(&a->used, memory_order_acquire), at = 0;
        struct record *r;

        lost += ml_slot_value(&a->lost);
        while ((r = area_next(a, used, &at)) != NULL) {
            if (r->tag == RECORD_METRIC) {
                const struct metric_record *metric = (const struct metric_record *)r;
                uint32_t family = family_of(p, metric);

                if (family != NONE)
                    p->families[family].other += ml_slot_value(&metric->other);
            } else {
                merge_series(p, a, (const struct series_record *)r);
            }
        }
    }
    return lost;
}

/* ---- writing ---- */

/* What the lines of all series of a histogram have in common: a page may have a hundred thousand.
 */
struct bounds {
    char le[ML_METRIC_BUCKETS_MAX + 1][48]; /* le="0.5" */
    size_t le_len[ML_METRIC_BUCKETS_MAX + 1], name_len;
    uint32_t count;
};

static char *put(char *p, const char *bytes, size_t len)
{
    memcpy(p, bytes, len);
    return p + len;
}

static void bounds_of(struct bounds *b, const struct metric_record *metric,
                      enum ml_exposition format)
{
    b->count = metric->bucket_count + 1;
    for (uint32_t i = 0; i < metric->bucket_count; i++) {
        char bound[32];

        snprintf(bound, sizeof bound, "%.15g", metric->buckets[i]);
        snprintf(b->le[i], sizeof b->le[i], "le=\"%s%s\"", bound,
                 format == ML_OPENMETRICS && strpbrk(bound, ".e") == NULL ? ".0" : "");
    }
    strcpy(b->le[metric->bucket_count], "le=\"+Inf\"");
    for (uint32_t i = 0; i < b->count; i++)
        b->le_len[i] = strlen(b->le[i]);
    b->name_len = strlen(metric_name(metric));
}

static void histogram(struct ml_buf *out, const struct merged *m, const char *name,
                      const struct bounds *b)
{
    struct ml_str key = series_key(m->series);
    double count = 0;

    for (uint32_t i = 0; i < b->count; i++) {
        char *begin = ml_buf_reserve(out, b->name_len + key.len + 160), *p = begin;

        count += m->cells[i + 1];
        p = put(p, name, b->name_len);
        p = put(p, "_bucket{", 8);
        p = put(p, key.p, key.len);
        if (key.len > 0)
            *p++ = ',';
        p = put(p, b->le[i], b->le_len[i]);
        p = put(p, "} ", 2);
        p += ml_decimal(p, (uint64_t)count);
        *p++ = '\n';
        ml_buf_commit(out, (size_t)(p - begin));
    }
    sample(out, name, "_sum", key, m->cells[0]);
    sample(out, name, "_count", key, count);
}

static void write_family(struct page *p, const struct family *f, enum ml_exposition format,
                         struct ml_buf *out)
{
    enum ml_metric_kind kind = f->metric->head.kind;
    const char *name = metric_name(f->metric);
    struct bounds bounds;

    ml_exposition_family(out, format, kind, name, metric_help(f->metric));
    if (kind == ML_HISTOGRAM)
        bounds_of(&bounds, f->metric, format);
    for (uint32_t n = f->first; n != NONE; n = p->all[n]->next) {
        const struct merged *m = p->all[n];

        if (kind == ML_HISTOGRAM)
            histogram(out, m, name, &bounds);
        else if (kind == ML_COUNTER || !isnan(m->cells[0]))
            sample(out, name, "", series_key(m->series), m->cells[0]);
    }
}

static void write_losses(const struct page *p, enum ml_exposition format, double lost,
                         struct ml_buf *out)
{
    static const char other[] = "moonlatch_metrics_other_total";
    static const char dropped[] = "moonlatch_metrics_no_room_total";
    struct ml_buf label = {0};

    ml_exposition_family(out, format, ML_COUNTER, other,
                         "Look-ups of label sets that are counted as other, as the metric has as "
                         "many series as it may");
    for (unsigned i = 0; i < p->family_count; i++) {
        if (p->families[i].other == 0)
            continue;
        ml_exposition_label(&label, "metric", ml_str_of(metric_name(p->families[i].metric)));
        ml_exposition_sample(out, other, ml_buf_str(&label), p->families[i].other);
        ml_buf_consume(&label, ml_buf_len(&label));
    }
    ml_buf_release(&label);
    ml_exposition_family(out, format, ML_COUNTER, dropped,
                         "Metrics and series for which a worker had no room");
    ml_exposition_sample(out, dropped, ML_STR(""), lost);
}

void ml_metrics_write(struct ml_metrics_region *region, enum ml_exposition format,
                      struct ml_buf *out)
{
    struct page *p = calloc(1, sizeof *p);
    double lost;

    if (p == NULL)
        abort();
    lost = merge(p, region);
    for (unsigned i = 0; i < p->family_count; i++)
        write_family(p, &p->families[i], format, out);
    write_losses(p, format, lost, out);
    for (uint32_t n = 0; n < p->count; n++)
        free(p->all[n]);
    free(p->all);
    free(p->table);
    free(p);
}
