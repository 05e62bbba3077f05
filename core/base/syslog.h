/* syslog.h - lines to a syslog daemon, one datagram each (RFC 5424, over UDP by RFC 5426).
 *
 * Where: "syslog:unix:/dev/log" or "syslog:udp://192.0.2.7:514" (an address: nothing waits for
 * DNS), with "#local7" or so behind it for the facility, which is "daemon" otherwise. */
#ifndef ML_BASE_SYSLOG_H
#define ML_BASE_SYSLOG_H

#include "base/str.h"

#include <sys/types.h>

struct ml_syslog;

bool ml_syslog_is(const char *where);
/* NULL: `where` is well-formed; else what is wrong with it. */
const char *ml_syslog_check(const char *where);
/* NULL with errno.  A daemon that is not there yet is no failure: lines wait for it. */
struct ml_syslog *ml_syslog_open(const char *where);
void ml_syslog_free(struct ml_syslog **s);
/* A line without its newline, {"@timestamp":"...","level":"..."...}.  Its length; -1 with EAGAIN:
 * not now; -1 with anything else: this line can not be sent. */
ssize_t ml_syslog_send(struct ml_syslog *s, struct ml_str line);

#endif
