/* admin.h - what an operator and a dashboard can ask of a running gateway, and have it do.
 *
 *   GET  /status  /generations  /why?id=&last=&refused=1  /metrics?format=openmetrics
 *        /explain?url=&method=&header=Name:+value&header=
 *   POST /reload  /rollback?generation=  /drain?upstream=&server=  /undrain?upstream=&server=
 *
 * By the control socket, and by TCP when the site says where and who. */
#ifndef ML_PROCESS_ADMIN_H
#define ML_PROCESS_ADMIN_H

#include "base/shm.h"
#include "process/reload.h"

struct ml_admin;

struct ml_admin_conf { /* all borrowed */
    struct ml_loop *loop;
    struct ml_shm *shm;
    struct ml_reload *reload;
    const struct ml_user *user;
    void (*ask_reload)(void *ctx, struct ml_control_waiter *w);
    void (*ask_rollback)(void *ctx, uint32_t number, struct ml_control_waiter *w);
    void *ctx;
};

struct ml_admin *ml_admin_new(const struct ml_admin_conf *conf);
void ml_admin_free(struct ml_admin **a);
/* As ml_control_handler.call. */
void ml_admin_call(struct ml_admin *a, const struct ml_admin_request *request,
                   struct ml_control_waiter *w);

#endif
