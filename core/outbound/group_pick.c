/* group_pick.c - which server of a group is next.
 *
 * The tiers are asked in their order: a tier of which enough servers are up serves.  When none is
 * good enough all servers are used, whatever their health: a wrong verdict must not become an
 * outage, and those that are left must not drown. */
#include "outbound/group.h"

enum { WEIGHT_SCALE = 256, ANY_TIER = ~0u };

static uint64_t next_random(struct ml_outbound *o)
{
    o->random ^= o->random << 13;
    o->random ^= o->random >> 7;
    o->random ^= o->random << 17;
    return o->random * 0x2545f4914f6cdd1dULL;
}

static unsigned choose(struct ml_group *g, struct ml_roster *r, struct ml_str hash_key)
{
    switch (g->conf.balance) {
    case ML_LEAST_CONN:
        return ml_balance_least_conn(r->candidates, r->count);
    case ML_HASH:
        return ml_balance_hash(r->candidates, r->count, ml_balance_hash_of(hash_key));
    case ML_P2C:
        return ml_balance_p2c(r->candidates, r->count, next_random(g->o));
    case ML_ROUND_ROBIN:
        break;
    }
    return ml_balance_round_robin(r->candidates, r->count);
}

static bool has_room(const struct ml_member *m, uint32_t in_flight)
{
    return m->max_conns == 0 || in_flight < m->max_conns;
}

static unsigned weight_now(const struct ml_group *g, const struct ml_member *m, uint64_t now_ms)
{
    uint64_t slow_ms = (uint64_t)(g->conf.slow_start * 1000);
    double share;

    if (slow_ms == 0)
        return m->weight;
    share = ml_health_share(m->server->state, slow_ms, now_ms) * m->weight * WEIGHT_SCALE;
    return share > 1 ? (unsigned)share : 1;
}

struct view {           /* of the servers of a tier, or of all */
    unsigned count, up; /* those that are not drained; those of them that are up or may be probed */
    bool any;           /* one of them may be used */
};

/* Marks the candidates that may be used now. */
static struct view look(struct ml_group *g, struct ml_roster *r, const bool *tried, unsigned tier,
                        uint64_t now_ms)
{
    struct view v = {0};

    for (unsigned i = 0; i < r->count; i++) {
        const struct ml_member *m = &r->members[i];
        struct ml_shm_server *state = m->server->state;
        struct ml_candidate *c = &r->candidates[i];
        bool up;

        c->usable = false;
        if ((tier != ANY_TIER && m->tier != tier) || ml_health_drained(state))
            continue;
        up = ml_health_state(state, now_ms) != ML_HEALTH_DOWN;
        v.count++;
        v.up += up;
        c->in_flight = atomic_load_explicit(&state->in_flight, memory_order_relaxed);
        c->weight = weight_now(g, m, now_ms);
        c->usable =
            (up || tier == ANY_TIER) && (tried == NULL || !tried[i]) && has_room(m, c->in_flight);
        v.any |= c->usable;
    }
    return v;
}

static bool enough(const struct ml_group *g, const struct view *v)
{
    return v->up > 0 && v->up * 100 >= v->count * g->conf.panic_threshold;
}

/* One of the tier that is up, or that this request may probe. */
static bool pick_of(struct ml_group *g, struct ml_roster *r, struct ml_str hash_key,
                    const bool *tried, unsigned tier, uint64_t now_ms, struct ml_pick *pick)
{
    struct view v = look(g, r, tried, tier, now_ms);

    while (v.any && enough(g, &v)) {
        unsigned i = choose(g, r, hash_key);
        struct ml_shm_server *state = r->members[i].server->state;
        bool up = ml_health_state(state, now_ms) == ML_HEALTH_UP;

        if (up || ml_health_claim(state, &g->health, now_ms)) {
            *pick = (struct ml_pick){i, !up};
            return true;
        }
        v = look(g, r, tried, tier, now_ms); /* another worker took the probe: it is down now */
    }
    return false;
}

/* No choice: its health changes nothing, but must be known. */
static struct ml_pick only_one(struct ml_roster *r, const bool *tried, uint64_t now_ms)
{
    const struct ml_member *m = &r->members[0];
    struct ml_shm_server *state = m->server->state;
    uint32_t in_flight = atomic_load_explicit(&state->in_flight, memory_order_relaxed);

    if ((tried != NULL && tried[0]) || ml_health_drained(state) || !has_room(m, in_flight))
        return (struct ml_pick){1, false};
    return (struct ml_pick){0, ml_health_state(state, now_ms) != ML_HEALTH_UP};
}

struct ml_pick ml_group_pick(struct ml_group *g, struct ml_roster *r, struct ml_str hash_key,
                             const bool *tried)
{
    uint64_t now_ms = (uint64_t)(ml_loop_now_s(g->o->loop) * 1000);
    struct ml_pick pick = {r->count, false};

    if (r->count == 1)
        return only_one(r, tried, now_ms);
    for (unsigned tier = 0; tier < r->tiers; tier++)
        if (pick_of(g, r, hash_key, tried, tier, now_ms, &pick))
            return pick;
    if (look(g, r, tried, ANY_TIER, now_ms).any)
        pick = (struct ml_pick){choose(g, r, hash_key), true};
    return pick;
}
