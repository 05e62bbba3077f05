/* task_end.c - how a task ends: its answer, its failure, its branches, its release. */
#include "script/task_parts.h"

#include "script/budget.h"
#include "script/report.h"
#include "script/steps.h"

#include <assert.h>
#include <lauxlib.h>

struct ml_task *ml_task_root(struct ml_task *task)
{
    while (task->parent != NULL)
        task = task->parent;
    return task;
}

struct ml_str ml_task_label(struct ml_task *task)
{
    const struct ml_route_match *m = ml_task_root(task)->match;

    if (m == NULL)
        return ML_STR("background");
    return m->pattern.p != NULL ? m->pattern : ML_STR("no route");
}

static void cancel_branches(struct ml_task *parent);

/* Stops whatever the task does.  Its coroutine can not go on from where it is: dropped, now or when
 * it yields. */
static void task_stop(struct ml_task *task)
{
    struct ml_wait *w = task->wait != NULL ? task->wait : task->woken;

    assert(task->state != TASK_RUNNING);
    if (task->owner->conf.loop != NULL)
        ml_loop_undefer(task->owner->conf.loop, &task->ready);
    task->wait = task->woken = NULL;
    task->state = TASK_ENDED;
    if (w != NULL && w->cancel != NULL)
        w->cancel(w->ctx);
    cancel_branches(task);
    ml_coroutine_drop(task->owner->L, &task->co);
}

static void cancel_branches(struct ml_task *parent)
{
    struct ml_task *task = parent->owner->live;

    while (parent->branches > 0) {
        if (task->parent != parent) {
            task = task->next;
            continue;
        }
        ml_task_release(&task);
        task = parent->owner->live; /* the list has changed */
    }
}

static void report_status(struct ml_task *task, enum ml_err why)
{
    struct ml_task *root = ml_task_root(task);

    ml_report_failure(task->owner->L, task->co.L, why, ml_task_label(task), root->ex,
                      task->owner->conf.generation);
}

enum ml_err ml_task_failure(int status, bool over_budget)
{
    if (over_budget)
        return ml_budget_was_memory() ? ML_SCRIPT_MEMORY : ML_SCRIPT_BUDGET;
    return status == LUA_ERRMEM ? ML_SCRIPT_MEMORY : ML_SCRIPT_ERROR;
}

/* The root's function returned: what it returned goes to the client. */
static void answer(struct ml_task *task)
{
    struct ml_exchange *ex = task->ex;
    const char *wrong = NULL;

    if (ex->responded) { /* the core gave up waiting: a timeout, a broken body */
        ml_coroutine_give(&task->owner->pool, &task->co);
        return;
    }
    wrong = task->owner->hooks.adopt(task->co.L, 1, ex);
    ml_coroutine_give(&task->owner->pool, &task->co);
    if (wrong == NULL) {
        if (ex->development)
            ml_timing_header(ex, &ex->res.headers);
        ml_exchange_respond(ex);
        return;
    }
    ml_report_message(wrong, ML_SCRIPT_ERROR, ml_task_label(task), ex,
                      task->owner->conf.generation);
    ml_exchange_fail(ex, ML_SCRIPT_ERROR);
}

struct place {
    struct ml_task *task;
    unsigned step;
};

static void find_step(lua_State *L, void *arg)
{
    struct place *p = arg;

    (void)L;
    p->step = p->task->owner->hooks.step_of(p->task->co.L);
}

static unsigned step_of(struct ml_task *task)
{
    struct place p = {task, 0};

    if (task->owner->hooks.step_of != NULL && task->co.L != NULL)
        ml_tasks_protect(task->owner, find_step, &p);
    return p.step;
}

unsigned ml_task_step(struct ml_exchange *ex)
{
    struct ml_task *task = ex->task;

    return task != NULL && task->state == TASK_WAITING ? step_of(task) : 0;
}

static void blame(struct ml_task *task)
{
    struct ml_tasks *t = task->owner;
    unsigned step = step_of(task);

    if (step == 0)
        return;
    ml_trail_decided(&task->ex->trail, step, ML_DECIDED_RAISED, 0);
    if (t->hooks.blame != NULL)
        t->hooks.blame(t->hooks.ctx, step);
}

static void fail(struct ml_task *task, enum ml_err why)
{
    struct ml_tasks *t = task->owner;
    struct ml_exchange *ex = task->ex;

    report_status(task, why);
    if (ex != NULL)
        blame(task);
    ml_coroutine_drop(t->L, &task->co);
    if (why == ML_SCRIPT_MEMORY)
        ml_tasks_collect(t);
    if (ex == NULL) {
        ml_task_free(task);
        return;
    }
    if (ex->development && !ex->responded)
        ml_timing_header(ex, &ex->kept);
    ml_exchange_fail(ex, why);
}

void ml_task_ended(struct ml_task *task, int status, enum ml_err why)
{
    task->state = TASK_ENDED;
    /* those of a root that succeeded may work on the body until the exchange ends */
    if (status != 0 || task->ex == NULL)
        cancel_branches(task);
    if (task->join.ended != NULL) {
        task->why = status != 0 ? why : ML_OK;
        if (why == ML_SCRIPT_BUDGET || why == ML_SCRIPT_MEMORY)
            report_status(task, why);
        task->join.ended(task->join.ctx, task, status);
    } else if (status != 0) {
        fail(task, why);
    } else if (task->ex != NULL) {
        answer(task);
    } else {
        ml_coroutine_give(&task->owner->pool, &task->co);
        ml_task_free(task);
    }
}

void ml_task_drop_doomed(struct ml_task *task)
{
    task_stop(task);
    ml_task_free(task);
}

void ml_task_orphan(struct ml_task *branch)
{
    ml_task_leave_parent(branch);
}

void ml_task_release(struct ml_task **branch)
{
    struct ml_task *task = *branch;

    *branch = NULL;
    if (task->state == TASK_RUNNING) { /* freed when it yields; until then it belongs to nobody */
        ml_task_leave_parent(task);
        task->doomed = true;
        return;
    }
    task_stop(task);
    ml_task_free(task);
}
