/* notes.h - what is said beside the success of a reload: settings that count at the start only, and
 * flaws of the site. */
#ifndef ML_PROCESS_NOTES_H
#define ML_PROCESS_NOTES_H

#include "process/summary.h"

struct ml_notes {
    struct ml_arena *arena;     /* owned; of started */
    struct ml_settings started; /* what counts at the start only */
    struct ml_buf text;         /* a sentence per line */
};

/* Remembers what the gateway starts with. */
void ml_notes_begin(struct ml_notes *n, const struct ml_settings *started);
/* The summary is live: makes text, and logs it. */
void ml_notes_take(struct ml_notes *n, const struct ml_summary *live);
void ml_notes_end(struct ml_notes *n);

#endif
