/* json.h - strings as JSON (RFC 8259), for log lines and answers that the core writes itself. */
#ifndef ML_BASE_JSON_H
#define ML_BASE_JSON_H

#include "base/buf.h"
#include "base/str.h"

/* Appends s in quotes.  Whatever the bytes of s are, the result is one valid JSON string in valid
 * UTF-8 that holds no control character, neither of ASCII nor of U+0080 to U+009F (a terminal would
 * obey those): they become escapes.  DEL becomes U+FFFD, and so does each longest piece that begins
 * like a UTF-8 sequence but is none (Unicode 15 section 3.9, "maximal subparts"). */
void ml_json_string(struct ml_buf *out, struct ml_str s);

/* Does s stay as it is in a JSON string?  Nearly always. */
bool ml_json_plain(struct ml_str s);

#endif
