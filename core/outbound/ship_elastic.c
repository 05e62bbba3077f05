/* ship_elastic.c - the bulk API of Elasticsearch, and of those who speak it too.
 *
 * Each document has an id of its own, so a batch whose answer was lost is sent again without making
 * anything twice: what is there already is refused with 409, which is as good as 201. */
#include "outbound/ship_parts.h"

#include "base/clock.h"
#include "base/json_scan.h"

#include <stdio.h>
#include <stdlib.h>

enum { DAY_AT = 15, DAY_LEN = 10 }; /* in a line, which begins {"@timestamp":"2024-05-06T... */

static const char mapping[] =
    "\"mappings\":{\"properties\":{"
    "\"@timestamp\":{\"type\":\"date\"},\"level\":{\"type\":\"keyword\"},"
    "\"message\":{\"type\":\"text\"},\"service\":{\"type\":\"keyword\"},"
    "\"requestId\":{\"type\":\"keyword\"},\"userId\":{\"type\":\"keyword\"},"
    "\"method\":{\"type\":\"keyword\"},\"url\":{\"type\":\"keyword\"},"
    "\"statusCode\":{\"type\":\"integer\"},\"responseTime\":{\"type\":\"integer\"},"
    "\"ip\":{\"type\":\"ip\",\"ignore_malformed\":true},\"userAgent\":{\"type\":\"keyword\"},"
    "\"upstream\":{\"type\":\"keyword\"},\"server\":{\"type\":\"keyword\"},"
    "\"route\":{\"type\":\"keyword\"},\"reason\":{\"type\":\"keyword\"},"
    "\"bytesIn\":{\"type\":\"long\"},\"bytes\":{\"type\":\"long\"},"
    "\"generation\":{\"type\":\"integer\"},\"tries\":{\"type\":\"integer\"},"
    "\"upstreamTime\":{\"type\":\"float\"},\"traceId\":{\"type\":\"keyword\"},"
    "\"spanId\":{\"type\":\"keyword\"},\"pid\":{\"type\":\"integer\"},\"protocol\":{\"type\":"
    "\"keyword\"}}}";

static bool prepare(const struct ml_ship_conf *conf, struct ml_buf *path, struct ml_buf *body)
{
    int len = (int)conf->index.len;

    if (conf->no_template)
        return false;
    ml_buf_append(path, conf->path);
    ml_buf_printf(path, "/_index_template/%.*s", len, conf->index.p);
    ml_buf_printf(body,
                  "{\"index_patterns\":[\"%.*s%s\"],\"priority\":200,\"template\":{\"settings\":"
                  "{\"number_of_shards\":1,\"number_of_replicas\":1},%s}}",
                  len, conf->index.p, conf->daily ? "-*" : "", mapping);
    return true;
}

static void bulk_path(const struct ml_ship_conf *conf, struct ml_buf *out)
{
    ml_buf_append(out, conf->path);
    ml_buf_append(out, ML_STR("/_bulk?filter_path=errors,items.*.status,items.*.error.type,"
                              "items.*.error.reason"));
}

static void nothing(const struct ml_ship_conf *conf, struct ml_buf *out)
{
    (void)conf;
    (void)out;
}

/* Ids of this process are nobody else's. */
static const char *id_prefix(void)
{
    static char prefix[17];

    if (prefix[0] == '\0')
        ml_random_hex(prefix, 8);
    return prefix;
}

/* "2024-05-06" as "2024.05.06": when the line was written, which may be yesterday. */
static void add_day(struct ml_str line, struct ml_buf *out)
{
    char day[DAY_LEN + 2] = "-";

    if (line.len <= DAY_AT + DAY_LEN)
        return;
    memcpy(day + 1, line.p + DAY_AT, DAY_LEN);
    day[5] = day[8] = '.';
    ml_buf_append(out, (struct ml_str){day, DAY_LEN + 1});
}

static void document(const struct ml_ship_conf *conf, struct ml_str line, uint64_t number,
                     bool first, struct ml_buf *out)
{
    (void)first;
    ml_buf_append(out, ML_STR("{\"create\":{\"_index\":\""));
    ml_buf_append(out, conf->index);
    if (conf->daily)
        add_day(line, out);
    ml_buf_printf(out, "\",\"_id\":\"%s%llx\"}}\n", id_prefix(), (unsigned long long)number);
    ml_buf_append(out, line);
    ml_buf_append(out, ML_STR("\n"));
}

/* ---- what the answer says ---- */

struct answer {
    struct ml_str items;
    bool has_errors, errors;
    struct ml_ship_result *r;
    unsigned lines, at;
    /* of the item at hand */
    double status;
    struct ml_str error;
};

static void on_top(void *ctx, const struct ml_json_item *item)
{
    struct answer *a = ctx;

    if (ml_str_eq(item->name, ML_STR("errors"))) {
        a->has_errors = item->kind == ML_JSON_TRUE || item->kind == ML_JSON_FALSE;
        a->errors = item->kind == ML_JSON_TRUE;
    } else if (ml_str_eq(item->name, ML_STR("items")) && item->kind == ML_JSON_ARRAY) {
        a->items = item->text;
    }
}

static void on_result(void *ctx, const struct ml_json_item *item)
{
    struct answer *a = ctx;

    if (ml_str_eq(item->name, ML_STR("status")) && item->kind == ML_JSON_NUMBER)
        (void)ml_json_number(item->text, &a->status);
    else if (ml_str_eq(item->name, ML_STR("error")))
        a->error = item->text;
}

static void on_action(void *ctx, const struct ml_json_item *item)
{
    if (item->kind == ML_JSON_OBJECT)
        ml_json_scan(item->text, ML_JSON_OBJECT, on_result, ctx);
}

static void on_item(void *ctx, const struct ml_json_item *item)
{
    struct answer *a = ctx;
    struct ml_ship_result *r = a->r;

    if (a->at >= a->lines)
        return;
    a->status = 0;
    a->error = ML_STR_NONE;
    if (item->kind == ML_JSON_OBJECT)
        ml_json_scan(item->text, ML_JSON_OBJECT, on_action, a);
    if (a->status == 429 || a->status >= 500 || a->status <= 0) {
        r->keep[a->at] = true;
        r->again++;
    } else if (a->status >= 300 && a->status != 409) {
        r->refused++;
        if (r->why[0] == '\0')
            snprintf(r->why, sizeof r->why, "%.*s", (int)(a->error.len < 119 ? a->error.len : 119),
                     a->error.len > 0 ? a->error.p : "");
    }
    a->at++;
}

static enum ml_ship_verdict judge_items(struct ml_str body, unsigned lines,
                                        struct ml_ship_result *r)
{
    struct answer a = {.r = r, .lines = lines};

    if (!ml_json_scan(body, ML_JSON_OBJECT, on_top, &a) || !a.has_errors)
        return ML_SHIP_AGAIN; /* whoever says this is no Elasticsearch */
    if (!a.errors)
        return ML_SHIP_DONE;
    if (a.items.len == 0 || !ml_json_scan(a.items, ML_JSON_ARRAY, on_item, &a) || a.at < lines) {
        r->again = r->refused = 0;
        memset(r->keep, 0, lines * sizeof *r->keep);
        return ML_SHIP_AGAIN;
    }
    return ML_SHIP_DONE;
}

static enum ml_ship_verdict judge(int status, struct ml_str body, unsigned lines,
                                  struct ml_ship_result *r)
{
    if (status == 413)
        return ML_SHIP_SMALLER;
    if (status >= 200 && status < 300)
        return judge_items(body, lines, r);
    if (status != 400)
        return ML_SHIP_AGAIN; /* also 401 and 403: keys are changed, and lines are worth waiting */
    r->refused = lines;
    snprintf(r->why, sizeof r->why, "status 400");
    return ML_SHIP_DONE;
}

const struct ml_ship_protocol ml_ship_elastic = {.path = bulk_path,
                                                 .type = "application/x-ndjson",
                                                 .begin = nothing,
                                                 .line = document,
                                                 .end = nothing,
                                                 .judge = judge,
                                                 .prepare = prepare};
