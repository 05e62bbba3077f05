/* redis_reply.h - what a Redis server answers, parsed by hiredis into values of our own.
 *
 * The server is not trusted: a reply of more than ML_REDIS_REPLY_MAX bytes (counted with what its
 * arrays need), more than 7 arrays inside of each other, or a line that does not end is an error,
 * before memory is spent on it. */
#ifndef ML_OUTBOUND_REDIS_REPLY_H
#define ML_OUTBOUND_REDIS_REPLY_H

#include "base/err.h"
#include "base/str.h"

enum { ML_REDIS_REPLY_MAX = 64 << 20 };

enum ml_redis_type {
    ML_REDIS_NIL,
    ML_REDIS_INTEGER,
    ML_REDIS_STRING,
    ML_REDIS_STATUS,
    ML_REDIS_ERROR,
    ML_REDIS_ARRAY
};

struct ml_redis_reply {
    enum ml_redis_type type;
    long long integer;
    size_t len;                    /* of text, or of items */
    size_t size;                   /* bytes of all of it; only of a whole reply */
    struct ml_redis_reply **items; /* array: owned, none is NULL */
    char text[];                   /* string, status, error; a NUL follows */
};

static inline struct ml_str ml_redis_reply_text(const struct ml_redis_reply *r)
{
    return (struct ml_str){r->text, r->type == ML_REDIS_ARRAY ? 0 : r->len};
}
/* Is it an error whose first word is this? */
bool ml_redis_reply_is_error(const struct ml_redis_reply *r, const char *word);
void ml_redis_reply_free(struct ml_redis_reply **reply); /* NULL is fine */

struct ml_redis_reader; /* of one connection: it knows where in a reply it is */

struct ml_redis_reader *ml_redis_reader_new(void);
void ml_redis_reader_free(struct ml_redis_reader **reader);
/* Takes bytes as they came; at most some 64 KiB at a time, then ask for replies. */
void ml_redis_reader_feed(struct ml_redis_reader *r, struct ml_str bytes);
/* The next complete reply, which becomes the caller's.  AGAIN: more bytes must come first.
 * UP_PROTOCOL or LIMIT: the connection is of no use any more; the reader says it again. */
enum ml_err ml_redis_reader_next(struct ml_redis_reader *r, struct ml_redis_reply **reply);

#endif
