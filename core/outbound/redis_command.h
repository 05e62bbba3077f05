/* redis_command.h - what must be known of a Redis command before it is sent: pure, no I/O. */
#ifndef ML_OUTBOUND_REDIS_COMMAND_H
#define ML_OUTBOUND_REDIS_COMMAND_H

#include "base/str.h"

enum { ML_REDIS_SLOTS = 16384 };

struct ml_redis_argv { /* a command: borrowed */
    int argc;          /* >= 1 */
    const char **v;
    const size_t *len;
};

/* NULL, or why a connection that is shared and pipelined can not carry the command: it would block
 * it, or change what later replies mean. */
const char *ml_redis_command_refusal(const struct ml_redis_argv *c);
/* The slot of the command's first key; -1: it has none, any node will do. */
int ml_redis_command_slot(const struct ml_redis_argv *c);
/* CRC16 (XMODEM) of the key, or of what is between its first braces, modulo ML_REDIS_SLOTS. */
int ml_redis_command_key_slot(struct ml_str key);

#endif
