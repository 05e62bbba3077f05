/* lines.h - a bounded queue of lines on their way to a collector: the oldest are lost first.
 *
 *   | taken: on their way, wait for an answer | the others ... | <- push
 *
 * Lines have numbers that are never used twice in a process, so that whoever sends one again can
 * say that it is the same.  Nothing of this waits. */
#ifndef ML_BASE_LINES_H
#define ML_BASE_LINES_H

#include "base/metrics.h"
#include "base/str.h"

#include <stdint.h>

struct ml_lines;

/* Of whatever loses lines; its label is the log, or the collector. */
extern const struct ml_metric_def ml_lines_dropped_def;

struct ml_tap { /* whoever wants a copy of the lines of a log, without their newline */
    void (*line)(void *ctx, struct ml_str line);
    void *ctx;
};

/* cap: bytes, with what the queue itself needs for each line. */
struct ml_lines *ml_lines_new(size_t cap);
void ml_lines_free(struct ml_lines **lines);
/* Lines that there is no room for push out the oldest that are not taken; what finds no room even
 * then is lost itself. */
void ml_lines_push(struct ml_lines *lines, struct ml_str line);
/* Moves all of from to the end of to, with their numbers; none of them is taken any more. */
void ml_lines_move(struct ml_lines *to, struct ml_lines *from);

/* Takes from the front until there are count lines or len bytes, at least one if there is any; says
 * how many.  There must be none taken. */
unsigned ml_lines_take(struct ml_lines *lines, unsigned count, size_t len);
unsigned ml_lines_taken(const struct ml_lines *lines);
/* Walks the taken ones: *at begins as 0.  False at the end.  line lives until the queue changes. */
bool ml_lines_next(const struct ml_lines *lines, size_t *at, struct ml_str *line, uint64_t *number);
/* Those of the taken for which keep is true (NULL: none) are put back to the front, the others are
 * forgotten. */
void ml_lines_settle(struct ml_lines *lines, const bool *keep);
/* All of them are put back. */
void ml_lines_put_back(struct ml_lines *lines);

unsigned ml_lines_count(const struct ml_lines *lines);
size_t ml_lines_bytes(const struct ml_lines *lines);
uint64_t ml_lines_dropped(const struct ml_lines *lines);

#endif
