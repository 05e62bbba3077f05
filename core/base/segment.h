/* segment.h - a small hash table in fixed memory: entries with a time to live, oldest use evicted.
 *
 * It lies in memory that several processes share, so it holds numbers of chunks and no pointers.
 * It locks nothing: shdict.h does, and formats a segment anew whose owner died in the middle of a
 * change.  A name is a dict and a key in it; hash must be the hash of both.  Times are wall clock
 * seconds; expires_s 0 is never. */
#ifndef ML_BASE_SEGMENT_H
#define ML_BASE_SEGMENT_H

#include "base/buf.h"
#include "base/shdict.h"

struct ml_segment; /* lies at the begin of its memory */

struct ml_segment_name {
    struct ml_str dict, key; /* <= 255 and <= 1024 bytes */
    uint64_t hash;
};

struct ml_segment_entry { /* the public half of an entry, in place */
    double expires_s;
    double number; /* number and boolean */
    uint32_t string_len;
    uint8_t type; /* enum ml_shdict_type */
};

/* Makes the len bytes (>= 2048, aligned to 8) at memory an empty segment; zeroed: they are known to
 * be 0, so that no page is touched without need. */
void ml_segment_format(struct ml_segment *memory, size_t len, bool zeroed);
/* Finds a live entry and makes it the most recently used; NULL when there is none.  An expired one
 * is removed.  The pointer lives until the next call that is given the segment. */
struct ml_segment_entry *ml_segment_find(struct ml_segment *s, const struct ml_segment_name *name,
                                         double now_s);
/* Appends the string of an entry to out. */
void ml_segment_read(struct ml_segment *s, const struct ml_segment_entry *entry,
                     struct ml_buf *out);
/* Sets or replaces an entry; expired and then least recently used ones make room for it.  NULL, and
 * nothing changed, when the whole segment could not hold it. */
struct ml_segment_entry *ml_segment_put(struct ml_segment *s, const struct ml_segment_name *name,
                                        const struct ml_shdict_value *value, double expires_s,
                                        double now_s);
void ml_segment_remove(struct ml_segment *s, struct ml_segment_entry *entry);
void ml_segment_clear(struct ml_segment *s, struct ml_str dict);
/* Adds what the segment uses; needs no lock. */
void ml_segment_usage(const struct ml_segment *s, struct ml_shdict_fill *out);
/* Appends up to max keys of a dict to out, each after its uint16_t length; how many there were. */
unsigned ml_segment_keys(struct ml_segment *s, struct ml_str dict, unsigned max, double now_s,
                         struct ml_buf *out);

#endif
