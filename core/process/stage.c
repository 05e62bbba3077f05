/* stage.c - fork, load, one message back, the end.
 *
 * The process is killed and reaped as soon as its answer is there, since nothing that it could do
 * afterwards is of use.  An end of the channel without an answer is a crash. */
#include "process/stage.h"

#include "base/log_event.h"
#include "process/child.h"
#include "process/files.h"
#include "process/message.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct ml_stage {
    struct ml_stage_conf conf;
    pid_t pid;   /* 0: it has been reaped, or there was none */
    int channel; /* owned; -1: none */
    ev_io watcher;
    struct ml_timer deadline;
    struct ml_deferred late; /* a failure to start is told from the loop too */
    int error;
    struct ml_buf scratch;
};

/* ---- in the staging process ---- */

static void answer_failure(int channel, uint32_t number, struct ml_buf *why)
{
    struct ml_message m = {.type = ML_MESSAGE_FAILED, .number = number, .text = ml_buf_str(why)};

    if (!ml_message_send(channel, &m))
        _exit(1);
}

static void answer_explanation(const struct ml_stage_conf *conf, int channel,
                               struct ml_generation *g)
{
    struct ml_message m = {.type = ML_MESSAGE_EXPLAINED, .number = conf->number};
    struct ml_buf json = {0}, why = {0};

    if (!ml_generation_explain(g, conf->explain, &json, &why)) {
        answer_failure(channel, conf->number, &why);
        return;
    }
    m.text = ml_buf_str(&json);
    if (m.text.len > ML_MESSAGE_TEXT_MAX) {
        ml_buf_append(&why, ML_STR("the explanation is too long"));
        answer_failure(channel, conf->number, &why);
    } else if (!ml_message_send(channel, &m)) {
        _exit(1);
    }
}

static void answer_success(int channel, const struct ml_generation *g,
                           const struct ml_snapshot *snapshot, struct ml_str more)
{
    struct ml_buf text = {0};
    struct ml_message m = {.type = ML_MESSAGE_STAGED, .number = ml_generation_number(g)};

    ml_summary_pack(&text, ml_generation_site(g), ml_str_of(ml_snapshot_hash(snapshot)), more,
                    ml_generation_warnings(g));
    m.text = ml_buf_str(&text);
    m.fds[m.fd_count++] = ml_snapshot_fd(snapshot);
    if (m.text.len > ML_MESSAGE_TEXT_MAX || !ml_message_send(channel, &m))
        _exit(1);
}

static _Noreturn void stage_run(const struct ml_stage_conf *conf, int channel)
{
    struct ml_buf why = {0};
    struct ml_buf more = {0};
    struct ml_snapshot *snapshot = NULL;
    struct ml_generation *g = conf->from != NULL ? ml_files_load_again(conf, &snapshot, &why)
                                                 : ml_files_load(conf, &snapshot, &more, &why);

    if (conf->from != NULL)
        ml_buf_append(&more, conf->more);
    if (g != NULL && conf->explain != NULL)
        answer_explanation(conf, channel, g);
    else if (g != NULL)
        answer_success(channel, g, snapshot, ml_buf_str(&more));
    else
        answer_failure(channel, conf->number, &why);
    ml_log_event_flush();
    _exit(0);
}

/* ---- in the supervisor ---- */

/* Kills and reaps; how it had ended, if it had. */
static int reap(struct ml_stage *s)
{
    int status = 0;

    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
            continue;
        s->pid = 0;
    }
    return status;
}

static void finish(struct ml_stage *s, struct ml_stage_result *result)
{
    ev_io_stop(ml_loop_ev(s->conf.loop), &s->watcher);
    ml_timer_stop(&s->deadline);
    reap(s);
    s->conf.done(s->conf.ctx, result); /* may free s, which is buried then */
    if (result->snapshot >= 0)
        close(result->snapshot);
    ml_summary_free(&result->summary);
}

static void fail(struct ml_stage *s, struct ml_str error)
{
    struct ml_stage_result result = {.snapshot = -1, .error = error};

    finish(s, &result);
}

static void fail_crashed(struct ml_stage *s)
{
    char how[80], text[160];

    ml_child_status_text(reap(s), how, sizeof how);
    snprintf(text, sizeof text, "the process that loads the site ended without an answer: %s", how);
    fail(s, ml_str_of(text));
}

static void on_staged(struct ml_stage *s, struct ml_message *m)
{
    struct ml_stage_result result = {.summary = ml_summary_unpack(m->text), .snapshot = -1};

    if (result.summary == NULL || m->fd_count != 1) {
        ml_message_close_fds(m, 0);
        ml_summary_free(&result.summary);
        fail(s, ML_STR("the process that loads the site gave an answer that makes no sense"));
        return;
    }
    result.snapshot = m->fds[0];
    finish(s, &result);
}

static void on_answer(struct ev_loop *ev, ev_io *w, int events)
{
    struct ml_stage *s = w->data;
    struct ml_message m;
    enum ml_err err = ml_message_receive(s->channel, &s->scratch, &m);

    (void)ev;
    (void)events;
    if (err == ML_AGAIN)
        return;
    if (err == ML_OK && m.type == ML_MESSAGE_STAGED) {
        on_staged(s, &m);
        return;
    }
    if (err == ML_OK && m.type == ML_MESSAGE_EXPLAINED && s->conf.explain != NULL) {
        struct ml_stage_result result = {.snapshot = -1, .explained = m.text};

        ml_message_close_fds(&m, 0);
        finish(s, &result);
        return;
    }
    if (err == ML_OK)
        ml_message_close_fds(&m, 0);
    if (err == ML_OK && m.type == ML_MESSAGE_FAILED)
        fail(s, m.text);
    else
        fail_crashed(s);
}

static void on_deadline(void *ctx)
{
    struct ml_stage *s = ctx;
    char text[100];

    snprintf(text, sizeof text, "the site did not load within %g seconds", s->conf.deadline_s);
    fail(s, ml_str_of(text));
}

static void on_no_start(void *ctx)
{
    struct ml_stage *s = ctx;
    char text[160];

    snprintf(text, sizeof text, "cannot start the process that loads the site: %s",
             strerror(s->error));
    fail(s, ml_str_of(text));
}

static bool start(struct ml_stage *s)
{
    pid_t parent = getpid();
    int pair[2], keep[2];

    if (!ml_message_pair(pair)) {
        s->error = errno;
        return false;
    }
    keep[0] = pair[1];
    keep[1] = s->conf.from != NULL ? *s->conf.from : -1;
    s->pid = ml_child_fork();
    if (s->pid == 0) {
        ml_child_begin(keep, 2);
        ml_child_tie(parent, SIGKILL);
        stage_run(&s->conf, pair[1]);
    }
    if (s->pid < 0)
        s->error = errno;
    close(pair[1]);
    s->channel = pair[0];
    return s->pid > 0;
}

struct ml_stage *ml_stage_new(const struct ml_stage_conf *conf)
{
    struct ml_stage *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->conf = *conf;
    s->channel = -1;
    s->late = (struct ml_deferred){.fire = on_no_start, .ctx = s};
    ml_timer_init(&s->deadline, conf->loop, on_deadline, s);
    ev_io_init(&s->watcher, on_answer, -1, EV_READ);
    s->watcher.data = s;
    if (!start(s)) {
        ml_loop_defer(conf->loop, &s->late);
        return s;
    }
    ev_io_set(&s->watcher, s->channel, EV_READ);
    ev_io_start(ml_loop_ev(conf->loop), &s->watcher);
    ml_timer_set(&s->deadline, conf->deadline_s);
    return s;
}

static void stage_release(void *p)
{
    struct ml_stage *s = p;

    ml_buf_release(&s->scratch);
    free(s);
}

void ml_stage_free(struct ml_stage **stage)
{
    struct ml_stage *s = *stage;

    if (s == NULL)
        return;
    *stage = NULL;
    reap(s);
    ev_io_stop(ml_loop_ev(s->conf.loop), &s->watcher);
    ml_timer_drop(&s->deadline);
    ml_loop_undefer(s->conf.loop, &s->late);
    if (s->channel >= 0)
        close(s->channel);
    s->channel = -1;
    ml_loop_bury(s->conf.loop, stage_release, s);
}
