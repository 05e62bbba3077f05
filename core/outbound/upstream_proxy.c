/* upstream_proxy.c - a connection to a server that wants to know for whom it is. */
#include "outbound/upstream_parts.h"

#include "protocol/proxy_protocol.h"

static void address_of(const struct ml_addr *addr, struct ml_proxy_end *end)
{
    struct ml_address a = ml_address_of(addr);

    memcpy(end->bytes, a.bytes, sizeof end->bytes);
    end->port = a.port;
}

/* The client as policies know it; its port when the client is the peer itself. */
static bool client_of(const struct ml_upstream *u, struct ml_proxy_end *end)
{
    const struct ml_request *req = &u->ex->req;
    struct ml_address a;

    if (u->group->conf.client || !ml_address_parse(req->ip, &a))
        return false;
    memcpy(end->bytes, a.bytes, sizeof end->bytes);
    end->port = ml_str_eq(req->ip, req->peer_ip) ? req->peer_port : 0;
    return true;
}

bool ml_upstream_proxy_announce(struct ml_upstream *u)
{
    struct ml_proxy_header h = {.known = false};
    char bytes[ML_PROXY_WRITE_MAX];
    struct ml_buf out = {0};
    struct ml_addr addr;
    size_t len, left;
    enum ml_err err;

    if (u->group->conf.send_proxy == ML_SEND_PROXY_OFF)
        return true;
    h.known = client_of(u, &h.source);
    if (ml_stream_peer(u->link->stream, &addr))
        address_of(&addr, &h.dest);
    else /* a unix socket: an address of the same family that is none */
        memcpy(h.dest.bytes, h.source.bytes, 12);
    len = ml_proxy_protocol_write(&h, u->group->conf.send_proxy == ML_SEND_PROXY_V1 ? 1 : 2, bytes);
    ml_buf_append(&out, (struct ml_str){bytes, len});
    do { /* so few bytes always fit; ML_HARD writes halves */
        left = ml_buf_len(&out);
        err = ml_stream_write(u->link->stream, &out);
    } while (err == ML_AGAIN && ml_buf_len(&out) < left);
    ml_buf_release(&out);
    return err == ML_OK;
}
