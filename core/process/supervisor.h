/* supervisor.h - the first process: binds, forks workers and keeps them alive, reloads, stops.
 *
 * It serves no traffic and runs no script of a user: those are loaded in a staging process and in
 * the workers. */
#ifndef ML_PROCESS_SUPERVISOR_H
#define ML_PROCESS_SUPERVISOR_H

#include <stdbool.h>

struct ml_supervisor_conf { /* borrowed until ml_supervisor_run returns */
    const char *dir;        /* the site */
    const char *control;    /* path of the control socket; NULL: none */
    unsigned workers;       /* 0: what the site says, or one per CPU that this process may use */
    const char *pid_file;   /* NULL: none */
    bool no_watch;          /* reload only when told to */
    bool development;       /* answers tell what is wrong with scripts */
};

enum ml_supervisor_exit {
    ML_EXIT_OK = 0,       /* graceful end */
    ML_EXIT_SITE = 1,     /* the site does not load */
    ML_EXIT_USAGE = 2,    /* never returned by ml_supervisor_run */
    ML_EXIT_START = 3,    /* cannot bind, or cannot start for another reason than the site */
    ML_EXIT_AT_ONCE = 130 /* a second SIGINT ended it without waiting for connections */
};

/* Runs a gateway until it is told to stop; the exit code of the program. */
int ml_supervisor_run(const struct ml_supervisor_conf *conf);

#endif
