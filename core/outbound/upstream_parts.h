/* upstream_parts.h - what the files of upstream share: upstream.c (the engine, time),
 * upstream_try.c (failures, and what may be tried after them), upstream_connect.c (a server and a
 * connection), upstream_run.c (the request goes out, the answer comes in), upstream_call.c (the
 * same over HTTP/2).  Nobody else includes it. */
#ifndef ML_OUTBOUND_UPSTREAM_PARTS_H
#define ML_OUTBOUND_UPSTREAM_PARTS_H

#include "inbound/address.h"
#include "outbound/group.h"
#include "outbound/h2_link.h"
#include "outbound/upstream_body.h"
#include "outbound/upstream_head.h"
#include "protocol/websocket.h"

enum state { PICK, JOIN, RESOLVE, CONNECT, RUN, CALL, FAILED, ENDED };
enum next { WAIT, MORE };

struct ml_upstream_tunnel { /* upstream_tunnel.c */
    struct ml_websocket_track up, down;
    bool leaving, up_parted, down_parted; /* our Close frame was put behind the last whole frame */
    double due_s;                         /* of the end, when leaving */
};

struct ml_upstream {
    struct ml_outbound *o;    /* borrowed */
    struct ml_upstream *next; /* in the list of spare ones */
    struct ml_timer timer;
    struct ml_name_waiter waiter;
    struct ml_deferred later; /* tells of a failure inside ml_upstream_forward */
    /* Callbacks, all into the engine: for a stream, and for whatever else wakes it. */
    ml_stream_ready *ready;
    void (*wake)(void *u);
    /* What follows begins anew with each request. */
    struct ml_group *group; /* held */
    struct ml_roster *roster; /* held from the first choice on */
    struct ml_exchange *ex; /* borrowed until ENDED */
    struct ml_forward f;
    struct ml_server *server; /* borrowed from the roster; its in-flight count is ours */
    struct ml_link *link;     /* owned */
    bool *tried;              /* servers that failed; NULL: none yet */
    struct ml_pick pick;
    struct ml_buf out; /* owned */
    struct ml_body_out send;
    struct ml_body_in recv;
    struct ml_http1_scan scan;
    struct ml_upstream_tunnel passing;
    struct ml_h2_call call;    /* in CALL, which see: upstream_call.c */
    struct ml_h2_waiter room;  /* in JOIN */
    double join_due_s;
    unsigned refusals;
    bool grpc, due_is_clients; /* total_due_s is the client's wish */
    double begin_s, total_due_s, head_due_s; /* 0: not set */
    double keep_s;                           /* how long the server keeps an idle connection */
    size_t head_len;                         /* bytes of the request's head in out */
    enum state state;
    enum ml_err why; /* of FAILED, and of the last try */
    unsigned addr_first, addrs_tried, interims, retries;
    bool running, again;    /* inside the engine, and asked for meanwhile */
    bool forwarding;        /* inside ml_upstream_forward: nobody may be called back yet */
    bool readable, blocked; /* a read may succeed; a write would not */
    bool sent, lost;        /* the request is with the kernel; the server stopped reading it */
    bool got_bytes;         /* of the answer to this try */
    bool answered, told;    /* res is filled; f.head was called */
    bool keep_alive, tunnel, paused;
    bool upgrade; /* was asked for */
    bool fresh;   /* take no idle connection: one was dead already */
};

static inline double upstream_now_s(const struct ml_upstream *u)
{
    return ml_loop_now_s(u->o->loop);
}

/* upstream_try.c.  Those that say what is next are the last thing that a step does. */

/* The timer goes off after after_s (0: never), or when the time of the whole request is over. */
void ml_upstream_try_arm(struct ml_upstream *u, double after_s);
/* The exchange has no upstream any more; the engine recycles u. */
void ml_upstream_try_end(struct ml_upstream *u);
/* The connection ends here.  A request of which a part is missing must not look complete. */
void ml_upstream_try_drop_link(struct ml_upstream *u);
/* The server failed us: another try, or the end. */
enum next ml_upstream_try_failed(struct ml_upstream *u, enum ml_err why);
/* No other try, and nobody to blame. */
enum next ml_upstream_try_give_up(struct ml_upstream *u, enum ml_err why);
/* Is the connection still without any byte of the request? */
bool ml_upstream_try_took_nothing(const struct ml_upstream *u);
/* What is noted of the try at hand. */
struct ml_try *ml_upstream_try_note(const struct ml_upstream *u);
/* The server has answered. */
void ml_upstream_try_good(struct ml_upstream *u);

/* upstream_connect.c */
enum next ml_upstream_connect_pick(struct ml_upstream *u);
enum next ml_upstream_connect_resolve(struct ml_upstream *u);
enum next ml_upstream_connect_step(struct ml_upstream *u);
/* No answer came in time: the next address, or failure. */
void ml_upstream_connect_late(struct ml_upstream *u);

/* The request needs a connection of its own making. */
void ml_upstream_connect_anew(struct ml_upstream *u);
/* Is that where connections for this request may go? */
bool ml_upstream_connect_leads_to(struct ml_upstream *u, uint64_t peer);
double ml_upstream_connect_timeout_s(const struct ml_upstream *u);

/* upstream_proxy.c: says for whom a new connection is, when the group wants that.  False: failed. */
bool ml_upstream_proxy_announce(struct ml_upstream *u);

/* upstream_run.c */
void ml_upstream_run_begin(struct ml_upstream *u); /* the connection is there */
void ml_upstream_run_head(struct ml_upstream *u);  /* writes the request's into out */
void ml_upstream_run_answered(struct ml_upstream *u, int status); /* for notes, metrics, health */
void ml_upstream_run_step(struct ml_upstream *u);
void ml_upstream_run_late(struct ml_upstream *u);

/* upstream_call.c: servers that speak HTTP/2 */
enum next ml_upstream_call_join(struct ml_upstream *u);
void ml_upstream_call_join_late(struct ml_upstream *u);
enum next ml_upstream_call_connected(struct ml_upstream *u); /* a new connection is there */
void ml_upstream_call_step(struct ml_upstream *u);
void ml_upstream_call_late(struct ml_upstream *u);
/* May the request be sent to this server once more? */
bool ml_upstream_call_may_refresh(struct ml_upstream *u, bool idempotent);
/* The request leaves its server.  why not ML_OK: it could not connect, of which those hear who wait
 * for its connection. */
void ml_upstream_call_leave(struct ml_upstream *u, enum ml_err why);

/* upstream_tunnel.c: after a 101 */
void ml_upstream_tunnel_begin(struct ml_upstream *u);
void ml_upstream_tunnel_end(struct ml_upstream *u); /* no effect when it never began */
/* ML_OK: nothing more goes in this direction.  Others: as ml_body_out_send. */
enum ml_err ml_upstream_tunnel_send(struct ml_upstream *u);
/* Bytes were put into the pipe down, and the consumer was not told yet. */
void ml_upstream_tunnel_came(struct ml_upstream *u);
/* One read.  ML_AGAIN: it goes on.  Others: the server ended it. */
enum ml_err ml_upstream_tunnel_read(struct ml_upstream *u);
/* How long it may be silent from now on. */
double ml_upstream_tunnel_patience_s(const struct ml_upstream *u);
/* That was too long.  True: the end.  False: both sides are being told. */
bool ml_upstream_tunnel_late(struct ml_upstream *u);

#endif
