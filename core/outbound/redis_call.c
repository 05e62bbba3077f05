/* redis_call.c - a call: where its commands go, and what is done with answers that are none.
 *
 *   ADD --send--> (wait for the cluster's map) --> replies come, one per request --> done
 *                                                     \-- NOSCRIPT: once more with the script
 *                                                      \- MOVED, ASK: once more to another node
 *
 * The bytes of a request stay with it until it ends, because it may be sent again. */
#include "outbound/redis_call.h"

#include <assert.h>
#include <hiredis/hiredis.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>

enum { REDIRECTS_MAX = 5 };

/* ---- scripts ---- */

struct ml_redis_script *ml_redis_script_new(struct ml_str text)
{
    struct ml_redis_script *s = malloc(sizeof *s + text.len + 1);
    unsigned char sha[SHA_DIGEST_LENGTH];

    if (s == NULL)
        abort();
    s->refs = 1;
    s->len = text.len;
    memcpy(s->text, text.p, text.len);
    SHA1((const unsigned char *)text.p, text.len, sha);
    for (unsigned i = 0; i < sizeof sha; i++)
        snprintf(s->sha + 2 * i, 3, "%02x", sha[i]);
    return s;
}

void ml_redis_script_release(struct ml_redis_script **script)
{
    struct ml_redis_script *s = *script;

    *script = NULL;
    if (s != NULL && --s->refs == 0)
        free(s);
}

/* ---- making a call ---- */

static void go(struct ml_redis_waiter *w);

struct ml_redis_call *ml_redis_call_new(struct ml_redis *r, void (*done)(void *ctx), void *ctx)
{
    struct ml_redis_call *call = calloc(1, sizeof *call);

    if (call == NULL)
        abort();
    r->refs++;
    call->r = r;
    call->done = done;
    call->ctx = ctx;
    call->v = &call->one;
    call->cap = 1;
    call->waiter.go = go;
    return call;
}

void ml_redis_call_atomic(struct ml_redis_call *call)
{
    assert(call->count == 0 && !call->atomic);
    call->atomic = true;
    call->one.slot = -1;
    ml_buf_append(&call->transaction, ML_STR("*1\r\n$5\r\nMULTI\r\n"));
}

static void grow(struct ml_redis_call *call)
{
    struct ml_redis_request *v = calloc(2 * call->cap, sizeof *v);

    if (v == NULL)
        abort();
    memcpy(v, call->v, call->count * sizeof *v);
    if (call->v != &call->one)
        free(call->v);
    call->v = v;
    call->cap *= 2;
}

/* Part of a transaction: nothing is sent before it is complete. */
static bool add_atomic(struct ml_redis_call *call, char *bytes, size_t len, int slot)
{
    struct ml_redis_request *one = &call->one;

    ml_buf_append(&call->transaction, (struct ml_str){bytes, len});
    redisFreeCommand(bytes);
    one->skip++;
    if (call->r->cluster != NULL && one->slot >= 0 && slot >= 0 && one->slot != slot)
        return false;
    if (slot >= 0)
        one->slot = slot;
    return true;
}

bool ml_redis_call_add(struct ml_redis_call *call, const struct ml_redis_argv *command)
{
    int slot = ml_redis_command_slot(command), len;
    char *bytes;

    if (call->count >= ML_REDIS_COMMANDS_MAX || call->one.skip >= ML_REDIS_COMMANDS_MAX)
        return false;
    len = redisFormatCommandArgv(&bytes, command->argc, command->v, command->len);
    if (len < 0)
        abort();
    if (call->atomic)
        return add_atomic(call, bytes, (size_t)len, slot);
    if (call->count == call->cap)
        grow(call);
    call->v[call->count++] =
        (struct ml_redis_request){.bytes = bytes, .len = (size_t)len, .slot = slot};
    return true;
}

void ml_redis_call_script(struct ml_redis_call *call, struct ml_redis_script *script)
{
    assert(call->count == 1 && call->script == NULL);
    script->refs++;
    call->script = script;
}

/* ---- sending ---- */

static void fail(struct ml_redis_call *call, enum ml_err err, const char *why)
{
    if (call->err != ML_OK)
        return;
    call->err = err;
    snprintf(call->why, sizeof call->why, "%s", why);
}

/* To conn; ask: it serves the slot only for those that say ASKING.  False: it can not be sent. */
static bool send_to(struct ml_redis_request *q, struct ml_redis_conn *conn, bool ask)
{
    struct ml_buf both = {0};
    enum ml_err err;

    if (ask) {
        ml_buf_append(&both, ML_STR("*1\r\n$6\r\nASKING\r\n"));
        ml_buf_append(&both, (struct ml_str){q->bytes, q->len});
        err = ml_redis_conn_send(conn, &q->part, ml_buf_str(&both), q->skip + 1);
        ml_buf_release(&both);
    } else {
        err = ml_redis_conn_send(conn, &q->part, (struct ml_str){q->bytes, q->len}, q->skip);
    }
    if (err == ML_OK)
        return true;
    fail(q->call, err, ml_redis_conn_why(conn));
    if (q->call->r->cluster != NULL)
        ml_redis_cluster_doubt(q->call->r->cluster);
    return false;
}

static enum ml_err route(struct ml_redis *r, int slot, struct ml_redis_conn **conn)
{
    if (r->cluster != NULL)
        return ml_redis_cluster_route(r->cluster, slot, conn);
    *conn = r->conn;
    return ML_OK;
}

/* Sends the requests, or waits for the map, of which each would be told the same; true: the call
 * has ended. */
static bool start(struct ml_redis_call *call)
{
    struct ml_redis_conn *conn;

    for (unsigned i = 0; i < call->count; i++) {
        enum ml_err err = route(call->r, call->v[i].slot, &conn);

        if (err == ML_AGAIN && ml_redis_wait(call->r, &call->waiter))
            return false;
        if (err == ML_AGAIN)
            fail(call, ML_OVERLOAD, "too many commands wait for the map of the cluster");
        else if (err != ML_OK)
            fail(call, err, ml_redis_cluster_why(call->r->cluster));
        else if (send_to(&call->v[i], conn, false))
            call->pending++;
    }
    return call->pending == 0;
}

static void go(struct ml_redis_waiter *w)
{
    struct ml_redis_call *call =
        (struct ml_redis_call *)((char *)w - offsetof(struct ml_redis_call, waiter));

    if (start(call))
        call->done(call->ctx);
}

static void on_reply(struct ml_redis_part *part, enum ml_err err, struct ml_redis_reply *reply,
                     const char *why);

static void complete_transaction(struct ml_redis_call *call)
{
    struct ml_str all;

    ml_buf_append(&call->transaction, ML_STR("*1\r\n$4\r\nEXEC\r\n"));
    all = ml_buf_str(&call->transaction);
    call->one.bytes = malloc(all.len);
    if (call->one.bytes == NULL)
        abort();
    memcpy(call->one.bytes, all.p, all.len);
    call->one.len = all.len;
    call->one.skip++; /* of MULTI itself */
    call->count = 1;
    ml_buf_release(&call->transaction);
}

bool ml_redis_call_send(struct ml_redis_call *call)
{
    if (call->atomic)
        complete_transaction(call);
    assert(call->count > 0);
    for (unsigned i = 0; i < call->count; i++) { /* they do not move any more */
        call->v[i].call = call;
        call->v[i].part.done = on_reply;
    }
    return start(call);
}

/* ---- replies ---- */

/* EVALSHA n args of the same length, with the text in the place of its hash. */
static void use_script(struct ml_redis_request *q, const struct ml_redis_script *script)
{
    static const char sha_head[] = "$7\r\nEVALSHA\r\n$40\r\n";
    const char *end = memchr(q->bytes, '\n', q->len);
    size_t head_len = (size_t)(end - q->bytes) + 1;
    size_t tail = head_len + sizeof sha_head - 1 + 42;
    struct ml_buf out = {0};

    ml_buf_append(&out, (struct ml_str){q->bytes, head_len});
    ml_buf_printf(&out, "$4\r\nEVAL\r\n$%zu\r\n", script->len);
    ml_buf_append(&out, (struct ml_str){script->text, script->len});
    ml_buf_append(&out, ML_STR("\r\n"));
    ml_buf_append(&out, (struct ml_str){q->bytes + tail, q->len - tail});
    redisFreeCommand(q->bytes);
    q->len = ml_buf_len(&out);
    q->bytes = malloc(q->len);
    if (q->bytes == NULL)
        abort();
    memcpy(q->bytes, out.p + out.start, q->len);
    ml_buf_release(&out);
}

/* Where to send the request again because of an error reply; NULL: it is the result. */
static struct ml_redis_conn *next_place(struct ml_redis_request *q,
                                        const struct ml_redis_reply *reply,
                                        struct ml_redis_conn *from, bool *ask)
{
    struct ml_redis_cluster *cluster = q->call->r->cluster;

    *ask = false;
    if (reply->type != ML_REDIS_ERROR || q->redirects >= REDIRECTS_MAX)
        return NULL;
    q->redirects++;
    if (q->call->script != NULL && ml_redis_reply_is_error(reply, "NOSCRIPT")) {
        use_script(q, q->call->script);
        ml_redis_script_release(&q->call->script);
        return from;
    }
    if (cluster == NULL)
        return NULL;
    if (ml_redis_reply_is_error(reply, "CLUSTERDOWN"))
        ml_redis_cluster_doubt(cluster);
    return ml_redis_cluster_redirect(cluster, reply, from, ask);
}

static void keep(struct ml_redis_request *q, struct ml_redis_reply *reply)
{
    struct ml_redis_call *call = q->call;

    if (reply->size > ML_REDIS_REPLY_MAX - call->held) {
        fail(call, ML_LIMIT, "the replies are too large");
        ml_redis_reply_free(&reply);
        return;
    }
    call->held += reply->size;
    q->reply = reply;
}

static void on_reply(struct ml_redis_part *part, enum ml_err err, struct ml_redis_reply *reply,
                     const char *why)
{
    struct ml_redis_request *q = (struct ml_redis_request *)part;
    struct ml_redis_call *call = q->call;
    struct ml_redis_conn *next = NULL;
    bool ask = false;

    if (err == ML_OK)
        next = next_place(q, reply, part->from, &ask);
    if (next != NULL) {
        ml_redis_reply_free(&reply);
        if (send_to(q, next, ask))
            return;
    } else if (err == ML_OK) {
        keep(q, reply);
    } else {
        fail(call, err, why);
        if (call->r->cluster != NULL)
            ml_redis_cluster_doubt(call->r->cluster);
    }
    if (--call->pending == 0)
        call->done(call->ctx);
}

/* ---- results and the end ---- */

enum ml_err ml_redis_call_outcome(const struct ml_redis_call *call, const char **why)
{
    *why = call->why;
    return call->err;
}

unsigned ml_redis_call_count(const struct ml_redis_call *call)
{
    return call->count;
}

const struct ml_redis_reply *ml_redis_call_reply(const struct ml_redis_call *call, unsigned index)
{
    assert(index < call->count);
    return call->v[index].reply;
}

static void request_free(struct ml_redis_request *q)
{
    ml_redis_conn_cancel(&q->part);
    ml_redis_reply_free(&q->reply);
    free(q->bytes);
}

void ml_redis_call_free(struct ml_redis_call **freed)
{
    struct ml_redis_call *call = *freed;

    *freed = NULL;
    if (call == NULL)
        return;
    ml_redis_unwait(call->r, &call->waiter);
    for (unsigned i = 0; i < call->count; i++)
        request_free(&call->v[i]);
    ml_redis_script_release(&call->script);
    ml_buf_release(&call->transaction);
    if (call->v != &call->one)
        free(call->v);
    ml_redis_release(&call->r);
    free(call);
}
