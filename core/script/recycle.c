/* recycle.c - two thresholds, and a pause so that a worker does not spend its life loading. */
#include "script/recycle.h"

enum { ALIVE_MAX = 4 }; /* VMs: old ones that exchanges hold count */
static const double PAUSE_MIN_S = 1, PAUSE_MAX_S = 60, SHORT_LIFE_S = 60, SPREAD = 0.1;
enum { SPREAD_STEPS = 8 };

static bool is_full(struct ml_generation *g, const struct ml_settings *settings)
{
    return settings->script_recycle > 0 && ml_generation_stays_full(g);
}

/* Workers that began together are not replaced together. */
static double age_limit_s(const struct ml_settings *settings, unsigned worker)
{
    return settings->script_max_age * (1 + SPREAD * (worker % SPREAD_STEPS) / SPREAD_STEPS);
}

const char *ml_recycle_due(struct ml_recycle *r, struct ml_generation *g, unsigned worker,
                           double now_s)
{
    const struct ml_settings *settings = &ml_generation_site(g)->settings;

    if (r->seen != g) {
        r->seen = g;
        r->since_s = now_s;
    }
    if (now_s < r->next_s || ml_generation_alive() >= ALIVE_MAX)
        return NULL;
    if (is_full(g, settings))
        return "heap";
    if (settings->script_max_age > 0 && now_s - r->since_s >= age_limit_s(settings, worker))
        return "age";
    return NULL;
}

void ml_recycle_done(struct ml_recycle *r, double now_s)
{
    bool early = now_s - r->since_s < SHORT_LIFE_S && r->pause_s > 0;

    r->pause_s = early ? 2 * r->pause_s : PAUSE_MIN_S;
    if (r->pause_s > PAUSE_MAX_S)
        r->pause_s = PAUSE_MAX_S;
    r->next_s = now_s + r->pause_s;
}
