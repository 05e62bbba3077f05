/* redis.h - a Redis, single or a cluster, as its users see it: calls of one or more commands.
 *
 * Known by its whole configuration, so that the generations of a worker share its connections and a
 * reload closes none.  Nothing connects before the first call. */
#ifndef ML_OUTBOUND_REDIS_H
#define ML_OUTBOUND_REDIS_H

#include "outbound/redis_command.h"
#include "outbound/redis_conn.h"

struct ml_redis;

/* The one with that configuration (whose times are > 0), made when it is new. */
struct ml_redis *ml_redis_hold(struct ml_outbound *o, const struct ml_redis_conf *conf);
void ml_redis_release(struct ml_redis **r);
/* Of a cluster: DOWN while its topology can not be had. */
enum ml_redis_state ml_redis_state_of(const struct ml_redis *r);

struct ml_redis_script { /* a Lua script of Redis; shared, counted */
    unsigned refs;
    char sha[41]; /* SHA-1 of text in hexadecimal */
    size_t len;
    char text[];
};
struct ml_redis_script *ml_redis_script_new(struct ml_str text);
void ml_redis_script_release(struct ml_redis_script **script);

/* ---- a call: NEW, add commands, send, results, free ---- */

struct ml_redis_call;

enum { ML_REDIS_COMMANDS_MAX = 10000 };

/* A call to r, which it holds.  done(ctx): every result is there; never called from inside of a
 * function of the caller's.  It may free the call. */
struct ml_redis_call *ml_redis_call_new(struct ml_redis *r, void (*done)(void *ctx), void *ctx);
/* Before commands are added: they run as one transaction (MULTI, EXEC), with one result, an array.
 */
void ml_redis_call_atomic(struct ml_redis_call *call);
/* Copies the command.  False when there are ML_REDIS_COMMANDS_MAX, or when a transaction would need
 * keys of more than one slot of a cluster. */
bool ml_redis_call_add(struct ml_redis_call *call, const struct ml_redis_argv *command);
/* The call's one command is EVALSHA of this script: the script itself is sent when the server does
 * not know it. */
void ml_redis_call_script(struct ml_redis_call *call, struct ml_redis_script *script);
/* True: all results are there already, done is not called. */
bool ml_redis_call_send(struct ml_redis_call *call);
/* ML_OK, or why there are no results: ML_UP_TIMEOUT, or others for "unavailable"; *why is then a
 * sentence that lives as long as the call. */
enum ml_err ml_redis_call_outcome(const struct ml_redis_call *call, const char **why);
unsigned ml_redis_call_count(const struct ml_redis_call *call);
const struct ml_redis_reply *ml_redis_call_reply(const struct ml_redis_call *call, unsigned index);
/* At any time; replies that are still to come are dropped.  NULL is fine. */
void ml_redis_call_free(struct ml_redis_call **call);

#endif
