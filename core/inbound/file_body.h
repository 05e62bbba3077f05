/* file_body.h - parts of an open file as the body of a response.
 *
 * A short one is read at once and is bytes in memory.  Any other is a pipe like that of an
 * upstream, which is filled when its consumer takes something: through memory, 64 KiB at a time, or
 * by sendfile(2) where the consumer offers its socket. */
#ifndef ML_INBOUND_FILE_BODY_H
#define ML_INBOUND_FILE_BODY_H

#include "inbound/exchange.h"
#include "inbound/file.h"

enum { ML_FILE_BYTES_MAX = 32768 };

struct ml_file_part {
    struct ml_str text;   /* comes first; in the arena of the exchange */
    uint64_t offset, len; /* then these bytes of the file */
};

/* Sets the body of ex->res, with its length.  parts are in the arena.  False, and nothing is set:
 * the file is shorter than it was when it was opened, or can not be read. */
bool ml_file_body_set(struct ml_exchange *ex, struct ml_file *f, const struct ml_file_part *parts,
                      unsigned count);

/* The exchange is over: lets go of all files.  Called by exchange.c. */
void ml_file_bodies_end(struct ml_exchange *ex);

#endif
