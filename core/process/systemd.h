/* systemd.h - what a service manager is told, and its watchdog: sd_notify(3) without its library.
 *
 * Without NOTIFY_SOCKET in the environment nothing is sent. */
#ifndef ML_PROCESS_SYSTEMD_H
#define ML_PROCESS_SYSTEMD_H

#include "transport/loop.h"

struct ml_systemd;

/* With WATCHDOG_USEC, the manager hears every half of it that all is well, if alive says so. */
struct ml_systemd *ml_systemd_new(struct ml_loop *loop, bool (*alive)(void *ctx), void *ctx);
void ml_systemd_free(struct ml_systemd **s);

/* Serves, after the start or a reload; status is for people.  Says READY only when it was not said
 * since the last reload began, and STATUS only when it is another one. */
void ml_systemd_ready(struct ml_systemd *s, const char *status);
void ml_systemd_reloading(struct ml_systemd *s); /* only the first one since ready */
void ml_systemd_stopping(struct ml_systemd *s);
/* Another process is the service from now on: this one says no more. */
void ml_systemd_hand_over(struct ml_systemd *s, int pid);

#endif
