/* redact.h - what must not be read in a log: values of query parameters, header fields and fields
 * of events whose names say that they are secrets. */
#ifndef ML_BASE_REDACT_H
#define ML_BASE_REDACT_H

#include "base/buf.h"

#define ML_REDACTED "[redacted]"

/* The names beside (defaults) or instead of those that are built in; copied.  For this process. */
void ml_redact_use(const struct ml_str *query, unsigned query_count, const struct ml_str *headers,
                   unsigned header_count, bool defaults);
/* A URL or a reference to one: as it is, or, when something in it is secret, with that replaced;
 * then it is in out. */
struct ml_str ml_redact_url(struct ml_str url, struct ml_buf *out);
bool ml_redact_header(struct ml_str name);
/* Of events: built in only, for short names mean many things there. */
bool ml_redact_field(struct ml_str name);

#endif
