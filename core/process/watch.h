/* watch.h - sees that the content of a script directory has changed.
 *
 * inotify makes it quick, a slow look at the content makes it certain: whatever happened, changed()
 * is called when the content is another one than the last that was reported or committed, and not
 * again for the same content, so that a site that does not load is not tried over and over. */
#ifndef ML_PROCESS_WATCH_H
#define ML_PROCESS_WATCH_H

#include "base/buf.h"
#include "transport/loop.h"

struct ml_watch;

/* Looks every poll_s seconds at the latest.  The content at this moment counts as reported; say
 * ml_watch_committed with the hash that is live.  changed may call ml_watch_committed and
 * ml_watch_free. */
struct ml_watch *ml_watch_new(struct ml_loop *loop, const char *dir, double poll_s,
                              void (*changed)(void *ctx), void *ctx);
/* The content with this hash (ml_snapshot_hash) is live now. */
void ml_watch_committed(struct ml_watch *w, const char *hash);
/* Somebody else is about to look at the content as it is: it counts as reported. */
void ml_watch_reported(struct ml_watch *w);
/* The site says another interval. */
void ml_watch_set_poll(struct ml_watch *w, double poll_s);
/* Looks at these files too, at each poll: a list as of ml_snapshot_read_with.  Before
 * ml_watch_committed. */
void ml_watch_set_more(struct ml_watch *w, struct ml_str more);
void ml_watch_free(struct ml_watch **w);

#endif
