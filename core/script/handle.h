/* handle.h - what scripts hold of an exchange: userdata that know when it is over.
 *
 * A handle names its task and the serial of its exchange, never the exchange itself, so using it
 * too late raises a Lua error.  A response that a script makes is a handle too: bound to the
 * exchange it was made in (its memory is the exchange's), or free, with an arena of its own, when
 * it was made at load time; ml_response_adopt makes one of them the response of an exchange. */
#ifndef ML_SCRIPT_HANDLE_H
#define ML_SCRIPT_HANDLE_H

#include "script/bridge.h"
#include "script/task.h"

#include <lauxlib.h>

enum ml_handle_kind { ML_HANDLE_REQUEST, ML_HANDLE_RESPONSE };

struct ml_bridge { /* one per VM, a userdata of it */
    struct ml_bridge_conf conf;
    int metatable[2];   /* of requests and responses: registry indexes */
    int free_metatable; /* of responses that own their memory */
    size_t free_used;   /* bytes of these; Lua's collector does not see them */
    int headers_metatable, dict_metatable, fields_metatable, networks_metatable;
    int static_metatable; /* api_static.c */
    int json_encode, json_decode; /* functions: registry indexes */
    struct ml_timers *timers;     /* api_timer.c */
    struct ml_clients *clients;   /* api_http.c */
    struct ml_detached *detached; /* api_detach.c */
    struct ml_redis_class *redis; /* api_redis.c */
    int limiter_metatable, lease_metatable;
    int websocket_metatable, websocket_options; /* api_websocket.c */
    struct socket *websockets;                  /* those that are open, or whose function still runs */
    struct ml_leases *leases; /* api_ratelimit.c */
    struct ml_script_metrics *metrics; /* api_metrics.c */
};

struct ml_plan {                  /* what scripts want and do of an exchange; in its arena */
    struct ml_str upstream, host; /* of the next forward; empty: what the caller says */
    double timeout;
    bool has_bytes;                         /* the request's body was read or set: */
    struct ml_str bytes;                    /* each forward sends these */
    bool forwarded;                         /* a forward was begun */
    bool forwarding;                        /* a forward waits for its head */
    bool reading_request, reading_response; /* somebody waits for the end of the body */
};

struct ml_made { /* a response that a script made: begins with what its handle points to */
    struct ml_response res;
    const char *error_text;      /* core.error: res.bytes.p as long as nobody changed it */
    struct ml_str code, message; /* then the text is made again, with the id of the request */
    size_t counted;              /* of free_used */
};

struct ml_handle {
    const void *magic;
    enum ml_handle_kind kind;
    bool has_env;
    struct ml_task *task;    /* root; NULL: a free response */
    uint64_t serial;         /* of the exchange */
    struct ml_response *res; /* response: &ex->res, or of an ml_made; NULL: it was replaced */
    struct ml_arena *arena;  /* owned by a free response, else NULL */
    struct ml_plan *plan;    /* request; NULL until it is needed */
};

/* NULL when the value is no handle of that kind. */
struct ml_handle *ml_handle_of(lua_State *L, int index, enum ml_handle_kind kind);
/* The first argument of a metamethod: nobody but the VM calls those, so it is one. */
struct ml_handle *ml_handle_self(lua_State *L);
/* Raises when it is none. */
struct ml_handle *ml_handle_check(lua_State *L, int index, enum ml_handle_kind kind);
/* The handle's exchange; NULL for a free response; raises when it is over. */
struct ml_exchange *ml_handle_exchange(lua_State *L, struct ml_handle *h);
bool ml_handle_alive(const struct ml_handle *h);
/* For changes: raises also when the response was sent. */
struct ml_exchange *ml_handle_writable(lua_State *L, struct ml_handle *h);
/* A new handle on top of L. */
struct ml_handle *ml_handle_push(lua_State *L, struct ml_bridge *b, enum ml_handle_kind kind);
/* Pushes the table of a handle's lazily made values. */
void ml_handle_push_env(lua_State *L, int index, struct ml_handle *h);
/* Forgets one of these values. */
void ml_handle_forget(lua_State *L, int index, struct ml_handle *h, const char *name);
/* The exchange of the running task; raises when there is none. */
struct ml_exchange *ml_handle_running(lua_State *L, struct ml_task **root);
/* Of the exchange's request handle, made when it is asked for first; needs no memory of Lua. */
struct ml_plan *ml_handle_plan(lua_State *L, struct ml_exchange *ex);

/* Memory of an exchange does not count as the VM's, so it has a limit of its own: raises when len
 * more bytes would pass it. */
enum { ML_HANDLE_ARENA_MAX = 64 << 20 };
void ml_handle_reserve(lua_State *L, const struct ml_arena *arena, size_t len);
struct ml_str ml_handle_dup(lua_State *L, struct ml_arena *arena, struct ml_str s);
/* An empty buffer for work that a Lua error may break off.  One for all: it is good until the next
 * call, and no Lua code may run meanwhile. */
struct ml_buf *ml_handle_scratch(void);

struct ml_message { /* the common part of requests and responses */
    struct ml_handle *handle;
    struct ml_exchange *ex; /* NULL: a free response */
    struct ml_headers *headers;
    struct ml_arena *arena;
};
/* From either kind; raises when it is neither, or over. */
void ml_handle_message(lua_State *L, int index, bool writable, struct ml_message *out);

struct ml_bridge *ml_bridge_of(lua_State *L); /* upvalue 1 of the running C function */
static inline void ml_push_str(lua_State *L, struct ml_str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.len);
}
static inline struct ml_str ml_check_str(lua_State *L, int index)
{
    struct ml_str s;

    s.p = luaL_checklstring(L, index, &s.len);
    return s;
}
/* Sets functions (with the bridge as upvalue) in the table on top. */
void ml_bridge_register(lua_State *L, struct ml_bridge *b, const luaL_Reg *functions);

/* A metatable whose __index finds methods, then numbers (ids) that `get` answers; leaves it on top.
 * get(L, id) returns the number of results with the handle at index 1. */
void ml_handle_methods(lua_State *L, struct ml_bridge *b, enum ml_handle_kind kind,
                       const luaL_Reg *const *methods, const char *const *names,
                       lua_CFunction index, lua_CFunction newindex);

/* handle_header.c */
extern const luaL_Reg ml_header_methods[];
void ml_headers_open(lua_State *L, struct ml_bridge *b);
int ml_headers_push_view(lua_State *L); /* of the handle at index 1 */
/* Adds the fields of the table at index: name -> value or list of values.  Raises for CR, LF and
 * other bytes that a field can not have, and for framing, which is the gateway's. */
void ml_header_add_table(lua_State *L, int index, struct ml_headers *h, struct ml_arena *arena);

/* handle_body.c */
extern const luaL_Reg ml_body_methods[];
/* The JSON text of a value, in the arena; raises when it can not be encoded. */
struct ml_str ml_body_encode(lua_State *L, int index, struct ml_arena *arena);
/* handle_encode.c */
extern const luaL_Reg ml_encode_methods[];
/* The body of ex->res becomes plain; NULL, or why it can not. */
const char *ml_body_decode(struct ml_exchange *ex);
/* handle_map.c */
int ml_body_map(lua_State *L);
/* The exchange is over: drops the filters of its response. */
void ml_body_map_end(struct ml_exchange *ex);

/* handle_query.c */
/* Pushes {name = value} of "a=1&b=2"; a name that occurs again has a list of its values. */
/* A table of what a TLS session has agreed on. */
void ml_tls_push(lua_State *L, struct ssl_st *session);
void ml_query_push(lua_State *L, struct ml_str text);
/* Pushes {name = value} of the Cookie fields; the first of a name counts. */
void ml_cookies_push(lua_State *L, const struct ml_headers *h);

/* Pushes a string without the escapes of forms. */
void ml_query_push_decoded(lua_State *L, struct ml_str text);

/* handle_request.c */
void ml_request_open(lua_State *L, struct ml_bridge *b);
/* handle_change.c */
extern const luaL_Reg ml_request_methods[];
/* handle_log.c */
int ml_request_log_field(lua_State *L);
int ml_log_field_is_own(lua_State *L); /* core.log_field_is_own(name) */
/* handle_auth.c */
extern const luaL_Reg ml_auth_methods[];
enum ml_bearer { ML_BEARER_NONE, ML_BEARER_MALFORMED, ML_BEARER_FOUND };
/* The token of the Authorization field; its characters are not checked. */
enum ml_bearer ml_bearer_find(const struct ml_headers *h, struct ml_str *token);
/* Appends the bytes of base64 text (RFC 4648 section 4, or 5 when url is true; padding may be
 * missing); false when malformed. */
bool ml_base64_decode(struct ml_buf *out, struct ml_str text, bool url);
void ml_base64_encode(struct ml_buf *out, struct ml_str bytes, bool url);

/* handle_response.c */
void ml_response_open(lua_State *L, struct ml_bridge *b);
/* The handle of ex->res; nil when there is no response.  May raise a memory error. */
int ml_response_push(lua_State *L, struct ml_bridge *b, struct ml_exchange *ex);
/* ex->res is about to be replaced: the handle of the old one is over.  Raises when a branch of the
 * script still reads its body. */
void ml_response_forget(lua_State *L, struct ml_exchange *ex);
/* api_chain.c: ex->res and what still works at it are dropped, unless it was sent.  May raise. */
void ml_response_drop(lua_State *L, struct ml_exchange *ex);
/* api_response.c: the handle of a new response, on top of L */
struct ml_handle *ml_response_new(lua_State *L, struct ml_bridge *b, int status);
/* api_response.c: makes the response at index that of the exchange, leaves its handle on top;
 * raises */
void ml_response_adopt(lua_State *L, struct ml_bridge *b, int index, struct ml_exchange *ex);

/* api_*.c: each adds its functions to the table `core` on top of L. */
void ml_api_chain_open(lua_State *L, struct ml_bridge *b);
void ml_api_response_open(lua_State *L, struct ml_bridge *b);
void ml_api_text_open(lua_State *L, struct ml_bridge *b);
void ml_api_json_open(lua_State *L, struct ml_bridge *b);
void ml_api_log_open(lua_State *L, struct ml_bridge *b);
void ml_api_forward_open(lua_State *L, struct ml_bridge *b);
void ml_api_wait_open(lua_State *L, struct ml_bridge *b);
void ml_api_timer_open(lua_State *L, struct ml_bridge *b);
/* The generation serves now: starts the timers that were made while it was loaded.  Idempotent. */
void ml_api_timers_start(struct ml_bridge *b);
/* Stops all timers and their firings; none can be started after it.  Idempotent. */
void ml_api_timer_close(struct ml_bridge *b);
void ml_api_shared_open(lua_State *L, struct ml_bridge *b);
void ml_api_http_open(lua_State *L, struct ml_bridge *b);
void ml_api_detach_open(lua_State *L, struct ml_bridge *b);
/* Ends what runs; nothing can be started after it.  Idempotent. */
void ml_api_detach_stop(struct ml_bridge *b);
void ml_api_encode_open(lua_State *L, struct ml_bridge *b);
void ml_api_websocket_open(lua_State *L, struct ml_bridge *b);
/* The exchange is over, and so is a WebSocket that it became. */
void ml_api_websocket_over(struct ml_exchange *ex);
/* Ends the functions of WebSockets that are over.  Idempotent. */
void ml_api_websocket_stop(struct ml_bridge *b);
/* No task is left: nothing may point into the VM any more. */
void ml_api_websocket_close(struct ml_bridge *b);
void ml_api_fields_open(lua_State *L, struct ml_bridge *b);
void ml_api_networks_open(lua_State *L, struct ml_bridge *b);
void ml_api_upstream_open(lua_State *L, struct ml_bridge *b);
void ml_api_static_open(lua_State *L, struct ml_bridge *b);
void ml_api_http_close(struct ml_bridge *b);
void ml_api_redis_open(lua_State *L, struct ml_bridge *b);
void ml_api_ratelimit_open(lua_State *L, struct ml_bridge *b);
/* Gives back what is held. */
void ml_api_ratelimit_close(struct ml_bridge *b);
void ml_api_jwt_open(lua_State *L, struct ml_bridge *b);
void ml_api_metrics_open(lua_State *L, struct ml_bridge *b);
/* The generation serves now: its metrics are registered. */
void ml_api_metrics_start(struct ml_bridge *b);
void ml_api_crypto_open(lua_State *L, struct ml_bridge *b);
/* The slow part of it; called by ml_api_crypto_open. */
void ml_api_password_open(lua_State *L, struct ml_bridge *b);

#endif
