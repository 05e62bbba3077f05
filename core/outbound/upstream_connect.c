/* upstream_connect.c - a server, its address, a connection to it. */
#include "base/log_event.h"
#include "outbound/client_tls.h"
#include "inbound/tracing.h"
#include "outbound/upstream_parts.h"

#include <openssl/ssl.h>

enum { ADDRS_MAX = 8 }; /* of one name, tried for one request */

/* A kept connection that has ended, or holds bytes nobody asked for, of which the loop has not told
 * yet.  A request that may be sent twice does without the system call: it has its refresh. */
static bool stale(struct ml_upstream *u)
{
    struct ml_str m = u->ex->req.method;

    if (ml_str_eq(m, ML_STR("GET")) || ml_str_eq(m, ML_STR("HEAD")))
        return false;
    return ml_stream_read(u->link->stream, &u->link->in, 1, NULL) != ML_AGAIN;
}

static void take_idle(struct ml_upstream *u, uint64_t peer)
{
    while ((u->link = ml_pool_take(&u->server->pool, peer)) != NULL && stale(u))
        ml_pool_close(&u->link);
}

/* ---- addresses: each of a name is a server of its own, which has its turns and may be down ----
 */

/* A connection is known by its address, and by what TLS was demanded of it: one that was made under
 * other settings is none for us. */
static const struct ml_client_tls *tls_of(struct ml_upstream *u)
{
    return u->server->url.h2 ? ml_group_tls_h2(u->group) : ml_group_tls(u->group);
}

static uint64_t peer_of(struct ml_upstream *u, const struct ml_addr *addr)
{
    return u->server->url.tls ? addr->key ^ tls_of(u)->key : addr->key;
}

static void avoid(struct ml_upstream *u, uint64_t key)
{
    struct ml_server *s = u->server;
    unsigned i = s->next_avoided++ % ML_AVOIDED_MAX;

    s->avoided[i].key = key;
    s->avoided[i].until_s = upstream_now_s(u) + u->group->conf.fail_timeout;
}

static bool avoided(const struct ml_upstream *u, uint64_t key)
{
    for (unsigned i = 0; i < ML_AVOIDED_MAX; i++)
        if (u->server->avoided[i].key == key && u->server->avoided[i].until_s > upstream_now_s(u))
            return true;
    return false;
}

/* Whose turn it is; an address to be avoided only when all are. */
static unsigned choose_addr(struct ml_upstream *u, const struct ml_addr *addrs, unsigned count)
{
    unsigned first = u->server->next_addr++;

    for (unsigned i = 0; count > 1 && i < count; i++)
        if (!avoided(u, peer_of(u, &addrs[(first + i) % count])))
            return first + i;
    return first;
}

/* Chooses the address, and takes an idle connection to it. */
static void choose_link(struct ml_upstream *u)
{
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(u->server->name, &addrs, &err);

    u->addr_first = choose_addr(u, addrs, count);
    if (!u->fresh && count > 0)
        take_idle(u, peer_of(u, &addrs[u->addr_first % count]));
}

void ml_upstream_connect_anew(struct ml_upstream *u)
{
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(u->server->name, &addrs, &err);

    u->addr_first = choose_addr(u, addrs, count);
    u->state = RESOLVE;
}

bool ml_upstream_connect_leads_to(struct ml_upstream *u, uint64_t peer)
{
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(u->server->name, &addrs, &err);

    for (unsigned i = 0; i < count; i++)
        if (peer_of(u, &addrs[i]) == peer)
            return true;
    return false;
}

double ml_upstream_connect_timeout_s(const struct ml_upstream *u)
{
    return u->f.connect_timeout > 0 ? u->f.connect_timeout : u->group->conf.connect_timeout;
}

/* The servers as they are now, with which this request will do.  False: none is known before the
 * first answer of DNS. */
static bool choose_roster(struct ml_upstream *u)
{
    struct ml_name *pending;

    if (u->group->roster->count == 0) {
        pending = ml_sources_pending(u->group->sources);
        if (pending != NULL) {
            if (u->waiter.name == NULL)
                ml_name_wait(pending, &u->waiter);
            ml_upstream_try_arm(u, ml_upstream_connect_timeout_s(u));
            return false;
        }
    }
    u->roster = ml_roster_hold(u->group->roster);
    return true;
}

enum next ml_upstream_connect_pick(struct ml_upstream *u)
{
    struct ml_exchange *ex = u->ex;
    struct ml_str key = u->f.hash_key.len > 0 ? u->f.hash_key : ex->req.ip;

    if (u->roster == NULL && !choose_roster(u))
        return WAIT;
    u->pick = ml_group_pick(u->group, u->roster, key, u->tried);
    if (u->pick.index == u->roster->count)
        return ml_upstream_try_give_up(u, u->why != ML_OK ? u->why : ML_UP_NO_SERVER);
    u->why = ML_OK;
    u->server = u->roster->members[u->pick.index].server;
    ml_server_begin(u->server);
    ex->notes.server = ml_arena_dup(ex->arena, u->server->text);
    ex->notes.tries++;
    if (ex->trace != NULL)
        ml_trace_try(ex);
    if (!u->server->url.h2)
        choose_link(u);
    ml_trail_try(&ex->trail, ex->arena, ex->notes.server, upstream_now_s(u), u->link != NULL);
    if (u->link == NULL) {
        u->state = u->server->url.h2 ? JOIN : RESOLVE;
        return MORE;
    }
    ml_stream_listen_to(u->link->stream, u->ready, u);
    u->state = CONNECT; /* which it has behind it */
    return MORE;
}

/* Begins to connect to the next address that does not refuse at once. */
static enum next connect_next(struct ml_upstream *u, const struct ml_addr *addrs, unsigned count)
{
    struct ml_stream *stream;

    while (u->addrs_tried < count && u->addrs_tried < ADDRS_MAX) {
        const struct ml_addr *addr = &addrs[(u->addr_first + u->addrs_tried++) % count];

        if (ml_stream_connect(u->o->loop, addr, &stream) != ML_OK) {
            avoid(u, peer_of(u, addr));
            continue;
        }
        u->link = ml_pool_adopt(&u->server->pool, &stream, peer_of(u, addr));
        ml_stream_listen_to(u->link->stream, u->ready, u);
        ml_upstream_try_arm(u, ml_upstream_connect_timeout_s(u));
        u->blocked = true;
        u->why = ML_UP_CONNECT;
        u->state = CONNECT;
        return WAIT;
    }
    return ml_upstream_try_failed(
        u, u->why == ML_UP_CONNECT_TIMEOUT || u->why == ML_UP_TLS ? u->why : ML_UP_CONNECT);
}

enum next ml_upstream_connect_resolve(struct ml_upstream *u)
{
    const struct ml_addr *addrs;
    enum ml_err err;
    unsigned count = ml_name_addresses(u->server->name, &addrs, &err);

    if (count > 0)
        return connect_next(u, addrs, count);
    if (err != ML_AGAIN)
        return ml_upstream_try_failed(u, ML_UP_RESOLVE);
    if (u->waiter.name == NULL) { /* else it was another event that woke us */
        ml_name_wait(u->server->name, &u->waiter);
        ml_upstream_try_arm(u, ml_upstream_connect_timeout_s(u));
    }
    return WAIT;
}

/* The next address, if there is one. */
static enum next give_up_address(struct ml_upstream *u)
{
    avoid(u, u->link->peer);
    ml_upstream_try_drop_link(u);
    u->state = RESOLVE;
    return MORE;
}

/* A server that has agreed on another protocol, or on none, would not understand us. */
static bool speaks_h2(const struct ml_upstream *u)
{
    const unsigned char *name = NULL;
    unsigned len = 0;

    if (!u->server->url.h2 || !ml_stream_is_tls(u->link->stream))
        return true;
    SSL_get0_alpn_selected(ml_stream_tls_session(u->link->stream), &name, &len);
    return len == 2 && memcmp(name, "h2", 2) == 0;
}

static enum next tls_failed(struct ml_upstream *u, const char *why)
{
    ml_log_event(ML_LOG_WARN, "no TLS with an upstream server",
                 ML_KV("upstream", u->group->conf.name), ML_KV("server", u->server->text),
                 ML_KV("why", why != NULL ? why : "the connection was lost"));
    u->why = ML_UP_TLS;
    return give_up_address(u);
}

/* Of a new connection to a server with an https URL.  ML_AGAIN: it goes on. */
static enum ml_err shake_hands(struct ml_upstream *u)
{
    struct ml_stream *stream = u->link->stream;
    enum ml_err err;

    if (!u->server->url.tls || u->link->served > 0)
        return ML_OK;
    if (!ml_stream_is_tls(stream))
        ml_client_tls_start(tls_of(u), stream, ml_server_tls_name(u->server));
    err = ml_stream_handshake(stream);
    u->blocked = err == ML_AGAIN;
    return err;
}

enum next ml_upstream_connect_step(struct ml_upstream *u)
{
    enum ml_err err = u->link->served > 0 ? ML_OK : ml_stream_connected(u->link->stream);

    if (u->blocked)
        return WAIT;
    if (err == ML_AGAIN) {
        ml_stream_want_write(u->link->stream);
        return WAIT;
    }
    if (err != ML_OK)
        return give_up_address(u);
    if (u->link->served == 0 && !ml_stream_is_tls(u->link->stream) &&
        !ml_upstream_proxy_announce(u))
        return give_up_address(u);
    err = shake_hands(u);
    if (err != ML_OK)
        return err == ML_AGAIN ? WAIT
                               : tls_failed(u, ml_stream_tls_failure(u->link->stream));
    if (!speaks_h2(u))
        return tls_failed(u, "the server did not agree to HTTP/2 (ALPN \"h2\")");
    u->readable = false;
    if (u->server->url.h2)
        return ml_upstream_call_connected(u);
    ml_upstream_run_begin(u);
    return MORE;
}

void ml_upstream_connect_late(struct ml_upstream *u)
{
    bool over = u->total_due_s > 0 && upstream_now_s(u) >= u->total_due_s;

    if (u->link != NULL)
        avoid(u, u->link->peer);
    ml_upstream_try_drop_link(u);
    if (u->state == RESOLVE) {
        ml_upstream_try_failed(u, over ? ML_UP_TIMEOUT : ML_UP_RESOLVE);
    } else if (over) {
        ml_upstream_try_failed(u, ML_UP_CONNECT_TIMEOUT);
    } else {
        u->why = ML_UP_CONNECT_TIMEOUT;
        u->state = RESOLVE; /* the next address, if there is one */
    }
}
