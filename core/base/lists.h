/* lists.h - texts by name that all workers read and any of them replaces: the lists of servers that
 * scripts have set.
 *
 * Rarely written; whoever wants to know looks at the version, which is one load.  They live as long
 * as the gateway. */
#ifndef ML_BASE_LISTS_H
#define ML_BASE_LISTS_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

enum { ML_LISTS_MAX = 512, ML_LISTS_TEXT_MAX = 32 << 10 };

struct ml_lists_region;

size_t ml_lists_bytes(void);
/* Prepares memory that is shared, zeroed and aligned to a cache line. */
struct ml_lists_region *ml_lists_init(void *memory);
/* Grows with each change of any text. */
uint64_t ml_lists_version(const struct ml_lists_region *r);
/* Replaces the text of a name; mark is the caller's and is kept beside it.  Setting what is there
 * already changes nothing.  False: too long, or too many names. */
bool ml_lists_set(struct ml_lists_region *r, struct ml_str name, uint64_t mark, struct ml_str text);
/* The version of a name's text, which is appended to out; 0: there is none. */
uint64_t ml_lists_get(struct ml_lists_region *r, struct ml_str name, uint64_t *mark,
                      struct ml_buf *out);

#endif
