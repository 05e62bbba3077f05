/* h2_parts.h - what the files of h2 share: h2.c (life, timers), h2_io.c (bytes in and out),
 * h2_frames.c (what nghttp2 tells), h2_head.c (fields become an exchange), h2_body.c (DATA and its
 * windows), h2_answer.c (the answer), h2_stream.c (one stream from its begin to its end).  Nobody
 * else includes it.
 *
 * nghttp2 keeps the state of the protocol.  Its callbacks note what happened to a stream and queue
 * the stream; all that may call handlers, pipes or upstreams is done afterwards, outside of it
 * (ml_h2_stream_work).  What handlers and pipes cause queues the stream likewise and wakes the
 * connection at the end of the loop turn.  So nothing is ever re-entered, and all that happened in
 * a turn leaves in one write. */
#ifndef ML_INBOUND_H2_PARTS_H
#define ML_INBOUND_H2_PARTS_H

#include "inbound/h2.h"
#include "inbound/intake.h"
#include "protocol/http2.h"

#include <nghttp2/nghttp2.h>

enum { /* bytes */
       H2_STREAM_WINDOW = 128 << 10,
       H2_CONN_WINDOW = 1 << 20, /* of all bodies that nobody has taken yet */
       H2_OUT_HIGH = 64 << 10,   /* of output: no more is made before the client takes some */
       H2_TRAILERS_MAX = 8192,
       H2_PROGRESS = 512,        /* a client that takes less in send_timeout is stalled */
       H2_DRAIN_MAX = 256 << 10, /* of a body that nobody wants, after its answer */
       H2_CRUMBS_MAX = 500       /* cookie fields, which clients split (RFC 9113 section 8.2.3) */
};

struct h2_head { /* while it comes */
    struct ml_str method, path, scheme, authority, protocol;
    struct ml_headers crumbs;
    size_t len;
    uint32_t lines;
    enum ml_err wrong; /* the first thing that is */
    bool complete;
    bool expect; /* the client waits for 100 Continue */
};

struct h2_body {
    uint64_t received, credited; /* bytes that came; bytes whose room the client has got back */
    uint64_t dropped;            /* bytes that came after the answer */
    size_t filled;               /* of the pipe, since its consumer was told */
    struct ml_buf early;         /* what came for a tunnel that is not there yet */
    double seen_s, begin_s;      /* last progress; begin of what counts for the least rate */
    uint64_t counted;            /* bytes since begin_s */
    bool ended;                  /* END_STREAM came */
    bool done;                   /* and the consumer was told, or there is no body */
    bool dead;                   /* nobody takes what may still come */
};

struct h2_answer {
    uint64_t left;   /* of the body, when its length is known */
    size_t taken;    /* of res.bytes */
    size_t took;     /* of the pipe, since its producer was told */
    size_t unmarked; /* bytes since progress_s */
    double progress_s;
    nghttp2_nv *trailers;
    size_t trailer_count;
    bool submitted;
    bool known;    /* left counts */
    bool deferred; /* nghttp2 has found nothing to send: it has to be told */
    bool complete; /* END_STREAM is in the output */
    bool logged;
};

struct h2_stream {                      /* in the arena of its exchange */
    struct h2_stream *next, **link;     /* in h2->streams */
    struct h2_stream *w_next, **w_link; /* in h2->woken; w_link NULL: it is not */
    struct ml_h2 *h2;
    struct ml_exchange *ex;
    const struct ml_listener_conf *conf;
    int32_t id;
    bool started;    /* a handler or an error of ours has it */
    bool reset;      /* we have reset it ourselves */
    bool connect;    /* an extended CONNECT (RFC 8441): a WebSocket is asked for */
    bool tunnel;     /* and was granted */
    bool closed;     /* nghttp2 has forgotten it */
    enum ml_err why; /* it ended early */
    struct h2_head head;
    struct h2_body body;
    struct h2_answer answer;
};

enum h2_state {
    H2_RUN,
    H2_NOTICE, /* the client knows that we will leave */
    H2_LEAVE,  /* no new requests; those in hand are answered */
    H2_FLUSH,  /* nothing but output that waits for the kernel */
    H2_LINGER,
    H2_CLOSED
};

struct ml_h2 {
    struct ml_h2 *next, **link; /* in port->h2s */
    struct ml_port *port;
    struct ml_stream *stream;
    nghttp2_session *session;
    struct h2_stream *streams, *woken, **woken_end;
    struct h2_stream *receiving; /* whose field block came last; NULL: it is gone */
    struct ml_deferred wake;
    struct ml_timer timer;
    struct ml_buf out;
    struct ml_http2_scan scan;
    struct ml_http2_patience patience;
    double idle_s;     /* since when no stream is open */
    double block_s;    /* since when a field block is incomplete; 0: none is */
    double progress_s; /* last time the client took something */
    double state_s;    /* since when this state */
    double streams_s;  /* no stream can be late before; 0: none at all */
    double heard_s;
    struct ml_address peer;
    uint32_t open, requests, served; /* streams; requests begun, in this run too */
    uint32_t started_in_run;
    size_t lingered;
    uint8_t state;
    uint8_t reads_left;
    bool readable, eof, blocked;
    bool running, yielded;
    bool calm_down;  /* the client's patience... of ours is at its end, for this: */
    uint8_t toll;    /* enum ml_http2_toll */
    bool too_long;   /* or because its field block had no end */
    bool over;       /* GOAWAY was said for an error: input counts no more */
    bool first_seen; /* a request came */
};

static inline double h2_now_s(const struct ml_h2 *h)
{
    return ml_loop_now_s(h->port->in->loop);
}

/* h2.c: at the end of the loop turn the connection looks at its streams. */
void ml_h2_wake(struct ml_h2 *h);
/* The connection shall end as soon as no request is lost by it. */
void ml_h2_leave(struct ml_h2 *h);
/* A stream may be late at that time. */
void ml_h2_due(struct ml_h2 *h, double at_s);

/* h2_io.c */
bool ml_h2_io_full(const struct ml_h2 *h);           /* of output */
bool ml_h2_io_started_enough(const struct ml_h2 *h); /* requests in this run */
void ml_h2_io_feed(struct ml_h2 *h, struct ml_str bytes);
bool ml_h2_io_take_in(struct ml_h2 *h);
enum ml_err ml_h2_io_drop(struct ml_h2 *h); /* reads once, for nobody */
bool ml_h2_io_make(struct ml_h2 *h);
bool ml_h2_io_give_out(struct ml_h2 *h);
void ml_h2_io_calm(struct ml_h2 *h, const char *what); /* GOAWAY ENHANCE_YOUR_CALM, counted */

/* h2_stream.c */
struct h2_stream *ml_h2_stream_new(struct ml_h2 *h, int32_t id);
void ml_h2_stream_queue(struct h2_stream *s); /* something happened to it */
/* Does what waits for the queued streams, until the output is full. */
void ml_h2_stream_work(struct ml_h2 *h);
/* The answer is complete: the log tells, and what still comes of the request is dropped. */
void ml_h2_stream_answered(struct h2_stream *s);
void ml_h2_stream_reset(struct h2_stream *s, uint32_t code, enum ml_err why);
/* Ends what is late; when the next one may be late, 0: none. */
double ml_h2_stream_late(struct ml_h2 *h, double now_s);
/* Forgets all streams: their exchanges are cancelled. */
void ml_h2_stream_drop_all(struct ml_h2 *h, enum ml_err why);

/* h2_memory.c: what nghttp2 takes its memory from; NULL: malloc. */
nghttp2_mem *ml_h2_memory(void);

/* h2_frames.c */
nghttp2_session *ml_h2_frames_session(struct ml_h2 *h);

/* h2_head.c */
/* One field; not ML_OK: there is no end to them. */
enum ml_err ml_h2_head_field(struct h2_stream *s, nghttp2_rcbuf *name, nghttp2_rcbuf *value);
void ml_h2_head_complete(struct h2_stream *s, bool end_stream);
void ml_h2_head_start(struct h2_stream *s); /* hands it to the handler, or refuses it */

/* h2_body.c */
void ml_h2_body_data(struct h2_stream *s, struct ml_str bytes);
void ml_h2_body_trailer(struct h2_stream *s, struct ml_str name, struct ml_str value);
void ml_h2_body_end(struct h2_stream *s);
void ml_h2_body_fail(struct h2_stream *s, enum ml_err why);
void ml_h2_body_work(struct h2_stream *s); /* tells the consumer, gives room back to the client */
double ml_h2_body_due_s(const struct h2_stream *s);
void ml_h2_body_tunnel(struct h2_stream *s); /* all that comes goes into req.body, as it is now */

/* h2_answer.c */
extern const struct ml_wire ml_h2_answer_wire; /* without ctx: the stream */
void ml_h2_answer_work(struct h2_stream *s);
/* The send_data callback of nghttp2: len bytes behind the frame's head go into the output. */
void ml_h2_answer_data(struct h2_stream *s, const uint8_t *head, size_t len);
double ml_h2_answer_due_s(const struct h2_stream *s);

#endif
