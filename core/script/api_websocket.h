/* api_websocket.h - what api_websocket.c (its life) and api_websocket_use.c (its methods) share. */
#ifndef ML_SCRIPT_API_WEBSOCKET_H
#define ML_SCRIPT_API_WEBSOCKET_H

#include "inbound/ws.h"
#include "script/api.h"

struct sender {
    struct ml_wait wait;
    struct socket *socket;
    struct sender *next; /* in the queue */
    int text;            /* in the registry */
    bool binary, queued;
};

struct socket { /* a userdata; from OPEN until its task has ended it is kept by the registry */
    struct ml_bridge *bridge;
    struct ml_exchange *ex; /* NULL: OVER */
    struct ml_ws_conf conf;
    struct ml_ws *ws; /* OPEN and SHUT; NULL before and after */
    struct socket *next, **link;
    int self;
    struct ml_task *task;
    struct ml_wait receiver;
    bool receiving, late; /* somebody waits for a message; he waited long enough */
    struct ml_timer patience, grace;
    struct sender *first, **last;
    unsigned woken; /* senders that are about to send */
    struct ml_deferred wake;
    bool opened, listed;
    int code; /* OVER */
    unsigned char reason_len;
    char reason[ML_WEBSOCKET_CONTROL_MAX];
};

static inline bool websocket_is_open(const struct socket *s)
{
    return s->ws != NULL && ml_ws_open(s->ws);
}

/* api_websocket.c: whoever waits is looked after, soon. */
void ml_api_websocket_wake(struct socket *s);
/* Somebody has stopped to wait; the last of them lets a socket go that is over. */
void ml_api_websocket_unwaited(struct socket *s);

/* api_websocket_use.c */
extern const luaL_Reg ml_api_websocket_methods[];
/* __index; upvalues: the bridge and the table of methods. */
int ml_api_websocket_index(lua_State *L);
/* Is there something to receive, or to say about it? */
bool ml_api_websocket_news(const struct socket *s);

#endif
