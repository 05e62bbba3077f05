/* record_read.c - looks through the rings of all workers, the last record first.
 *
 * A worker that was hijacked may have written anything: lengths are checked, and the JSON of a long
 * record is passed on only when it is JSON. */
#include "script/record_parts.h"

#include "base/err.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/log_event.h"

#include <stdlib.h>

enum { LIST_MAX = 100 };

struct found {
    double at_s;
    unsigned worker;
    enum ml_ring ring;
    size_t len;
    char *bytes; /* owned */
};

struct search {
    const struct ml_record_filter *filter;
    struct found *list; /* of max, sorted: the last one first */
    unsigned count, max;
};

/* False when bytes are no record. */
static bool take_apart(const char *bytes, size_t len, struct record *head,
                       struct ml_str texts[TEXT_COUNT], struct ml_str *detail)
{
    size_t at = sizeof *head;

    if (len < at)
        return false;
    memcpy(head, bytes, sizeof *head);
    for (unsigned i = 0; i < TEXT_COUNT; i++) {
        if (head->lens[i] > len - at)
            return false;
        texts[i] = (struct ml_str){bytes + at, head->lens[i]};
        at += head->lens[i];
    }
    *detail = (struct ml_str){bytes + at, len - at};
    return head->at_s > 0 && head->at_s < 1e11 && head->took_s >= 0 && head->took_s < 1e9;
}

static bool begins_with(struct ml_str s, struct ml_str with)
{
    return with.len == 0 || (s.len >= with.len && memcmp(s.p, with.p, with.len) == 0);
}

/* Is the record in the list already, in a ring that tells more? */
static bool is_known(struct search *s, struct ml_str id, double at_s, unsigned worker)
{
    struct ml_str texts[TEXT_COUNT], detail;
    struct record head;

    for (unsigned i = 0; i < s->count; i++)
        if (s->list[i].worker == worker && s->list[i].at_s == at_s &&
            take_apart(s->list[i].bytes, s->list[i].len, &head, texts, &detail) &&
            ml_str_eq(texts[TEXT_ID], id))
            return true;
    return false;
}

static void insert(struct search *s, const struct found *f, const char *bytes)
{
    unsigned i = s->count < s->max ? s->count++ : s->max - 1;

    free(s->list[i].bytes);
    for (; i > 0 && s->list[i - 1].at_s < f->at_s; i--)
        s->list[i] = s->list[i - 1];
    s->list[i] = *f;
    s->list[i].bytes = malloc(f->len);
    if (s->list[i].bytes == NULL)
        abort();
    memcpy(s->list[i].bytes, bytes, f->len);
}

/* False: all that come behind it are older than what is wanted. */
static bool consider(struct search *s, struct found *f, const char *bytes)
{
    struct ml_str texts[TEXT_COUNT], detail;
    struct record head;

    if (f->len == 0 || !take_apart(bytes, f->len, &head, texts, &detail))
        return true;
    f->at_s = head.at_s;
    if (s->count == s->max && s->list[s->max - 1].at_s >= head.at_s)
        return false;
    if (begins_with(texts[TEXT_ID], s->filter->id) &&
        !is_known(s, texts[TEXT_ID], head.at_s, f->worker))
        insert(s, f, bytes);
    return true;
}

static void search_ring(struct search *s, const struct ml_rings *rings, unsigned worker,
                        enum ml_ring ring)
{
    char bytes[ML_RING_LONG_MAX];
    unsigned slots = ml_rings_slots(ring);

    for (unsigned back = 0; back < slots; back++) {
        struct found f = {.worker = worker, .ring = ring};

        f.len = ml_rings_read(rings, worker, ring, back, bytes);
        if (!consider(s, &f, bytes))
            return;
    }
}

/* ---- JSON ---- */

static void text(struct ml_buf *out, const char *name, struct ml_str s, bool null)
{
    ml_buf_printf(out, ",\"%s\":", name);
    if (s.len == 0 && null)
        ml_buf_append(out, ML_STR("null"));
    else
        ml_json_string(out, s);
}

static const char *kept_as(const struct found *f)
{
    static const char *const names[ML_RING_COUNT] = {"recent", "traced", "refusal", "error"};

    return names[f->ring];
}

static void protocol(struct ml_buf *out, const struct record *r)
{
    if (r->major == 2)
        ml_buf_append(out, ML_STR(",\"protocol\":\"HTTP/2\""));
    else
        ml_buf_printf(out, ",\"protocol\":\"HTTP/%u.%u\"", r->major, r->minor);
}

static void numbers(struct ml_buf *out, const struct record *r)
{
    ml_buf_printf(out, ",\"status\":%u", r->status);
    text(out, "reason",
         r->why > ML_OK && r->why < ML_ERR_COUNT ? ml_str_of(ml_err_word((enum ml_err)r->why))
                                                 : ML_STR_NONE,
         true);
    ml_buf_printf(out, ",\"ms\":%.3f,\"slow\":%s,\"generation\":%u,\"tries\":%u", r->took_s * 1000,
                  r->slow ? "true" : "false", r->generation, r->tries);
    ml_buf_printf(out, ",\"bytesIn\":%llu,\"bytesOut\":%llu", (unsigned long long)r->bytes_in,
                  (unsigned long long)r->bytes_out);
}

static void ignore(void *ctx, const struct ml_json_item *item)
{
    (void)ctx;
    (void)item;
}

static void detail_json(struct ml_buf *out, struct ml_str detail)
{
    struct ml_buf whole = {0};

    if (detail.len > 0 && detail.p[0] == ',') {
        ml_buf_append(&whole, ML_STR("{"));
        ml_buf_append(&whole, (struct ml_str){detail.p + 1, detail.len - 1});
        ml_buf_append(&whole, ML_STR("}"));
        if (ml_json_scan(ml_buf_str(&whole), ML_JSON_OBJECT, ignore, NULL))
            ml_buf_append(out, detail);
    }
    ml_buf_release(&whole);
}

static void record(struct ml_buf *out, const struct found *f)
{
    struct ml_str texts[TEXT_COUNT], detail;
    struct record r;

    if (!take_apart(f->bytes, f->len, &r, texts, &detail))
        return;
    ml_buf_append(out, ML_STR("{\"id\":"));
    ml_json_string(out, texts[TEXT_ID]);
    ml_buf_append(out, ML_STR(",\"at\":\""));
    ml_log_timestamp(out, r.at_s);
    ml_buf_printf(out, "\",\"kept\":\"%s\",\"worker\":%u", kept_as(f), f->worker);
    text(out, "method", texts[TEXT_METHOD], false);
    text(out, "path", texts[TEXT_PATH], false);
    ml_buf_printf(out, ",\"pathCut\":%s", r.more ? "true" : "false");
    text(out, "ip", texts[TEXT_IP], false);
    text(out, "listener", texts[TEXT_LISTENER], true);
    protocol(out, &r);
    ml_buf_printf(out, ",\"tls\":%s", r.tls ? "true" : "false");
    text(out, "route", texts[TEXT_ROUTE], true);
    text(out, "routeName", texts[TEXT_NAME], true);
    numbers(out, &r);
    text(out, "decidedBy", texts[TEXT_DECIDED_BY], true);
    text(out, "upstream", texts[TEXT_UPSTREAM], true);
    text(out, "server", texts[TEXT_SERVER], true);
    text(out, "userId", texts[TEXT_USER], true);
    detail_json(out, detail);
    ml_buf_append(out, ML_STR("}"));
}

/* Those that tell more come first, so that the short ones of the same exchanges are known. */
unsigned ml_record_list(const struct ml_rings *rings, const struct ml_record_filter *filter,
                        unsigned max, struct ml_buf *json)
{
    static const enum ml_ring order[] = {ML_RING_ERRORS, ML_RING_REFUSALS, ML_RING_TRACED,
                                         ML_RING_RECENT};
    struct search s = {.filter = filter, .max = max < LIST_MAX ? max : (unsigned)LIST_MAX};
    unsigned kinds = filter->refused ? 2 : ML_RING_COUNT;

    s.list = calloc(s.max + 1, sizeof *s.list);
    if (s.list == NULL)
        abort();
    for (unsigned k = 0; s.max > 0 && k < kinds; k++)
        for (unsigned w = 0; w < ml_rings_workers(rings); w++)
            search_ring(&s, rings, w, order[k]);
    ml_buf_append(json, ML_STR("["));
    for (unsigned i = 0; i < s.count; i++) {
        if (i > 0)
            ml_buf_append(json, ML_STR(","));
        record(json, &s.list[i]);
        free(s.list[i].bytes);
    }
    ml_buf_append(json, ML_STR("]"));
    free(s.list);
    return s.count;
}
