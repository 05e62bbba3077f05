/* access_pretty.h - the line of an exchange for somebody who looks at a terminal. */
#ifndef ML_INBOUND_ACCESS_PRETTY_H
#define ML_INBOUND_ACCESS_PRETTY_H

#include "inbound/access_log.h"

/* 07:08:09.123 info  GET /patients/7?page=2 200 1.2 ms 210 B patients user=USR001 id=... */
void ml_access_pretty(struct ml_buf *out, const struct ml_exchange *ex, enum ml_log_level level,
                      int status);

#endif
