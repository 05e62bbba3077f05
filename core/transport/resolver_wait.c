/* resolver_wait.c - what is known of a name, and who is told of its answers. */
#include "transport/resolver_parts.h"

#include <assert.h>

unsigned ml_name_addresses(struct ml_name *name, const struct ml_addr **addrs, enum ml_err *err)
{
    *addrs = name->addrs;
    *err = name->err;
    return name->count;
}

void ml_name_wait(struct ml_name *name, struct ml_name_waiter *w)
{
    struct ml_name_waiter **at = &name->waiters;

    assert(name->err == ML_AGAIN);
    while (*at != NULL) /* in the order of asking */
        at = &(*at)->next;
    w->next = NULL;
    w->name = name;
    *at = w;
}

void ml_name_unwait(struct ml_name_waiter *w)
{
    if (w->name == NULL)
        return;
    for (struct ml_name_waiter **at = &w->name->waiters; *at != NULL; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    w->name = NULL;
}

void ml_name_watch(struct ml_name *name, struct ml_name_watcher *w)
{
    w->name = name;
    w->next = name->watchers;
    name->watchers = w;
}

void ml_name_unwatch(struct ml_name_watcher *w)
{
    if (w->name == NULL)
        return;
    for (struct ml_name_watcher **at = &w->name->watchers; *at != NULL; at = &(*at)->next)
        if (*at == w) {
            *at = w->next;
            break;
        }
    w->name = NULL;
}
