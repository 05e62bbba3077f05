/* backoff.h - how long to wait before a process that died is started again.
 *
 * The first time not at all.  One that dies young doubles the delay from 0.1 s up to 10 s; one that
 * has lived long enough starts anew. */
#ifndef ML_PROCESS_BACKOFF_H
#define ML_PROCESS_BACKOFF_H

struct ml_backoff { /* zero-initialised: nothing has died */
    double delay_s; /* what the next death in youth costs; 0: nothing */
};

/* A process died after uptime_s: seconds until it should be started again. */
double ml_backoff_died(struct ml_backoff *b, double uptime_s);

#endif
