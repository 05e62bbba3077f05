/* log.h - lines to a file, pipe, socket or terminal: buffered, and never waiting for the reader.
 *
 * A sink that is stuck fills the buffer up to ML_LOG_CAP bytes; later lines are dropped whole and
 * counted.  Lines of several processes on one sink do not mix: files are opened O_APPEND and
 * written in whole lines; pipes get whole lines in pieces of at most PIPE_BUF (4096) bytes.  Only a
 * line longer than PIPE_BUF may be cut in a pipe, and a line on a stream socket that is nearly
 * full.
 *
 * The flags of a file description that others share (stdout, stderr) are never changed.
 * The program must ignore SIGPIPE.  Flush before fork(): a child writes what its copy holds. */
#ifndef ML_BASE_LOG_H
#define ML_BASE_LOG_H

#include "base/str.h"

#include <stdint.h>

enum { ML_LOG_CAP = 1 << 20 };

struct ml_log;

/* Opens a file for appending (made with mode 0640), stdout for NULL, or what base/syslog.h says.
 * NULL with errno when it cannot: a named pipe without reader is such a case. */
struct ml_log *ml_log_open(const char *path);
/* Writes to a descriptor that the caller keeps open and closes. */
struct ml_log *ml_log_on_fd(int fd);
/* Flushes what can be written without waiting, then closes. */
void ml_log_free(struct ml_log **log);

/* Takes one or more whole lines, each with its newline, and now and then flushes by itself. */
void ml_log_line(struct ml_log *log, struct ml_str line);
/* Writes what can be written without waiting.  To be called from a timer of the loop. */
void ml_log_flush(struct ml_log *log);
/* From now on every line is written at once, in this process. */
void ml_log_eager(void);
/* Flushes, then opens the path again, after it was renamed; nothing to do without a path.  False
 * with errno when it cannot: the old file goes on. */
bool ml_log_reopen(struct ml_log *log);
/* Is there another file, or none, under the name of this one?  Somebody has moved it away. */
bool ml_log_moved(const struct ml_log *log);
bool ml_log_is_terminal(const struct ml_log *log);
/* Lines lost so far. */
uint64_t ml_log_dropped(const struct ml_log *log);
/* Bytes that wait. */
size_t ml_log_pending(const struct ml_log *log);

#endif
