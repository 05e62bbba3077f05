/* history.h - the generations that were live before, with their content, so that one of them can be
 * made live again. */
#ifndef ML_PROCESS_HISTORY_H
#define ML_PROCESS_HISTORY_H

#include "process/summary.h"

enum { ML_HISTORY_MAX = 10 };

struct ml_content {             /* one generation */
    struct ml_summary *summary; /* owned */
    int snapshot;               /* owned; -1: none */
    uint32_t number;
    uint32_t again_of; /* the generation whose content this is, by a rollback; 0: read from disk */
    double since_s;    /* wall clock */
    double until_s;    /* when another took its place */
};
void ml_content_close(struct ml_content *c);

struct ml_history {                         /* zero-initialised: empty */
    struct ml_content list[ML_HISTORY_MAX]; /* the last one first */
    unsigned count;
};

/* Takes over *c, which another content takes the place of now; the oldest is forgotten. */
void ml_history_add(struct ml_history *h, struct ml_content *c);
/* The generation of that number; 0: the one before the live one.  NULL: it is not kept. */
const struct ml_content *ml_history_find(const struct ml_history *h, uint32_t number);
void ml_history_free(struct ml_history *h);

/* Appends a JSON array: live, then what is kept.  exchanges(ctx, number) says how many a generation
 * still has in hand. */
void ml_history_json(const struct ml_history *h, const struct ml_content *live,
                     unsigned (*exchanges)(void *ctx, uint32_t number), void *ctx,
                     struct ml_buf *json);

#endif
