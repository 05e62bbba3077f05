/* ws_parts.h - what the files of ws share: ws.c (its life, time, the owner's side), ws_frames.c
 * (what the client sends becomes messages).  Nobody else includes it. */
#ifndef ML_INBOUND_WS_PARTS_H
#define ML_INBOUND_WS_PARTS_H

#include "inbound/ws.h"
#include "protocol/websocket_pack.h"

enum { INBOX_MAX = 65536, REASON_MAX = ML_WEBSOCKET_CONTROL_MAX - 2 };

struct entry { /* in front of each message in the inbox */
    size_t len;
    bool binary;
};

struct ml_ws {
    struct ml_exchange *ex; /* borrowed */
    struct ml_pipe *in, *out;
    struct ml_ws_conf conf;
    struct ml_ws_owner owner;
    struct ml_websocket_zip *zip; /* owned */
    struct ml_timer timer;
    double heard_s, asked_s; /* last frame of the client; last ping of ours */
    struct ml_buf inbox;
    /* The frame that is being read, and the message it belongs to. */
    struct ml_websocket_frame frame;
    uint64_t left;
    bool in_frame, in_message, binary, packed;
    struct ml_buf part, zipped;
    struct ml_utf8 text;
    char control[ML_WEBSOCKET_CONTROL_MAX], pong[ML_WEBSOCKET_CONTROL_MAX];
    unsigned char control_len, pong_len;
    bool pong_due; /* the answer to the last ping waits for room */
    bool shut, running;
    bool answering; /* the owner has taken a message and did not ask for another yet */
    bool ending;    /* for code and reason, once the owner has answered what came before it */
    int code;
    char reason[REASON_MAX];
    unsigned char reason_len;
};

/* ws.c */
/* The client has ended it, or what it sent can not go on. */
void ml_ws_came_to_end(struct ml_ws *ws, int code, struct ml_str reason);
/* Answers the last ping, when there is room. */
void ml_ws_answer_ping(struct ml_ws *ws);

/* ws_frames.c: takes a step in what the pipe holds; false: more must come. */
bool ml_ws_frames_step(struct ml_ws *ws);

#endif
