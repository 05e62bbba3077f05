/* access_log.h - one JSON line for each exchange, also for those that no handler saw. */
#ifndef ML_INBOUND_ACCESS_LOG_H
#define ML_INBOUND_ACCESS_LOG_H

#include "base/log_event.h"
#include "inbound/listener.h"

enum { ML_ACCESS_LINE_MAX = 4096, ML_STATUS_CLIENT_GONE = 499 };
enum { ML_LOG_FIELDS_MAX = 1024 }; /* bytes of the members that scripts and headers add */

enum ml_log_format { ML_LOG_AUTO, ML_LOG_JSON, ML_LOG_PRETTY }; /* auto: pretty on a terminal */

struct ml_access_conf { /* all zero: each exchange, as JSON */
    enum ml_log_format format;
    enum ml_log_level level; /* of the lines that are written, at least */
    /* Of exchanges that went well so many are left out: 0 none, 1 all.  Refusals, failures and what
     * took slow_s (0: nothing) are always written. */
    double skip, slow_s;
    struct ml_str message; /* empty: "request" */
    struct ml_access_field {
        struct ml_str key, header;
        bool response; /* of the answer, not of the request */
    } * fields;
    unsigned field_count;
};

/* Writes the line of ex, whose answer was sent with that status (499: the client left before there
 * was one), to the log and to the tap.  Nothing when there is neither. */
void ml_access_log_write(const struct ml_inbound *in, const struct ml_exchange *ex, int status);

/* The JSON line appended to out. */
void ml_access_log_format(struct ml_buf *out, const struct ml_inbound *in,
                          const struct ml_exchange *ex, int status);

#endif
