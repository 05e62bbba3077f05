/* spans.h - an exchange whose trace is sampled, as spans of OTLP: the request, the middlewares that
 * waited, and each try of a server, named by the semantic conventions of OpenTelemetry for HTTP. */
#ifndef ML_PROCESS_SPANS_H
#define ML_PROCESS_SPANS_H

#include "base/lines.h"
#include "inbound/exchange.h"

struct ml_spans {
    const struct ml_tap *tap; /* where they go; NULL: nowhere */
};

/* struct ml_inbound's traced; ctx is a struct ml_spans. */
void ml_spans_write(void *ctx, const struct ml_exchange *ex, int status);

#endif
