/* steps.c - labels, slots, clocks. */
#include "script/steps.h"

#include "base/clock.h"
#include "inbound/tracing.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <time.h>

enum { EVERY_MAX = 64 };

struct step {
    char *label;                                   /* owned */
    struct ml_slot *cpu, *wall, *denials, *errors; /* NULL: nothing is counted */
};

struct ml_steps {
    struct step *list; /* list[0] is no step */
    unsigned count, cap;
    unsigned every, left; /* of how many requests one is measured, how many to go */
    bool counting, all;
};

static const struct ml_metric_def
    cpu_def = {.kind = ML_COUNTER,
               .name = "moonlatch_middleware_cpu_seconds_total",
               .help = "CPU time of the middleware's own code, estimated from a sample of requests",
               .labels = {"middleware"}},
    wall_def = {.kind = ML_COUNTER,
                .name = "moonlatch_middleware_wall_seconds_total",
                .help = "Time in the middleware, also waiting, without what is inside of it; "
                        "estimated from a sample of requests",
                .labels = {"middleware"}},
    denials_def = {.kind = ML_COUNTER,
                   .name = "moonlatch_middleware_denials_total",
                   .help = "Answers of the middleware's own with a status of 400 or more",
                   .labels = {"middleware"}},
    errors_def = {.kind = ML_COUNTER,
                  .name = "moonlatch_middleware_errors_total",
                  .help = "Requests that failed as the middleware raised an error or used up its "
                          "time or memory",
                  .labels = {"middleware"}};

struct ml_steps *ml_steps_new(void)
{
    struct ml_steps *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->count = 1;
    s->every = s->left = 1;
    return s;
}

void ml_steps_free(struct ml_steps **sp)
{
    struct ml_steps *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    for (unsigned i = 1; i < s->count; i++)
        free(s->list[i].label);
    free(s->list);
    free(s);
}

unsigned ml_steps_add(struct ml_steps *s, struct ml_str label)
{
    for (unsigned i = 1; i < s->count; i++)
        if (ml_str_eq(ml_str_of(s->list[i].label), label))
            return i;
    if (s->count > ML_STEPS_MAX)
        return 0;
    if (s->count >= s->cap) {
        s->cap = s->cap > 0 ? s->cap * 2 : 16;
        s->list = realloc(s->list, s->cap * sizeof *s->list);
        if (s->list == NULL)
            abort();
    }
    s->list[s->count] = (struct step){.label = strndup(label.p, label.len)};
    if (s->list[s->count].label == NULL)
        abort();
    return s->count++;
}

static struct ml_slot *slot(struct ml_metrics *m, const struct ml_metric_def *def,
                            const char *label)
{
    struct ml_metric *metric = ml_metric_register(m, def, NULL);

    return metric != NULL ? ml_metric_slot_of(metric, label, NULL, NULL, NULL) : NULL;
}

void ml_steps_start(struct ml_steps *s, struct ml_metrics *m)
{
    if (m == NULL)
        return;
    s->counting = true;
    for (unsigned i = 1; i < s->count; i++) {
        struct step *step = &s->list[i];

        step->cpu = slot(m, &cpu_def, step->label);
        step->wall = slot(m, &wall_def, step->label);
        step->denials = slot(m, &denials_def, step->label);
        step->errors = slot(m, &errors_def, step->label);
    }
}

void ml_steps_time_all(struct ml_steps *s)
{
    s->all = true;
}

static struct step *step_of(struct ml_steps *s, unsigned number)
{
    number %= ML_STEPS_PLACE;
    return s->counting && number > 0 && number < s->count ? &s->list[number] : NULL;
}

struct ml_str ml_steps_label(const struct ml_steps *s, unsigned number)
{
    number %= ML_STEPS_PLACE;
    return number > 0 && number < s->count ? ml_str_of(s->list[number].label) : ML_STR_NONE;
}

/* ---- refusals and errors ---- */

void ml_steps_answered(struct ml_steps *s, unsigned number, int status)
{
    struct step *step = step_of(s, number);

    if (step != NULL && step->denials != NULL && status >= 400)
        ml_metric_add(step->denials, 1);
}

/* The number that the closure on top of co has as its upvalue `id`, or 0. */
static unsigned number_of(lua_State *co)
{
    const char *name;

    for (int i = 1; (name = lua_getupvalue(co, -1, i)) != NULL; i++) {
        double id = lua_tonumber(co, -1);

        lua_pop(co, 1);
        if (strcmp(name, "id") == 0)
            return id > 0 ? (unsigned)id : 0;
    }
    return 0;
}

/* The innermost function of the chain that still runs: a step calls its middleware by an ordinary
 * call, and what is inside of it as its last act, which leaves no frame. */
unsigned ml_steps_running(lua_State *co)
{
    lua_Debug ar;

    if (!lua_checkstack(co, 4))
        return 0;
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        unsigned number = 0;

        lua_getinfo(co, "S", &ar);
        if (strcmp(ar.source, "@lua/moonlatch/handler.lua") == 0)
            return 0;
        if (strcmp(ar.source, "@lua/moonlatch/chain.lua") != 0)
            continue;
        lua_getinfo(co, "f", &ar);
        number = number_of(co);
        lua_pop(co, 1);
        if (number > 0)
            return number;
    }
    return 0;
}

void ml_steps_blame(struct ml_steps *s, unsigned number)
{
    struct step *step = step_of(s, number);

    if (step != NULL && step->errors != NULL)
        ml_metric_add(step->errors, 1);
}

/* ---- time ---- */

static void begin(struct ml_steps *s, struct ml_exchange *ex, unsigned weight)
{
    ex->timing = ml_arena_zalloc(ex->arena, sizeof *ex->timing);
    ex->timing->weight = weight;
    ex->timing->steps = s;
}

bool ml_steps_sample(struct ml_steps *s, struct ml_exchange *ex)
{
    if (s->all) {
        begin(s, ex, 1);
        return true;
    }
    if (--s->left > 0)
        return false;
    if (!s->counting) {
        s->left = EVERY_MAX;
        return false;
    }
    begin(s, ex, s->every);
    s->every = s->every < EVERY_MAX ? s->every * 2 : EVERY_MAX;
    s->left = s->every;
    return true;
}

bool ml_steps_watch(struct ml_steps *s, struct ml_exchange *ex)
{
    if (ex->trace == NULL || !ex->trace->sampled)
        return false;
    begin(s, ex, 0);
    return true;
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void charge(struct ml_slot *to, uint64_t from_ns, uint64_t to_ns, unsigned weight)
{
    if (to != NULL && to_ns > from_ns)
        ml_metric_add(to, (double)(to_ns - from_ns) * 1e-9 * weight);
}

static struct ml_mark *mark_of(struct ml_timing *t)
{
    unsigned place = t->step / ML_STEPS_PLACE;

    return place < ML_STEPS_PLACES_MAX ? &t->marks[place] : NULL;
}

static uint64_t since(uint64_t from_ns, uint64_t to_ns)
{
    return from_ns > 0 && to_ns > from_ns ? to_ns - from_ns : 0;
}

void ml_timing_enter(struct ml_timing *t, unsigned number)
{
    struct step *step = step_of(t->steps, t->step);
    uint64_t cpu = cpu_ns(), wall = ml_clock_mono_ns();
    struct ml_mark *mark = mark_of(t);

    if (step != NULL) {
        charge(step->cpu, t->cpu_ns, cpu, t->weight);
        charge(step->wall, t->wall_ns, wall, t->weight);
    }
    if (mark != NULL) {
        mark->cpu_ns += since(t->cpu_ns, cpu);
        mark->wall_ns += since(t->wall_ns, wall);
        mark->end_s = (double)wall * 1e-9;
    }
    t->step = number;
    mark = mark_of(t);
    if (mark != NULL && mark->begin_s <= 0) {
        mark->begin_s = (double)wall * 1e-9;
        mark->step = number;
    }
    t->cpu_ns = cpu;
    t->wall_ns = wall;
}

void ml_timing_resume(struct ml_timing *t)
{
    t->cpu_ns = cpu_ns();
}

void ml_timing_yield(struct ml_timing *t)
{
    struct step *step = step_of(t->steps, t->step);
    struct ml_mark *mark = mark_of(t);
    uint64_t cpu = cpu_ns();

    if (step != NULL)
        charge(step->cpu, t->cpu_ns, cpu, t->weight);
    if (mark != NULL) {
        mark->cpu_ns += since(t->cpu_ns, cpu);
        mark->waits++;
    }
}

/* A metric's name is a token. */
static void entry(struct ml_buf *out, struct ml_str name, double ms)
{
    if (ml_buf_len(out) > 0)
        ml_buf_append(out, ML_STR(", "));
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        bool token = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || c == '.';

        ml_buf_append(out, (struct ml_str){token ? &c : "-", 1});
    }
    ml_buf_printf(out, ";dur=%.3f", ms);
}

void ml_timing_header(struct ml_exchange *ex, struct ml_headers *h)
{
    struct ml_timing *t = ex->timing;
    double all_s = ml_clock_mono_s() - ex->notes.start_s;
    struct ml_buf value = {0};

    for (unsigned i = 1; t != NULL && i < ML_STEPS_PLACES_MAX; i++)
        if (t->marks[i].begin_s > 0)
            entry(&value, ml_steps_label(t->steps, t->marks[i].step),
                  (double)t->marks[i].wall_ns * 1e-6);
    if (ex->notes.upstream_s >= 0)
        entry(&value, ML_STR("upstream"), ex->notes.upstream_s * 1000);
    entry(&value, ML_STR("total"), all_s > 0 ? all_s * 1000 : 0);
    ml_headers_add(h, ex->arena, ML_STR("Server-Timing"),
                   ml_arena_dup(ex->arena, ml_buf_str(&value)));
    ml_buf_release(&value);
}
