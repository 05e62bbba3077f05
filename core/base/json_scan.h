/* json_scan.h - reads untrusted JSON (RFC 8259) in place: checks all of it, hands out the outermost
 * members.
 *
 * Stricter than JSON demands, because what two readers understand differently is an attack: a name
 * twice in one object is refused (however it is escaped), and so are bytes that are not UTF-8. */
#ifndef ML_BASE_JSON_SCAN_H
#define ML_BASE_JSON_SCAN_H

#include "base/buf.h"
#include "base/str.h"

enum ml_json_kind {
    ML_JSON_STRING,
    ML_JSON_NUMBER,
    ML_JSON_OBJECT,
    ML_JSON_ARRAY,
    ML_JSON_TRUE,
    ML_JSON_FALSE,
    ML_JSON_NULL,
};

enum { ML_JSON_SCAN_DEPTH_MAX = 64, ML_JSON_SCAN_NAMES_MAX = 512 };

struct ml_json_item {
    struct ml_str name; /* without escapes; good until the call is over; empty in an array */
    enum ml_json_kind kind;
    struct ml_str text; /* of the value; of a string: what is between its quotes, with escapes */
};

typedef void (*ml_json_each)(void *ctx, const struct ml_json_item *item);

/* Is text one object (or array, as kind says) and nothing else?  Calls each for its members in
 * order, also when something behind them turns out to be wrong. */
bool ml_json_scan(struct ml_str text, enum ml_json_kind kind, ml_json_each each, void *ctx);
/* Appends the text of an item of the kind string without its escapes. */
void ml_json_unescape(struct ml_buf *out, struct ml_str text);
/* The value of an item of the kind number; false when a double can not hold it. */
bool ml_json_number(struct ml_str text, double *value);

#endif
