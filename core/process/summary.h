/* summary.h - what the supervisor must know of a site that another process has loaded. */
#ifndef ML_PROCESS_SUMMARY_H
#define ML_PROCESS_SUMMARY_H

#include "script/site.h"

struct ml_summary {
    struct ml_arena *arena;      /* owned, with all strings */
    struct ml_settings settings; /* without what concerns scripts only */
    struct ml_str hash, warnings;
    struct ml_str more; /* files outside the site: a list as of ml_snapshot_read_with */
    struct {
        struct ml_str host;
        int port;
    } listeners[ML_SITE_LISTENERS_MAX];
    unsigned listener_count, route_count;
};

/* Appends what is to be sent. */
void ml_summary_pack(struct ml_buf *out, const struct ml_site *site, struct ml_str hash,
                     struct ml_str more, struct ml_str warnings);
/* NULL when bytes are not what ml_summary_pack made. */
struct ml_summary *ml_summary_unpack(struct ml_str bytes);
void ml_summary_free(struct ml_summary **summary);

/* Says in one sentence per line of notes which settings differ from those the gateway started with
 * although they count at the start only. */
void ml_summary_restart_notes(const struct ml_settings *started, const struct ml_settings *now,
                              struct ml_buf *notes);

#endif
