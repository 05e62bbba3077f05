/* coding.h - content codings (RFC 9110 section 8.4): gzip, deflate and brotli, bytes to bytes, and
 * which of them a client wants.  No I/O. */
#ifndef ML_PROTOCOL_CODING_H
#define ML_PROTOCOL_CODING_H

#include "base/buf.h"
#include "base/err.h"

enum ml_coding { ML_CODING_NONE, ML_CODING_GZIP, ML_CODING_DEFLATE, ML_CODING_BROTLI };

enum {
    ML_CODERS_MAX = 1024, /* at a time and process: an encoder has 256 KiB and more */
    ML_CODING_LEVEL_GZIP = 5,
    ML_CODING_LEVEL_BROTLI = 4
};

/* "gzip", "x-gzip", "deflate", "br" in any case; NONE for anything else. */
enum ml_coding ml_coding_of(struct ml_str name);
struct ml_str ml_coding_name(enum ml_coding coding); /* empty for NONE */

/* The one of count offers that a client with that Accept-Encoding wants most (RFC 9110 section
 * 12.5.3), the first of equals; NONE: send the body as it is, which no field at all means too. */
enum ml_coding ml_coding_choose(struct ml_str accept, const enum ml_coding *offers, unsigned count);

struct ml_coder;

/* level: gzip and deflate 1..9, brotli 0..11; 0: the default above.  NULL: too many at a time. */
struct ml_coder *ml_encoder_new(enum ml_coding coding, unsigned level);
struct ml_coder *ml_decoder_new(enum ml_coding coding);
void ml_coder_free(struct ml_coder **coder);

enum ml_coder_end {
    ML_CODER_MORE,   /* more input will come */
    ML_CODER_FLUSH,  /* likewise, but the peer shall be able to read all that came so far */
    ML_CODER_FINISH, /* this is the last input */
};

/* Moves bytes from in to the end of out, at most max of them.  ML_OK: all of in was taken and what
 * `end` asks is done; ML_AGAIN: out has max bytes more, call again with the same `end`;
 * ML_UP_PROTOCOL: the input is malformed, or ends too early. */
enum ml_err ml_coder_run(struct ml_coder *coder, struct ml_buf *in, enum ml_coder_end end,
                         struct ml_buf *out, size_t max);

#endif
