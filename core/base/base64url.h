/* base64url.h - RFC 4648 section 5 without padding: one text for each value, everything else is
 * refused. */
#ifndef ML_BASE_BASE64URL_H
#define ML_BASE_BASE64URL_H

#include "base/buf.h"
#include "base/str.h"

/* The bytes of text, written to out, which has room for 3/4 of its length; they are *len.  False
 * for padding, white space, other alphabets, an impossible length, and unused bits that are set. */
bool ml_base64url_decode(struct ml_str text, char *out, size_t *len);
void ml_base64url_encode(struct ml_buf *out, struct ml_str bytes);

#endif
