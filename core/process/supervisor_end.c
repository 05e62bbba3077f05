/* supervisor_end.c - how a supervisor ends: told to, at once, or because its successor serves.
 *
 * The last way keeps what lasts: WebSockets and other tunnels stay with the old workers until
 * upgrade_timeout is over, and everything else ends as in a drain. */
#include "process/supervisor_parts.h"

#include "base/json.h"
#include "base/log_event.h"

#include "process/pid_file.h"

#include <stdio.h>
#include <stdlib.h>

static const double KILL_GRACE_S = 2;

/* ---- stopping ---- */

void ml_supervisor_send_all(struct supervisor *s, enum ml_message_type type, uint32_t number)
{
    struct ml_message m = {.type = type, .number = number};

    if (s->fleet != NULL)
        ml_fleet_send_all(s->fleet, &m);
}

static void answer_upgrade(struct supervisor *s, bool ok, struct ml_str why, pid_t pid)
{
    struct ml_control_waiter *w = s->upgrade_waiter;
    struct ml_buf json = {0};

    s->upgrade_waiter = NULL;
    if (w == NULL)
        return;
    if (ok) {
        ml_buf_printf(&json, "{\"pid\":%d}", (int)pid);
    } else {
        ml_buf_append(&json, ML_STR("{\"error\":"));
        ml_json_string(&json, why);
        ml_buf_append(&json, ML_STR("}"));
    }
    ml_control_reply(w, ok, ml_buf_str(&json));
    ml_buf_release(&json);
}

/* What outlived an upgrade has its end now too. */
static void hurry(struct supervisor *s)
{
    s->leaving = false;
    ml_supervisor_send_all(s, ML_MESSAGE_DRAIN, 0);
    ml_timer_set(&s->end, ml_reload_summary(s->reload)->settings.shutdown_timeout + KILL_GRACE_S);
}

static void drain(struct supervisor *s)
{
    double timeout_s = ml_reload_summary(s->reload)->settings.shutdown_timeout;

    s->state = DRAIN;
    ml_fleet_retire(s->fleet);
    ml_sockets_close(s->sockets);
    ml_supervisor_send_all(s, ML_MESSAGE_DRAIN, 0);
    ml_timer_set(&s->end, timeout_s + KILL_GRACE_S);
    ml_supervisor_publish(s);
    if (ml_fleet_running(s->fleet) == 0)
        ml_supervisor_finish(s, ML_EXIT_OK);
}

void ml_supervisor_on_end(void *ctx)
{
    struct supervisor *s = ctx;

    if (s->state == CLOSE) {
        drain(s);
    } else {
        ml_log_event(ML_LOG_ERROR, "workers that do not end are killed",
                     ML_KV("workers", ml_fleet_running(s->fleet)));
        ml_fleet_kill_all(s->fleet);
    }
}

void ml_supervisor_stop(struct supervisor *s, const char *signal_name)
{
    double delay_s;

    if (s->state == STAGE) {
        ml_supervisor_finish(s, ML_EXIT_OK);
        return;
    }
    if (s->leaving) {
        hurry(s);
        return;
    }
    if (s->state >= CLOSE)
        return;
    ml_upgrade_free(&s->upgrade);
    answer_upgrade(s, false, ML_STR("the gateway is stopping"), 0);
    ml_systemd_stopping(s->systemd);
    delay_s = ml_reload_summary(s->reload)->settings.shutdown_delay;
    ml_log_event(ML_LOG_INFO, "stopping", ML_KV("signal", signal_name), ML_KV("delay", delay_s));
    ml_watch_free(&s->watch);
    ml_reload_stop(s->reload);
    s->state = CLOSE;
    ml_supervisor_send_all(s, ML_MESSAGE_CLOSING, 0);
    ml_supervisor_publish(s);
    if (delay_s > 0)
        ml_timer_set(&s->end, delay_s);
    else
        drain(s);
}

void ml_supervisor_stop_at_once(struct supervisor *s)
{
    ml_log_event(ML_LOG_WARN, "stopping at once");
    ml_fleet_kill_all(s->fleet);
    ml_supervisor_finish(s, ML_EXIT_AT_ONCE);
}

/* ---- in favour of another process ---- */

static void leave(struct supervisor *s)
{
    double timeout_s = ml_reload_summary(s->reload)->settings.upgrade_timeout;

    ml_watch_free(&s->watch);
    ml_reload_stop(s->reload);
    s->state = DRAIN;
    s->leaving = true;
    ml_fleet_retire(s->fleet);
    ml_sockets_close(s->sockets);
    ml_supervisor_send_all(s, ML_MESSAGE_DRAIN, (uint32_t)timeout_s + 1);
    ml_timer_set(&s->end, timeout_s + ml_reload_summary(s->reload)->settings.shutdown_timeout +
                              KILL_GRACE_S);
    ml_supervisor_publish(s);
    if (ml_fleet_running(s->fleet) == 0)
        ml_supervisor_finish(s, ML_EXIT_OK);
}

static void open_control(struct supervisor *s)
{
    struct ml_buf why = {0};

    if (!ml_supervisor_open_control(s, &why))
        ml_log_event(ML_LOG_ERROR, "no control socket", ML_KV("error", ml_buf_str(&why)));
    ml_buf_release(&why);
}

static void on_handing(void *ctx, pid_t pid)
{
    struct supervisor *s = ctx;

    (void)pid;
    s->handed = true;
    if (s->control != NULL)
        ml_control_unlisten(s->control); /* its name is the new one's */
}

static void on_upgraded(void *ctx, bool ok, pid_t pid, struct ml_str why)
{
    struct supervisor *s = ctx;
    struct ml_buf text = {0};

    ml_buf_append(&text, why); /* it dies with the upgrade */
    ml_upgrade_free(&s->upgrade);
    if (ok) {
        ml_log_event(ML_LOG_INFO, "upgraded", ML_KV("successor", pid));
        ml_systemd_hand_over(s->systemd, (int)pid);
        answer_upgrade(s, true, ML_STR(""), pid);
        leave(s);
    } else {
        answer_upgrade(s, false, ml_buf_str(&text), 0);
        if (s->handed) {
            ml_control_free(&s->control);
            open_control(s);
            s->handed = false;
        }
        ml_log_event(ML_LOG_ERROR, "upgrade failed", ML_KV("error", ml_buf_str(&text)));
    }
    ml_buf_release(&text);
}

void ml_supervisor_upgrade(struct supervisor *s, struct ml_control_waiter *waiter)
{
    const struct ml_upgrade_handler handler = {on_handing, on_upgraded, s};
    struct ml_control_waiter *before = s->upgrade_waiter;
    int *sockets;
    unsigned count;

    if (s->state != SERVE || s->heir || s->upgrade != NULL) {
        ml_log_event(ML_LOG_WARN, "no upgrade while another one, a start or a stop is under way");
        s->upgrade_waiter = waiter;
        answer_upgrade(s, false, ML_STR("another upgrade, a start or a stop is under way"), 0);
        s->upgrade_waiter = before;
        return;
    }
    ml_log_event(ML_LOG_INFO, "upgrading");
    s->upgrade_waiter = waiter;
    count = ml_sockets_all(s->sockets, &sockets);
    s->upgrade = ml_upgrade_new(s->loop, sockets, count, &handler);
    free(sockets);
}

static void on_go(void *ctx)
{
    struct supervisor *s = ctx;

    s->heir = false;
    ml_pid_file_write(s->conf->pid_file);
    open_control(s);
    ml_upgrade_taken();
    ml_supervisor_publish(s);
}

/* Whoever serves meanwhile would serve beside us for ever. */
static void on_lost(void *ctx)
{
    ml_supervisor_stop(ctx, "the one to replace is gone");
}

void ml_supervisor_inherit(struct supervisor *s)
{
    ml_upgrade_announce(s->loop, on_go, on_lost, s);
}
