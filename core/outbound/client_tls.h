/* client_tls.h - the TLS contexts of a worker for the servers it calls: one for each set of
 * settings, whoever asks, so that a reload keeps the connections that were made with them. */
#ifndef ML_OUTBOUND_CLIENT_TLS_H
#define ML_OUTBOUND_CLIENT_TLS_H

#include "outbound/server.h"
#include "transport/tls.h"

/* What a client says and demands.  Kept by reference counts. */
struct ml_client_tls {
    struct ml_tls *tls;
    char name[256]; /* whose certificate is expected, and SNI; empty: the host of the URL */
    uint64_t key;   /* differs for settings that differ; never 0 */
};

/* The context of those settings; conf NULL: the defaults, which verify by the system's authorities.
 * name may be empty.  NULL: error (ML_TLS_ERROR_MAX bytes) says why. */
struct ml_client_tls *ml_client_tls_hold(struct ml_outbound *o,
                                         const struct ml_tls_client_conf *conf, struct ml_str name,
                                         char *error);
struct ml_client_tls *ml_client_tls_ref(struct ml_client_tls *c);
void ml_client_tls_release(struct ml_client_tls **c);
/* Begins TLS on a stream to that host. */
void ml_client_tls_start(const struct ml_client_tls *c, struct ml_stream *stream,
                         struct ml_str host);

#endif
