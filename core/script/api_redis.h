/* api_redis.h - the parts of core.redis.
 *
 *   api_redis.c         handles, and the life of a call
 *   api_redis_args.c    values of scripts -> commands
 *   api_redis_reply.c   replies -> values of scripts */
#ifndef ML_SCRIPT_API_REDIS_H
#define ML_SCRIPT_API_REDIS_H

#include "outbound/redis.h"
#include "script/api.h"

/* The command in hand.  One for all: no two are made at a time, and an error may break one off. */
void ml_redis_args_begin(void);
void ml_redis_args_add(struct ml_str word); /* borrowed until the command is complete */
/* Adds the value at index, which stays on the stack: a string or a number, or raises. */
void ml_redis_args_value(lua_State *L, int index);
/* Adds the values of the list at index, or none when that is nil; how many. */
int ml_redis_args_list(lua_State *L, int index, const char *what);
/* Replaces a word that was added. */
void ml_redis_args_set(int at, struct ml_str word);
/* Complete; raises when it is a command that may not be sent. */
const struct ml_redis_argv *ml_redis_args_end(lua_State *L);

/* Pushes a reply that is a result of its own: an error becomes nil, "redis_error", text. */
int ml_redis_reply_push(lua_State *L, const struct ml_redis_reply *r);
/* Pushes a reply inside of a list, where nil becomes false and an error { err = text }. */
void ml_redis_reply_push_item(lua_State *L, const struct ml_redis_reply *r);

#endif
