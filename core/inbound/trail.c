/* trail.c - lists in the order in which things happened. */
#include "inbound/trail.h"

void ml_trail_changed(struct ml_trail *t, struct ml_arena *arena, const struct ml_change *change)
{
    struct ml_change *c;

    if (t->change_count++ >= ML_TRAIL_CHANGES_MAX)
        return;
    c = ml_arena_alloc(arena, sizeof *c);
    *c = *change;
    c->next = NULL;
    if (t->last_change != NULL)
        t->last_change->next = c;
    else
        t->changes = c;
    t->last_change = c;
}

void ml_trail_try(struct ml_trail *t, struct ml_arena *arena, struct ml_str server, double now_s,
                  bool kept)
{
    struct ml_try *try;

    if (t->try_count++ >= ML_TRAIL_TRIES_MAX)
        return;
    try = ml_arena_alloc(arena, sizeof *try);
    *try = (struct ml_try){.server = server, .begin_s = now_s, .kept = kept};
    if (t->last_try != NULL)
        t->last_try->next = try;
    else
        t->tries = try;
    t->last_try = try;
}
