/* intake.h - what is done with the head of a request, whatever version of HTTP brought it. */
#ifndef ML_INBOUND_INTAKE_H
#define ML_INBOUND_INTAKE_H

#include "inbound/address.h"
#include "inbound/listener.h"

/* A new exchange with what the connection knows: addresses, scheme, an id. */
struct ml_exchange *ml_intake_begin(struct ml_inbound *in, const struct ml_listener_conf *conf,
                                    const struct ml_address *peer, struct ml_wire wire);
/* The request came over stream: is it TLS? */
void ml_intake_over(struct ml_exchange *ex, const struct ml_stream *stream);
/* Who the client is, and how it came, when a trusted proxy tells. */
void ml_intake_client(struct ml_exchange *ex, const struct ml_address *peer);
/* raw_target and Host become path, query, authority and host. */
enum ml_err ml_intake_target(struct ml_exchange *ex);
/* Is it answered without a handler?  An OPTIONS that may not be forwarded any more asks about us
 * (RFC 9110 section 7.6.2), and a listener may send all clients elsewhere. */
bool ml_intake_is_for_us(const struct ml_exchange *ex);

/* Answers without a handler; the options of the listener, which nobody else keeps alive then, are
 * copied into the exchange. */
void ml_intake_answer(struct ml_exchange *ex);
void ml_intake_refuse(struct ml_exchange *ex, enum ml_err why);

/* The answer's Connection: a script wants the connection to end. */
bool ml_intake_says_close(const struct ml_headers *h);

/* The options that count for ex. */
static inline const struct ml_listener_conf *ml_intake_conf(const struct ml_exchange *ex)
{
    return ex->server_conf;
}

#endif
