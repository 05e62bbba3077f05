/* resolver_srv.c - SRV records (RFC 2782): which hosts and ports a service has.
 *
 * c-ares parses such an answer but forgets its TTL, so the answer section is read here.  A name
 * that has no records any more keeps those that it had: an empty answer is more often a mistake
 * than the end of a service. */
#include "transport/resolver_parts.h"

#include <arpa/nameser.h>
#include <stdlib.h>

enum {
    TARGETS_MAX = 128,
    TTL_MIN_S = 1,
    TTL_MAX_S = 300,
    FIXED = 10 /* of a record, before its data */
};

struct answer { /* being read */
    const unsigned char *bytes;
    int len;
    int at; /* the next byte to read */
    unsigned count;
    long ttl_s;
    struct ml_srv targets[TARGETS_MAX];
};

static unsigned two(const unsigned char *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* Reads a name, which may be compressed; into out unless that is NULL. */
static bool read_name(struct answer *a, int *at, char *out, size_t cap)
{
    char *name;
    long used;
    bool fits;

    if (*at >= a->len ||
        ares_expand_name(a->bytes + *at, a->bytes, a->len, &name, &used) != ARES_SUCCESS)
        return false;
    *at += (int)used;
    fits = out == NULL || strlen(name) < cap;
    if (out != NULL && fits)
        strcpy(out, name);
    ares_free_string(name);
    return fits;
}

/* The data of an SRV record at at; a target "." says that there is no such service. */
static bool read_target(struct answer *a, int at, int len)
{
    struct ml_srv *t = &a->targets[a->count];
    const unsigned char *p = a->bytes + at;

    if (len < 7 || a->count == TARGETS_MAX)
        return len >= 7;
    *t = (struct ml_srv){
        .priority = (uint16_t)two(p), .weight = (uint16_t)two(p + 2), .port = (uint16_t)two(p + 4)};
    at += 6;
    if (!read_name(a, &at, t->host, sizeof t->host))
        return false;
    a->count += t->host[0] != '\0' && t->port != 0;
    return true;
}

static bool read_record(struct answer *a)
{
    const unsigned char *p;
    long ttl_s;
    int len;

    if (!read_name(a, &a->at, NULL, 0) || a->len - a->at < FIXED)
        return false;
    p = a->bytes + a->at;
    ttl_s = (long)two(p + 4) << 16 | two(p + 6);
    len = (int)two(p + 8);
    a->at += FIXED;
    if (len > a->len - a->at)
        return false;
    if (ttl_s < a->ttl_s)
        a->ttl_s = ttl_s;
    if (two(p) == ns_t_srv && two(p + 2) == ns_c_in && !read_target(a, a->at, len))
        return false;
    a->at += len;
    return true;
}

static bool read_answer(struct answer *a)
{
    unsigned questions, answers;

    if (a->len < NS_HFIXEDSZ)
        return false;
    questions = two(a->bytes + 4);
    answers = two(a->bytes + 6);
    a->at = NS_HFIXEDSZ;
    a->ttl_s = TTL_MAX_S;
    while (questions-- > 0) {
        if (!read_name(a, &a->at, NULL, 0))
            return false;
        a->at += NS_QFIXEDSZ;
    }
    while (answers-- > 0)
        if (!read_record(a))
            return false;
    return a->count > 0;
}

static int by_priority(const void *a, const void *b)
{
    const struct ml_srv *x = a, *y = b;

    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    if (strcmp(x->host, y->host) != 0)
        return strcmp(x->host, y->host);
    return (int)x->port - (int)y->port;
}

static bool same(const struct ml_srv *a, const struct ml_srv *b)
{
    return a->port == b->port && a->priority == b->priority && a->weight == b->weight &&
           strcmp(a->host, b->host) == 0;
}

static void learn(struct ml_name *n, struct answer *a)
{
    bool changed = a->count != n->count;

    qsort(a->targets, a->count, sizeof *a->targets, by_priority);
    for (unsigned i = 0; !changed && i < a->count; i++)
        changed = !same(&a->targets[i], &n->targets[i]);
    n->err = ML_OK;
    if (!changed)
        return;
    ml_resolver_srv_free(n);
    n->targets = calloc(a->count, sizeof *n->targets);
    if (n->targets == NULL)
        abort();
    memcpy(n->targets, a->targets, a->count * sizeof *n->targets);
    n->count = a->count;
    n->changed = true;
}

static void answered(void *ctx, int status, int timeouts, unsigned char *bytes, int len)
{
    struct ml_name *n = ctx;
    struct answer a = {.bytes = bytes, .len = len};
    bool ok;

    (void)timeouts;
    ok = n->refs > 0 && status == ARES_SUCCESS && read_answer(&a);
    if (ok)
        learn(n, &a);
    n->srv_done(n, ok, (double)(a.ttl_s < TTL_MIN_S ? TTL_MIN_S : a.ttl_s));
}

void ml_resolver_srv_ask(struct ml_name *n)
{
    ares_search(n->r->channel, n->host, ns_c_in, ns_t_srv, answered, n);
}

void ml_resolver_srv_free(struct ml_name *n)
{
    if (n->targets != NULL)
        ml_loop_bury(n->r->loop, free, n->targets);
    n->targets = NULL;
}

unsigned ml_name_targets(struct ml_name *name, const struct ml_srv **targets, enum ml_err *err)
{
    *targets = name->targets;
    *err = name->err;
    return name->targets != NULL ? name->count : 0;
}
