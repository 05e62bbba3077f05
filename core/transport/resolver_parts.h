/* resolver_parts.h - what the files of resolver share.  Nobody else includes it. */
#ifndef ML_TRANSPORT_RESOLVER_PARTS_H
#define ML_TRANSPORT_RESOLVER_PARTS_H

#include "transport/resolver.h"

#include <ares.h>

struct ml_resolver_sock;

struct ml_resolver {
    struct ml_loop *loop;           /* borrowed */
    ares_channel channel;           /* NULL when c-ares cannot start: then only literals resolve */
    struct ml_timer timer;          /* the next timeout inside c-ares */
    struct ml_resolver_sock *socks; /* owned */
    struct ml_name *names;          /* those that are held */
};

struct ml_name {
    struct ml_resolver *r;
    struct ml_name *next;
    char *host; /* owned, NUL-terminated */
    int port;
    unsigned refs;         /* 0: only c-ares still has it */
    struct ml_addr *addrs; /* owned */
    unsigned count;
    enum ml_err err; /* AGAIN until the first answer or failure */
    struct ml_timer refresh;
    struct ml_deferred tell; /* calls the waiters, and the watchers of a change */
    struct ml_name_waiter *waiters;
    struct ml_name_watcher *watchers;
    struct ml_srv *targets; /* owned; of a name of SRV records, whose count it is then */
    void (*srv_done)(struct ml_name *n, bool ok, double ttl_s);
    bool srv, changed;
    bool leaving; /* nobody holds it, but its waiters must hear of it */
    bool literal;
    bool asking;      /* c-ares will call answered() */
    bool inside_call; /* of ares_getaddrinfo: an answer now is from /etc/hosts */
};

/* Is there no need to ask anybody? */
bool resolver_known_at_once(const char *host, int port, struct ml_addr *out);
bool resolver_is_simulated(void);
/* Asks for SRV records; calls n->srv_done, maybe at once: are its targets an answer, and for how
 * long? */
void ml_resolver_srv_ask(struct ml_name *n);
void ml_resolver_srv_free(struct ml_name *n); /* its targets, at the end of the turn */
#endif
