/* generation.h - one script directory, loaded: a Lua VM, its site, its routes.
 *
 * Lives from load until it was retired and its last exchange and task ended. */
#ifndef ML_SCRIPT_GENERATION_H
#define ML_SCRIPT_GENERATION_H

#include "base/metrics.h"
#include "script/site.h"
#include "script/snapshot.h"

#include <lua.h>

struct ml_generation;

/* What scripts may use of this process; NULL members in the staging process (load does no I/O). */
struct ml_script_host {
    struct ml_loop *loop;
    struct ml_outbound *outbound;
    struct ml_shm *shm;
    unsigned worker;
    struct ml_metrics *metrics;               /* where this process counts */
    struct ml_metrics_region *metrics_region; /* what there is; also while staging, if known */
    /* Appends the page for scrapers; NULL while staging. */
    void (*metrics_text)(void *ctx, enum ml_exposition format, struct ml_buf *out);
    const struct ml_tracing_conf *tracing; /* of the generation that serves; NULL: off */
    double started_s; /* wall clock: begin of the gateway */
    char *(*status_json)(void *ctx); /* malloc'ed answer of `gw.status()`, or NULL */
    void *status_ctx;
    /* Names of files outside the snapshot that the site uses are appended, each with its NUL, or
     * NULL; and whether those that are missing will be there when it is loaded again. */
    struct ml_buf *files;
    bool files_later;
    bool explain; /* ml_generation_explain will be asked */
    /* For tests: may change the table `core` on top of L before the site is loaded; else NULL. */
    void (*extend)(lua_State *L, void *ctx);
    void *extend_ctx;
};

/* Loads the snapshot in a fresh VM.  NULL on failure, with "file:line: what is wrong" in why. */
struct ml_generation *ml_generation_load(struct ml_snapshot *snapshot, uint32_t number,
                                         const struct ml_script_host *host, struct ml_buf *why);
const struct ml_site *ml_generation_site(const struct ml_generation *g);
uint32_t ml_generation_number(const struct ml_generation *g);
/* Things `check` prints although they are no errors: one per line, or empty. */
struct ml_str ml_generation_warnings(const struct ml_generation *g);

struct ml_explain { /* a request that nobody sends; texts are borrowed */
    struct ml_str method, url;
    const struct ml_str *headers; /* "Name: value" */
    unsigned header_count;
};
/* Appends JSON that says what would become of the request; false with a sentence in why. */
bool ml_generation_explain(struct ml_generation *g, const struct ml_explain *request,
                           struct ml_buf *json, struct ml_buf *why);

/* Makes g the one that new exchanges of the handler go to (builds its upstream groups, starts its
 * gw.timer tasks); the one before is retired.  *current may be NULL the first time. */
void ml_generation_switch(struct ml_generation **current, struct ml_generation *next);
/* No new exchanges; frees itself when idle.  NULLs *g. */
void ml_generation_retire(struct ml_generation **g);
/* For listeners: sends each new exchange to *current.  current must outlive the handler. */
struct ml_handler ml_generation_handler(struct ml_generation **current);
/* A burst of requests is over: what only it needed is given back. */
void ml_generation_rest(struct ml_generation *g);
/* Collects all garbage, however long that takes. */
void ml_generation_collect(struct ml_generation *g);
/* The labels of its middlewares. */
struct ml_steps *ml_generation_steps(const struct ml_generation *g);
/* Does its heap stay above the share of script_memory that the site allows (script_recycle), although
 * all garbage was collected?  Never when what it has loaded fills it already. */
bool ml_generation_stays_full(struct ml_generation *g);
/* Bytes that its Lua values take. */
size_t ml_generation_heap(const struct ml_generation *g);
/* The index-th generation of this process, in no order, and how many tasks it has in hand; false:
 * there are fewer. */
bool ml_generation_at(unsigned index, uint32_t *number, unsigned *tasks);
/* Live generations of this process (current and draining), for status. */
unsigned ml_generation_alive(void);

#endif
