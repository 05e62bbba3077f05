/* websocket_pack.h - the messages of one WebSocket, packed and unpacked (RFC 7692 section 7.2). */
#ifndef ML_PROTOCOL_WEBSOCKET_PACK_H
#define ML_PROTOCOL_WEBSOCKET_PACK_H

#include "protocol/websocket.h"

struct ml_websocket_zip;

struct ml_websocket_zip *ml_websocket_zip_new(const struct ml_websocket_pack *agreed, int level);
void ml_websocket_zip_free(struct ml_websocket_zip **z);
/* Appends what a piece of a message unpacks to; last: the message ends with it.  ML_LIMIT: out
 * would be longer than max.  ML_BAD_FRAMING: it is no deflate stream. */
enum ml_err ml_websocket_unpack(struct ml_websocket_zip *z, struct ml_str piece, bool last,
                                struct ml_buf *out, size_t max);
/* Appends a whole message, packed. */
void ml_websocket_pack(struct ml_websocket_zip *z, struct ml_str message, struct ml_buf *out);

#endif
