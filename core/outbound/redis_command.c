/* redis_command.c - tables of commands: those that are refused, and where the others have keys. */
#include "outbound/redis_command.h"

#include <stdint.h>
#include <stdlib.h>

static const char pubsub[] = "it turns the shared connection into a subscription";
static const char blocks[] = "it would block the shared connection";
static const char transaction[] = "use pipeline(list, { atomic = true }) for a transaction";
static const char state[] = "it changes the state of the shared connection";

struct refusal {
    const char *name, *argument; /* argument NULL: whatever follows */
    const char *why;
};

static const struct refusal refusals[] = {
    {"SUBSCRIBE", NULL, pubsub},
    {"PSUBSCRIBE", NULL, pubsub},
    {"SSUBSCRIBE", NULL, pubsub},
    {"UNSUBSCRIBE", NULL, pubsub},
    {"PUNSUBSCRIBE", NULL, pubsub},
    {"SUNSUBSCRIBE", NULL, pubsub},
    {"MONITOR", NULL, pubsub},
    {"SYNC", NULL, state},
    {"PSYNC", NULL, state},
    {"REPLCONF", NULL, state},
    {"BLPOP", NULL, blocks},
    {"BRPOP", NULL, blocks},
    {"BRPOPLPUSH", NULL, blocks},
    {"BLMOVE", NULL, blocks},
    {"BLMPOP", NULL, blocks},
    {"BZPOPMIN", NULL, blocks},
    {"BZPOPMAX", NULL, blocks},
    {"BZMPOP", NULL, blocks},
    {"WAIT", NULL, blocks},
    {"WAITAOF", NULL, blocks},
    {"DEBUG", NULL, blocks},
    {"XREAD", "BLOCK", blocks},
    {"XREADGROUP", "BLOCK", blocks},
    {"MULTI", NULL, transaction},
    {"EXEC", NULL, transaction},
    {"DISCARD", NULL, transaction},
    {"WATCH", NULL, transaction},
    {"UNWATCH", NULL, transaction},
    {"AUTH", NULL, "user and password belong in the URL or the options"},
    {"SELECT", NULL, "the database belongs in the URL or the options"},
    {"HELLO", NULL, state},
    {"RESET", NULL, state},
    {"QUIT", NULL, state},
    {"ASKING", NULL, state},
    {"READONLY", NULL, state},
    {"READWRITE", NULL, state},
    {"CLIENT", "REPLY", state},
    {"CLIENT", "TRACKING", state},
    {"CLIENT", "CACHING", state},
    {"SCRIPT", "DEBUG", state},
};

static struct ml_str argument(const struct ml_redis_argv *c, int index)
{
    return index < c->argc ? (struct ml_str){c->v[index], c->len[index]} : ML_STR_NONE;
}

static bool is(const struct ml_redis_argv *c, int index, const char *word)
{
    return index < c->argc && ml_str_ieq(argument(c, index), ml_str_of(word));
}

/* The options of XREAD come before STREAMS; for the others it is the first argument. */
static bool has_option(const struct ml_redis_argv *c, const char *word)
{
    if (ml_lower(c->v[0][0]) != 'x')
        return is(c, 1, word);
    for (int i = 1; i < c->argc && !is(c, i, "STREAMS"); i++)
        if (is(c, i, word))
            return true;
    return false;
}

const char *ml_redis_command_refusal(const struct ml_redis_argv *c)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const struct refusal *r = &refusals[i];

        if (is(c, 0, r->name) && (r->argument == NULL || has_option(c, r->argument)))
            return r->why;
    }
    return NULL;
}

/* ---- keys ---- */

enum {
    FIRST = 1,
    NONE = 0,
    COUNTED = -1,
    AFTER_STREAMS = -2,
    /* else the index of the first key */
};

static const struct place {
    const char *name;
    int at; /* COUNTED: behind the number of keys at index count */
    int count;
} places[] = {
    {"EVAL", COUNTED, 2},
    {"EVALSHA", COUNTED, 2},
    {"EVAL_RO", COUNTED, 2},
    {"EVALSHA_RO", COUNTED, 2},
    {"FCALL", COUNTED, 2},
    {"FCALL_RO", COUNTED, 2},
    {"ZUNION", COUNTED, 1},
    {"ZINTER", COUNTED, 1},
    {"ZDIFF", COUNTED, 1},
    {"ZINTERCARD", COUNTED, 1},
    {"SINTERCARD", COUNTED, 1},
    {"LMPOP", COUNTED, 1},
    {"ZMPOP", COUNTED, 1},
    {"XREAD", AFTER_STREAMS, 0},
    {"XREADGROUP", AFTER_STREAMS, 0},
    {"OBJECT", 2, 0},
    {"MEMORY", 2, 0},
    {"XGROUP", 2, 0},
    {"XINFO", 2, 0},
    {"BITOP", 2, 0},
    {"MIGRATE", 3, 0},
    {"ACL", NONE, 0},
    {"BGREWRITEAOF", NONE, 0},
    {"BGSAVE", NONE, 0},
    {"CLIENT", NONE, 0},
    {"CLUSTER", NONE, 0},
    {"COMMAND", NONE, 0},
    {"CONFIG", NONE, 0},
    {"DBSIZE", NONE, 0},
    {"ECHO", NONE, 0},
    {"FLUSHALL", NONE, 0},
    {"FLUSHDB", NONE, 0},
    {"FUNCTION", NONE, 0},
    {"INFO", NONE, 0},
    {"KEYS", NONE, 0},
    {"LASTSAVE", NONE, 0},
    {"LATENCY", NONE, 0},
    {"LOLWUT", NONE, 0},
    {"MODULE", NONE, 0},
    {"PING", NONE, 0},
    {"PUBLISH", NONE, 0},
    {"PUBSUB", NONE, 0},
    {"RANDOMKEY", NONE, 0},
    {"ROLE", NONE, 0},
    {"SAVE", NONE, 0},
    {"SCAN", NONE, 0},
    {"SCRIPT", NONE, 0},
    {"SLOWLOG", NONE, 0},
    {"SWAPDB", NONE, 0},
    {"TIME", NONE, 0},
};

/* CRC-16/XMODEM, a bit at a time: a key is short. */
static unsigned crc16(struct ml_str s)
{
    unsigned crc = 0;

    for (size_t i = 0; i < s.len; i++) {
        crc ^= (unsigned)(unsigned char)s.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
    }
    return crc & 0xffff;
}

int ml_redis_command_key_slot(struct ml_str key)
{
    const char *open = key.len > 0 ? memchr(key.p, '{', key.len) : NULL, *close = NULL;

    if (open != NULL)
        close = memchr(open, '}', key.len - (size_t)(open - key.p));
    if (close != NULL && close > open + 1)
        key = (struct ml_str){open + 1, (size_t)(close - open - 1)};
    return (int)(crc16(key) % ML_REDIS_SLOTS);
}

static int counted_key(const struct ml_redis_argv *c, int at)
{
    struct ml_str count = argument(c, at);

    if (count.len == 0 || ml_str_eq(count, ML_STR("0")))
        return NONE;
    return at + 1;
}

static int streams_key(const struct ml_redis_argv *c)
{
    for (int i = 1; i < c->argc; i++)
        if (is(c, i, "STREAMS"))
            return i + 1;
    return NONE;
}

static int key_index(const struct ml_redis_argv *c)
{
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        const struct place *p = &places[i];

        if (!is(c, 0, p->name))
            continue;
        if (p->at == COUNTED)
            return counted_key(c, p->count);
        return p->at == AFTER_STREAMS ? streams_key(c) : p->at;
    }
    return FIRST;
}

int ml_redis_command_slot(const struct ml_redis_argv *c)
{
    int at = key_index(c);

    return at > 0 && at < c->argc ? ml_redis_command_key_slot(argument(c, at)) : -1;
}
