/* history.c - what changed is found by comparing two snapshots, whose files are in order. */
#include "process/history.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log_event.h"
#include "script/snapshot.h"

#include <stdlib.h>
#include <unistd.h>

enum { CHANGES_MAX = 20 };

void ml_content_close(struct ml_content *c)
{
    ml_summary_free(&c->summary);
    if (c->snapshot >= 0)
        close(c->snapshot);
    c->snapshot = -1;
}

void ml_history_add(struct ml_history *h, struct ml_content *c)
{
    if (h->count == ML_HISTORY_MAX)
        ml_content_close(&h->list[--h->count]);
    memmove(h->list + 1, h->list, h->count * sizeof *h->list);
    h->list[0] = *c;
    h->list[0].until_s = ml_clock_wall_s();
    h->count++;
    *c = (struct ml_content){.snapshot = -1};
}

const struct ml_content *ml_history_find(const struct ml_history *h, uint32_t number)
{
    for (unsigned i = 0; i < h->count; i++)
        if (number == 0 || h->list[i].number == number)
            return &h->list[i];
    return NULL;
}

void ml_history_free(struct ml_history *h)
{
    while (h->count > 0)
        ml_content_close(&h->list[--h->count]);
}

/* ---- what changed ---- */

struct changes {
    struct ml_buf *json;
    unsigned count;
};

static void change(struct changes *c, const char *what, struct ml_str file)
{
    if (c->count++ >= CHANGES_MAX)
        return;
    ml_buf_printf(c->json, "%s{\"change\":\"%s\",\"file\":", c->count > 1 ? "," : "", what);
    ml_json_string(c->json, file);
    ml_buf_append(c->json, ML_STR("}"));
}

static int order(struct ml_str a, struct ml_str b)
{
    int by_bytes = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

    return by_bytes != 0 ? by_bytes : a.len < b.len ? -1 : a.len > b.len;
}

static void compare(struct changes *c, const struct ml_snapshot *old, const struct ml_snapshot *new)
{
    unsigned i = 0, k = 0, old_count = ml_snapshot_count(old), new_count = ml_snapshot_count(new);

    while (i < old_count || k < new_count) {
        int by_name = i == old_count   ? 1
                      : k == new_count ? -1
                                       : order(ml_snapshot_name(old, i), ml_snapshot_name(new, k));

        if (by_name < 0)
            change(c, "removed", ml_snapshot_name(old, i++));
        else if (by_name > 0)
            change(c, "added", ml_snapshot_name(new, k++));
        else if (!ml_str_eq(ml_snapshot_bytes(old, i++), ml_snapshot_bytes(new, k++)))
            change(c, "changed", ml_snapshot_name(new, k - 1));
    }
}

/* From old (NULL: nothing is known of it) to new. */
static void changes_json(const struct ml_content *old, const struct ml_content *new,
                         struct ml_buf *json)
{
    struct changes c = {.json = json};
    struct ml_snapshot *from = NULL, *to = NULL;
    struct ml_buf why = {0};

    ml_buf_append(json, ML_STR(",\"changes\":"));
    if (old != NULL && (from = ml_snapshot_open(old->snapshot, &why)) != NULL &&
        (to = ml_snapshot_open(new->snapshot, &why)) != NULL) {
        ml_buf_append(json, ML_STR("["));
        compare(&c, from, to);
        ml_buf_append(json, ML_STR("]"));
    } else {
        ml_buf_append(json, ML_STR("null"));
    }
    ml_buf_printf(json, ",\"changeCount\":%u", c.count);
    ml_snapshot_free(&from);
    ml_snapshot_free(&to);
    ml_buf_release(&why);
}

/* ---- JSON ---- */

static void time_json(struct ml_buf *json, const char *name, double at_s)
{
    ml_buf_printf(json, ",\"%s\":", name);
    if (at_s <= 0) {
        ml_buf_append(json, ML_STR("null"));
        return;
    }
    ml_buf_append(json, ML_STR("\""));
    ml_log_timestamp(json, at_s);
    ml_buf_append(json, ML_STR("\""));
}

static void content_json(const struct ml_content *c, const struct ml_content *before,
                         const char *state, unsigned exchanges, struct ml_buf *json)
{
    ml_buf_printf(json, "{\"generation\":%u,\"hash\":", c->number);
    ml_json_string(json, c->summary->hash);
    ml_buf_printf(json, ",\"state\":\"%s\",\"exchanges\":%u,\"routes\":%u", state, exchanges,
                  c->summary->route_count);
    time_json(json, "since", c->since_s);
    time_json(json, "until", c->until_s);
    if (c->again_of != 0)
        ml_buf_printf(json, ",\"rollbackTo\":%u", c->again_of);
    else
        ml_buf_append(json, ML_STR(",\"rollbackTo\":null"));
    changes_json(before, c, json);
    ml_buf_append(json, ML_STR("}"));
}

void ml_history_json(const struct ml_history *h, const struct ml_content *live,
                     unsigned (*exchanges)(void *ctx, uint32_t number), void *ctx,
                     struct ml_buf *json)
{
    ml_buf_append(json, ML_STR("["));
    content_json(live, h->count > 0 ? &h->list[0] : NULL, "live", exchanges(ctx, live->number),
                 json);
    for (unsigned i = 0; i < h->count; i++) {
        const struct ml_content *c = &h->list[i];
        unsigned n = exchanges(ctx, c->number);

        ml_buf_append(json, ML_STR(","));
        content_json(c, i + 1 < h->count ? c + 1 : NULL, n > 0 ? "draining" : "kept", n, json);
    }
    ml_buf_append(json, ML_STR("]"));
}
