/* tracing.h - the trace that an exchange belongs to: W3C Trace Context, level 1.
 *
 * Off: ex->trace is NULL and that is all.  On: a request continues the trace that its sender names
 * in `traceparent`, or begins one; the ids are in the log, and go on to the upstream.  Sampled: the
 * tries get spans of their own, and at the end all of it becomes spans of OTLP. */
#ifndef ML_INBOUND_TRACING_H
#define ML_INBOUND_TRACING_H

#include "inbound/exchange.h"

enum { ML_TRACE_TRIES_MAX = 8 };

struct ml_trace {
    char id[33], span[17], parent[17]; /* parent: "" in a trace that begins here */
    bool sampled;
    unsigned tries;
    char try_spans[ML_TRACE_TRIES_MAX][17];
};

struct ml_tracing_conf { /* all zero: off */
    bool on;
    double sample;          /* share of the traces that begin here */
    struct ml_cidr *accept; /* peers whose traces are continued; NULL: everybody's */
    unsigned accept_count;
};

/* The exchange begins: sets ex->trace and the header for the upstream. */
void ml_trace_begin(const struct ml_tracing_conf *conf, struct ml_exchange *ex);
/* A server is about to be asked: its header names a span of this try.  Only when ex->trace is set.
 */
void ml_trace_try(struct ml_exchange *ex);

#endif
