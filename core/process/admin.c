/* admin.c - a table of calls; those that need a script to run are answered by another process.
 *
 * Whatever a client asks costs this process a few milliseconds at most: rings are copied, the page
 * of metrics is written, but a site is loaded, to explain a request, in a process of its own, one
 * at a time, with a deadline. */
#include "process/admin.h"

#include "base/json.h"
#include "process/page.h"
#include "process/stage.h"
#include "process/status.h"
#include "process/upstreams.h"
#include "script/generation.h"
#include "script/record.h"

#include <stdlib.h>

enum { WHY_MAX = 100, HEADERS_MAX = 40 };
static const double EXPLAIN_S = 10;

struct ml_admin {
    struct ml_admin_conf conf;
    struct { /* the request that is being explained */
        struct ml_arena *arena;
        struct ml_control_waiter *waiter; /* NULL: none is */
        struct ml_explain request;
        struct ml_stage *stage;
        int snapshot;
    } explain;
};

static void refuse(struct ml_control_waiter *w, int status, const char *sentence)
{
    struct ml_buf json = {0};

    ml_buf_append(&json, ML_STR("{\"error\":"));
    ml_json_string(&json, ml_str_of(sentence));
    ml_buf_append(&json, ML_STR("}"));
    ml_control_answer(w, status, ML_ADMIN_JSON, ml_buf_str(&json));
    ml_buf_release(&json);
}

static void answer(struct ml_control_waiter *w, int status, struct ml_buf *json)
{
    ml_control_answer(w, status, ML_ADMIN_JSON, ml_buf_str(json));
    ml_buf_release(json);
}

/* The number, `otherwise` when it is not given, or false. */
static bool number_param(struct ml_str query, const char *name, struct ml_arena *arena,
                         uint32_t otherwise, uint32_t *n)
{
    struct ml_str text;
    uint64_t value = 0;

    *n = otherwise;
    if (!ml_admin_param(query, name, 0, arena, &text))
        return true;
    for (size_t i = 0; i < text.len; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || value > UINT32_MAX)
            return false;
        value = value * 10 + (uint64_t)(text.p[i] - '0');
    }
    *n = (uint32_t)value;
    return text.len > 0 && value <= UINT32_MAX;
}

/* ---- what is asked ---- */

typedef void call_fn(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                     struct ml_control_waiter *w);

static void call_status(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                        struct ml_control_waiter *w)
{
    struct ml_buf json = {0};

    (void)query;
    (void)arena;
    ml_status_json(a->conf.shm, &json);
    answer(w, 200, &json);
}

static void call_metrics(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                         struct ml_control_waiter *w)
{
    enum ml_exposition format = ML_PROMETHEUS;
    struct ml_str name;
    struct ml_buf page = {0};

    if (ml_admin_param(query, "format", 0, arena, &name) && ml_str_eq(name, ML_STR("openmetrics")))
        format = ML_OPENMETRICS;
    ml_page_write(a->conf.shm, ml_reload_summary(a->conf.reload)->settings.service, format, &page);
    if (ml_buf_len(&page) > 0)
        page.end--; /* the newline that each answer ends with */
    ml_control_answer(w, 200, ml_exposition_type(format), ml_buf_str(&page));
    ml_buf_release(&page);
}

static void call_why(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                     struct ml_control_waiter *w)
{
    struct ml_record_filter filter = {0};
    struct ml_str refused;
    struct ml_buf json = {0};
    uint32_t last;
    unsigned found;

    ml_admin_param(query, "id", 0, arena, &filter.id);
    filter.refused = ml_admin_param(query, "refused", 0, arena, &refused);
    if (!number_param(query, "last", arena, filter.id.len > 0 ? 10 : 1, &last) || last < 1 ||
        last > WHY_MAX) {
        refuse(w, 400, "last is a number from 1 to 100");
        return;
    }
    ml_buf_append(&json, ML_STR("{\"exchanges\":"));
    found = ml_record_list(ml_shm_rings(a->conf.shm), &filter, last, &json);
    ml_buf_append(&json, ML_STR("}"));
    if (found > 0 || filter.id.len == 0) {
        answer(w, 200, &json);
        return;
    }
    ml_buf_release(&json);
    refuse(w, 404,
           "no exchange with that id is known: it is too long ago, or was none of this gateway");
}

static unsigned exchanges_of(void *ctx, uint32_t number)
{
    struct ml_admin *a = ctx;
    unsigned sum = 0;

    for (unsigned i = 0; i < ML_SHM_WORKERS_MAX; i++) {
        struct ml_shm_worker *w = ml_shm_worker(a->conf.shm, i);

        for (unsigned k = 0; k < ML_SHM_OLD_MAX; k++)
            if (atomic_load_explicit(&w->in_hand[k].number, memory_order_relaxed) == number)
                sum += atomic_load_explicit(&w->in_hand[k].exchanges, memory_order_relaxed);
    }
    return sum;
}

static void call_generations(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                             struct ml_control_waiter *w)
{
    struct ml_buf json = {0};

    (void)query;
    (void)arena;
    ml_buf_append(&json, ML_STR("{\"generations\":"));
    ml_reload_history(a->conf.reload, exchanges_of, a, &json);
    ml_buf_append(&json, ML_STR("}"));
    answer(w, 200, &json);
}

/* ---- explain ---- */

static void explain_end(struct ml_admin *a)
{
    ml_stage_free(&a->explain.stage);
    if (a->explain.arena != NULL)
        ml_arena_free(&a->explain.arena);
    a->explain.waiter = NULL;
}

static void on_explained(void *ctx, struct ml_stage_result *result)
{
    struct ml_admin *a = ctx;
    struct ml_control_waiter *w = a->explain.waiter;
    struct ml_buf copy = {0};

    if (result->explained.len > 0) {
        ml_buf_append(&copy, result->explained);
        explain_end(a);
        answer(w, 200, &copy);
        return;
    }
    ml_buf_append(&copy, result->error);
    ml_buf_append(&copy, (struct ml_str){"", 1});
    explain_end(a);
    refuse(w, 400, ml_buf_str(&copy).p);
    ml_buf_release(&copy);
}

static void explain_begin(struct ml_admin *a)
{
    struct ml_stage_conf conf = {.loop = a->conf.loop,
                                 .dir = "",
                                 .number = ml_reload_number(a->conf.reload),
                                 .deadline_s = EXPLAIN_S,
                                 .user = a->conf.user,
                                 .from = &a->explain.snapshot,
                                 .explain = &a->explain.request,
                                 .done = on_explained,
                                 .ctx = a};

    a->explain.snapshot = ml_reload_snapshot(a->conf.reload);
    a->explain.stage = ml_stage_new(&conf);
}

static void call_explain(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                         struct ml_control_waiter *w)
{
    struct ml_explain request = {.method = ML_STR("GET")};
    struct ml_str *headers;
    unsigned count = 0;

    (void)arena;
    if (a->explain.waiter != NULL) {
        refuse(w, 503, "another request is being explained: try again");
        return;
    }
    a->explain.arena = ml_arena_new();
    headers = ml_arena_alloc(a->explain.arena, HEADERS_MAX * sizeof *headers);
    while (count < HEADERS_MAX &&
           ml_admin_param(query, "header", count, a->explain.arena, &headers[count]))
        count++;
    ml_admin_param(query, "method", 0, a->explain.arena, &request.method);
    request.headers = headers;
    request.header_count = count;
    if (!ml_admin_param(query, "url", 0, a->explain.arena, &request.url)) {
        ml_arena_free(&a->explain.arena);
        refuse(w, 400, "url is missing");
        return;
    }
    a->explain.request = request;
    a->explain.waiter = w;
    explain_begin(a);
}

/* ---- what is to be done ---- */

static void call_reload(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                        struct ml_control_waiter *w)
{
    (void)query;
    (void)arena;
    a->conf.ask_reload(a->conf.ctx, w);
}

static void call_rollback(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                          struct ml_control_waiter *w)
{
    uint32_t number;

    if (number_param(query, "generation", arena, 0, &number))
        a->conf.ask_rollback(a->conf.ctx, number, w);
    else
        refuse(w, 400, "generation is a number");
}

static void drain(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                  struct ml_control_waiter *w, bool on)
{
    struct ml_str group, server;
    struct ml_buf json = {0};
    bool ok;

    if (!ml_admin_param(query, "upstream", 0, arena, &group) ||
        !ml_admin_param(query, "server", 0, arena, &server)) {
        refuse(w, 400, "upstream and server are expected");
        return;
    }
    ok = ml_upstreams_drain(a->conf.shm, group, server, on, &json);
    answer(w, ok ? 200 : 404, &json);
}

static void call_drain(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                       struct ml_control_waiter *w)
{
    drain(a, query, arena, w, true);
}

static void call_undrain(struct ml_admin *a, struct ml_str query, struct ml_arena *arena,
                         struct ml_control_waiter *w)
{
    drain(a, query, arena, w, false);
}

static const struct call {
    const char *verb;
    bool change;
    call_fn *run;
} calls[] = {
    {"status", false, call_status},    {"metrics", false, call_metrics},
    {"why", false, call_why},          {"generations", false, call_generations},
    {"explain", false, call_explain},  {"reload", true, call_reload},
    {"rollback", true, call_rollback}, {"drain", true, call_drain},
    {"undrain", true, call_undrain},
};

void ml_admin_call(struct ml_admin *a, const struct ml_admin_request *request,
                   struct ml_control_waiter *w)
{
    const struct call *call = calls, *end = calls + sizeof calls / sizeof *calls;
    struct ml_arena *arena;

    while (call < end && !ml_str_eq(ml_str_of(call->verb), request->verb))
        call++;
    if (call == end) {
        refuse(w, 404, "there is no such call");
    } else if (call->change ? !request->change : !request->read) {
        refuse(w, 405, call->change ? "this needs POST" : "this needs GET");
    } else {
        arena = ml_arena_new();
        call->run(a, request->query, arena, w);
        ml_arena_free(&arena);
    }
}

/* ---- life ---- */

struct ml_admin *ml_admin_new(const struct ml_admin_conf *conf)
{
    struct ml_admin *a = calloc(1, sizeof *a);

    if (a == NULL)
        abort();
    a->conf = *conf;
    return a;
}

void ml_admin_free(struct ml_admin **ap)
{
    struct ml_admin *a = *ap;
    struct ml_control_waiter *w;

    if (a == NULL)
        return;
    *ap = NULL;
    w = a->explain.waiter;
    explain_end(a);
    if (w != NULL)
        refuse(w, 503, "the gateway is stopping");
    free(a);
}
