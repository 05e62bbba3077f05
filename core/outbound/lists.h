/* lists.h - lists of servers that scripts set while the gateway runs, the same in all workers.
 *
 * Such a list is in shared memory and counts instead of the one of the site's files: for all
 * workers at their next tick, for workers that are started later, and after reloads, until a script
 * withdraws it or the files give the group another list than they did. */
#ifndef ML_OUTBOUND_LISTS_H
#define ML_OUTBOUND_LISTS_H

#include "outbound/group.h"

enum { ML_LIST_SERVERS_MAX = 256 };

/* Sets the list of a group, for this worker at once; count 0 withdraws it.  NULL, or what is wrong:
 * then nothing changed. */
const char *ml_group_publish(struct ml_group *g, const struct ml_server_conf *list, unsigned count);
/* The list that counts for a group is another one: takes it over. */
void ml_group_follow(struct ml_group *g);

#endif
