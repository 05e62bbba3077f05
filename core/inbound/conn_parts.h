/* conn_parts.h - what the files of conn share: conn.c (states, timers), conn_head.c (a head becomes
 * an exchange), conn_body.c (the request's body), conn_write.c (the answer).  Nobody else includes
 * it.
 *
 * A connection is small, for most of them are idle.  What one request and its answer need is in a
 * struct turn, in the arena of the exchange. */
#ifndef ML_INBOUND_CONN_PARTS_H
#define ML_INBOUND_CONN_PARTS_H

#include "inbound/conn.h"

enum {                    /* bytes */
       CONN_READ = 16384, /* of one read that does not go into a body pipe */
       CONN_DRAIN_MAX =
           256 << 10 /* of a body nobody wants, read so that the connection can go on */
};

enum conn_state { CONN_HEAD, CONN_RUN, CONN_WRITE, CONN_DRAIN, CONN_LINGER, CONN_CLOSED };

enum verdict {          /* of a step */
               WAIT,    /* an event must come first */
               MORE,    /* go on */
               GONE,    /* the client is gone or must go, for c->why */
               ANSWERED, /* the answer was written whole */
               HTTP2 /* the client speaks that: somebody else takes over */
};

struct turn_body {           /* of the request */
    enum ml_framing framing; /* CLOSE: a tunnel */
    uint64_t left;           /* with LENGTH */
    struct ml_http1_chunks chunks;
    bool done;   /* all of it was read */
    bool dead;   /* it can not or will not be read to its end: the connection can not go on */
    bool expect; /* the client waits for 100 Continue */
    uint64_t raw, dropped; /* bytes of it that came, with framing; those that nobody wanted */
    double seen_s;         /* last progress */
    double begin_s;        /* for the least rate; moves on by the time the consumer made us wait */
    double full_s;         /* since when the consumer makes us wait; 0: it does not */
};

struct turn_answer {
    struct ml_buf out;    /* heads and framing, ahead of the body */
    struct ml_buf flight; /* body bytes that are no longer in the pipe */
    enum ml_framing framing;
    uint64_t left; /* with LENGTH, of the body */
    size_t taken;  /* of res.bytes */
    bool complete; /* everything is in out and flight */
    bool blocked;  /* the kernel took no more; WRITE readiness will come */
    bool keep_alive;
    bool begun;        /* a byte of it was written */
    double progress_s; /* last time the peer took something */
};

struct turn {
    struct ml_exchange *ex;
    const struct ml_listener_conf *conf;
    struct ml_deferred
        wake;        /* all callbacks end here: what happens in one loop turn is one write */
    bool keep_alive; /* the request allows it */
    bool logged;
    double probe_s; /* when to look whether a silent client is still there; 0: never */
    bool probed;    /* something was sent that a client that is gone resets */
    struct turn_body body;
    struct turn_answer answer;
};

struct ml_conn {
    struct ml_conn *next, **link; /* in port->conns */
    struct ml_port *port;
    struct ml_stream *stream; /* owned */
    struct turn *turn;        /* NULL in HEAD, LINGER, CLOSED */
    struct ml_timer timer;    /* the only one */
    struct ml_buf in;
    struct ml_http1_scan scan;
    double since_s;  /* HEAD: idle or first byte; DRAIN, LINGER: begin */
    double heard_s;  /* LINGER: last byte */
    size_t lingered; /* LINGER: bytes dropped */
    struct ml_address peer;
    uint32_t requests;
    uint8_t state;
    uint8_t blank_lines; /* before this request */
    uint8_t reads_left;  /* in this run */
    bool yielded;        /* the run ended for the others' sake: it goes on in the next loop turn */
    bool running;        /* inside conn_run: steps may end the connection they run for */
    bool readable;       /* a read will progress */
    bool eof;            /* the client will send no more */
    uint8_t why;         /* enum ml_err, with GONE */
    bool head_begun;     /* since_s counts for a head */
};

static inline double conn_now_s(const struct ml_conn *c)
{
    return ml_loop_now_s(c->port->in->loop);
}

static inline enum verdict conn_gone(struct ml_conn *c, enum ml_err why)
{
    c->why = (uint8_t)why;
    return GONE;
}

static inline void conn_turn_wake(void *turn) /* callback of the pipes */
{
    struct turn *t = turn;

    ml_loop_defer(t->ex->loop, &t->wake);
}

/* Reads once into buf, when that will progress.  ML_AGAIN: an event must come; EOF is remembered.
 */
static inline enum ml_err conn_read(struct ml_conn *c, struct ml_buf *buf, size_t max)
{
    enum ml_err err;

    ml_stream_want_read(c->stream, !c->eof);
    if (c->eof)
        return ML_EOF;
    if (!c->readable || c->reads_left == 0) /* others first; the socket stays readable */
        return ML_AGAIN;
    c->reads_left--;
    err = ml_stream_read(c->stream, buf, max, &c->readable);
    if (err == ML_EOF) {
        c->eof = true;
        ml_stream_want_read(c->stream, false); /* it would be ready for ever */
    }
    return err;
}

/* conn.c */
void ml_conn_run(struct ml_conn *c);
/* The client is gone, or is dropped: what is in hand is cancelled. */
void ml_conn_drop(struct ml_conn *c, enum ml_err why);

/* conn_head.c: wake(c) will run the connection. */
enum verdict ml_conn_head_step(struct ml_conn *c, void (*wake)(void *));
/* Begins a turn that no handler sees and that answers with an error. */
void ml_conn_head_error(struct ml_conn *c, enum ml_err why, void (*wake)(void *));

/* conn_body.c */
enum verdict ml_conn_body_step(struct ml_conn *c);
/* The body will not come to its end; its consumer learns why. */
void ml_conn_body_fail(struct ml_conn *c, enum ml_err why);
/* When the body is late, on the loop's clock; 0: it can not be. */
double ml_conn_body_due_s(const struct ml_conn *c);
/* The connection becomes a tunnel: all that comes goes into req.body. */
void ml_conn_body_tunnel(struct ml_conn *c);

/* conn_write.c */
extern const struct ml_wire ml_conn_write_wire; /* without ctx: the connection */
void ml_conn_write_begin(struct ml_conn *c);    /* the exchange responded: head into out */
enum verdict ml_conn_write_step(struct ml_conn *c);
enum verdict ml_conn_write_flush(struct ml_conn *c); /* interim heads, before the answer */

#endif
