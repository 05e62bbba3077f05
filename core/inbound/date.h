/* date.h - the wall clock as text, formatted once a second and not once a request. */
#ifndef ML_INBOUND_DATE_H
#define ML_INBOUND_DATE_H

#include "base/str.h"

enum { ML_DATE_HTTP_LEN = 29, ML_DATE_RFC3339_LEN = 24 };

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7); lives until the next call. */
struct ml_str ml_date_http(void);
/* "1994-11-06T08:49:37.123Z" (RFC 3339); lives until the next call. */
struct ml_str ml_date_rfc3339(void);

#endif
