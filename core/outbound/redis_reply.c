/* redis_reply.c - hiredis' reader with object functions that count what they allocate.
 *
 * hiredis itself believes a length that it is told and waits for that many bytes; while it waits,
 * check_waiting looks at the announcement, so nothing is collected that can not become a reply. */
#include "outbound/redis_reply.h"

#include <hiredis/read.h>
#include <stdlib.h>

enum { LINE_MAX = 65536, LENGTH_MAX = 24 }; /* bytes of a line; of a length with its CRLF */

struct ml_redis_reader {
    redisReader *hi; /* owned */
    size_t used;     /* by the reply in hand */
    enum ml_err bad; /* stays */
};

/* ---- replies ---- */

bool ml_redis_reply_is_error(const struct ml_redis_reply *r, const char *word)
{
    size_t len = strlen(word);

    return r->type == ML_REDIS_ERROR && r->len >= len && memcmp(r->text, word, len) == 0 &&
           (r->len == len || r->text[len] == ' ');
}

/* As deep as hiredis goes. */
void ml_redis_reply_free(struct ml_redis_reply **reply)
{
    struct ml_redis_reply *r = *reply;

    *reply = NULL;
    if (r == NULL)
        return;
    for (size_t i = 0; r->items != NULL && i < r->len; i++)
        ml_redis_reply_free(&r->items[i]);
    free(r->items);
    free(r);
}

static bool reserve(struct ml_redis_reader *r, size_t len)
{
    if (len > ML_REDIS_REPLY_MAX - r->used)
        return false;
    r->used += len;
    return true;
}

/* NULL, which hiredis takes for "out of memory", when the reply becomes too large. */
static struct ml_redis_reply *reply_new(const redisReadTask *task, enum ml_redis_type type,
                                        size_t text_len)
{
    struct ml_redis_reader *r = task->privdata;
    struct ml_redis_reply *reply;

    if (!reserve(r, sizeof *reply + text_len + 1))
        return NULL;
    reply = malloc(sizeof *reply + text_len + 1);
    if (reply == NULL)
        abort();
    memset(reply, 0, sizeof *reply);
    reply->type = type;
    if (task->parent != NULL)
        ((struct ml_redis_reply *)task->parent->obj)->items[task->idx] = reply;
    return reply;
}

static void *create_string(const redisReadTask *task, char *text, size_t len)
{
    enum ml_redis_type type = task->type == REDIS_REPLY_ERROR    ? ML_REDIS_ERROR
                              : task->type == REDIS_REPLY_STATUS ? ML_REDIS_STATUS
                                                                 : ML_REDIS_STRING;
    struct ml_redis_reply *reply = reply_new(task, type, len);

    if (reply == NULL)
        return NULL;
    memcpy(reply->text, text, len);
    reply->text[len] = '\0';
    reply->len = len;
    return reply;
}

static void *create_array(const redisReadTask *task, int count)
{
    size_t bytes = (size_t)count * sizeof(struct ml_redis_reply *);
    struct ml_redis_reply *reply;

    if (!reserve(task->privdata, bytes))
        return NULL;
    reply = reply_new(task, ML_REDIS_ARRAY, 0);
    if (reply == NULL)
        return NULL;
    reply->items = calloc((size_t)count + 1, sizeof(struct ml_redis_reply *));
    if (reply->items == NULL)
        abort();
    reply->len = (size_t)count;
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct ml_redis_reply *reply = reply_new(task, ML_REDIS_INTEGER, 0);

    if (reply != NULL)
        reply->integer = value;
    return reply;
}

static void *create_nil(const redisReadTask *task)
{
    return reply_new(task, ML_REDIS_NIL, 0);
}

static void free_object(void *p)
{
    struct ml_redis_reply *reply = p;

    ml_redis_reply_free(&reply);
}

/* ---- the reader ---- */

struct ml_redis_reader *ml_redis_reader_new(void)
{
    static redisReplyObjectFunctions functions = {create_string, create_array, create_integer,
                                                  create_nil, free_object};
    struct ml_redis_reader *r = calloc(1, sizeof *r);

    if (r == NULL)
        abort();
    r->hi = redisReaderCreateWithFunctions(&functions);
    if (r->hi == NULL)
        abort();
    r->hi->privdata = r;
    return r;
}

void ml_redis_reader_free(struct ml_redis_reader **reader)
{
    struct ml_redis_reader *r = *reader;

    *reader = NULL;
    if (r == NULL)
        return;
    redisReaderFree(r->hi);
    free(r);
}

void ml_redis_reader_feed(struct ml_redis_reader *r, struct ml_str bytes)
{
    if (r->bad == ML_OK && redisReaderFeed(r->hi, bytes.p, bytes.len) != REDIS_OK)
        abort(); /* out of memory: what it holds is bounded by check_waiting */
}

/* A string of which the end has not come: is its length fit to be waited for? */
static enum ml_err check_length(struct ml_redis_reader *r, const char *p, size_t len)
{
    long long announced;

    if (memchr(p, '\n', len < LENGTH_MAX ? len : LENGTH_MAX) == NULL)
        return len >= LENGTH_MAX ? ML_UP_PROTOCOL : ML_AGAIN;
    announced = strtoll(p, NULL, 10); /* hiredis' buffer ends with NUL */
    return announced > (long long)(ML_REDIS_REPLY_MAX - r->used) ? ML_LIMIT : ML_AGAIN;
}

static enum ml_err check_waiting(struct ml_redis_reader *r)
{
    const redisReader *hi = r->hi;
    size_t len = hi->len - hi->pos;

    if (hi->ridx < 0 || hi->rstack[hi->ridx].type < 0)
        return ML_AGAIN;
    if (hi->rstack[hi->ridx].type == REDIS_REPLY_STRING)
        return check_length(r, hi->buf + hi->pos, len);
    return len > LINE_MAX ? ML_UP_PROTOCOL : ML_AGAIN;
}

enum ml_err ml_redis_reader_next(struct ml_redis_reader *r, struct ml_redis_reply **reply)
{
    void *p = NULL;

    if (r->bad != ML_OK)
        return r->bad;
    if (r->hi->ridx < 0)
        r->used = 0;
    if (redisReaderGetReply(r->hi, &p) != REDIS_OK)
        return r->bad = r->hi->err == REDIS_ERR_OOM ? ML_LIMIT : ML_UP_PROTOCOL;
    if (p != NULL) {
        *reply = p;
        (*reply)->size = r->used;
        return ML_OK;
    }
    enum ml_err err = check_waiting(r);
    if (err != ML_AGAIN)
        r->bad = err;
    return err;
}
