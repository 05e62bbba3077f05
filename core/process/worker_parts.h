/* worker_parts.h - what the files of worker share: worker.c (start, messages, time), worker_end.c
 * (the ways to its end).  Nobody else includes it. */
#ifndef ML_PROCESS_WORKER_PARTS_H
#define ML_PROCESS_WORKER_PARTS_H

#include "process/worker.h"

#include "process/counts.h"
#include "process/logs.h"
#include "process/ports.h"
#include "process/pressure.h"
#include "process/rest.h"
#include "process/spans.h"
#include "script/generation.h"
#include "script/record.h"
#include "script/recycle.h"

enum ml_worker_state { START, SERVE, DRAIN };

struct worker {
    const struct ml_worker_boot *boot;
    enum ml_worker_state state;
    int exit_code;
    int signals; /* owned signalfd */
    struct ml_loop *loop;
    struct ml_resolver *resolver;
    struct ml_outbound *outbound;
    struct ml_inbound inbound;
    struct ml_handler handler;
    struct ml_script_host host;
    struct ml_ports *ports;
    struct ml_shm_worker *stats; /* borrowed */
    struct ml_counts *counts;
    struct ml_generation *current;
    struct ml_logs *logs;
    struct { /* what the last LOAD left */
        struct ml_generation *generation;
        struct ml_logs *logs;
        int snapshot; /* owned; -1: none */
        uint32_t attempt;
    } loaded;
    char *service; /* owned; inbound points to it */
    struct ml_ships *ships;
    struct ml_tracing_conf tracing; /* its networks are those of current */
    struct ml_spans spans;
    double looked_s, flush_due_s; /* at log files; 0: the ends of logs are not awaited yet */
    ev_io channel_watcher, signals_watcher;
    struct ml_buf scratch;
    struct ml_timer tick, drained, deadline, alone;
    struct ml_rest rest;
    struct ml_recycle recycle;
    struct ml_pressure pressure;
    int snapshot;      /* owned; of current */
    double patience_s; /* of the drain, with tunnels */
    struct ml_recorder recorder;
};

/* worker.c */
void ml_worker_discard(struct worker *w); /* what the last LOAD left */
void ml_worker_close_fd(int *fd);

/* worker_end.c */
void ml_worker_stop(struct worker *w, int exit_code); /* the loop ends */
void ml_worker_drain(struct worker *w);
void ml_worker_on_drained(void *w); /* timers */
void ml_worker_on_deadline(void *w);
void ml_worker_close(struct worker *w);

#endif
