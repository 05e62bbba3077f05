/* shdict.h - named dictionaries shared by the workers: strings and numbers, with a time to live.
 *
 * 256 segments, each under a robust mutex; a segment whose owner died in the middle of a change is
 * emptied by the next one who locks it.  When a segment is full, expired and then least recently
 * used entries go first. */
#ifndef ML_BASE_SHDICT_H
#define ML_BASE_SHDICT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

struct ml_shdict_region;

enum ml_shdict_type { ML_SHDICT_NIL, ML_SHDICT_STRING, ML_SHDICT_NUMBER, ML_SHDICT_BOOLEAN };

struct ml_shdict_value {
    enum ml_shdict_type type;
    struct ml_str string; /* get: points into the caller's buf */
    double number;        /* boolean: 0 or 1 */
};

/* Bytes that ml_shdict_init needs at least. */
enum { ML_SHDICT_BYTES_MIN = 1 << 20 };
/* Prepares len bytes at memory (shared, zeroed, aligned to a cache line), which it borrows. */
struct ml_shdict_region *ml_shdict_init(void *memory, size_t len);

/* dict is the dictionary's name (<= 255 bytes), key <= 1024 bytes: longer ones are ML_LIMIT.
 * now_s: wall clock.  ttl_s 0: for ever. */
/* ML_OK with value (type NIL when absent or expired).  What scratch held before is forgotten. */
enum ml_err ml_shdict_get(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                          double now_s, struct ml_buf *scratch, struct ml_shdict_value *value);
/* ML_LIMIT: the value is larger than a segment can hold.  A NIL value deletes. */
enum ml_err ml_shdict_set(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                          const struct ml_shdict_value *value, double ttl_s, double now_s);
/* Sets only when absent: *done says whether it did. */
enum ml_err ml_shdict_add(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                          const struct ml_shdict_value *value, double ttl_s, double now_s,
                          bool *done);
/* Adds by to a number, atomically; an absent entry begins at init with ttl_s.  *result is the sum,
 * *left_s the time it still lives (0: for ever).  ML_BAD_REQUEST: the entry is not a number. */
enum ml_err ml_shdict_incr(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                           double by, double init, double ttl_s, double now_s, double *result,
                           double *left_s);
struct ml_shdict_fill {
    uint64_t bytes, used; /* of all dictionaries */
    uint64_t evictions;   /* entries that had to make room although they were alive */
};
/* As it is at about this moment; takes no lock. */
void ml_shdict_usage(struct ml_shdict_region *r, struct ml_shdict_fill *out);
/* Removes all entries of a dictionary. */
void ml_shdict_clear(struct ml_shdict_region *r, struct ml_str dict);
/* Calls each(ctx, key) for up to max live keys of a dictionary (max 0: all); keys are copies. */
void ml_shdict_keys(struct ml_shdict_region *r, struct ml_str dict, unsigned max, double now_s,
                    void (*each)(void *ctx, struct ml_str key), void *ctx);

#endif
