/* upstream_head.h - the heads of a forwarded request and of its answer: what of the one side's
 * fields the other side may see.  Pure: bytes in, bytes out.
 *
 * Fields of the connection stop here in both directions (RFC 9110 section 7.6.1); what the gateway
 * says about itself and the client is added after that, so no Connection field can remove it. */
#ifndef ML_OUTBOUND_UPSTREAM_HEAD_H
#define ML_OUTBOUND_UPSTREAM_HEAD_H

#include "inbound/exchange.h"
#include "protocol/http1.h"

struct ml_head_conf {     /* how to write a request's head */
    struct ml_str prefix; /* goes before the path */
    struct ml_str host;   /* value of Host */
    bool client;          /* the request is our own: no X-Forwarded-*, X-Real-IP, Via of ours */
    bool via;             /* append our element to Via (RFC 9110 section 7.6.3) */
    bool no_real_ip;      /* leave X-Real-IP out */
    bool forwarded_port;  /* say X-Forwarded-Port */
    bool close;           /* the connection will not be used again: say so */
    bool upgrade;         /* pass on the client's wish for "websocket" */
};

/* May this request become a tunnel?  Only "websocket" passes; h2c would be a second protocol that
 * nobody here polices. */
bool ml_upstream_head_upgrade(const struct ml_request *req);

/* Does the client take trailers (TE: trailers)? */
bool ml_upstream_head_te(const struct ml_request *req);

/* Appends the head of ex->req as the server gets it.  Its body is framed by Content-Length when
 * its length is known, else by chunks. */
void ml_upstream_head_write(struct ml_buf *out, struct ml_exchange *ex,
                            const struct ml_head_conf *conf);

/* Fills ex->res (status, headers, has_length, length, no_body) from a parsed final response or
 * 101.  The fields are moved, not copied. */
void ml_upstream_head_take(struct ml_exchange *ex, struct ml_http1_response *parsed);

/* Passes an interim response on (RFC 9110 section 15.2), but for 100: the client's wish for that is
 * answered here, so a server was not asked for it. */
void ml_upstream_head_interim(struct ml_exchange *ex, struct ml_http1_response *parsed);

/* Is this 101 the answer to the upgrade that was sent (RFC 9110 section 7.8, RFC 6455 section 4.1)?
 */
bool ml_upstream_head_switched(const struct ml_http1_response *parsed,
                               const struct ml_request *req);


/* Seconds that the server promises to keep an idle connection ("Keep-Alive: timeout=5", as Node
 * sends it), less one for the way; 0: no promise.  Ask before ml_upstream_head_take. */
double ml_upstream_head_keep_s(const struct ml_http1_response *parsed);

#endif
