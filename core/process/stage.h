/* stage.h - loads a site in a process of its own, that may crash, hang or be greedy. */
#ifndef ML_PROCESS_STAGE_H
#define ML_PROCESS_STAGE_H

#include "base/metrics.h"
#include "process/summary.h"
#include "process/user.h"
#include "transport/loop.h"

struct ml_stage_result {
    struct ml_summary *summary; /* NULL: it does not load; taken over by setting it to NULL here */
    int snapshot;               /* memory file, or -1; taken over by setting it to -1 here */
    struct ml_str error;        /* "file:line: what is wrong" */
    struct ml_str explained;    /* JSON, when that was asked for; then there is no summary */
};

struct ml_stage;

struct ml_stage_conf {
    struct ml_loop *loop; /* borrowed */
    const char *dir;
    const int *from; /* load this snapshot, not the directory; NULL: the directory */
    const struct ml_explain *explain; /* say what becomes of this request; NULL: load only */
    uint32_t number;
    double deadline_s;
    /* Whom to become after the directory was read and before a script runs; NULL: nobody else. */
    const struct ml_user *user;
    struct ml_metrics_region *metrics; /* of the running gateway; NULL: there is none */
    struct ml_str more; /* files outside of dir that the site is known to use */
    void (*done)(void *ctx, struct ml_stage_result *result);
    void *ctx;
};

/* Reads and loads dir, then calls done once, from the loop, unless it is freed before. */
struct ml_stage *ml_stage_new(const struct ml_stage_conf *conf);
/* Ends the process when it still runs.  May be called from done. */
void ml_stage_free(struct ml_stage **stage);

#endif
