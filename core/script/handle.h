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
    int metatable[2]; /* of requests and responses: registry indexes */
    int headers_metatable, dict_metatable;
    int json_encode, json_decode; /* functions: registry indexes */
    struct ml_timers *timers;     /* api_timer.c */
    struct ml_clients *clients;   /* api_http.c */
};

struct ml_plan { /* what a script wants of the next forward; in the arena of the exchange */
    struct ml_str upstream, host;
    double timeout;
    bool has_bytes;       /* the body was read or set: */
    struct ml_str bytes;  /* each forward sends these */
    bool forwarding;      /* a forward waits for its head */
    struct ml_pipe *tail; /* replaced request body that is still to be freed */
};

struct ml_handle {
    const void *magic;
    enum ml_handle_kind kind;
    bool has_env;
    struct ml_task *task;    /* root; NULL: a free response */
    uint64_t serial;         /* of the exchange */
    struct ml_response *res; /* response: &ex->res, or its own; NULL: it was replaced */
    struct ml_arena *arena;  /* owned by a free response, else NULL */
    struct ml_plan *plan;    /* request; NULL until it is needed */
};

/* NULL when the value is no handle of that kind. */
struct ml_handle *ml_handle_of(lua_State *L, int index, enum ml_handle_kind kind);
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
struct ml_plan *ml_handle_plan(struct ml_handle *h, struct ml_exchange *ex);

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
/* Checks and adds; raises for CR, LF and other bytes that a field can not have. */
void ml_header_put(lua_State *L, struct ml_headers *h, struct ml_arena *arena, int name, int value);

/* handle_body.c */
extern const luaL_Reg ml_body_methods[];
/* Pushes a table's JSON text, in the arena; raises when it can not be encoded. */
struct ml_str ml_body_encode(lua_State *L, struct ml_bridge *b, int index, struct ml_arena *arena);
void ml_body_over(struct ml_exchange *ex);

/* handle_request.c */
void ml_request_open(lua_State *L, struct ml_bridge *b);
/* handle_response.c */
void ml_response_open(lua_State *L, struct ml_bridge *b); /* and core.response ... on the table */
const char *ml_response_adopt(lua_State *L, int index, struct ml_exchange *ex);
/* The handle of ex->res; nil when there is no response.  May raise a memory error. */
int ml_response_push(lua_State *L, struct ml_exchange *ex);
/* ex->res is about to be replaced: the handle of the old one is over. */
void ml_response_forget(lua_State *L, struct ml_exchange *ex);

/* api_*.c: each adds its functions to the table `core` on top of L. */
void ml_api_json_open(lua_State *L, struct ml_bridge *b);
void ml_api_log_open(lua_State *L, struct ml_bridge *b);
void ml_api_forward_open(lua_State *L, struct ml_bridge *b);
void ml_api_wait_open(lua_State *L, struct ml_bridge *b);
void ml_api_timer_open(lua_State *L, struct ml_bridge *b);
void ml_api_timer_close(struct ml_bridge *b);
void ml_api_shared_open(lua_State *L, struct ml_bridge *b);
void ml_api_http_open(lua_State *L, struct ml_bridge *b);
void ml_api_http_close(struct ml_bridge *b);

#endif
