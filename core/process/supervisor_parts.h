/* supervisor_parts.h - what the files of supervisor share: supervisor.c (start, events), and
 * supervisor_end.c (the ways to end, also in favour of another process).  Nobody else includes it.
 */
#ifndef ML_PROCESS_SUPERVISOR_PARTS_H
#define ML_PROCESS_SUPERVISOR_PARTS_H

#include "process/admin.h"
#include "process/counts.h"
#include "process/reload.h"
#include "process/supervisor.h"
#include "process/systemd.h"
#include "process/upgrade.h"
#include "process/watch.h"

enum ml_supervisor_state { STAGE, START, SERVE, CLOSE, DRAIN, END };

struct supervisor {
    const struct ml_supervisor_conf *conf;
    enum ml_supervisor_state state;
    bool served;  /* it ends after it has been told to stop */
    bool heir;    /* it takes the place of another process, which still serves */
    bool handed;  /* its control socket is closed in favour of another process */
    bool leaving; /* another process has taken its place */
    int exit_code;
    double started_s; /* wall clock */
    struct ml_loop *loop;
    int signals; /* owned signalfd */
    ev_io signals_watcher;
    struct ml_timer end;     /* of CLOSE, then of DRAIN */
    struct ml_timer tickets; /* until their key is replaced */
    struct ml_stage *stage;  /* of the first load */
    struct ml_user user;
    struct ml_shm *shm;
    struct ml_sockets *sockets;
    struct ml_reload *reload;
    struct ml_fleet *fleet;
    struct ml_counts *counts;
    struct ml_control *control;
    struct ml_admin *admin;
    struct ml_watch *watch;
    struct ml_systemd *systemd;
    struct ml_upgrade *upgrade;
    struct ml_control_waiter *upgrade_waiter; /* who wants to know what comes of it; may be NULL */
};

/* supervisor.c */
void ml_supervisor_finish(struct supervisor *s, int exit_code); /* the first reason counts */
void ml_supervisor_publish(void *s);
bool ml_supervisor_open_control(struct supervisor *s, struct ml_buf *why);

/* supervisor_end.c */
void ml_supervisor_send_all(struct supervisor *s, enum ml_message_type type, uint32_t number);
void ml_supervisor_stop(struct supervisor *s, const char *signal_name);
void ml_supervisor_stop_at_once(struct supervisor *s);
void ml_supervisor_on_end(void *s); /* the timer */
/* Starts this program anew and hands over to it; waiter may be NULL. */
void ml_supervisor_upgrade(struct supervisor *s, struct ml_control_waiter *waiter);
/* All workers of an heir serve. */
void ml_supervisor_inherit(struct supervisor *s);

#endif
