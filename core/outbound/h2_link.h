/* h2_link.h - connections to a server that speak HTTP/2 (RFC 9113): each carries many calls at
 * once.
 *
 * A set has those of one worker to one server.  A call is one request on one of them; it is part of
 * whoever asks (an upstream request), which hears of everything by wake(), never from inside a
 * function of this file, and then looks at what has been noted in the call.
 * What a server can make us keep is bounded: of each call a window of its body, one head and its
 * trailers, and of a connection H2_OUT_HIGH of output. */
#ifndef ML_OUTBOUND_H2_LINK_H
#define ML_OUTBOUND_H2_LINK_H

#include "inbound/pipe.h"
#include "protocol/http1.h"

enum {
    ML_H2_LINKS_MAX = 64,         /* connections of one worker to one server */
    ML_H2_CALLS_MAX = 256,        /* calls on one of them, when the server allows as many */
    ML_H2_WINDOW = 128 << 10,     /* of a body that nobody has taken yet */
    ML_H2_INTERIMS_MAX = 8,       /* interim answers to one request */
    ML_H2_TRAILERS_MAX = 8 << 10, /* bytes */
};

struct ml_h2_link;
struct ml_h2_waiter;

struct ml_h2_set { /* embed; zero, then init; borrows the loop */
    struct ml_loop *loop;
    struct ml_h2_link *links; /* owned */
    unsigned count;
    const void *connecting; /* who makes a connection for all that wait; NULL: nobody */
    struct ml_h2_waiter *waiters, **waiters_end;
    struct ml_deferred wake;
    double idle_s, send_s, ping_s; /* see ml_h2_set_configure */
};

struct ml_h2_waiter {      /* for a connection with room; embed; zero */
    struct ml_h2_set *set; /* NULL: it does not wait */
    struct ml_h2_waiter *next, **link;
    enum ml_err why; /* the connection that was being made can not be had, for this reason */
    void (*wake)(void *ctx);
    void *ctx;
};

struct ml_h2_call { /* zero; then the first part is the caller's to fill in */
    void (*wake)(void *ctx);
    void *ctx;
    struct ml_arena *arena;
    const struct ml_http1_limits *limits; /* of the answer's head */
    struct ml_str method;
    struct ml_pipe *up; /* the request's body; NULL: none */
    bool known;         /* how long that is: */
    uint64_t left;

    /* What happened to the request: */
    bool begun, sent; /* its head, its end is in the output */
    bool taken;       /* bytes have left the pipe */
    size_t took;      /* so many since the caller told its producer */
    double sent_s;    /* when something of it went out */
    bool waiting;     /* nothing of the body is there: resume it */

    /* What came of the answer: */
    struct ml_http1_response interims[ML_H2_INTERIMS_MAX];
    unsigned interim_count, interims_seen;
    struct ml_http1_response head; /* with head_done */
    struct ml_pipe *down;          /* with head_done, unless the answer ended there */
    size_t added;                  /* bytes put into it since its consumer was told */
    double heard_s;
    bool got_bytes, head_done, ended;
    bool closed;     /* there will be no more; without ended: */
    enum ml_err why; /* is the reason */
    bool refused;    /* the server has certainly not looked at the request */
    bool lost;       /* it was the connection that ended */
    bool reused;     /* which had answered others before */

    /* The rest belongs to the link. */
    struct ml_h2_link *link;
    struct ml_h2_call *next, **prev, *w_next, **w_prev;
    int32_t id;
    struct ml_http1_response block; /* the fields of the block that is coming */
    size_t block_len;
    uint64_t received, credited;
    enum ml_err wrong; /* the first thing that is */
};

/* ---- h2_set.c: the connections of a worker to a server ---- */

void ml_h2_set_init(struct ml_h2_set *set, struct ml_loop *loop);
/* Connections without calls are closed after idle_s; those whose server takes nothing for send_s
 * end; with ping_s > 0 a server that is silent for so long while calls are open has to say
 * something. */
void ml_h2_set_configure(struct ml_h2_set *set, double idle_s, double send_s, double ping_s);
/* Closes all connections.  There must be no calls. */
void ml_h2_set_drop(struct ml_h2_set *set);
/* One with room for a call, whose peer is such a one, or NULL. */
struct ml_h2_link *ml_h2_set_find(struct ml_h2_set *set, bool (*is)(void *ctx, uint64_t peer),
                                  void *ctx);
unsigned ml_h2_set_idle(const struct ml_h2_set *set); /* connections without a call */
/* The waiter is woken when there may be room, or a connection has to be made by somebody. */
void ml_h2_set_wait(struct ml_h2_set *set, struct ml_h2_waiter *w);
void ml_h2_set_unwait(struct ml_h2_waiter *w);
/* Wakes all who wait, at the end of the turn.  why not ML_OK: there is no connection to be had. */
void ml_h2_set_news(struct ml_h2_set *set, enum ml_err why);

/* ---- h2_link.c: one of them ---- */

/* Takes over a connected stream.  alone: for one call, then it is closed.  name: the server's, for
 * the log; it must live as long as the set. */
struct ml_h2_link *ml_h2_link_new(struct ml_h2_set *set, struct ml_stream **stream, uint64_t peer,
                                  struct ml_str name, bool alone);
/* Sends a request.  head: its text as for HTTP/1.1, which is consumed; fields that HTTP/2 has not
 * are left out.  te: it may have trailers in its answer.  False: the connection takes no more; the
 * call has not begun. */
bool ml_h2_link_begin(struct ml_h2_link *link, struct ml_h2_call *call, struct ml_buf *head,
                      bool tls, bool te);
/* More of the request's body is there, or its end. */
void ml_h2_call_resume(struct ml_h2_call *call);
/* What was taken from down may come anew. */
void ml_h2_call_credit(struct ml_h2_call *call);
/* The caller forgets the call, which is reset unless both sides have ended. */
void ml_h2_call_end(struct ml_h2_call *call);

#endif
