/* logs.h - the log files of a process as a site's settings want them. */
#ifndef ML_PROCESS_LOGS_H
#define ML_PROCESS_LOGS_H

#include "process/user.h"
#include "script/site.h"

struct ml_logs;

/* Opens what the settings name, without using it yet.  user (may be NULL) gets the files that are
 * made by this.  NULL with a sentence in why. */
struct ml_logs *ml_logs_open(const struct ml_settings *settings, const struct ml_user *user,
                             struct ml_buf *why);
/* Makes next what this process logs to: events and their level from now on.  The one before is
 * flushed and closed; *current may be NULL. */
void ml_logs_use(struct ml_logs **current, struct ml_logs **next);
/* Events go to stderr afterwards when these are in use. */
void ml_logs_free(struct ml_logs **logs);

/* What is secret from now on. */
void ml_logs_redact(const struct ml_settings *settings);
/* Lines of the access log are for people. */
bool ml_logs_access_pretty(const struct ml_logs *logs, const struct ml_settings *settings);
/* Files that somebody moved away or removed are opened anew, now and then. */
void ml_logs_look(struct ml_logs *logs);
/* NULL: it is off. */
struct ml_log *ml_logs_access(const struct ml_logs *logs);
void ml_logs_flush(struct ml_logs *logs);
/* The files again under their names; what cannot be opened goes on as before and is logged. */
void ml_logs_reopen(struct ml_logs *logs);

#endif
