/* exchange.h - a request and its response, whatever version of HTTP carries them.
 *
 * Begun by a connection (struct ml_wire), decided by a handler (struct ml_handler; the script
 * layer), which changes the request, may forward it to an upstream, fills `res` and calls
 * ml_exchange_respond.  All memory is in its arena.  Freed after the turn in which it ended. */
#ifndef ML_INBOUND_EXCHANGE_H
#define ML_INBOUND_EXCHANGE_H

#include "base/arena.h"
#include "base/err.h"
#include "inbound/pipe.h"
#include "inbound/trail.h"
#include "protocol/headers.h"
#include "protocol/url.h"
#include "transport/loop.h"

struct ml_exchange;
struct ml_upstream; /* outbound: the running request, cancelled with the exchange */
struct ml_trace;    /* inbound/tracing.h */
struct ml_timing;   /* script: the time of its middlewares is taken */

struct ml_request {
    struct ml_str method;
    struct ml_str raw_target; /* as sent */
    struct ml_str path;       /* normalised; what routing, policies and upstream see */
    struct ml_str query;      /* without '?' */
    bool has_query;
    struct ml_str scheme;     /* "http", "https" */
    struct ssl_st *tls;       /* the client's TLS session, owned (transport/tls_info.h), or NULL */
    struct ml_str host;       /* lower case, without port */
    struct ml_str authority;  /* host[:port] as sent; empty for HTTP/1.0 without Host */
    int major, minor;         /* of the client's side */
    struct ml_headers headers; /* end-to-end and hop-by-hop, as received; scripts change them */
    struct ml_str upgrade;    /* protocol asked for, or empty */
    struct ml_pipe *body;     /* NULL: no body.  The consumer reads from it */
    bool has_length;
    uint64_t length;          /* of the body when has_length */
    struct ml_str peer_ip;    /* text of the connection's address */
    uint16_t peer_port;
    struct ml_str ip;         /* the client's address: peer_ip, or from X-Forwarded-For of a trusted proxy */
    bool trusted;             /* the peer is a trusted proxy: its X-Forwarded-* stay */
    struct ml_str id;         /* request id, 32 hex digits */
};

enum ml_origin { ML_FROM_NONE, ML_FROM_SCRIPT, ML_FROM_UPSTREAM, ML_FROM_CORE };

/* Whoever stands behind a 101: after the head, bytes flow both ways through res.body and req.body. */
struct ml_tunnel {
    /* The response is on its way: makes both pipes.  NULL: they are there. */
    void (*begin)(void *ctx, struct ml_exchange *ex);
    /* This process ends: says so to both sides as far as the protocol has a word for it, and ends. */
    void (*leave)(void *ctx);
    void *ctx;
};

struct ml_response {
    int status; /* 0: there is no response yet */
    struct ml_headers headers; /* without framing and hop-by-hop fields */
    struct ml_str bytes;       /* whole body in memory, when body is NULL */
    struct ml_pipe *body;      /* streamed body; produced by the upstream or a script */
    bool has_length;           /* length is known: Content-Length, else chunked */
    uint64_t length;
    bool trailers_pass;        /* its trailers are for clients of HTTP/2, whatever the listener says */
    bool no_body;              /* HEAD, 204, 304: length (if any) is only announced */
    enum ml_origin from;
    struct ml_tunnel tunnel;   /* with 101 */
};

/* What the log line and `why` tell; all strings live in the arena. */
struct ml_exchange_notes {
    double start_s, upstream_s; /* monotonic begin; duration until the upstream's head, < 0: none */
    struct ml_str route, upstream, server, user_id, service;
    struct ml_str fields; /* of the log, from scripts: JSON members, each after a comma */
    struct ml_str label; /* what metrics call the route; empty: no route took the request */
    uint32_t generation;
    unsigned tries;
    enum ml_err why; /* reason of a failure */
    uint64_t bytes_in, bytes_out; /* bodies */
};

struct ml_handler { /* what decides; set per listener */
    /* The request's head is there (its body may still come).  Must lead to one ml_exchange_respond
     * or ml_exchange_fail, now or later, unless cancel comes first. */
    void (*start)(void *ctx, struct ml_exchange *ex);
    /* The client went away or the response broke: stop all work for ex now and forget it. */
    void (*cancel)(void *ctx, struct ml_exchange *ex);
    /* The response has been sent or given up; last call, after it ex is gone (not after cancel). */
    void (*done)(void *ctx, struct ml_exchange *ex);
    void *ctx;
};

struct ml_wire { /* what carries the exchange: h1 connection, h2 stream, a simulation */
    void (*respond)(void *ctx, struct ml_exchange *ex); /* ex->res is complete (its body may stream) */
    void (*ask_body)(void *ctx, struct ml_exchange *ex); /* the body is wanted: send 100 Continue */
    void (*interim)(void *ctx, struct ml_exchange *ex, int status, const struct ml_headers *h);
    void *ctx;
};

struct ml_exchange {
    struct ml_arena *arena;
    struct ml_loop *loop;
    struct ml_request req;
    struct ml_response res;
    struct ml_exchange_notes notes;
    struct ml_handler *handler;
    struct ml_wire wire;
    void *task;      /* the script layer's */
    struct ml_upstream *upstream; /* request in flight; outbound clears it */
    struct ml_timing *timing;     /* NULL for most */
    struct ml_trace *trace;       /* NULL: tracing is off */
    struct ml_trail trail;        /* what happened so far */
    bool development; /* answers tell what is wrong with a script, and where the time went */
    uint64_t serial; /* handles of scripts compare it: never used twice in a process */
    bool responded;  /* respond was called */
    bool body_asked; /* ask_body was called */
    struct ml_headers kept; /* fields that answers of the core itself get too; scripts set them */
    bool body_limited;      /* a policy wants less than the listener allows: */
    uint64_t body_max;      /* bytes of the request's body, counted by the wire as they come */
    struct ml_file_body *files; /* bodies that are read from files: inbound/file_body.h */
    bool conversation; /* both sides may be silent: whoever answers sees to its end */
    void *server_conf; /* struct ml_listener_conf of inbound/listener.h */
};

struct ml_exchange *ml_exchange_new(struct ml_loop *loop, struct ml_handler *handler,
                                    struct ml_wire wire);
/* The response in ex->res goes to the client.  Once. */
void ml_exchange_respond(struct ml_exchange *ex);
/* The process ends: called by the wire for exchanges that are tunnels by now.  No effect on others.
 */
void ml_exchange_leave(struct ml_exchange *ex);
/* Answers for a reason of the table: JSON {error, message, requestId}.  When the response has begun
 * already it breaks it off, so that the client sees it as incomplete. */
void ml_exchange_fail(struct ml_exchange *ex, enum ml_err why);
/* Fills ex->res with that answer without sending it (a script may still change it). */
void ml_exchange_error_response(struct ml_exchange *ex, enum ml_err why);
/* The body of ex->res as a pipe, also one that was in memory: it is complete then. */
struct ml_pipe *ml_exchange_body_pipe(struct ml_exchange *ex);
/* Drops ex->res (its pipe is aborted) so that another response can be made. */
void ml_exchange_reset_response(struct ml_exchange *ex);
/* Wants the body now (100-continue).  Idempotent. */
void ml_exchange_ask_body(struct ml_exchange *ex);
/* Called by the wire: client gone -> cancels; finished -> done.  Both free ex after the turn. */
void ml_exchange_cancel(struct ml_exchange **ex, enum ml_err why);
void ml_exchange_finish(struct ml_exchange **ex);


#endif
