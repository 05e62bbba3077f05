/* http2.h - what of HTTP/2 (RFC 9113) can be said without a connection: the client's preface, where
 * frames begin, and how much work a peer may make us do for nothing.  Pure, no I/O.
 *
 * Frames themselves are nghttp2's business.  They are counted here, before it sees them: it keeps
 * some kinds to itself, and each is cheap to send and costs us something (RFC 9113 section 10.5).
 * A connection has patience: what is of no use to anybody is paid from it, what is served or
 * carried earns it back, and so does time. */
#ifndef ML_PROTOCOL_HTTP2_H
#define ML_PROTOCOL_HTTP2_H

#include "base/err.h"
#include "base/str.h"

#include <stdint.h>

/* ---- the preface (RFC 9113 section 3.4) ---- */

enum { ML_HTTP2_PREFACE_LEN = 24 };

/* ML_OK: a connection of HTTP/2 begins with these bytes.  ML_AGAIN: it may.  ML_VERSION: it does
 * not. */
enum ml_err ml_http2_preface(struct ml_str bytes);

/* ---- patience ---- */

/* X(name, price, word) */
#define ML_HTTP2_TOLL_TABLE(X)                                                                     \
    X(PING, 10, "ping")                                                                            \
    X(SETTINGS, 50, "settings")                                                                    \
    X(PRIORITY, 10, "priority")                                                                    \
    X(WINDOW_UPDATE, 5, "window_update")                                                           \
    X(CONTINUATION, 10, "continuation")                                                            \
    X(EMPTY_DATA, 50, "empty_data")                                                                \
    X(UNKNOWN, 10, "unknown_frame")                                                                \
    X(CANCEL, 25, "rapid_reset")                                                                   \
    X(PROVOKED, 50, "provoked_reset")                                                              \
    X(STALL, 1000, "stalled_window")

enum ml_http2_toll {
#define X(name, price, word) ML_HTTP2_##name,
    ML_HTTP2_TOLL_TABLE(X)
#undef X
        ML_HTTP2_TOLLS
};

enum {                            /* points */
       ML_HTTP2_PATIENCE = 5000,  /* of a connection at its best */
       ML_HTTP2_PER_SECOND = 500, /* earned by waiting */
       ML_HTTP2_PER_ANSWER = 25,  /* by a request that was answered whole */
       ML_HTTP2_PER_MESSAGE = 10, /* by a frame of a tunnel: two WINDOW_UPDATE belong to it */
       ML_HTTP2_PER_KIB = 5 /* by a KiB of bodies carried: WINDOW_UPDATE and PING belong to it */
};

struct ml_http2_patience {
    double left;
    double at_s; /* when left was true */
};

void ml_http2_patience_init(struct ml_http2_patience *p, double now_s);
/* False: the peer has asked too much. */
bool ml_http2_patience_pay(struct ml_http2_patience *p, enum ml_http2_toll toll, double now_s);
void ml_http2_patience_earn(struct ml_http2_patience *p, double points);
const char *ml_http2_toll_word(enum ml_http2_toll toll);

/* ---- where frames begin ---- */

enum { ML_HTTP2_FRAME_HEAD = 9, ML_HTTP2_REMEMBERED = 256 };

/* Streams that the client has begun and ended, as far as it has said so itself: the latest ones. */
struct ml_http2_streams {
    uint32_t last; /* highest id */
    uint64_t begun[ML_HTTP2_REMEMBERED / 64], ended[ML_HTTP2_REMEMBERED / 64];
};

struct ml_http2_scan {   /* zero-initialised at the start of a connection */
    uint32_t left;       /* bytes of this frame's payload still to come */
    uint8_t preface;     /* bytes of it that were seen */
    uint8_t have;        /* bytes of head that are there */
    bool in_block;       /* a field block has begun (section 4.3) and has not ended */
    bool frame_is_block; /* this frame belongs to it */
    bool of_server;      /* the bytes are a server's: streams are none of ours to follow */
    unsigned char head[ML_HTTP2_FRAME_HEAD + 1]; /* with the length of a padding */
    struct ml_http2_streams streams;
    enum ml_http2_toll toll; /* with ML_LIMIT: what was too much */
    enum ml_err failed;      /* from then on nothing is looked at */
};

/* Looks at the next bytes of the client (or of a server: then preface is ML_HTTP2_PREFACE_LEN at the
 * start, and only ML_OK and ML_LIMIT are said).  ML_OK: all were seen.  ML_LIMIT: patience is at its end.
 * ML_EOF: a frame for a stream that the client has ended (section 5.1).  ML_BAD_REQUEST: a request
 * on a stream that was passed over (section 5.1.1). */
enum ml_err ml_http2_scan(struct ml_http2_scan *s, struct ml_str bytes, double now_s,
                          struct ml_http2_patience *p);
/* Is a field block on its way that is not complete? */
bool ml_http2_scan_in_block(const struct ml_http2_scan *s);

#endif
