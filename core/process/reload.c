/* reload.c - from a changed directory to a new generation in all workers, or to nothing at all.
 *
 *   IDLE --asked--> STAGE --it loads--> LOAD --all workers have--> SWITCH --all did--> IDLE
 *                     \--it does not-----\--one cannot, or too late--> IDLE, as before
 *
 * The commit is the step from LOAD to SWITCH: from then on a worker that is started begins with the
 * new generation.  During LOAD none is started, so each process either has a vote or comes after
 * the decision.  A worker that dies in LOAD may have been killed by what it loads or by anything
 * else: everything begins anew, a few times.
 *
 * Workers that have no process have no vote.  So a site that kills all its workers can be mended.
 */
#include "process/reload.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log_event.h"
#include "process/history.h"
#include "process/notes.h"
#include "process/waiters.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRIES_MAX = 4 };
static const double STAGE_S = 10, LOAD_S = 10, SWITCH_S = 5;

enum state { IDLE, STAGE, LOAD, SWITCH };

struct ml_reload {
    struct ml_reload_conf conf;
    struct ml_fleet *fleet; /* borrowed */
    struct ml_logs *logs;   /* owned */
    struct ml_content live;
    struct ml_history history;
    struct ml_notes notes;

    enum state state;
    bool again; /* asked while busy */
    struct ml_waiters waiters, next_waiters;
    struct ml_content back; /* what is to be live again: a snapshot of our own, its summary is not */
    struct ml_stage *stage;
    struct ml_content next;
    struct ml_logs *next_logs;
    bool pending[ML_SHM_WORKERS_MAX]; /* whose answer is awaited */
    bool voted[ML_SHM_WORKERS_MAX];   /* who has loaded it */
    bool served[ML_SHM_WORKERS_MAX];  /* who served when it was told to load it */
    uint32_t attempt;
    unsigned tries;
    char suspect[24]; /* hash of what was loaded when a worker that had served died in LOAD */
    double begin_s;   /* monotonic */
    struct ml_timer deadline;

    uint64_t commits, failures;
    double last_s; /* wall clock; 0: none yet */
    bool last_ok;
    struct ml_buf last_error;
};

static void begin(struct ml_reload *r);

/* ---- answers ---- */

static void answer_ok(struct ml_reload *r, bool unchanged, double took_ms)
{
    struct ml_buf json = {0};

    ml_buf_printf(&json, "{\"generation\":%u,\"unchanged\":%s,\"ms\":%.1f,\"hash\":",
                  r->live.number, unchanged ? "true" : "false", took_ms);
    ml_json_string(&json, r->live.summary->hash);
    ml_buf_append(&json, ML_STR(",\"notes\":"));
    ml_json_string(&json, ml_buf_str(&r->notes.text));
    ml_buf_append(&json, ML_STR("}"));
    ml_waiters_answer(&r->waiters, true, ml_buf_str(&json));
    ml_buf_release(&json);
}

/* ---- ends ---- */

static void forget_back(struct ml_reload *r)
{
    ml_content_close(&r->back);
    r->back.number = 0;
}

/* The next one, if somebody asked meanwhile. */
static void rest(struct ml_reload *r)
{
    r->state = IDLE;
    r->tries = 0;
    forget_back(r);
    ml_timer_stop(&r->deadline);
    r->conf.changed(r->conf.ctx);
    if (!r->again)
        return;
    r->again = false;
    r->waiters = r->next_waiters;
    r->next_waiters.count = 0;
    begin(r);
}

static void tell_all(struct ml_reload *r, enum ml_message_type type)
{
    struct ml_message m = {.type = type, .number = r->next.number, .attempt = r->attempt};

    ml_fleet_send_all(r->fleet, &m);
}

/* Undoes what this attempt has done so far. */
static void undo(struct ml_reload *r)
{
    ml_stage_free(&r->stage);
    if (r->state == LOAD) {
        tell_all(r, ML_MESSAGE_DISCARD);
        ml_sockets_rollback(r->conf.sockets);
        r->state = IDLE;
        ml_fleet_hold(r->fleet, false);
    }
    ml_logs_free(&r->next_logs);
    ml_content_close(&r->next);
}

static void fail(struct ml_reload *r, struct ml_str error)
{
    struct ml_buf copy = {0};

    ml_buf_append(&copy, error); /* it may point into what is undone */
    undo(r);
    r->failures++;
    r->last_ok = false;
    r->last_s = ml_clock_wall_s();
    ml_buf_release(&r->last_error);
    r->last_error = copy;
    ml_log_event(ML_LOG_ERROR, "reload failed", ML_KV("error", ml_buf_str(&copy)),
                 ML_KV("generation", r->live.number));
    ml_waiters_fail(&r->waiters, ml_buf_str(&copy));
    rest(r);
}

static void fail_worker(struct ml_reload *r, unsigned worker, const char *what, struct ml_str why)
{
    struct ml_buf text = {0};

    ml_buf_printf(&text, "worker %u %s%.*s", worker, what, (int)why.len, why.p);
    fail(r, ml_buf_str(&text));
    ml_buf_release(&text);
}

static void succeed(struct ml_reload *r)
{
    double took_ms = (ml_clock_mono_s() - r->begin_s) * 1000;

    r->last_ok = true;
    r->last_s = ml_clock_wall_s();
    ml_log_event(ML_LOG_INFO, "reloaded", ML_KV("generation", r->live.number),
                 ML_KV("hash", r->live.summary->hash), ML_KV("ms", took_ms));
    r->conf.committed(r->conf.ctx);
    answer_ok(r, false, took_ms);
    rest(r);
}

static void leave_unchanged(struct ml_reload *r)
{
    undo(r);
    r->last_ok = true;
    r->last_s = ml_clock_wall_s();
    ml_log_event(ML_LOG_INFO, "reload: unchanged", ML_KV("generation", r->live.number),
                 ML_KV("hash", r->live.summary->hash));
    r->conf.committed(r->conf.ctx); /* the watch may have seen another content in between */
    answer_ok(r, true, (ml_clock_mono_s() - r->begin_s) * 1000);
    rest(r);
}

/* ---- votes ---- */

/* Is it so for any worker? */
static bool any(const struct ml_reload *r, const bool *flags)
{
    return memchr(flags, true, ml_fleet_count(r->fleet) * sizeof *flags) != NULL;
}

static void step_switch(struct ml_reload *r)
{
    if (r->state == SWITCH && !any(r, r->pending))
        succeed(r);
}

/* From here on there is no way back. */
static void commit(struct ml_reload *r)
{
    struct ml_message m = {
        .type = ML_MESSAGE_SWITCH, .number = r->next.number, .attempt = r->attempt};

    ml_history_add(&r->history, &r->live);
    r->live = r->next;
    r->next = (struct ml_content){.snapshot = -1};
    r->live.since_s = ml_clock_wall_s();
    r->commits++;
    ml_sockets_commit(r->conf.sockets);
    ml_logs_use(&r->logs, &r->next_logs);
    ml_notes_take(&r->notes, r->live.summary);
    r->state = SWITCH;
    ml_timer_set(&r->deadline, SWITCH_S);
    for (unsigned i = 0; i < ml_fleet_count(r->fleet); i++)
        r->pending[i] = r->voted[i] && ml_fleet_send(r->fleet, i, &m);
    ml_fleet_hold(r->fleet, false);
    step_switch(r);
}

static void step_load(struct ml_reload *r)
{
    if (r->state != LOAD || any(r, r->pending))
        return;
    if (ml_str_eq(r->next.summary->hash, ml_str_of(r->suspect)) && !any(r, r->voted))
        fail(r, ML_STR("it has killed workers while they loaded it, and none is left to try"));
    else
        commit(r);
}

/* Sends the snapshot and the new sockets of one worker. */
static bool order_load(struct ml_reload *r, unsigned worker)
{
    struct ml_message m = {
        .type = ML_MESSAGE_LOAD, .number = r->next.number, .attempt = r->attempt, .fd_count = 1};
    struct ml_buf names = {0};
    bool sent;

    m.fds[0] = r->next.snapshot;
    m.fd_count +=
        ml_sockets_of(r->conf.sockets, ML_SOCKETS_PLANNED, worker, &names, m.fds + m.fd_count);
    m.text = ml_buf_str(&names);
    sent = ml_fleet_send(r->fleet, worker, &m);
    ml_buf_release(&names);
    return sent;
}

static void order_loads(struct ml_reload *r)
{
    r->state = LOAD;
    r->attempt++;
    ml_fleet_hold(r->fleet, true);
    ml_timer_set(&r->deadline, LOAD_S);
    for (unsigned i = 0; i < ml_fleet_count(r->fleet); i++) {
        r->voted[i] = false;
        r->served[i] = ml_fleet_serves(r->fleet, i);
        r->pending[i] = order_load(r, i);
    }
    step_load(r);
}

/* ---- events ---- */

static void on_staged(void *ctx, struct ml_stage_result *result)
{
    struct ml_reload *r = ctx;
    struct ml_buf why = {0};

    if (result->summary == NULL) {
        fail(r, result->error);
        return;
    }
    if (ml_str_eq(result->summary->hash, r->live.summary->hash)) {
        r->live.again_of = r->back.number; /* by now it is also what is on disk, or the reverse */
        leave_unchanged(r);
        return;
    }
    r->next.summary = result->summary;
    r->next.snapshot = result->snapshot;
    result->summary = NULL;
    result->snapshot = -1;
    ml_stage_free(&r->stage);
    r->next_logs = ml_logs_open(&r->next.summary->settings, r->conf.user, &why);
    if (r->next_logs != NULL && ml_sockets_plan(r->conf.sockets, r->next.summary, &why))
        order_loads(r);
    else
        fail(r, ml_buf_str(&why));
    ml_buf_release(&why);
}

static void begin(struct ml_reload *r)
{
    struct ml_stage_conf conf = {.loop = r->conf.loop,
                                 .dir = r->conf.dir,
                                 .number = r->live.number + 1,
                                 .deadline_s = STAGE_S,
                                 .user = r->conf.user,
                                 .metrics = r->conf.metrics,
                                 .done = on_staged,
                                 .ctx = r};

    r->state = STAGE;
    r->tries++;
    if (r->tries == 1)
        r->begin_s = ml_clock_mono_s();
    r->next.number = conf.number;
    r->next.again_of = r->back.number;
    conf.more = r->live.summary->more;
    if (r->back.snapshot >= 0)
        conf.from = &r->back.snapshot;
    r->stage = ml_stage_new(&conf);
    if (r->tries == 1)
        r->conf.changed(r->conf.ctx);
}

/* Those who are late in LOAD are killed: they are stuck, and their successors begin with what is
 * live.  In SWITCH all is decided: whoever is late there serves what is old, and must end too. */
static void on_deadline(void *ctx)
{
    struct ml_reload *r = ctx;
    unsigned late = 0;

    for (unsigned i = 0; i < ml_fleet_count(r->fleet); i++)
        if (r->pending[i]) {
            late = i;
            r->pending[i] = false;
            ml_fleet_kill(r->fleet, i);
            ml_log_event(ML_LOG_ERROR, "worker is late and killed", ML_KV("worker", i),
                         ML_KV("generation", r->live.number));
        }
    if (r->state == LOAD)
        fail_worker(r, late, "did not load it in time", ML_STR(""));
    else
        step_switch(r);
}

void ml_reload_heard(struct ml_reload *r, unsigned worker, const struct ml_message *m)
{
    bool ours = r->pending[worker] && m->attempt == r->attempt;

    if (r->state == LOAD && ours && m->type == ML_MESSAGE_LOADED) {
        r->pending[worker] = false;
        r->voted[worker] = true;
        step_load(r);
    } else if (r->state == LOAD && ours && m->type == ML_MESSAGE_FAILED) {
        fail_worker(r, worker, "cannot load it: ", m->text);
    } else if (r->state == SWITCH && ours && m->type == ML_MESSAGE_SWITCHED) {
        r->pending[worker] = false;
        step_switch(r);
    }
}

void ml_reload_lost(struct ml_reload *r, unsigned worker)
{
    if (r->state == SWITCH) {
        r->pending[worker] = false;
        step_switch(r);
    } else if (r->state == LOAD && (r->pending[worker] || r->voted[worker])) {
        r->pending[worker] = r->voted[worker] = false;
        if (r->served[worker])
            ml_shm_text(r->suspect, sizeof r->suspect, r->next.summary->hash);
        if (r->tries >= TRIES_MAX) {
            fail_worker(r, worker, "died while it loaded the site", ML_STR(""));
        } else {
            undo(r);
            begin(r);
        }
    }
}

void ml_reload_ask(struct ml_reload *r, struct ml_control_waiter *waiter)
{
    if (r->state != IDLE) {
        r->again = true;
        ml_waiters_add(&r->next_waiters, waiter);
        return;
    }
    ml_waiters_add(&r->waiters, waiter);
    begin(r);
}

void ml_reload_rollback(struct ml_reload *r, uint32_t number, struct ml_control_waiter *waiter)
{
    const struct ml_content *to = ml_history_find(&r->history, number);

    ml_waiters_add(&r->waiters, waiter);
    if (r->state != IDLE)
        ml_waiters_drop(&r->waiters, waiter, ML_STR("a reload is under way: try again"));
    else if (to == NULL)
        ml_waiters_drop(&r->waiters, waiter, ML_STR("that generation is not kept"));
    else if ((r->back.snapshot = fcntl(to->snapshot, F_DUPFD_CLOEXEC, 3)) < 0)
        ml_waiters_drop(&r->waiters, waiter, ML_STR("no descriptor is free"));
    else {
        r->back.number = to->number;
        begin(r);
    }
}

bool ml_reload_is_rollback(const struct ml_reload *r)
{
    return r->live.again_of != 0;
}

void ml_reload_history(const struct ml_reload *r,
                       unsigned (*exchanges)(void *ctx, uint32_t number), void *ctx,
                       struct ml_buf *json)
{
    ml_history_json(&r->history, &r->live, exchanges, ctx, json);
}

/* ---- life ---- */

struct ml_reload *ml_reload_new(const struct ml_reload_conf *conf, struct ml_stage_result *first,
                                struct ml_logs **logs)
{
    struct ml_reload *r = calloc(1, sizeof *r);

    if (r == NULL)
        abort();
    r->conf = *conf;
    r->live = (struct ml_content){.summary = first->summary,
                                  .snapshot = first->snapshot,
                                  .number = 1,
                                  .since_s = ml_clock_wall_s()};
    r->back.snapshot = -1;
    first->summary = NULL;
    first->snapshot = -1;
    r->next.snapshot = -1;
    ml_notes_begin(&r->notes, &r->live.summary->settings);
    ml_logs_use(&r->logs, logs);
    ml_timer_init(&r->deadline, conf->loop, on_deadline, r);
    ml_notes_take(&r->notes, r->live.summary);
    return r;
}

void ml_reload_set_fleet(struct ml_reload *r, struct ml_fleet *fleet)
{
    r->fleet = fleet;
}

void ml_reload_stop(struct ml_reload *r)
{
    static const struct ml_str why = {"the gateway is stopping", 23};

    r->again = false;
    undo(r);
    r->state = IDLE;
    ml_timer_stop(&r->deadline);
    ml_waiters_fail(&r->waiters, why);
    ml_waiters_fail(&r->next_waiters, why);
}

void ml_reload_free(struct ml_reload **reload)
{
    struct ml_reload *r = *reload;

    if (r == NULL)
        return;
    *reload = NULL;
    assert(r->state == IDLE); /* it was stopped */
    ml_timer_drop(&r->deadline);
    ml_logs_free(&r->logs);
    forget_back(r);
    ml_history_free(&r->history);
    ml_content_close(&r->live);
    ml_notes_end(&r->notes);
    ml_buf_release(&r->last_error);
    free(r);
}

/* ---- asking ---- */

bool ml_reload_busy(const struct ml_reload *r)
{
    return r->state != IDLE;
}

uint32_t ml_reload_number(const struct ml_reload *r)
{
    return r->live.number;
}

int ml_reload_snapshot(const struct ml_reload *r)
{
    return r->live.snapshot;
}

const struct ml_summary *ml_reload_summary(const struct ml_reload *r)
{
    return r->live.summary;
}

struct ml_logs *ml_reload_logs(const struct ml_reload *r)
{
    return r->logs;
}

void ml_reload_describe(const struct ml_reload *r, struct ml_shm_gateway *g)
{
    g->generation = r->live.number;
    g->reloads = r->commits;
    g->reload_failures = r->failures;
    g->committed_s = r->live.since_s;
    g->last_s = r->last_s;
    g->last_ok = r->last_ok;
    ml_shm_text(g->hash, sizeof g->hash, r->live.summary->hash);
    ml_shm_text(g->last_error, sizeof g->last_error, ml_buf_str(&r->last_error));
    ml_shm_text(g->notes, sizeof g->notes, ml_buf_str(&r->notes.text));
}
