/* listener.h - accepts clients of one port for a worker, backs off when descriptors run out. */
#ifndef ML_INBOUND_LISTENER_H
#define ML_INBOUND_LISTENER_H

#include "base/log.h"
#include "base/shm.h"
#include "inbound/exchange.h"
#include "protocol/http1.h"

struct ml_cidr { /* a network in trusted_proxies: IPv4 is stored as ::ffff:0:0/96 */
    uint8_t bytes[16];
    unsigned bits;
};
/* "10.0.0.0/8", "::1", "192.0.2.7"; false when malformed. */
bool ml_cidr_parse(struct ml_str text, struct ml_cidr *out);

struct ml_listener_conf { /* all times in seconds */
    struct ml_str name;   /* for scripts; "host:port" unless the site says another */
    struct ml_str host;   /* address to bind, "0.0.0.0" by default */
    int port;
    struct ml_http1_limits limits; /* 16 KiB line, 32 KiB head, 100 fields */
    uint64_t body_max;             /* 16 MiB */
    double header_timeout, body_timeout, idle_timeout, send_timeout; /* 10, 30, 75, 30 */
    double body_rate_min;  /* bytes per second a slow body must keep up after 10 s; 0: no demand */
    unsigned requests_max; /* per connection; 0: no limit */
    unsigned connections_max; /* per worker; 16384 */
    struct ml_cidr *trusted;
    unsigned trusted_count;
    struct ml_cidr *proxies; /* balancers whose connections begin with a PROXY header */
    unsigned proxy_count;
    bool proxies_only; /* nobody else is served */
    struct ml_url_policy url;
    struct ml_tls *tls;       /* owned by the site; NULL: plain */
    bool tls_clients;         /* certificates of clients are asked for */
    double handshake_timeout; /* 10 */
    int redirect_status;      /* 0: none; else the answer to everything is "the same, over TLS" */
    int redirect_port;
    struct ml_str redirect_host;    /* empty: the one that the client asked for */
    struct ml_str *redirect_except; /* but to paths that begin so */
    unsigned redirect_except_count;
    struct ml_headers always; /* fields of answers to what never gets to a handler */
    bool http2;               /* clients may speak it; default true */
    bool http2_websockets;    /* RFC 8441 is offered; default true */
    uint32_t http2_streams;   /* requests at once of one connection; 100 */
    bool trailers_pass;       /* forward safe trailers both ways; default false: they are dropped */
};
/* Fills in the defaults. */
void ml_listener_defaults(struct ml_listener_conf *conf);

struct ml_listener;
struct ml_access_conf;
struct ml_tap;             /* base/lines.h */
struct ml_access_log;      /* inbound/access_log.h */
struct ml_request_metrics; /* inbound/account.h */

/* What the connections of a worker share. */
struct ml_inbound {
    struct ml_loop *loop;
    struct ml_handler *handler;
    struct ml_log *access_log;           /* may be NULL */
    const struct ml_access_conf *access; /* likewise: the defaults; inbound/access_log.h */
    bool access_pretty;
    const struct ml_tap *tap; /* who wants the lines too; may be NULL */
    /* The end of an exchange whose trace is sampled; may be NULL. */
    void (*traced)(void *ctx, const struct ml_exchange *ex, int status);
    void *traced_ctx;
    struct ml_str service; /* "service" field of the log */
    struct ml_shm_worker *stats;
    struct ml_request_metrics *metrics; /* may be NULL */
    /* What the end of an exchange is told to, before its script forgets it; may be NULL. */
    void (*record)(void *ctx, struct ml_exchange *ex, int status);
    void *record_ctx;
    bool draining;         /* answers say Connection: close */
    bool pressed;          /* memory is short: no new work */
    bool resting;          /* a listener waits for a free descriptor */
    int fd_max;            /* clients get no descriptor from here on; 0: any */
    int reserve;           /* owned descriptor; 0: none */
    uint64_t reclaimed;    /* idle connections closed in need, not counted yet */
    struct ml_port *ports; /* of the listeners */
    bool patient;          /* while draining, tunnels are not asked to end yet */
    unsigned connections;
    struct ml_listener *listeners;
};

/* Accepts on fd (listening, non-blocking, owned by the caller).  conf must outlive it; conf of a
 * new generation is swapped in by ml_listener_configure and counts for new requests. */
struct ml_listener *ml_listener_new(struct ml_inbound *in, int fd,
                                    const struct ml_listener_conf *conf);
void ml_listener_configure(struct ml_listener *l, const struct ml_listener_conf *conf);
/* Accepts whoever has connected already; they would be reset with the socket. */
void ml_listener_take_waiting(struct ml_listener *l);
void ml_listener_stop(struct ml_listener *l); /* stops accepting; connections go on */
void ml_listener_free(struct ml_listener **l);
/* A connection has ended: listeners that wait for a descriptor go on. */
void ml_inbound_resume(struct ml_inbound *in);
/* Connections are closed after their answer, or when they were idle for a moment: a client that is
 * at work learns of the end by an answer.  in->draining is set by this. */
void ml_inbound_drain(struct ml_inbound *in);
/* Closes what is still open, at the drain's deadline. */
void ml_inbound_abort(struct ml_inbound *in);

#endif
