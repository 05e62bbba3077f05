/* stage.h - loads a site in a process of its own, that may crash, hang or be greedy. */
#ifndef ML_PROCESS_STAGE_H
#define ML_PROCESS_STAGE_H

#include "process/summary.h"
#include "transport/loop.h"

struct ml_stage_result {
    struct ml_summary *summary; /* NULL: it does not load; taken over by setting it to NULL here */
    int snapshot;               /* memory file, or -1; taken over by setting it to -1 here */
    struct ml_str error;        /* "file:line: what is wrong" */
};

struct ml_stage;

/* Reads and loads dir, then calls done once, from the loop, unless it is freed before. */
struct ml_stage *ml_stage_new(struct ml_loop *loop, const char *dir, uint32_t number,
                              double deadline_s,
                              void (*done)(void *ctx, struct ml_stage_result *result), void *ctx);
/* Ends the process when it still runs.  May be called from done. */
void ml_stage_free(struct ml_stage **stage);

#endif
