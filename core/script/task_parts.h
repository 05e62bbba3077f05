/* task_parts.h - what the files of tasks share: tasks.c (the VM's side, memory), task_end.c (how a
 * task ends), task.c (its life).  Nobody else includes it. */
#ifndef ML_SCRIPT_TASK_PARTS_H
#define ML_SCRIPT_TASK_PARTS_H

#include "script/coroutine.h"
#include "script/task.h"

enum task_state { TASK_FREE, TASK_READY, TASK_RUNNING, TASK_WAITING, TASK_ENDED };

struct ml_task {
    struct ml_tasks *owner;
    struct ml_task *next, **link; /* list of live ones, or of spare ones */
    struct ml_task *parent;       /* of a branch */
    unsigned branches;            /* live tasks whose parent this is */
    struct ml_exchange *ex;       /* of a root, until the exchange ends */
    struct ml_route_match *match; /* in the arena of ex */
    struct ml_coroutine co;
    int nargs; /* READY: arguments above the function */
    struct ml_wait *wait, *woken;
    struct ml_deferred ready;
    struct ml_task_join join;
    int slots[ML_SLOT_COUNT]; /* registry indexes, kept while the struct is spare */
    enum task_state state;
    enum ml_err why; /* ENDED: it failed; it was logged when it was no ordinary error */
    bool doomed;     /* cancelled while its coroutine runs: dropped as soon as that yields */
};

struct ml_tasks {
    lua_State *L;
    struct ml_tasks_conf conf;
    struct ml_task_hooks hooks;
    struct ml_coroutines pool;
    struct ml_task *live, *spare;
    unsigned live_count;
    int protect_ref; /* run_protected, ready to be called without an allocation */
    struct ml_deferred idle;
};

/* ---- tasks.c ---- */

/* READY, and nothing else yet; on_ready(task) will run when it is deferred. */
struct ml_task *ml_task_new(struct ml_tasks *t, struct ml_task *parent, void (*on_ready)(void *));
void ml_task_free(struct ml_task *task); /* ENDED, its coroutine is gone */
void ml_task_leave_parent(struct ml_task *task);
/* Memory has run out: forgets what can be made again, and collects. */
void ml_tasks_collect(struct ml_tasks *t);

/* ---- task_end.c ---- */

struct ml_str ml_task_label(struct ml_task *task); /* its route, for logs */
enum ml_err ml_task_failure(int status, bool over_budget);
/* The coroutine returned (status 0) or died.  May free the task. */
void ml_task_ended(struct ml_task *task, int status, enum ml_err why);
/* A script that was cancelled while it ran: nobody waits for it, whatever it did. */
void ml_task_drop_doomed(struct ml_task *task);

#endif
