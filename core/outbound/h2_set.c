/* h2_set.c - the connections of a worker to one server, and who waits for room on one.
 *
 * One caller makes a connection, the others wait for it: a burst makes one connection, not one for
 * each.  Another is made when all are full.  The oldest with room is taken, so that those made for
 * a burst fall idle and go. */
#include "outbound/h2_parts.h"

static void fire(void *ctx)
{
    struct ml_h2_set *set = ctx;
    unsigned count = 0;

    for (const struct ml_h2_waiter *w = set->waiters; w != NULL; w = w->next)
        count++;
    while (count-- > 0 &&
           set->waiters != NULL) { /* who begins to wait meanwhile has its turn later */
        struct ml_h2_waiter *w = set->waiters;

        ml_h2_set_unwait(w);
        w->wake(w->ctx);
    }
}

void ml_h2_set_init(struct ml_h2_set *set, struct ml_loop *loop)
{
    *set = (struct ml_h2_set){.loop = loop};
    set->waiters_end = &set->waiters;
    set->wake.fire = fire;
    set->wake.ctx = set;
    ml_h2_set_configure(set, 60, 60, 0);
}

void ml_h2_set_configure(struct ml_h2_set *set, double idle_s, double send_s, double ping_s)
{
    set->idle_s = idle_s;
    set->send_s = send_s;
    set->ping_s = ping_s;
}

void ml_h2_set_drop(struct ml_h2_set *set)
{
    while (set->links != NULL)
        ml_h2_link_close(set->links);
    ml_loop_undefer(set->loop, &set->wake);
}

void ml_h2_set_add(struct ml_h2_set *set, struct ml_h2_link *link)
{
    struct ml_h2_link **at = &set->links;

    while (*at != NULL)
        at = &(*at)->next;
    *at = link;
    link->prev = at;
    set->count++;
}

void ml_h2_set_remove(struct ml_h2_link *link)
{
    struct ml_h2_set *set = link->set;

    *link->prev = link->next;
    if (link->next != NULL)
        link->next->prev = link->prev;
    set->count--;
    ml_h2_set_news(set, ML_OK);
}

struct ml_h2_link *ml_h2_set_find(struct ml_h2_set *set, bool (*is)(void *ctx, uint64_t peer),
                                  void *ctx)
{
    for (struct ml_h2_link *link = set->links; link != NULL; link = link->next)
        if (ml_h2_link_room(link) && is(ctx, link->peer))
            return link;
    return NULL;
}

unsigned ml_h2_set_idle(const struct ml_h2_set *set)
{
    unsigned count = 0;

    for (const struct ml_h2_link *link = set->links; link != NULL; link = link->next)
        count += link->open == 0;
    return count;
}

/* ---- who waits ---- */

void ml_h2_set_wait(struct ml_h2_set *set, struct ml_h2_waiter *w)
{
    w->set = set;
    w->why = ML_OK;
    w->next = NULL;
    w->link = set->waiters_end;
    *set->waiters_end = w;
    set->waiters_end = &w->next;
}

void ml_h2_set_unwait(struct ml_h2_waiter *w)
{
    if (w->set == NULL)
        return;
    *w->link = w->next;
    if (w->next != NULL)
        w->next->link = w->link;
    else
        w->set->waiters_end = w->link;
    w->set = NULL;
}

void ml_h2_set_news(struct ml_h2_set *set, enum ml_err why)
{
    if (set->waiters == NULL)
        return;
    for (struct ml_h2_waiter *w = set->waiters; w != NULL && why != ML_OK; w = w->next)
        w->why = why;
    ml_loop_defer(set->loop, &set->wake);
}
