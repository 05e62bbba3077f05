/* account.h - what is noted of an exchange when its answer was sent or given up: the line of the
 * access log, the count of the worker, the metrics of requests. */
#ifndef ML_INBOUND_ACCOUNT_H
#define ML_INBOUND_ACCOUNT_H

#include "base/metrics.h"
#include "inbound/listener.h"

struct ml_port; /* inbound/conn.h */
struct ml_request_metrics;

/* http_requests_total and http_request_duration_seconds; m is borrowed. */
struct ml_request_metrics *ml_request_metrics_new(struct ml_metrics *m);
void ml_request_metrics_free(struct ml_request_metrics **r);
/* Counts one exchange.  A route is what the site calls it, never what the client sent. */
void ml_request_metrics_count(struct ml_request_metrics *r, const struct ml_exchange *ex,
                              struct ml_str service, int status);

/* A connection of that port ends before its handshake did.  failed: ml_stream_tls_failed; NULL: it
 * took too long. */
void ml_account_handshake(const struct ml_port *port, const char *failed);

/* Once per exchange, by its wire.  status: what was sent; ML_STATUS_CLIENT_GONE: the client left
 * before there was an answer. */
void ml_account(struct ml_inbound *in, struct ml_exchange *ex, int status);

#endif
