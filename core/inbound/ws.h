/* ws.h - a WebSocket that ends in this process (RFC 6455): its client's frames become messages, and
 * messages become frames.
 *
 * It is what stands behind the 101 of an exchange, and lives from there to ml_ws_free, which must
 * come before the exchange goes.  All that it holds is bounded: one message that is incomplete, and
 * an inbox; while that is full the client is not read. */
#ifndef ML_INBOUND_WS_H
#define ML_INBOUND_WS_H

#include "inbound/exchange.h"
#include "protocol/websocket.h"

struct ml_ws;

struct ml_ws_conf {     /* times in seconds */
    size_t message_max; /* bytes, when unpacked */
    double idle;        /* silence of the client that ends it; 0: never */
    double ping;        /* after so long a silence it is asked for a sign of life; 0: never */
    bool pack;          /* permessage-deflate was agreed on: */
    struct ml_websocket_pack agreed;
    int level;       /* of compression, 1..9 */
    size_t pack_min; /* bytes: shorter messages are not worth it */
};

struct ml_ws_owner {         /* both may be called inside of any ml_ws_* but ml_ws_free */
    void (*came)(void *ctx); /* a message, or the end */
    void (*room)(void *ctx); /* ml_ws_full is no longer so, or it is the end */
    void *ctx;
};

/* Takes the pipes of ex, which it makes. */
struct ml_ws *ml_ws_new(struct ml_exchange *ex, const struct ml_ws_conf *conf,
                        struct ml_ws_owner owner);
void ml_ws_free(struct ml_ws **ws); /* the client sees what was sent, then the end */

/* ML_OK: the oldest message, good until ml_ws_took.  ML_AGAIN: there is none yet.  ML_EOF: there
 * will be none. */
enum ml_err ml_ws_message(struct ml_ws *ws, struct ml_str *bytes, bool *binary);
void ml_ws_took(struct ml_ws *ws);

bool ml_ws_open(const struct ml_ws *ws);
/* Of the end: the client's Close frame, or why we sent ours.  ML_WEBSOCKET_LOST: there was none. */
int ml_ws_code(const struct ml_ws *ws);
struct ml_str ml_ws_reason(const struct ml_ws *ws);

/* The client is behind; what is sent nevertheless is kept. */
bool ml_ws_full(const struct ml_ws *ws);
/* No effect when it is not open.  text must be UTF-8, a ping at most 125 bytes. */
void ml_ws_send(struct ml_ws *ws, enum ml_websocket_opcode opcode, struct ml_str bytes);
void ml_ws_close(struct ml_ws *ws, int code, struct ml_str reason);

#endif
