/* log.c - one buffer of lines and four ways to write it without waiting.
 *
 *   FILE    write(2) of all that is there: a disk does not keep a reader waiting.
 *   SOCKET  send(2) with MSG_DONTWAIT.
 *   SYSLOG  a datagram for each line; base/syslog.h.
 *   PIPE    (terminals too) whole lines <= PIPE_BUF, which are taken whole or not at all (pipe(7)).
 *           O_NONBLOCK belongs to the file description, and stdout's is shared with the shell and
 *           all workers: to set it would break them.  So the pipe is opened a second time by
 *           /proc/self/fd, non-blocking, and that description is ours alone.  Where this is not
 *           allowed, poll(2) says whether PIPE_BUF bytes fit; another process may then take that
 *           room first, and this one waits until the reader comes back.
 *
 * A write may take the begin of a line only: then `torn` is set, and the rest of that line goes
 * first next time. */
#include "base/log.h"

#include "base/buf.h"
#include "base/syslog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FLUSH_LEN = 32768 }; /* a line that makes the buffer longer flushes it */

enum kind { FILE_SINK, SOCKET_SINK, PIPE_SINK, SYSLOG_SINK };

struct ml_log {
    char *path; /* owned; NULL: fd belongs to somebody else */
    int fd;
    int twin; /* owned: our own description of the pipe behind fd, or -1 */
    enum kind kind;
    bool torn; /* the buffer begins in the middle of a line */
    size_t flush_at_len;
    uint64_t dropped;
    struct ml_buf buf;        /* owned; ends with a whole line */
    struct ml_syslog *syslog; /* owned; then there is no fd */
};

static bool eager;

void ml_log_eager(void)
{
    eager = true;
}

static enum kind kind_of(int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0 || S_ISREG(st.st_mode) || (S_ISCHR(st.st_mode) && !isatty(fd)))
        return FILE_SINK; /* /dev/null too */
    return S_ISSOCK(st.st_mode) ? SOCKET_SINK : PIPE_SINK;
}

static int open_twin(int fd)
{
    char path[32];

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int open_path(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0640);
}

static void set_fd(struct ml_log *log, int fd)
{
    log->fd = fd;
    log->kind = kind_of(fd);
    /* A path was opened non-blocking and by us alone: it needs no twin. */
    log->twin = log->kind != PIPE_SINK ? -1 : log->path != NULL ? fd : open_twin(fd);
}

static void close_fd(struct ml_log *log)
{
    if (log->twin >= 0 && log->twin != log->fd)
        close(log->twin);
    if (log->path != NULL)
        close(log->fd);
}

static struct ml_log *log_new(char *path, int fd)
{
    struct ml_log *log = calloc(1, sizeof *log);

    if (log == NULL)
        abort();
    log->path = path;
    log->flush_at_len = FLUSH_LEN;
    set_fd(log, fd);
    return log;
}

struct ml_log *ml_log_on_fd(int fd)
{
    return log_new(NULL, fd);
}

static struct ml_log *log_to_syslog(const char *where)
{
    struct ml_syslog *syslog = ml_syslog_open(where);
    struct ml_log *log;

    if (syslog == NULL)
        return NULL;
    log = log_new(NULL, -1);
    log->syslog = syslog;
    log->kind = SYSLOG_SINK;
    return log;
}

struct ml_log *ml_log_open(const char *path)
{
    char *copy;
    int fd;

    if (path == NULL)
        return ml_log_on_fd(STDOUT_FILENO);
    if (ml_syslog_is(path))
        return log_to_syslog(path);
    fd = open_path(path);
    if (fd < 0)
        return NULL;
    copy = strdup(path);
    if (copy == NULL)
        abort();
    return log_new(copy, fd);
}

void ml_log_free(struct ml_log **log)
{
    struct ml_log *l = *log;

    if (l == NULL)
        return;
    *log = NULL;
    ml_log_flush(l);
    close_fd(l);
    ml_syslog_free(&l->syslog);
    ml_buf_release(&l->buf);
    free(l->path);
    free(l);
}

/* The longest run of whole lines of s with at most max bytes, but one line at least. */
static size_t whole_lines(struct ml_str s, size_t max)
{
    const char *end;

    if (s.len <= max)
        return s.len;
    end = memrchr(s.p, '\n', max);
    if (end == NULL)
        end = memchr(s.p + max, '\n', s.len - max);
    return end != NULL ? (size_t)(end - s.p) + 1 : s.len;
}

static ssize_t write_pipe(struct ml_log *log, struct ml_str s)
{
    struct pollfd ready = {.fd = log->fd, .events = POLLOUT};
    size_t len = whole_lines(s, PIPE_BUF);

    if (log->twin >= 0)
        return write(log->twin, s.p, len);
    if (poll(&ready, 1, 0) <= 0 || !(ready.revents & POLLOUT)) {
        errno = EAGAIN;
        return -1;
    }
    return write(log->fd, s.p, len < PIPE_BUF ? len : PIPE_BUF);
}

/* One line.  One that can not be sent is lost. */
static ssize_t write_syslog(struct ml_log *log, struct ml_str s)
{
    size_t len = whole_lines(s, 0);

    if (ml_syslog_send(log->syslog, (struct ml_str){s.p, len - 1}) < 0) {
        if (errno == EAGAIN)
            return -1;
        log->dropped++;
    }
    return (ssize_t)len;
}

static ssize_t write_some(struct ml_log *log, struct ml_str s)
{
    if (log->kind == SYSLOG_SINK)
        return write_syslog(log, s);
    if (log->kind == PIPE_SINK)
        return write_pipe(log, s);
    if (log->kind == SOCKET_SINK)
        return send(log->fd, s.p, whole_lines(s, PIPE_BUF), MSG_DONTWAIT | MSG_NOSIGNAL);
    return write(log->fd, s.p, s.len);
}

void ml_log_flush(struct ml_log *log)
{
    while (ml_buf_len(&log->buf) > 0) {
        ssize_t n = write_some(log, ml_buf_str(&log->buf));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        log->torn = log->buf.p[log->buf.start + (size_t)n - 1] != '\n';
        ml_buf_consume(&log->buf, (size_t)n);
    }
    /* A stuck sink is not tried again for each line. */
    log->flush_at_len = ml_buf_len(&log->buf) + FLUSH_LEN;
    if (ml_buf_len(&log->buf) == 0)
        ml_buf_release(&log->buf);
}

static uint64_t count_lines(struct ml_str s)
{
    uint64_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.p[i] == '\n';
    return n;
}

void ml_log_line(struct ml_log *log, struct ml_str line)
{
    if (ml_buf_len(&log->buf) + line.len > ML_LOG_CAP) {
        log->dropped += count_lines(line);
        return;
    }
    ml_buf_append(&log->buf, line);
    if (eager || ml_buf_len(&log->buf) >= log->flush_at_len)
        ml_log_flush(log);
}

/* The begin of the first line is in the old file, so its end has no place in a new one. */
static void forget_torn_line(struct ml_log *log)
{
    struct ml_str s = ml_buf_str(&log->buf);

    if (!log->torn)
        return;
    ml_buf_consume(&log->buf, whole_lines(s, 0));
    log->torn = false;
    log->dropped++;
}

bool ml_log_reopen(struct ml_log *log)
{
    int fd;

    ml_log_flush(log);
    if (log->path == NULL)
        return true;
    fd = open_path(log->path);
    if (fd < 0)
        return false;
    close_fd(log);
    set_fd(log, fd);
    forget_torn_line(log);
    ml_log_flush(log);
    return true;
}

bool ml_log_moved(const struct ml_log *log)
{
    struct stat now, ours;

    if (log->path == NULL || fstat(log->fd, &ours) != 0 || !S_ISREG(ours.st_mode))
        return false;
    return stat(log->path, &now) != 0 || now.st_ino != ours.st_ino || now.st_dev != ours.st_dev;
}

bool ml_log_is_terminal(const struct ml_log *log)
{
    return log->kind == PIPE_SINK && isatty(log->fd);
}

uint64_t ml_log_dropped(const struct ml_log *log)
{
    return log->dropped;
}

size_t ml_log_pending(const struct ml_log *log)
{
    return ml_buf_len(&log->buf);
}
