/* splice.h - a kernel pipe that moves bytes from one socket to another without this process
 * touching them.  It pays for bodies of some 256 KiB and more, between plain sockets.
 *
 * What was taken from the source and not yet given to the destination waits in the pipe: up to
 * 1 MiB, in the kernel.  Nothing new is taken before that is gone, so a slow destination slows its
 * source down. */
#ifndef ML_TRANSPORT_SPLICE_H
#define ML_TRANSPORT_SPLICE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ml_splice;

/* A pipe, from a pool.  NULL when the kernel gives none of a useful size (file descriptors or
 * fs.pipe-user-pages-soft are used up): copy the bytes then. */
struct ml_splice *ml_splice_new(void);

/* Takes at most *left bytes from one non-blocking socket and gives what the other takes: at most
 * two system calls.  *left loses what was taken, *moved gains what was given, on every result.
 * ML_OK: *left is 0 and everything was given.
 * ML_AGAIN: call again when from is readable (*want_read) or to is writable (*want_write).
 * ML_EOF: from ended although *left is not 0; everything before that was given.
 * ML_RESET: from failed.   ML_CANCELLED: to failed. */
enum ml_err ml_splice_move(struct ml_splice *sp, int from, int to, uint64_t *left, uint64_t *moved,
                           bool *want_read, bool *want_write);
/* Bytes that wait in the pipe. */
size_t ml_splice_held(const struct ml_splice *sp);
void ml_splice_free(struct ml_splice **sp); /* bytes still held are lost */

#endif
