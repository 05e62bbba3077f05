/* resolver.h - names to addresses in the background, by c-ares: never blocks, keeps to the TTL.
 *
 * A name is asked for at once and again whenever its TTL ends, for as long as somebody holds it;
 * the addresses known before serve meanwhile, and stay when it fails.  /etc/hosts and search
 * domains count.  IP literals ("127.0.0.1", "[::1]") and "unix:/path" need no query. */
#ifndef ML_TRANSPORT_RESOLVER_H
#define ML_TRANSPORT_RESOLVER_H

#include "transport/stream.h"

struct ml_resolver;
struct ml_name; /* one watched name */

/* Asks the servers of /etc/resolv.conf, or those of the environment variable MOONLATCH_DNS
 * ("127.0.0.1:5353,[::1]:53").  All names must have been released before it is freed. */
struct ml_resolver *ml_resolver_new(struct ml_loop *loop);
void ml_resolver_free(struct ml_resolver **r);

/* For tests: every name and literal that is watched from now on has the one address that find
 * gives. Borrowed; NULL: c-ares answers.  For this process. */
struct ml_resolver_source {
    void (*find)(void *ctx, struct ml_str host, int port, struct ml_addr *out);
    void *ctx;
};
void ml_resolver_set_source(const struct ml_resolver_source *source);

/* Watches host (a name or a literal) with that port; shared by equal calls, counted. */
struct ml_name *ml_resolver_watch(struct ml_resolver *r, struct ml_str host, int port);
/* Who still waits for it is told, as by an answer. */
void ml_name_release(struct ml_name **name);

struct ml_name_waiter { /* embed; called once when the name has an answer or a failure */
    struct ml_name_waiter *next;
    struct ml_name *name;
    void (*done)(void *ctx);
    void *ctx;
};
/* Addresses known now, IPv4 first: count, 0 while unknown.  *addrs lives until the next loop turn.
 * *err: ML_OK, ML_AGAIN (first answer still to come) or ML_UP_RESOLVE. */
unsigned ml_name_addresses(struct ml_name *name, const struct ml_addr **addrs, enum ml_err *err);
void ml_name_wait(struct ml_name *name, struct ml_name_waiter *w); /* only while ML_AGAIN */
void ml_name_unwait(struct ml_name_waiter *w);

struct ml_name_watcher { /* embed; called each time the answer is another one, never from inside a
                          * call of the resolver */
    struct ml_name_watcher *next;
    struct ml_name *name;
    void (*changed)(void *ctx);
    void *ctx;
};
void ml_name_watch(struct ml_name *name, struct ml_name_watcher *w);
void ml_name_unwatch(struct ml_name_watcher *w); /* a no-op when it does not watch */

struct ml_srv { /* one SRV record, RFC 2782 */
    char host[255];
    uint16_t port, priority, weight;
};
/* Watches the SRV records of a name such as "_http._tcp.example.org"; a name of its own kind: it
 * has targets and no addresses. */
struct ml_name *ml_resolver_watch_srv(struct ml_resolver *r, struct ml_str host);
/* As ml_name_addresses.  In the order of priority. */
unsigned ml_name_targets(struct ml_name *name, const struct ml_srv **targets, enum ml_err *err);

#endif
