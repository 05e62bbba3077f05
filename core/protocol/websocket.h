/* websocket.h - RFC 6455 as text and bytes: the handshake, frames in and out, close codes, UTF-8.
 * Pure: no memory of its own, no I/O. */
#ifndef ML_PROTOCOL_WEBSOCKET_H
#define ML_PROTOCOL_WEBSOCKET_H

#include "base/buf.h"
#include "base/err.h"
#include "protocol/headers.h"

/* ---- frames (section 5) ---- */

enum ml_websocket_opcode {
    ML_WEBSOCKET_MORE = 0, /* a continuation */
    ML_WEBSOCKET_TEXT = 1,
    ML_WEBSOCKET_BINARY = 2,
    ML_WEBSOCKET_CLOSE = 8,
    ML_WEBSOCKET_PING = 9,
    ML_WEBSOCKET_PONG = 10
};

enum { ML_WEBSOCKET_HEAD_MAX = 14, ML_WEBSOCKET_CONTROL_MAX = 125 };

struct ml_websocket_frame { /* the head of one */
    enum ml_websocket_opcode opcode;
    bool fin, packed; /* RSV1: the message is compressed (RFC 7692) */
    bool masked;
    unsigned char mask[4];
    uint64_t length; /* of what follows */
};

static inline bool ml_websocket_is_control(enum ml_websocket_opcode opcode)
{
    return opcode >= ML_WEBSOCKET_CLOSE;
}

/* The head at the front of bytes.  ML_OK: *used bytes are it.  ML_AGAIN: it is not all there.
 * ML_BAD_FRAMING: no endpoint may send this (may_pack: RSV1 has a meaning). */
enum ml_err ml_websocket_head(struct ml_str bytes, bool may_pack, struct ml_websocket_frame *out,
                              size_t *used);
/* Masks or unmasks what begins `at` bytes behind the begin of the payload. */
void ml_websocket_mask(char *p, size_t len, const unsigned char mask[4], uint64_t at);
/* Appends one frame; mask NULL: as a server sends it. */
void ml_websocket_put(struct ml_buf *out, enum ml_websocket_opcode opcode, bool fin, bool packed,
                      const unsigned char *mask, struct ml_str payload);
/* Appends a Close frame; reason is cut to what fits. */
void ml_websocket_put_close(struct ml_buf *out, int code, struct ml_str reason,
                            const unsigned char *mask);

/* ---- close codes (section 7.4) ---- */

enum ml_websocket_code {
    ML_WEBSOCKET_NORMAL = 1000,
    ML_WEBSOCKET_AWAY = 1001,
    ML_WEBSOCKET_PROTOCOL = 1002,
    ML_WEBSOCKET_NO_CODE = 1005, /* never sent: the Close frame had none */
    ML_WEBSOCKET_LOST = 1006,    /* never sent: there was no Close frame */
    ML_WEBSOCKET_BAD_DATA = 1007,
    ML_WEBSOCKET_TOO_LARGE = 1009,
    ML_WEBSOCKET_INTERNAL = 1011
};
bool ml_websocket_code_ok(int code); /* may it be in a frame? */
/* Reads the payload of a Close frame.  False: malformed; *code is what to answer. */
bool ml_websocket_read_close(struct ml_str payload, int *code, struct ml_str *reason);

/* ---- UTF-8 (RFC 3629), piece by piece ---- */

struct ml_utf8 {             /* zero-initialised: between two characters */
    unsigned char left;      /* bytes that the character still needs */
    unsigned char low, high; /* what the next of them may be */
};
bool ml_utf8_feed(struct ml_utf8 *u, struct ml_str bytes); /* false: no UTF-8, whatever follows */
static inline bool ml_utf8_whole(const struct ml_utf8 *u)
{
    return u->left == 0;
}

/* ---- where the frames of a stream end, for who passes it on ---- */

struct ml_websocket_track { /* zero-initialised: at the begin of a frame */
    uint64_t left;          /* of the payload */
    unsigned char head[ML_WEBSOCKET_HEAD_MAX];
    unsigned char have;   /* bytes of a head that is incomplete */
    bool closing, closed; /* in, or behind, a Close frame */
    bool lost;            /* these are no frames */
};
/* Goes on over bytes; stop: not past the first end of a frame.  Says over how many. */
size_t ml_websocket_track(struct ml_websocket_track *t, struct ml_str bytes, bool stop);
static inline bool ml_websocket_at_end(const struct ml_websocket_track *t)
{
    return t->left == 0 && t->have == 0 && !t->lost;
}

/* ---- the handshake (section 4) ---- */

enum { ML_WEBSOCKET_KEY_LEN = 24, ML_WEBSOCKET_ACCEPT_LEN = 28 };
/* Writes what a server answers to the key. */
void ml_websocket_accept(struct ml_str key, char out[ML_WEBSOCKET_ACCEPT_LEN]);
/* Writes a new key of a client. */
void ml_websocket_key(char out[ML_WEBSOCKET_KEY_LEN]);
bool ml_websocket_key_ok(struct ml_str key); /* base64 of 16 bytes */

enum ml_websocket_ask { /* what a request asks for */
                        ML_WEBSOCKET_ASKED,
                        ML_WEBSOCKET_BAD_VERSION, /* another one than 13, or none */
                        ML_WEBSOCKET_BAD_KEY
};
/* Of a request with Upgrade: websocket.  with_key: HTTP/1.1 (RFC 8441 has none). */
enum ml_websocket_ask ml_websocket_check(const struct ml_headers *h, bool with_key,
                                         struct ml_str *key);

struct ml_websocket_pack {               /* permessage-deflate (RFC 7692) as agreed on */
    int server_bits, client_bits;        /* size of the windows, 9..15 and 8..15 */
    bool server_forgets, client_forgets; /* no context takeover */
    bool tell_client_bits;               /* the client lets us limit its window */
};
/* The first offer of the client that can be accepted, bounded by what `out` says already; false:
 * there is none. */
bool ml_websocket_agree(const struct ml_headers *h, struct ml_websocket_pack *out);
/* Appends the value of Sec-WebSocket-Extensions that accepts. */
void ml_websocket_put_agreed(struct ml_buf *out, const struct ml_websocket_pack *p);

#endif
