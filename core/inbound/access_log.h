/* access_log.h - one JSON line for each exchange, also for those that no handler saw. */
#ifndef ML_INBOUND_ACCESS_LOG_H
#define ML_INBOUND_ACCESS_LOG_H

#include "inbound/listener.h"

enum { ML_ACCESS_LINE_MAX = 4096, ML_STATUS_CLIENT_GONE = 499 };

/* Writes the line of ex, whose answer was sent with that status (499: the client left before there
 * was one).  Nothing when in->access_log is NULL. */
void ml_access_log_write(const struct ml_inbound *in, const struct ml_exchange *ex, int status);

/* The same line appended to out. */
void ml_access_log_format(struct ml_buf *out, const struct ml_inbound *in,
                          const struct ml_exchange *ex, int status);

#endif
