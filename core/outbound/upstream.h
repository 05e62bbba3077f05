/* upstream.h - named groups of servers, their pools, and one request to one of them.
 *
 * A group belongs to a generation (its options may change with a reload); the pool and the health
 * of a server belong to the process and to shared memory, so they survive reloads. */
#ifndef ML_OUTBOUND_UPSTREAM_H
#define ML_OUTBOUND_UPSTREAM_H

#include "base/shm.h"
#include "inbound/exchange.h"
#include "protocol/http1.h"
#include "transport/resolver.h"

enum ml_balance { ML_ROUND_ROBIN, ML_LEAST_CONN, ML_HASH, ML_P2C };

struct ml_server_conf {
    struct ml_str url;  /* "http[s]://host:port[/prefix]", with "h2" or "h2c" for HTTP/2, "unix:/path" or
                         * "srv://name[/prefix]" */
    unsigned weight;    /* 1..65535, default 1 */
    unsigned max_conns; /* [0: no limit] requests in flight, of all workers together */
    bool backup;        /* used when no other server can be */
};

enum { ML_CHECK_RANGES_MAX = 16 };

struct ml_check_conf { /* see outbound/check.h; times in seconds */
    bool on;
    struct ml_str path; /* empty: that it accepts a connection is enough */
    struct ml_str host; /* empty: the server's */
    struct ml_str method;
    struct ml_str body; /* what the answer's body must contain; empty: anything */
    double interval, timeout;
    double jitter; /* share of the interval by which it varies */
    unsigned rise, fall;
    int port;         /* 0: the server's */
    bool begins_down; /* until the first good check */
    struct {
        uint16_t from, to;
    } expect[ML_CHECK_RANGES_MAX];
    unsigned expect_count;
};

enum ml_send_proxy { ML_SEND_PROXY_OFF, ML_SEND_PROXY_V1, ML_SEND_PROXY_V2 };

struct ml_group_conf { /* times in seconds; 0: default in brackets */
    struct ml_str name;
    struct ml_server_conf *servers;
    unsigned server_count;
    enum ml_balance balance;
    double connect_timeout;        /* [2] */
    double first_byte_timeout;     /* [60] */
    double read_timeout;           /* [60] between two reads of the body */
    double send_timeout;           /* [60] between two writes of the request */
    double tunnel_idle;            /* [3600] silence in both directions that ends a tunnel */
    double total_timeout;          /* [0: none] whole request */
    unsigned keepalive;            /* idle connections kept per server and worker [64]; ~0u: none */
    double keepalive_timeout;      /* [60] */
    double ping_interval;          /* [0: none] see ml_h2_set_configure */
    unsigned max_fails;            /* [1] ~0u: never eject */
    double fail_timeout;           /* [10] */
    unsigned retries;              /* more servers tried for idempotent requests [1]; ~0u: none */
    bool preserve_host;            /* [false: Host of the server]; true: the client's */
    struct ml_http1_limits limits; /* of responses */
    bool via_off;                  /* [false] do not add Via */
    bool real_ip_off;              /* [false] do not add X-Real-IP */
    bool forwarded_port;           /* [false] add X-Forwarded-Port */
    bool resolve_all;              /* [false] each address of a name is a server of its own */
    double slow_start;             /* [0] so long the weight of a server grows that is up again */
    unsigned panic_threshold;      /* [0] percent: when fewer servers are up, all are used */
    const struct ml_tls_client_conf *tls; /* to servers with https URLs; NULL: the defaults */
    struct ml_str tls_name; /* whose certificate they show; empty: that of the URL's host */
    enum ml_send_proxy send_proxy; /* [off] connections begin with a PROXY header */
    struct ml_check_conf check;
    bool client; /* requests are the gateway's own: nothing is said of a client, and the servers'
                  * health stays in this process */
};

struct ml_metrics;  /* base/metrics.h */
struct ml_outbound; /* per worker: pools of all servers */
struct ml_group;
struct ml_tls_client_conf; /* transport/tls.h */

struct ml_outbound *ml_outbound_new(struct ml_loop *loop, struct ml_resolver *resolver,
                                    struct ml_shm *shm, unsigned worker);
void ml_outbound_free(struct ml_outbound **o);
/* Counts there what groups that are made from now on do; m is borrowed. */
void ml_outbound_count(struct ml_outbound *o, struct ml_metrics *m);
/* Sets the gauges of the pools. */
void ml_outbound_gauge(struct ml_outbound *o);

/* Checks a server URL without any I/O: NULL, or what is wrong with it (a static text). */
const char *ml_server_url_check(struct ml_str url);
/* Makes the group; conf is copied.  Released groups live until their last request ends. */
struct ml_group *ml_group_new(struct ml_outbound *o, const struct ml_group_conf *conf);
void ml_group_release(struct ml_group **g);
/* Its generation serves no more: it only lives for its last requests. */
void ml_group_retire(struct ml_group *g);

/* Every 0.2 s or so: lists that scripts have set, and who checks. */
void ml_outbound_tick(struct ml_outbound *o);
/* This worker is about to end: others may check from now on. */
void ml_outbound_stop(struct ml_outbound *o);

struct ml_forward {         /* one call; zero-initialised is fine */
    struct ml_str hash_key; /* for ML_HASH; empty: the client's address */
    double timeout;         /* > 0 replaces first_byte_timeout */
    double connect_timeout; /* > 0 replaces the group's */
    bool once;              /* on a connection of its own, closed after the answer */
    bool allow_upgrade;     /* pass an Upgrade of the client (a tunnel after 101) */
    double tunnel_idle;     /* > 0 replaces the group's */
    struct ml_str host;     /* Host to send instead of what the group says; empty: the group's */
    /* Called once: ML_OK with ex->res filled (status, headers, body pipe, from), or the reason. */
    void (*head)(void *ctx, enum ml_err err);
    void *ctx;
};
/* Sends ex->req to a server of the group and streams its body.  The answer's body streams into
 * ex->res.body until the exchange ends or ml_upstream_cancel. */
void ml_upstream_forward(struct ml_group *g, struct ml_exchange *ex, const struct ml_forward *f);
void ml_upstream_cancel(struct ml_exchange *ex); /* of ex->upstream, when there is one */

#endif
