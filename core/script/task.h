/* task.h - coroutines: one per exchange, timer or branch of gw.all; started, resumed, cancelled
 * and limited here and nowhere else.
 *
 * A C function of the API that must wait fills an ml_wait, starts the work and returns
 * ml_task_wait(L, w); the event later calls ml_task_wake(w), which resumes the coroutine with what
 * w->push leaves on its stack.  Cancelling a task calls w->cancel and drops the coroutine. */
#ifndef ML_SCRIPT_TASK_H
#define ML_SCRIPT_TASK_H

#include "inbound/exchange.h"
#include "script/router.h"

#include <lua.h>

struct ml_tasks; /* all tasks of one VM */
struct ml_task;

struct ml_tasks_conf {
    double budget_ms;      /* CPU per resume */
    uint32_t generation;   /* for logs */
    struct ml_loop *loop;  /* NULL while staging */
    struct ml_shm_worker *stats; /* heartbeat: which script runs; may be NULL */
    void (*idle)(void *ctx); /* the last task ended (deferred; may free the VM) */
    void *ctx;
};
struct ml_tasks *ml_tasks_new(lua_State *L, const struct ml_tasks_conf *conf);
void ml_tasks_free(struct ml_tasks **t); /* only when none is live */
void ml_tasks_trim(struct ml_tasks *t);  /* forgets spare coroutines */
unsigned ml_tasks_live(const struct ml_tasks *t);
/* Moves the process-wide profiler slot (FACTS: runaway scripts) to this VM; the VM that had it goes
 * on with the JIT off. */
void ml_tasks_activate(struct ml_tasks *t);
void ml_tasks_set_budget(struct ml_tasks *t, double budget_ms);
/* Cancels background tasks (timers), so that the VM can become idle. */
void ml_tasks_stop_background(struct ml_tasks *t);

/* Runs the function in the registry at chain_ref with the request handle of ex as argument; it must
 * return a response (handle, or gw.response value).  match is copied into the arena of ex.
 * Sets ex->task.  Ends in ml_exchange_respond or ml_exchange_fail. */
void ml_task_serve(struct ml_tasks *t, struct ml_exchange *ex, int chain_ref,
                   const struct ml_route_match *match);
void ml_task_cancel_exchange(struct ml_exchange *ex); /* handler.cancel */
void ml_task_finish_exchange(struct ml_exchange *ex); /* handler.done: runs on_done functions */
/* Calls the function on top of L's stack in a protected, budgeted way without a coroutine (load
 * time): returns lua_pcall's status; message or results are on the stack. */
int ml_task_call(struct ml_tasks *t, lua_State *L, int nargs, int nresults);

struct ml_wait { /* embed in what waits; lives until woken or cancelled */
    struct ml_task *task;
    int (*push)(lua_State *L, void *ctx); /* pushes results, says how many */
    void (*cancel)(void *ctx);            /* the task goes away: stop the work, forget */
    void *ctx;
};
struct ml_task *ml_task_running(lua_State *L); /* NULL at load time */
struct ml_exchange *ml_task_exchange(struct ml_task *task); /* NULL for background tasks */
const struct ml_route_match *ml_task_match(struct ml_task *task);
int ml_task_wait(lua_State *L, struct ml_wait *w);  /* return this; raises at load time */
void ml_task_wake(struct ml_wait *w);               /* resumes at once, or deferred when Lua runs */
/* A background task: calls the function at L's top with nargs below it; errors are logged. */
void ml_task_spawn(struct ml_tasks *t, lua_State *L, int nargs);

/* ---- for the bridge and for functions that wait ---- */

/* The running task when it may wait here; raises at load time, in a coroutine that a script made
 * itself, in a sort comparator and the like.  Call it before the work is started. */
struct ml_task *ml_task_waiter(lua_State *L);
/* The task that owns the exchange: the task itself, or the one it is a branch of. */
struct ml_task *ml_task_root(struct ml_task *task);
struct ml_tasks *ml_task_owner(struct ml_task *task);
struct ml_loop *ml_tasks_loop(struct ml_tasks *t);
uint32_t ml_tasks_generation(const struct ml_tasks *t);
lua_State *ml_tasks_state(const struct ml_tasks *t); /* the main state of the VM */

/* Lua values that live as long as the task, each behind its index in the registry; unset: false. */
enum ml_task_slot {
    ML_SLOT_REQUEST,
    ML_SLOT_RESPONSE,
    ML_SLOT_DONE,
    ML_SLOT_USER,
    ML_SLOT_CTX,
    ML_SLOT_COUNT
};
int ml_task_ref(struct ml_task *task, enum ml_task_slot slot);

struct ml_task_hooks { /* what task.c needs of the layer above it */
    /* Pushes the request handle of task on L; protected, may raise. */
    void (*push_request)(lua_State *L, struct ml_task *task);
    /* Makes the value at index the response of ex: NULL, or what is wrong with it.  Never raises. */
    const char *(*adopt)(lua_State *L, int index, struct ml_exchange *ex);
    /* The exchange ended: pushes what on_done functions get; protected. */
    void (*push_outcome)(lua_State *L, struct ml_exchange *ex);
    /* The exchange of the task is over (its upstream is cancelled); its memory still lives. */
    void (*over)(struct ml_exchange *ex);
    /* The step whose code runs or waits in co, or 0.  Protected. */
    unsigned (*step_of)(lua_State *co);
    /* That step's script has failed. */
    void (*blame)(void *ctx, unsigned step);
    void (*stop_background)(void *ctx);
    void *ctx; /* ml_tasks_bridge */
};
/* The step that the script of ex waits in, or 0. */
unsigned ml_task_step(struct ml_exchange *ex);
void *ml_tasks_bridge(struct ml_tasks *t);
void ml_tasks_set_hooks(struct ml_tasks *t, const struct ml_task_hooks *hooks);

/* Calls run(L, arg) so that its errors come back as a status and leave nothing on the stack. */
int ml_tasks_protect(struct ml_tasks *t, void (*run)(lua_State *L, void *arg), void *arg);

struct ml_task_join { /* who wants to know how a branch ended */
    /* status as lua_resume's; the results, or the error, are the stack of ml_task_stack(branch).
     * Not called for branches that are cancelled. */
    void (*ended)(void *ctx, struct ml_task *branch, int status);
    void *ctx;
};
/* A branch of parent that runs the function below nargs values at L's top (all taken off); it
 * starts later in this turn.  It ends with ml_task_release, or with its parent. */
struct ml_task *ml_task_fork(struct ml_task *parent, lua_State *L, int nargs,
                             const struct ml_task_join *join);
/* The same without a parent: a background task, which ml_task_release ends too. */
struct ml_task *ml_task_start(struct ml_tasks *t, lua_State *L, int nargs,
                              const struct ml_task_join *join);
lua_State *ml_task_stack(struct ml_task *branch);
/* In ended(): ML_OK, or why it failed.  ML_SCRIPT_BUDGET and ML_SCRIPT_MEMORY are in the log already,
 * with traceback; an ML_SCRIPT_ERROR is the business of who joins. */
enum ml_err ml_task_why(const struct ml_task *branch);
void ml_task_release(struct ml_task **branch); /* cancels it when it still runs */
/* The branch goes on without its parent, as a background task of whoever joins. */
void ml_task_orphan(struct ml_task *branch);

#endif
