/* worker_end.c - a worker stops accepting, finishes what it has, and is taken apart. */
#include "process/worker_parts.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "inbound/scarce.h"

#include <stdlib.h>
#include <unistd.h>

enum { LAST_TURNS = 50 };
static const double DRAIN_CHECK_S = 0.02, ABORT_GRACE_S = 0.1, FLUSH_S = 3;

void ml_worker_stop(struct worker *w, int exit_code)
{
    w->exit_code = exit_code;
    ml_loop_stop(w->loop);
}

/* Nobody waits for an answer; the lines of the last exchanges may still wait for their collector,
 * but not for ever. */
static bool lines_are_gone(struct worker *w)
{
    double now_s = ml_clock_mono_s();

    if (w->flush_due_s <= 0) {
        w->flush_due_s = now_s + FLUSH_S;
        ml_ships_hurry(w->ships);
    }
    return ml_ships_idle(w->ships) || now_s >= w->flush_due_s;
}

void ml_worker_on_drained(void *ctx)
{
    struct worker *w = ctx;

    if (w->inbound.connections == 0 && lines_are_gone(w))
        ml_worker_stop(w, 0);
    else
        ml_timer_set(&w->drained, DRAIN_CHECK_S);
}

/* Those in whose favour an upgrade waited have their end now. */
static void leave_tunnels(struct worker *w)
{
    w->inbound.patient = false;
    ml_inbound_drain(&w->inbound);
    ml_timer_set(&w->deadline, ml_generation_site(w->current)->settings.shutdown_timeout);
}

void ml_worker_on_deadline(void *ctx)
{
    struct worker *w = ctx;

    if (w->inbound.connections == 0) {
        ml_worker_stop(w, 0);
        return;
    }
    if (w->inbound.patient) {
        leave_tunnels(w);
        return;
    }
    ml_log_event(ML_LOG_WARN, "connections are cut at the deadline",
                 ML_KV("connections", w->inbound.connections));
    ml_inbound_abort(&w->inbound);
    ml_timer_set(&w->deadline, ABORT_GRACE_S);
    ml_timer_set(&w->drained, 0);
}

void ml_worker_drain(struct worker *w)
{
    if (w->state == DRAIN && w->inbound.patient && w->patience_s == 0)
        leave_tunnels(w);
    if (w->state == DRAIN)
        return;
    if (w->state == START) {
        ml_worker_stop(w, 0);
        return;
    }
    w->state = DRAIN;
    ml_outbound_stop(w->outbound);
    ml_ports_close(w->ports);
    w->inbound.patient = w->patience_s > 0;
    ml_inbound_drain(&w->inbound);
    ml_timer_set(&w->drained, 0);
    ml_timer_set(&w->deadline, w->patience_s > 0
                                   ? w->patience_s
                                   : ml_generation_site(w->current)->settings.shutdown_timeout);
}

/* ---- the last turns ---- */

/* Retired generations end within a few turns, since no connection is left. */
static bool last_turns(struct worker *w)
{
    for (int i = 0; i < LAST_TURNS && ml_generation_alive() > 0; i++) {
        ml_timer_set(&w->drained, 0); /* so that the turn does not wait */
        ml_loop_turn(w->loop);
    }
    return ml_generation_alive() == 0;
}

static void ignore(void *ctx)
{
    (void)ctx;
}

void ml_worker_close(struct worker *w)
{
    w->drained.fire = ignore;
    ml_inbound_abort(&w->inbound);
    ml_outbound_stop(w->outbound);
    ml_worker_discard(w);
    ml_ports_free(&w->ports);
    ml_scarce_close(&w->inbound);
    ml_pressure_close(&w->pressure);
    w->inbound.access = NULL; /* the site's */
    w->inbound.tap = w->spans.tap = NULL;
    ml_log_event_set_tap(NULL);
    ml_ships_free(&w->ships);
    if (w->current != NULL)
        ml_generation_retire(&w->current);
    if (!last_turns(w)) {
        ml_log_event(ML_LOG_DEBUG, "scripts still wait at the end of the worker");
        ml_logs_flush(w->logs);
        _exit(w->exit_code);
    }
    ev_io_stop(ml_loop_ev(w->loop), &w->channel_watcher);
    ev_io_stop(ml_loop_ev(w->loop), &w->signals_watcher);
    ml_timer_drop(&w->tick);
    ml_timer_drop(&w->drained);
    ml_timer_drop(&w->deadline);
    ml_timer_drop(&w->alone);
    ml_outbound_free(&w->outbound);
    ml_counts_close(&w->counts);
    ml_resolver_free(&w->resolver);
    ml_loop_free(&w->loop);
    ml_logs_free(&w->logs);
    ml_buf_release(&w->scratch);
    ml_worker_close_fd(&w->snapshot);
    free(w->service);
    close(w->signals);
}
