/* redis_hello.h - what a new connection says first: AUTH, SELECT, and always PING.
 *
 * A server that is hung still accepts connections: only an answer to PING shows that it works. */
#ifndef ML_OUTBOUND_REDIS_HELLO_H
#define ML_OUTBOUND_REDIS_HELLO_H

#include "base/buf.h"
#include "outbound/redis_conf.h"
#include "outbound/redis_reply.h"

/* Appends the commands; which answers have to come. */
unsigned ml_redis_hello_write(const struct ml_redis_conf *conf, struct ml_buf *out);
/* An answer, borrowed: takes it off *left (0: all is well), or says in why what is wrong with it.
 */
bool ml_redis_hello_take(const struct ml_redis_conf *conf, unsigned *left,
                         const struct ml_redis_reply *reply, char *why, size_t why_cap);
/* Releases the buffer of these commands and leaves no password behind. */
void ml_redis_hello_wipe(struct ml_buf *out);

#endif
