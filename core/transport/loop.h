/* loop.h - the event loop of a process: turns, timers, deferred work, signals; libev underneath.
 *
 * Everything that waits goes through here, so a test can own the clock.  Callbacks never free the
 * object they were called for: ml_loop_bury frees after the turn. */
#ifndef ML_TRANSPORT_LOOP_H
#define ML_TRANSPORT_LOOP_H

#include "base/clock.h"

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>

struct ml_loop;

struct ml_loop *ml_loop_new(void);
void ml_loop_free(struct ml_loop **loop);
void ml_loop_run(struct ml_loop *loop);  /* until ml_loop_stop */
void ml_loop_turn(struct ml_loop *loop); /* one turn: waits for one round of events */
void ml_loop_stop(struct ml_loop *loop);
double ml_loop_now_s(struct ml_loop *loop); /* monotonic, cached once a turn */
struct ev_loop *ml_loop_ev(struct ml_loop *loop);

/* ---- for tests whose time stands still until they move it (base/clock.h: ml_clock_set_source) ----
 *
 * From then on a turn never waits, and timers wait for ml_loop_fire_next instead of libev.  To be
 * called before the first timer is set. */
void ml_loop_simulate(struct ml_loop *loop);
bool ml_loop_step(struct ml_loop *loop); /* one turn; did anything happen in it? */
/* When the next timer is due, on the loop's clock; INFINITY: none is set. */
double ml_loop_next_s(struct ml_loop *loop);
/* Fires the timer that is due first, if its time has come. */
void ml_loop_fire_next(struct ml_loop *loop);

/* A timer that is cheap to move: moving it later only stores the new time (no heap operation); it
 * wakes at the old time and goes to sleep again.  Embed it; zero-initialise, then init. */
struct ml_timer {
    ev_timer ev;
    double due_s; /* 0: not set */
    struct ml_loop *loop;
    void (*fire)(void *ctx);
    void *ctx;
};
void ml_timer_init(struct ml_timer *t, struct ml_loop *loop, void (*fire)(void *), void *ctx);
void ml_timer_set(struct ml_timer *t, double after_s); /* (re)starts; fires once */
void ml_timer_stop(struct ml_timer *t);                /* cheap; may leave the libev timer armed */
void ml_timer_drop(struct ml_timer *t);                /* before its memory goes away */

/* Calls fire(ctx) before the loop waits again, once however often it is asked.  Embed it. */
struct ml_deferred {
    struct ml_deferred *next;
    bool queued;
    void (*fire)(void *ctx);
    void *ctx;
};
void ml_loop_defer(struct ml_loop *loop, struct ml_deferred *d);
/* The same in the next turn, which looks at the sockets first and does not wait.  Whoever buries
 * the object of d before then must undefer d. */
void ml_loop_defer_later(struct ml_loop *loop, struct ml_deferred *d);
void ml_loop_undefer(struct ml_loop *loop, struct ml_deferred *d);

/* Calls release(p) at the end of this turn, after all callbacks and deferred work. */
void ml_loop_bury(struct ml_loop *loop, void (*release)(void *), void *p);

#endif
