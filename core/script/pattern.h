/* pattern.h - the pattern of a route, such as "/api/patients/:id", cut into segments and checked. */
#ifndef ML_SCRIPT_PATTERN_H
#define ML_SCRIPT_PATTERN_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

enum { ML_PATTERN_SEGMENTS_MAX = 64 };

enum ml_segment_kind { ML_SEGMENT_STATIC, ML_SEGMENT_PARAM, ML_SEGMENT_REST };

struct ml_pattern {
    unsigned count, name_count; /* a trailing slash is a last, empty segment */
    struct {
        enum ml_segment_kind kind;
        struct ml_str text; /* the segment itself, or the name; points into the pattern's text */
    } v[ML_PATTERN_SEGMENTS_MAX];
};

/* ML_OK, or ML_BAD_REQUEST / ML_LIMIT with a sentence in why.  A pattern must be in the normal form
 * of url.h, because it is compared with paths that are. */
enum ml_err ml_pattern_parse(struct ml_str text, struct ml_arena *arena, struct ml_pattern *out,
                             struct ml_buf *why);

#endif
