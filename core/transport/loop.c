/* loop.c - one turn: libev's callbacks, then deferred work until there is none, then releases.
 *
 * Each turn is one ev_run of one round, so the order needs no prepare or check watchers.  A round
 * polls without waiting while deferred work is queued: that happens when work was deferred between
 * turns, or when deferred work that defers itself again has used up its share of a turn.  Nothing
 * is released before the queue is empty, so deferred work always finds its object. */
#include "transport/loop.h"

#include <assert.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>

enum { DEFERRED_PER_TURN = 4096 }; /* then sockets get their turn again */

struct grave {
    void (*release)(void *);
    void *p;
};

struct ml_loop {
    struct ev_loop *ev; /* owned */
    double now_s;       /* 0: to be read from the clock when somebody asks */
    struct ml_deferred *first, **last;
    struct ml_deferred *later; /* joins the queue when the next turn begins */
    struct grave *graves; /* owned */
    unsigned grave_count, grave_cap;
    bool stopped;
    struct simulation *simulation; /* owned; NULL in production */
};

struct simulation {          /* of time: libev's timers are not used */
    struct ml_timer **armed; /* owned; timer i has ev.active = i + 1, which libev uses likewise */
    unsigned count, cap;
    bool busy; /* something happened in this turn */
};

/* Runs after the poll: what was cached before the wait is old. */
static void invoke_pending(struct ev_loop *ev)
{
    struct ml_loop *loop = ev_userdata(ev);

    loop->now_s = 0;
    ev_invoke_pending(ev);
}

struct ml_loop *ml_loop_new(void)
{
    struct ml_loop *loop = calloc(1, sizeof *loop);

    if (loop == NULL)
        abort();
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (loop->ev == NULL)
        abort();
    ev_set_userdata(loop->ev, loop);
    ev_set_invoke_pending_cb(loop->ev, invoke_pending);
    loop->last = &loop->first;
    signal(SIGPIPE, SIG_IGN); /* splice knows no MSG_NOSIGNAL */
    return loop;
}

static void run_deferred(struct ml_loop *loop)
{
    for (int left = DEFERRED_PER_TURN; loop->first != NULL && left > 0; left--) {
        struct ml_deferred *d = loop->first;

        ml_loop_undefer(loop, d); /* first, so that fire may defer it again or free it */
        d->fire(d->ctx);
    }
}

/* What was left for this turn goes into its queue. */
static void take_later(struct ml_loop *loop)
{
    struct ml_deferred *d = loop->later, *next;

    loop->later = NULL;
    for (; d != NULL; d = next) {
        next = d->next;
        d->queued = false;
        ml_loop_defer(loop, d);
    }
}

/* In the order of burial.  A release may bury more; those are released too. */
static void run_releases(struct ml_loop *loop)
{
    for (unsigned i = 0; i < loop->grave_count; i++) {
        struct grave g = loop->graves[i]; /* a copy: burying may move the array */

        g.release(g.p);
    }
    loop->grave_count = 0;
}

void ml_loop_free(struct ml_loop **loop)
{
    struct ml_loop *l = *loop;

    if (l == NULL)
        return;
    take_later(l);
    run_deferred(l);
    run_releases(l);
    ev_loop_destroy(l->ev);
    if (l->simulation != NULL)
        free(l->simulation->armed);
    free(l->simulation);
    free(l->graves);
    free(l);
    *loop = NULL;
}

void ml_loop_turn(struct ml_loop *loop)
{
    loop->now_s = 0;
    take_later(loop);
    ev_run(loop->ev, loop->first != NULL || loop->simulation != NULL ? EVRUN_NOWAIT : EVRUN_ONCE);
    run_deferred(loop);
    if (loop->first == NULL)
        run_releases(loop);
}

void ml_loop_run(struct ml_loop *loop)
{
    loop->stopped = false;
    ev_ref(loop->ev); /* so that a loop that watches nothing waits instead of spinning */
    while (!loop->stopped)
        ml_loop_turn(loop);
    ev_unref(loop->ev);
}

void ml_loop_stop(struct ml_loop *loop)
{
    loop->stopped = true;
}

double ml_loop_now_s(struct ml_loop *loop)
{
    if (loop->now_s == 0)
        loop->now_s = ml_clock_mono_s();
    return loop->now_s;
}

struct ev_loop *ml_loop_ev(struct ml_loop *loop)
{
    return loop->ev;
}

void ml_loop_defer(struct ml_loop *loop, struct ml_deferred *d)
{
    if (d->queued)
        return;
    d->queued = true;
    d->next = NULL;
    *loop->last = d;
    loop->last = &d->next;
}

void ml_loop_defer_later(struct ml_loop *loop, struct ml_deferred *d)
{
    if (d->queued)
        return;
    d->queued = true;
    d->next = loop->later;
    loop->later = d;
}

/* Takes d out of the list that begins at *at; false: it is not there. */
static bool unlink_deferred(struct ml_loop *loop, struct ml_deferred **at, struct ml_deferred *d)
{
    while (*at != NULL && *at != d)
        at = &(*at)->next;
    if (*at == NULL)
        return false;
    *at = d->next;
    if (loop->last == &d->next)
        loop->last = at;
    return true;
}

void ml_loop_undefer(struct ml_loop *loop, struct ml_deferred *d)
{
    if (!d->queued)
        return;
    if (!unlink_deferred(loop, &loop->first, d))
        (void)unlink_deferred(loop, &loop->later, d);
    d->queued = false;
}

void ml_loop_bury(struct ml_loop *loop, void (*release)(void *), void *p)
{
    if (loop->grave_count == loop->grave_cap) {
        loop->grave_cap = loop->grave_cap > 0 ? loop->grave_cap * 2 : 64;
        loop->graves = realloc(loop->graves, loop->grave_cap * sizeof *loop->graves);
        if (loop->graves == NULL)
            abort();
    }
    loop->graves[loop->grave_count++] = (struct grave){release, p};
}

/* Timers.  libev counts from the begin of its round, we from our clock: a timer that woke within
 * EARLY_S of its time is on time. */
#define EARLY_S 0.001

static void simulated_arm(struct ml_timer *t)
{
    struct simulation *sim = t->loop->simulation;

    if (ev_is_active(&t->ev))
        return;
    if (sim->count == sim->cap) {
        sim->cap = sim->cap > 0 ? sim->cap * 2 : 64;
        sim->armed = realloc(sim->armed, sim->cap * sizeof(struct ml_timer *));
        if (sim->armed == NULL)
            abort();
    }
    sim->armed[sim->count++] = t;
    t->ev.active = (int)sim->count;
}

static void simulated_disarm(struct ml_timer *t)
{
    struct simulation *sim = t->loop->simulation;
    struct ml_timer *last;

    if (!ev_is_active(&t->ev))
        return;
    last = sim->armed[--sim->count];
    sim->armed[t->ev.active - 1] = last;
    last->ev.active = t->ev.active;
    t->ev.active = 0;
}

static void timer_arm(struct ml_timer *t, double after_s)
{
    struct ev_loop *ev = t->loop->ev;

    if (t->loop->simulation != NULL) {
        simulated_arm(t);
        return;
    }
    ev_timer_stop(ev, &t->ev);
    ev_timer_set(&t->ev, after_s > 0 ? after_s : 0, 0);
    ev_timer_start(ev, &t->ev);
}

static void timer_woke(struct ev_loop *ev, ev_timer *w, int events)
{
    struct ml_timer *t = w->data;

    (void)ev;
    (void)events;
    if (t->due_s == 0)
        return;
    double left_s = t->due_s - ml_loop_now_s(t->loop);
    if (left_s > EARLY_S) {
        timer_arm(t, left_s);
        return;
    }
    t->due_s = 0;
    t->fire(t->ctx);
}

void ml_timer_init(struct ml_timer *t, struct ml_loop *loop, void (*fire)(void *), void *ctx)
{
    ev_timer_init(&t->ev, timer_woke, 0, 0);
    t->ev.data = t;
    t->due_s = 0;
    t->loop = loop;
    t->fire = fire;
    t->ctx = ctx;
}

void ml_timer_set(struct ml_timer *t, double after_s)
{
    assert(after_s >= 0);
    t->due_s = ml_loop_now_s(t->loop) + after_s;
    /* libev's time is CLOCK_MONOTONIC too, so what is armed can be compared with what is due */
    if (!ev_is_active(&t->ev) || t->ev.at > t->due_s)
        timer_arm(t, after_s);
}

void ml_timer_stop(struct ml_timer *t)
{
    t->due_s = 0;
}

void ml_timer_drop(struct ml_timer *t)
{
    t->due_s = 0;
    if (t->loop == NULL)
        return;
    if (t->loop->simulation != NULL)
        simulated_disarm(t);
    else
        ev_timer_stop(t->loop->ev, &t->ev);
}

/* ---- simulated time ---- */

static void invoke_and_note(struct ev_loop *ev)
{
    struct ml_loop *loop = ev_userdata(ev);

    if (ev_pending_count(ev) > 0)
        loop->simulation->busy = true;
    invoke_pending(ev);
}

void ml_loop_simulate(struct ml_loop *loop)
{
    loop->simulation = calloc(1, sizeof *loop->simulation);
    if (loop->simulation == NULL)
        abort();
    ev_set_invoke_pending_cb(loop->ev, invoke_and_note);
}

bool ml_loop_step(struct ml_loop *loop)
{
    struct simulation *sim = loop->simulation;

    sim->busy = loop->first != NULL || loop->later != NULL;
    ml_loop_turn(loop);
    return sim->busy || loop->first != NULL || loop->later != NULL;
}

/* The one that is due first.  Timers that were stopped
 * leave the list on the way. */
static struct ml_timer *simulated_next(struct simulation *sim)
{
    struct ml_timer *next = NULL;

    for (unsigned i = 0; i < sim->count;) {
        struct ml_timer *t = sim->armed[i];

        if (t->due_s == 0) {
            simulated_disarm(t);
            continue;
        }
        if (next == NULL || t->due_s < next->due_s)
            next = t;
        i++;
    }
    return next;
}

double ml_loop_next_s(struct ml_loop *loop)
{
    struct ml_timer *t = simulated_next(loop->simulation);

    return t != NULL ? t->due_s : INFINITY;
}

void ml_loop_fire_next(struct ml_loop *loop)
{
    struct ml_timer *t = simulated_next(loop->simulation);

    loop->now_s = 0;
    if (t == NULL || t->due_s > ml_loop_now_s(loop))
        return;
    simulated_disarm(t);
    t->due_s = 0;
    t->fire(t->ctx);
}
