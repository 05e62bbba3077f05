/* logs.c - an access log and an event log.
 *
 * The supervisor may be root and the workers not, so root makes missing files and gives them away,
 * but only those that it has made itself: a name in a folder of the user's could be a link to a
 * file of somebody else (O_EXCL follows none). */
#include "process/logs.h"

#include "base/log_event.h"
#include "base/redact.h"
#include "base/syslog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct ml_logs {
    struct ml_log *access;           /* owned, or NULL: off */
    struct ml_log *events;           /* owned, or NULL: stderr */
    char *access_path, *events_path; /* owned; NULL: no file */
    enum ml_log_level level;
    struct ml_user user;
    bool used;
    enum ml_log_format format; /* of events */
    bool missed;               /* a file that was moved away could not be made again, as was told */
};

static char *path_of(struct ml_str s)
{
    char *path = strndup(s.p, s.len);

    if (path == NULL)
        abort();
    return path;
}

static void give_file(const char *path, const struct ml_user *user)
{
    int fd;

    if (path == NULL || !user->set || geteuid() != 0 || ml_syslog_is(path))
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    if (fd < 0)
        return; /* it exists, or opening it will say what is wrong */
    if (fchown(fd, user->uid, user->gid) != 0)
        ml_log_event(ML_LOG_WARN, "cannot give the log file away", ML_KV("path", path),
                     ML_KV("error", strerror(errno)));
    close(fd);
}

static struct ml_log *open_file(const char *path, const struct ml_user *user, const char *setting,
                                struct ml_buf *why)
{
    struct ml_log *log;

    give_file(path, user);
    log = ml_log_open(path);
    if (log == NULL)
        ml_buf_printf(why, "%s: cannot open %s: %s", setting, path, strerror(errno));
    return log;
}

static bool open_access(struct ml_logs *l, struct ml_str name, struct ml_buf *why)
{
    if (ml_str_eq(name, ML_STR("off")))
        return true;
    if (name.len > 0 && !ml_str_eq(name, ML_STR("-")))
        l->access_path = path_of(name);
    l->access = open_file(l->access_path, &l->user, "access_log", why);
    return l->access != NULL;
}

static bool open_events(struct ml_logs *l, struct ml_str name, struct ml_buf *why)
{
    if (name.len == 0)
        return true;
    l->events_path = path_of(name);
    l->events = open_file(l->events_path, &l->user, "error_log", why);
    return l->events != NULL;
}

struct ml_logs *ml_logs_open(const struct ml_settings *settings, const struct ml_user *user,
                             struct ml_buf *why)
{
    struct ml_logs *l = calloc(1, sizeof *l);

    if (l == NULL)
        abort();
    if (user != NULL)
        l->user = *user;
    l->format = settings->error_format;
    if (!ml_log_level_parse(settings->log_level, &l->level))
        ml_buf_printf(why, "log_level: \"%.*s\" is none of debug, info, warn, error",
                      (int)settings->log_level.len, settings->log_level.p);
    else if (open_access(l, settings->access_log, why) && open_events(l, settings->error_log, why))
        return l;
    ml_logs_free(&l);
    return NULL;
}

static bool is_pretty(enum ml_log_format format, bool terminal)
{
    return format == ML_LOG_PRETTY || (format == ML_LOG_AUTO && terminal);
}

static bool same_path(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What goes on under the same name keeps its log, with the lines that wait in it. */
static void keep_log(struct ml_log **before, const char *before_path, struct ml_log **next,
                     const char *next_path)
{
    struct ml_log *opened = *next;

    if (*before == NULL || *next == NULL || !same_path(before_path, next_path))
        return;
    *next = *before;
    *before = opened;
}

void ml_logs_use(struct ml_logs **current, struct ml_logs **next)
{
    struct ml_logs *before = *current;

    *current = *next;
    *next = NULL;
    if (before != NULL) {
        before->used = false;
        keep_log(&before->access, before->access_path, &(*current)->access,
                 (*current)->access_path);
        keep_log(&before->events, before->events_path, &(*current)->events,
                 (*current)->events_path);
    }
    (*current)->used = true;
    ml_log_event_set_level((*current)->level);
    ml_log_event_set_sink((*current)->events);
    ml_log_event_set_pretty(is_pretty((*current)->format, ml_log_event_on_terminal()));
    ml_logs_free(&before);
}

void ml_logs_free(struct ml_logs **logs)
{
    struct ml_logs *l = *logs;

    if (l == NULL)
        return;
    *logs = NULL;
    if (l->used)
        ml_log_event_set_sink(NULL);
    ml_log_free(&l->access);
    ml_log_free(&l->events);
    free(l->access_path);
    free(l->events_path);
    free(l);
}

/* ---- what the lines look like ---- */

enum { REDACT_MAX = 256 };

/* Names, each with its NUL. */
static unsigned split(struct ml_str names, struct ml_str list[REDACT_MAX])
{
    unsigned count = 0;

    while (names.len > 0 && count < REDACT_MAX) {
        size_t len = strnlen(names.p, names.len);

        list[count++] = (struct ml_str){names.p, len};
        names.p += len < names.len ? len + 1 : len;
        names.len -= len < names.len ? len + 1 : len;
    }
    return count;
}

void ml_logs_redact(const struct ml_settings *s)
{
    static struct ml_str headers[REDACT_MAX];
    unsigned count = split(s->redact, headers);

    ml_redact_use(s->redact_query, s->redact_query_count, headers, count, !s->redact_bare);
}

bool ml_logs_access_pretty(const struct ml_logs *l, const struct ml_settings *s)
{
    return l->access != NULL && is_pretty(s->access.format, ml_log_is_terminal(l->access));
}

struct ml_log *ml_logs_access(const struct ml_logs *logs)
{
    return logs->access;
}

void ml_logs_flush(struct ml_logs *logs)
{
    if (logs->access != NULL)
        ml_log_flush(logs->access);
    ml_log_event_flush();
}

/* Whether it went well. */
static bool look(struct ml_log *log, const char *path, bool missed)
{
    if (log == NULL || path == NULL || !ml_log_moved(log) || ml_log_reopen(log))
        return true;
    if (!missed)
        ml_log_event(ML_LOG_WARN, "a log file was moved away and can not be made again",
                     ML_KV("path", path), ML_KV("error", strerror(errno)));
    return false;
}

void ml_logs_look(struct ml_logs *l)
{
    bool access = look(l->access, l->access_path, l->missed);

    l->missed = !look(l->events, l->events_path, l->missed) || !access;
}

static void reopen(struct ml_log *log, const char *path, const struct ml_user *user)
{
    if (log == NULL || path == NULL)
        return;
    give_file(path, user);
    if (!ml_log_reopen(log))
        ml_log_event(ML_LOG_ERROR, "cannot reopen the log file", ML_KV("path", path),
                     ML_KV("error", strerror(errno)));
}

void ml_logs_reopen(struct ml_logs *l)
{
    reopen(l->access, l->access_path, &l->user);
    reopen(l->events, l->events_path, &l->user);
}
