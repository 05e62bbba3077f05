/* redis_cluster.c - the map of a cluster.
 *
 *   NONE --first route--> ASKING --map--> KNOWN --doubt, at most once a second--> KNOWN, asking
 *    ^____ nobody answered; the next attempt only after a delay ____/
 *
 * While it asks again, the old map serves.  Asking goes from node to node, and the seeds of the URL
 * come last.  A node that is no longer in the map loses its connection as soon as nothing waits on
 * it. */
#include "outbound/redis_cluster.h"

#include "base/log_event.h"
#include "outbound/redis_command.h"
#include "outbound/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

enum { NODES_MAX = 256, NOBODY = NODES_MAX };
#define REFRESH_MIN_S 1.0
#define RETRY_FIRST_S 0.1
#define RETRY_MAX_S 5.0

struct map {
    bool wanted[NODES_MAX];         /* it has slots */
    uint16_t slots[ML_REDIS_SLOTS]; /* index of the node, or NOBODY */
};

struct ml_redis_cluster {
    struct ml_outbound *o; /* borrowed, like conf */
    const struct ml_redis_conf *conf;
    void (*settled)(void *ctx);
    void *ctx;
    struct ml_redis_conn *nodes[NODES_MAX]; /* owned; NULL: a free place */
    struct map map;
    bool known, asking, doubt;
    struct ml_redis_part part; /* CLUSTER SLOTS */
    struct ml_redis_conn *asked;
    unsigned tries;           /* candidates of this round */
    unsigned failures;        /* rounds without an answer */
    struct ml_timer patience; /* of a round */
    struct ml_deferred begin;
    double next_s; /* not before */
    char why[ML_REDIS_HOST_CAP + 200];
};

static double now_s(const struct ml_redis_cluster *cl)
{
    return ml_loop_now_s(cl->o->loop);
}

/* ---- nodes ---- */

static bool same_place(const struct ml_redis_place *a, const struct ml_redis_place *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* The index of that node, which gets a connection when it is new; NOBODY when there are too many.
 */
static unsigned node_at(struct ml_redis_cluster *cl, const struct ml_redis_place *place)
{
    unsigned vacant = NOBODY;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (cl->nodes[i] != NULL && same_place(ml_redis_conn_place(cl->nodes[i]), place))
            return i;
        if (cl->nodes[i] == NULL && vacant == NOBODY)
            vacant = i;
    }
    if (vacant != NOBODY)
        cl->nodes[vacant] = ml_redis_conn_new(cl->o, cl->conf, place);
    return vacant;
}

static struct ml_redis_conn *any_node(const struct ml_redis_cluster *cl)
{
    struct ml_redis_conn *some = NULL;

    for (unsigned i = 0; i < NODES_MAX; i++) {
        if (cl->nodes[i] == NULL || !cl->map.wanted[i])
            continue;
        if (ml_redis_conn_state(cl->nodes[i]) != ML_REDIS_DOWN)
            return cl->nodes[i];
        some = cl->nodes[i];
    }
    return some;
}

static void drop_unwanted(struct ml_redis_cluster *cl)
{
    for (unsigned i = 0; i < NODES_MAX; i++)
        if (cl->nodes[i] != NULL && !cl->map.wanted[i] && ml_redis_conn_waiting(cl->nodes[i]) == 0)
            ml_redis_conn_free(&cl->nodes[i]);
}

/* ---- the map ---- */

/* host (nil or "": the host that was asked) and port of a node. */
static bool read_place(const struct ml_redis_cluster *cl, const struct ml_redis_reply *host,
                       const struct ml_redis_reply *port, struct ml_redis_place *out)
{
    struct ml_str name = ml_redis_reply_text(host);

    *out = (struct ml_redis_place){0};
    if (port->type != ML_REDIS_INTEGER || port->integer < 1 || port->integer > 65535)
        return false;
    if (name.len == 0)
        name = ml_str_of(ml_redis_conn_place(cl->asked)->host);
    if (!ml_redis_conf_host_ok(name))
        return false;
    memcpy(out->host, name.p, name.len);
    out->port = (int)port->integer;
    return true;
}

/* [first, last, [host, port, ...], replicas...] */
static bool read_range(struct ml_redis_cluster *cl, const struct ml_redis_reply *range,
                       struct map *map)
{
    const struct ml_redis_reply *master;
    struct ml_redis_place place;
    long long first, last;
    unsigned node;

    if (range->type != ML_REDIS_ARRAY || range->len < 3)
        return false;
    first = range->items[0]->integer;
    last = range->items[1]->integer;
    master = range->items[2];
    if (first < 0 || last >= ML_REDIS_SLOTS || first > last || master->type != ML_REDIS_ARRAY ||
        master->len < 2 || !read_place(cl, master->items[0], master->items[1], &place))
        return false;
    node = node_at(cl, &place);
    if (node == NOBODY)
        return false;
    map->wanted[node] = true;
    for (long long slot = first; slot <= last; slot++)
        map->slots[slot] = (uint16_t)node;
    return true;
}

/* Changes the map only when all of the reply is understood. */
static bool read_map(struct ml_redis_cluster *cl, const struct ml_redis_reply *reply)
{
    struct map map = {0};

    if (reply->type != ML_REDIS_ARRAY || reply->len == 0 || reply->len > ML_REDIS_SLOTS)
        return false;
    for (unsigned i = 0; i < ML_REDIS_SLOTS; i++)
        map.slots[i] = NOBODY;
    for (size_t i = 0; i < reply->len; i++)
        if (!read_range(cl, reply->items[i], &map))
            return false;
    cl->map = map;
    return true;
}

/* ---- asking for it ---- */

static void ask_next(struct ml_redis_cluster *cl);

static void settle(struct ml_redis_cluster *cl, bool ok)
{
    double delay_s = RETRY_FIRST_S;

    ml_timer_stop(&cl->patience);
    ml_redis_conn_cancel(&cl->part);
    cl->asking = false;
    cl->doubt = false;
    cl->failures = ok ? 0 : cl->failures + 1;
    for (unsigned i = 1; i < cl->failures && delay_s < RETRY_MAX_S; i++)
        delay_s *= 2;
    cl->next_s = now_s(cl) + (ok ? REFRESH_MIN_S : delay_s);
    cl->settled(cl->ctx);
}

static void map_failed(struct ml_redis_cluster *cl, const char *what)
{
    snprintf(cl->why, sizeof cl->why, "no node of the cluster tells its slots: %s", what);
    if (cl->failures == 0)
        ml_log_event(ML_LOG_WARN, "redis is unavailable", ML_KV("why", (const char *)cl->why));
    settle(cl, false);
}

static void on_map(struct ml_redis_part *part, enum ml_err err, struct ml_redis_reply *reply,
                   const char *why)
{
    struct ml_redis_cluster *cl =
        (struct ml_redis_cluster *)((char *)part - offsetof(struct ml_redis_cluster, part));
    bool ok = err == ML_OK && read_map(cl, reply);

    if (ok) {
        cl->known = true;
        drop_unwanted(cl);
    } else {
        snprintf(cl->why, sizeof cl->why, "%s",
                 err != ML_OK                    ? why
                 : reply->type == ML_REDIS_ERROR ? "it is no cluster, or does not let us ask"
                                                 : "its answer can not be understood");
    }
    ml_redis_reply_free(&reply);
    if (ok)
        settle(cl, true);
    else
        ask_next(cl);
}

/* The nodes, then the seeds. */
static struct ml_redis_conn *candidate(struct ml_redis_cluster *cl, unsigned index)
{
    unsigned node;

    if (index < NODES_MAX)
        return cl->nodes[index];
    node = node_at(cl, &cl->conf->seeds[index - NODES_MAX]);
    return node != NOBODY ? cl->nodes[node] : NULL;
}

/* A node that is down refuses at once, so this finds one that works. */
static void ask_next(struct ml_redis_cluster *cl)
{
    static const char ask[] = "*2\r\n$7\r\nCLUSTER\r\n$5\r\nSLOTS\r\n";
    char what[sizeof cl->why];

    while (cl->tries < NODES_MAX + cl->conf->seed_count) {
        struct ml_redis_conn *conn = candidate(cl, cl->tries++);

        if (conn == NULL)
            continue;
        cl->asked = conn;
        if (ml_redis_conn_send(conn, &cl->part, ML_STR(ask), 0) == ML_OK)
            return;
        snprintf(cl->why, sizeof cl->why, "%s", ml_redis_conn_why(conn));
    }
    snprintf(what, sizeof what, "%s", cl->why);
    map_failed(cl, what);
}

static void on_impatient(void *ctx)
{
    struct ml_redis_cluster *cl = ctx;

    ml_redis_conn_cancel(&cl->part);
    map_failed(cl, "no answer in time");
}

static void on_begin(void *ctx)
{
    struct ml_redis_cluster *cl = ctx;

    cl->tries = 0;
    ml_timer_set(&cl->patience, cl->conf->connect_timeout_s + cl->conf->timeout_s);
    ask_next(cl);
}

static void begin(struct ml_redis_cluster *cl)
{
    if (cl->asking || now_s(cl) < cl->next_s)
        return;
    cl->asking = true;
    ml_loop_defer(cl->o->loop, &cl->begin); /* settled() is not called from inside */
}

/* ---- the public side ---- */

struct ml_redis_cluster *ml_redis_cluster_new(struct ml_outbound *o,
                                              const struct ml_redis_conf *conf,
                                              void (*settled)(void *ctx), void *ctx)
{
    struct ml_redis_cluster *cl = calloc(1, sizeof *cl);

    if (cl == NULL)
        abort();
    cl->o = o;
    cl->conf = conf;
    cl->settled = settled;
    cl->ctx = ctx;
    cl->part.done = on_map;
    cl->begin.fire = on_begin;
    cl->begin.ctx = cl;
    ml_timer_init(&cl->patience, o->loop, on_impatient, cl);
    return cl;
}

void ml_redis_cluster_free(struct ml_redis_cluster **cluster)
{
    struct ml_redis_cluster *cl = *cluster;

    *cluster = NULL;
    if (cl == NULL)
        return;
    ml_redis_conn_cancel(&cl->part);
    for (unsigned i = 0; i < NODES_MAX; i++)
        ml_redis_conn_free(&cl->nodes[i]);
    ml_timer_drop(&cl->patience);
    ml_loop_undefer(cl->o->loop, &cl->begin);
    ml_loop_bury(cl->o->loop, free, cl);
}

enum ml_err ml_redis_cluster_route(struct ml_redis_cluster *cl, int slot,
                                   struct ml_redis_conn **conn)
{
    if (!cl->known || cl->doubt)
        begin(cl);
    if (!cl->known)
        return cl->asking ? ML_AGAIN : ML_UP_CONNECT;
    *conn =
        slot >= 0 && cl->map.slots[slot] != NOBODY ? cl->nodes[cl->map.slots[slot]] : any_node(cl);
    return ML_OK;
}

/* "MOVED 3999 127.0.0.1:6381"; an empty host is that of the node which says so. */
static bool read_redirect(struct ml_str text, const struct ml_redis_conn *from, int *slot,
                          struct ml_redis_place *out)
{
    const char *space = memchr(text.p, ' ', text.len), *colon;
    char *end;
    long n;

    *out = (struct ml_redis_place){0};
    if (space == NULL)
        return false;
    n = strtol(space + 1, &end, 10);
    colon = strrchr(end, ':'); /* the text of a reply ends with NUL */
    if (*end != ' ' || colon == NULL || n < 0 || n >= ML_REDIS_SLOTS)
        return false;
    struct ml_str host = {end + 1, (size_t)(colon - end - 1)};
    if (host.len == 0)
        host = ml_str_of(ml_redis_conn_place(from)->host);
    out->port = atoi(colon + 1);
    if (!ml_redis_conf_host_ok(host) || out->port < 1 || out->port > 65535)
        return false;
    memcpy(out->host, host.p, host.len);
    *slot = (int)n;
    return true;
}

struct ml_redis_conn *ml_redis_cluster_redirect(struct ml_redis_cluster *cl,
                                                const struct ml_redis_reply *reply,
                                                const struct ml_redis_conn *from, bool *ask)
{
    struct ml_redis_place place;
    unsigned node;
    int slot;

    *ask = ml_redis_reply_is_error(reply, "ASK");
    if (!*ask && !ml_redis_reply_is_error(reply, "MOVED"))
        return NULL;
    if (!read_redirect(ml_redis_reply_text(reply), from, &slot, &place))
        return NULL;
    node = node_at(cl, &place);
    if (node == NOBODY)
        return NULL;
    if (!*ask) {
        cl->map.slots[slot] = (uint16_t)node;
        cl->map.wanted[node] = true;
        ml_redis_cluster_doubt(cl);
    }
    return cl->nodes[node];
}

void ml_redis_cluster_doubt(struct ml_redis_cluster *cl)
{
    cl->doubt = true;
    if (cl->known)
        begin(cl);
}

enum ml_redis_state ml_redis_cluster_state(const struct ml_redis_cluster *cl)
{
    const struct ml_redis_conn *any = any_node(cl);

    if (cl->known)
        return ml_redis_conn_state(any) == ML_REDIS_DOWN ? ML_REDIS_DOWN : ML_REDIS_READY;
    if (cl->asking)
        return cl->failures > 0 ? ML_REDIS_DOWN : ML_REDIS_CONNECTING;
    return cl->failures > 0 ? ML_REDIS_DOWN : ML_REDIS_IDLE;
}

const char *ml_redis_cluster_why(const struct ml_redis_cluster *cl)
{
    return cl->why;
}
