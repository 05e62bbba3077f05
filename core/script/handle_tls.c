/* handle_tls.c - `req.tls`: what the client's handshake has agreed on, and who the client is. */
#include "script/handle.h"

#include "transport/tls_info.h"

static void set_str(lua_State *L, const char *name, struct ml_str s)
{
    ml_push_str(L, s);
    lua_setfield(L, -2, name);
}

static void push_names(lua_State *L, struct ml_str left)
{
    lua_newtable(L);
    for (int i = 1; left.len > 0; i++) {
        size_t len = strnlen(left.p, left.len);

        ml_push_str(L, (struct ml_str){left.p, len});
        lua_rawseti(L, -2, i);
        left.p += len + 1;
        left.len -= len + 1;
    }
}

/* The client's certificate, into the table on top. */
static void set_client(lua_State *L, struct ssl_st *session)
{
    struct ml_tls_client c;

    if (!ml_tls_client(session, &c))
        return;
    lua_createtable(L, 0, 6);
    set_str(L, "subject", ml_buf_str(&c.subject));
    set_str(L, "issuer", ml_buf_str(&c.issuer));
    set_str(L, "serial", ml_buf_str(&c.serial));
    set_str(L, "fingerprint", ml_buf_str(&c.fingerprint));
    push_names(L, ml_buf_str(&c.names));
    lua_setfield(L, -2, "san");
    lua_pushboolean(L, 1); /* one that does not verify ends in the handshake */
    lua_setfield(L, -2, "verified");
    lua_setfield(L, -2, "client");
    ml_tls_client_free(&c);
}

void ml_tls_push(lua_State *L, struct ssl_st *session)
{
    struct ml_tls_info info;

    ml_tls_info(session, &info);
    lua_createtable(L, 0, 6);
    set_str(L, "version", ml_str_of(info.version));
    set_str(L, "cipher", ml_str_of(info.cipher));
    if (info.sni.len > 0)
        set_str(L, "sni", info.sni);
    if (info.alpn.len > 0)
        set_str(L, "alpn", info.alpn);
    lua_pushboolean(L, info.resumed);
    lua_setfield(L, -2, "resumed");
    set_client(L, session);
}
