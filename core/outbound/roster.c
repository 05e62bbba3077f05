/* roster.c - a counted array of servers. */
#include "outbound/roster.h"

#include <stdlib.h>

static void *zalloc(size_t count, size_t size)
{
    void *p = calloc(count > 0 ? count : 1, size);

    if (p == NULL)
        abort();
    return p;
}

struct ml_roster *ml_roster_new(unsigned room)
{
    struct ml_roster *r = zalloc(1, sizeof *r);

    r->refs = 1;
    r->members = zalloc(room, sizeof *r->members);
    r->candidates = zalloc(room, sizeof *r->candidates);
    return r;
}

void ml_roster_add(struct ml_roster *r, const struct ml_member *member)
{
    struct ml_server *s = member->server;

    for (unsigned i = 0; i < r->count; i++)
        if (r->members[i].server == s) {
            ml_server_release(&s);
            return;
        }
    r->candidates[r->count] = (struct ml_candidate){
        .hash = ml_balance_hash_of(s->text), .weight = member->weight, .usable = true};
    r->members[r->count++] = *member;
    if (member->tier >= r->tiers)
        r->tiers = member->tier + 1;
}

void ml_roster_follow(struct ml_roster *r, const struct ml_roster *old)
{
    for (unsigned i = 0; i < r->count; i++)
        for (unsigned k = 0; k < old->count; k++)
            if (old->members[k].server == r->members[i].server)
                r->candidates[i].credit = old->candidates[k].credit;
}

struct ml_roster *ml_roster_hold(struct ml_roster *r)
{
    r->refs++;
    return r;
}

void ml_roster_release(struct ml_roster **roster)
{
    struct ml_roster *r = *roster;

    *roster = NULL;
    if (r == NULL || --r->refs > 0)
        return;
    ml_roster_unlist(r);
    for (unsigned i = 0; i < r->count; i++)
        ml_server_release(&r->members[i].server);
    free(r->members);
    free(r->candidates);
    free(r);
}

/* What status tells of it beside its name. */
static void describe(const struct ml_member *m)
{
    struct ml_shm_server *state = m->server->state;

    atomic_store_explicit(&state->weight, m->weight, memory_order_relaxed);
    if (m->tier > 0)
        atomic_fetch_or(&state->flags, ML_SHM_SERVER_BACKUP);
    else
        atomic_fetch_and(&state->flags, ~(uint32_t)ML_SHM_SERVER_BACKUP);
}

void ml_roster_list(struct ml_roster *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        describe(&r->members[i]);
        ml_server_list(r->members[i].server);
    }
    r->listed = true;
}

void ml_roster_unlist(struct ml_roster *r)
{
    for (unsigned i = 0; r->listed && i < r->count; i++)
        ml_server_unlist(r->members[i].server);
    r->listed = false;
}

bool ml_roster_same(const struct ml_roster *a, const struct ml_roster *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++) {
        const struct ml_member *x = &a->members[i], *y = &b->members[i];

        if (x->server != y->server || x->weight != y->weight || x->max_conns != y->max_conns ||
            x->tier != y->tier)
            return false;
    }
    return true;
}
