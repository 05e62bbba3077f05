/* message.c - a head and its body out of a buffer, when both are there. */
#include "kit/message.h"

#include "protocol/http1.h"

static const struct ml_http1_limits limits = {1 << 20, 1 << 20, 1000};

struct message {
    struct ml_arena *arena; /* owned */
    struct ml_headers headers;
    enum ml_framing framing;
    uint64_t length;
    size_t head_len, whole_len;
    struct ml_buf body; /* owned */
};

static void message_drop(struct message *m)
{
    ml_buf_release(&m->body);
    ml_arena_free(&m->arena);
}

static enum ml_err find_head(struct ml_sim_end *end, struct ml_str *head)
{
    struct ml_http1_scan scan = {0};
    struct ml_str in = ml_buf_str(&end->in);
    enum ml_err err =
        in.len > 0 ? ml_http1_scan(&scan, &limits, in.p, in.len, &head->len) : ML_AGAIN;

    head->p = in.p;
    return err == ML_AGAIN && end->eof ? ML_EOF : err;
}

static enum ml_err take_chunked(struct ml_str in, struct message *m)
{
    struct ml_http1_chunks chunks = {0};
    struct ml_str data;
    enum ml_err err = ML_AGAIN;
    size_t used;

    while (err == ML_AGAIN && in.len > 0) {
        err = ml_http1_dechunk(&chunks, in, &used, &data, NULL);
        ml_buf_append(&m->body, data);
        in.p += used;
        in.len -= used;
        m->whole_len += used;
    }
    return err;
}

/* ML_OK: the body is whole; m->whole_len is the length of the message. */
static enum ml_err take_body(struct ml_sim_end *end, struct message *m)
{
    struct ml_str in = ml_buf_str(&end->in);
    enum ml_err err = ML_OK;

    in.p += m->head_len;
    in.len -= m->head_len;
    m->whole_len = m->head_len;
    if (m->framing == ML_BODY_CHUNKED) {
        err = take_chunked(in, m);
    } else if (m->framing != ML_BODY_NONE) {
        if (m->framing == ML_BODY_CLOSE)
            m->length = in.len;
        if (in.len < m->length || (m->framing == ML_BODY_CLOSE && !end->eof))
            err = ML_AGAIN;
        else
            ml_buf_append(&m->body, (struct ml_str){in.p, m->length});
        m->whole_len += m->length;
    }
    return err == ML_AGAIN && end->eof ? ML_EOF : err;
}

static void push_str(lua_State *L, struct ml_str s)
{
    lua_pushlstring(L, s.p != NULL ? s.p : "", s.len);
}

/* Adds headers and body to the table on top, and takes the message from the buffer. */
static void finish(lua_State *L, struct ml_sim_end *end, struct message *m)
{
    lua_createtable(L, (int)m->headers.count * 2, 0);
    for (uint32_t i = 0; i < m->headers.count; i++) {
        push_str(L, m->headers.v[i].name);
        lua_rawseti(L, -2, (int)(2 * i + 1));
        push_str(L, m->headers.v[i].value);
        lua_rawseti(L, -2, (int)(2 * i + 2));
    }
    lua_setfield(L, -2, "headers");
    push_str(L, ml_buf_str(&m->body));
    lua_setfield(L, -2, "body");
    ml_buf_consume(&end->in, m->whole_len);
}

enum ml_err ml_message_take_request(lua_State *L, struct ml_sim_end *end)
{
    struct message m = {.arena = ml_arena_new()};
    struct ml_http1_request req;
    struct ml_str head;
    enum ml_err err = find_head(end, &head);

    if (err == ML_OK)
        err = ml_http1_parse_request(head.p, head.len, m.arena, &limits, &req);
    if (err == ML_OK) {
        m.headers = req.headers;
        m.framing = req.framing;
        m.length = req.length;
        m.head_len = head.len;
        err = take_body(end, &m);
    }
    if (err == ML_OK) {
        lua_createtable(L, 0, 8);
        push_str(L, req.method);
        lua_setfield(L, -2, "method");
        push_str(L, req.target);
        lua_setfield(L, -2, "target");
        finish(L, end, &m);
    }
    message_drop(&m);
    return err;
}

static enum ml_err take_one_response(lua_State *L, struct ml_sim_end *end, struct ml_str method,
                                     int *status)
{
    struct message m = {.arena = ml_arena_new()};
    struct ml_http1_response res;
    struct ml_str head;
    enum ml_err err = find_head(end, &head);

    if (err == ML_OK)
        err = ml_http1_parse_response(head.p, head.len, method, m.arena, &limits, &res);
    if (err == ML_OK) {
        m.headers = res.headers;
        m.framing = res.framing;
        m.length = res.length;
        m.head_len = head.len;
        err = take_body(end, &m);
    }
    if (err == ML_OK) {
        *status = res.status;
        lua_createtable(L, 0, 12);
        lua_pushinteger(L, res.status);
        lua_setfield(L, -2, "status");
        finish(L, end, &m);
    }
    message_drop(&m);
    return err;
}

enum ml_err ml_message_take_response(lua_State *L, struct ml_sim_end *end, struct ml_str method)
{
    enum ml_err err;
    int status = 0;

    while ((err = take_one_response(L, end, method, &status)) == ML_OK && status < 200 &&
           status != 101)
        lua_pop(L, 1);
    return err;
}
