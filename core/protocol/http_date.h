/* http_date.h - times of header fields (RFC 9110 section 5.6.7), without the C library's locale. */
#ifndef ML_PROTOCOL_HTTP_DATE_H
#define ML_PROTOCOL_HTTP_DATE_H

#include "base/str.h"

#include <stdint.h>

enum { ML_HTTP_DATE_LEN = 29 };

/* Writes "Sun, 06 Nov 1994 08:49:37 GMT" of seconds since 1970, for the years 0 to 9999. */
void ml_http_date_write(int64_t second, char out[ML_HTTP_DATE_LEN]);

/* Reads that form and the two obsolete ones, RFC 850's and asctime's.  A year of two digits is the
 * one that is at most 50 years after now_s.  False: malformed. */
bool ml_http_date_parse(struct ml_str text, int64_t now_s, int64_t *second);

#endif
