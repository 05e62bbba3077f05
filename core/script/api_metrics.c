/* api_metrics.c - metrics that scripts count, and the page of all metrics.
 *
 *   core.metric{ kind=, name=, help=, labels=, buckets=, merge=, max_series=, fresh= }
 *       -> metric, or nil, why        at load; lua/moonlatch/metrics.lua has checked the values
 *   counter:inc(labels, n)            histogram:observe(labels, n)
 *   gauge:set(labels, n)  gauge:inc(labels, n)  gauge:dec(labels, n)  gauge:unset(labels)
 *   core.metrics_text(accept) -> text, its media type
 *
 * Loading only notes them: a site that is given up leaves no trace.  They are registered when its
 * generation begins to serve.  Without labels the table may be left out.  fresh: a gauge that
 * tells of this generation only. */
#include "script/api.h"

#include <math.h>
#include <stdlib.h>

struct script_metric {
    struct ml_metric_def def; /* its strings are behind the struct */
    struct ml_metric *metric; /* NULL until the generation serves */
    struct ml_slot *slot;     /* without labels, once it was used */
    unsigned label_count;
    bool fresh;
    int ref; /* keeps it, in the registry */
    struct script_metric *next;
};

struct ml_script_metrics { /* a userdata of the VM */
    struct script_metric *list;
    int metatables[3];
};

enum { STRINGS_MAX = 4096 };

/* ---- declaring ---- */

struct strings { /* room behind a script_metric */
    char *at;
    size_t left;
};

static const char *take(struct strings *s, const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = s->at;

    if (len > s->left)
        return NULL;
    memcpy(copy, text, len);
    s->at += len;
    s->left -= len;
    return copy;
}

static const char *text_field(lua_State *L, struct strings *s, const char *name)
{
    const char *copy;

    lua_getfield(L, 1, name);
    copy = take(s, luaL_checkstring(L, -1));
    lua_pop(L, 1);
    if (copy == NULL)
        luaL_error(L, "the name, the help and the labels of a metric take too much room");
    return copy;
}

static void read_labels(lua_State *L, struct script_metric *m, struct strings *s)
{
    lua_getfield(L, 1, "labels");
    luaL_checktype(L, -1, LUA_TTABLE);
    for (int i = 1, n = (int)lua_objlen(L, -1); i <= n; i++) {
        const char *copy;

        if (m->label_count == ML_METRIC_LABELS_MAX)
            luaL_error(L, "a metric has at most %d labels", ML_METRIC_LABELS_MAX);
        lua_rawgeti(L, -1, i);
        copy = take(s, luaL_checkstring(L, -1));
        lua_pop(L, 1);
        if (copy == NULL)
            luaL_error(L, "the name, the help and the labels of a metric take too much room");
        m->def.labels[m->label_count++] = copy;
    }
    lua_pop(L, 1);
}

static void read_buckets(lua_State *L, struct script_metric *m)
{
    lua_getfield(L, 1, "buckets");
    for (int i = 1, n = lua_istable(L, -1) ? (int)lua_objlen(L, -1) : 0; i <= n; i++) {
        if (m->def.bucket_count == ML_METRIC_BUCKETS_MAX)
            luaL_error(L, "a histogram has at most %d buckets", ML_METRIC_BUCKETS_MAX);
        lua_rawgeti(L, -1, i);
        m->def.buckets[m->def.bucket_count++] = luaL_checknumber(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static int word_field(lua_State *L, const char *name, const char *const *words)
{
    int found;

    lua_getfield(L, 1, name);
    found = luaL_checkoption(L, -1, words[0], words);
    lua_pop(L, 1);
    return found;
}

static void read_def(lua_State *L, struct script_metric *m)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram", NULL};
    static const char *const merges[] = {"sum", "max", "min", "last", NULL};
    struct strings s = {(char *)(m + 1), STRINGS_MAX};

    m->def.kind = (enum ml_metric_kind)word_field(L, "kind", kinds);
    m->def.merge = (enum ml_metric_merge)word_field(L, "merge", merges);
    m->def.name = text_field(L, &s, "name");
    m->def.help = text_field(L, &s, "help");
    read_labels(L, m, &s);
    read_buckets(L, m);
    m->def.series_max =
        (unsigned)ml_api_option_number(L, 1, "max_series", 1, ML_METRIC_SERIES_MAX, 0);
    m->fresh = ml_api_option_flag(L, 1, "fresh", false);
}

static bool same(const struct ml_metric_def *a, const struct ml_metric_def *b)
{
    if (a->kind != b->kind || a->merge != b->merge || a->bucket_count != b->bucket_count ||
        memcmp(a->buckets, b->buckets, a->bucket_count * sizeof *a->buckets) != 0)
        return false;
    for (unsigned i = 0; i < ML_METRIC_LABELS_MAX; i++) {
        if (a->labels[i] == NULL || b->labels[i] == NULL)
            return a->labels[i] == b->labels[i];
        if (strcmp(a->labels[i], b->labels[i]) != 0)
            return false;
    }
    return true;
}

static int refuse(lua_State *L, struct ml_str why)
{
    lua_pushnil(L);
    ml_push_str(L, why);
    return 2;
}

/* With the new metric on top: it, the one that is there already, or nil and why. */
static int settle(lua_State *L, struct ml_bridge *b, struct script_metric *m)
{
    struct ml_script_metrics *all = b->metrics;
    struct ml_metrics_region *region = b->conf.host->metrics_region;
    char text[256];
    struct ml_buf why = {0};
    bool agrees;

    for (struct script_metric *o = all->list; o != NULL; o = o->next) {
        if (strcmp(o->def.name, m->def.name) != 0)
            continue;
        if (!same(&o->def, &m->def))
            return refuse(L, ML_STR("there is a metric with this name already, and it has another "
                                    "kind, other labels or other buckets"));
        lua_rawgeti(L, LUA_REGISTRYINDEX, o->ref);
        return 1;
    }
    if (region != NULL) {
        agrees = ml_metric_agrees(region, &m->def, &why);
        ml_shm_text(text, sizeof text, ml_buf_str(&why));
        ml_buf_release(&why);
        if (!agrees)
            return refuse(L, ml_str_of(text));
    }
    lua_pushvalue(L, -1);
    m->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    m->next = all->list;
    all->list = m;
    return 1;
}

static int declare(lua_State *L)
{
    struct ml_bridge *b = ml_bridge_of(L);
    struct script_metric *m;

    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    m = lua_newuserdata(L, sizeof *m + STRINGS_MAX);
    memset(m, 0, sizeof *m);
    read_def(L, m);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->metrics->metatables[m->def.kind]);
    lua_setmetatable(L, -2);
    return settle(L, b, m);
}

void ml_api_metrics_start(struct ml_bridge *b)
{
    struct ml_metrics *metrics = b->conf.host->metrics;

    if (metrics == NULL)
        return;
    for (struct script_metric *m = b->metrics->list; m != NULL; m = m->next) {
        m->metric = ml_metric_register(metrics, &m->def, NULL);
        if (m->metric != NULL && m->fresh)
            ml_metric_unset(m->metric);
    }
}

/* ---- counting ---- */

static struct script_metric *check_metric(lua_State *L, enum ml_metric_kind kind)
{
    struct ml_script_metrics *all = ml_bridge_of(L)->metrics;

    if (lua_getmetatable(L, 1)) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, all->metatables[kind]);
        if (lua_rawequal(L, -1, -2)) {
            lua_pop(L, 2);
            return lua_touserdata(L, 1);
        }
    }
    luaL_error(L, "call it with a colon: metric:inc(...)");
    return NULL;
}

static struct ml_str label_value(lua_State *L, const char *name)
{
    struct ml_str s;

    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
    case LUA_TNUMBER:
        s.p = lua_tolstring(L, -1, &s.len);
        return s;
    case LUA_TBOOLEAN:
        return lua_toboolean(L, -1) ? ML_STR("true") : ML_STR("false");
    case LUA_TNIL:
        luaL_error(L, "the label \"%s\" is missing", name);
        break;
    default:
        luaL_error(L, "the label \"%s\" must be a string, a number or a boolean, not a %s", name,
                   luaL_typename(L, -1));
    }
    return ML_STR("");
}

static void check_names(lua_State *L, const struct script_metric *m)
{
    unsigned count = 0;

    for (lua_pushnil(L); lua_next(L, 2) != 0; lua_pop(L, 1))
        count++;
    if (count != m->label_count)
        luaL_error(L, "the metric %s has %d labels, %d were given", m->def.name,
                   (int)m->label_count, (int)count);
}

/* The slot for the labels at index 2; the number is at 3 then.  NULL: there is no metric, as there
 * were too many. */
static struct ml_slot *find_slot(lua_State *L, struct script_metric *m)
{
    struct ml_str values[ML_METRIC_LABELS_MAX];

    if (ml_task_running(L) == NULL && m->metric == NULL)
        luaL_error(L, "metrics can not be counted while the site is loaded");
    if (m->label_count == 0 && lua_type(L, 2) != LUA_TTABLE && !lua_isnil(L, 2)) {
        lua_pushnil(L);
        lua_insert(L, 2);
    }
    lua_settop(L, 3);
    if (m->metric == NULL)
        return NULL;
    if (m->label_count == 0) {
        if (m->slot == NULL)
            m->slot = ml_metric_slot(m->metric, values);
        return m->slot;
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    for (unsigned i = 0; i < m->label_count; i++) {
        lua_pushstring(L, m->def.labels[i]);
        lua_rawget(L, 2);
        values[i] = label_value(L, m->def.labels[i]);
    }
    check_names(L, m);
    return ml_metric_slot(m->metric, values);
}

static double number_at_3(lua_State *L, double least, double otherwise)
{
    double n = otherwise;

    if (lua_isnil(L, 3) && !isnan(otherwise))
        return n;
    n = lua_tonumber(L, 3);
    if (lua_type(L, 3) != LUA_TNUMBER || !isfinite(n) || n < least)
        luaL_error(L, least >= 0 ? "a number that is finite and not below 0 is expected"
                                 : "a finite number is expected");
    return n;
}

static int counter_inc(lua_State *L)
{
    struct ml_slot *slot = find_slot(L, check_metric(L, ML_COUNTER));
    double n = number_at_3(L, 0, 1);

    if (slot != NULL)
        ml_metric_add(slot, n);
    return 0;
}

static int gauge_add(lua_State *L, double sign)
{
    struct ml_slot *slot = find_slot(L, check_metric(L, ML_GAUGE));
    double n = number_at_3(L, -HUGE_VAL, 1);

    if (slot != NULL)
        ml_gauge_add(slot, sign * n);
    return 0;
}

static int gauge_inc(lua_State *L)
{
    return gauge_add(L, 1);
}

static int gauge_dec(lua_State *L)
{
    return gauge_add(L, -1);
}

static int gauge_set(lua_State *L)
{
    struct ml_slot *slot = find_slot(L, check_metric(L, ML_GAUGE));
    double n = number_at_3(L, -HUGE_VAL, (double)NAN);

    if (slot != NULL)
        ml_gauge_set(slot, n);
    return 0;
}

static int gauge_unset(lua_State *L)
{
    struct ml_slot *slot;

    lua_settop(L, 2);
    slot = find_slot(L, check_metric(L, ML_GAUGE));
    if (slot != NULL)
        ml_gauge_unset(slot);
    return 0;
}

static int histogram_observe(lua_State *L)
{
    struct script_metric *m = check_metric(L, ML_HISTOGRAM);
    struct ml_slot *slot = find_slot(L, m);
    double n = number_at_3(L, -HUGE_VAL, (double)NAN);

    if (slot != NULL)
        ml_histogram_observe(m->metric, slot, n);
    return 0;
}

/* ---- the page ---- */

static int metrics_text(lua_State *L)
{
    const struct ml_script_host *host = ml_bridge_of(L)->conf.host;
    struct ml_buf *text = ml_handle_scratch();
    enum ml_exposition format;
    struct ml_str accept = {0};

    if (host->metrics_text == NULL)
        return luaL_error(L, "gw.metrics.text can not be called while the site is loaded");
    if (!lua_isnoneornil(L, 1))
        accept = ml_check_str(L, 1);
    format = ml_exposition_of(accept);
    host->metrics_text(host->status_ctx, format, text);
    ml_push_str(L, ml_buf_str(text));
    lua_pushstring(L, ml_exposition_type(format));
    return 2;
}

void ml_api_metrics_open(lua_State *L, struct ml_bridge *b)
{
    static const luaL_Reg functions[] = {
        {"metric", declare}, {"metrics_text", metrics_text}, {NULL, NULL}};
    static const luaL_Reg counter[] = {{"inc", counter_inc}, {NULL, NULL}};
    static const luaL_Reg gauge[] = {{"set", gauge_set},
                                     {"inc", gauge_inc},
                                     {"dec", gauge_dec},
                                     {"unset", gauge_unset},
                                     {NULL, NULL}};
    static const luaL_Reg histogram[] = {{"observe", histogram_observe}, {NULL, NULL}};
    static const luaL_Reg *const methods[] = {counter, gauge, histogram};

    b->metrics = lua_newuserdata(L, sizeof *b->metrics);
    memset(b->metrics, 0, sizeof *b->metrics);
    luaL_ref(L, LUA_REGISTRYINDEX);
    ml_bridge_register(L, b, functions);
    for (int i = 0; i < 3; i++) {
        ml_api_push_class(L, b, methods[i]);
        b->metrics->metatables[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
}
