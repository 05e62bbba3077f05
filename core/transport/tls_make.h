/* tls_make.h - certificates for development: nobody trusts them, and nobody should. */
#ifndef ML_TRANSPORT_TLS_MAKE_H
#define ML_TRANSPORT_TLS_MAKE_H

#include "base/buf.h"
#include "transport/tls.h"

/* A P-256 key and a certificate that it signs itself, valid from now for days: PEM, appended.
 * names: host names and addresses, ends with NULL; the first is the subject's. */
void ml_tls_make(const char *const *names, int days, struct ml_buf *cert, struct ml_buf *key);

/* The pair of this process and its children, made at the first call: for localhost and the name of
 * this machine.  A year. */
struct ml_tls_pair ml_tls_development(void);

#endif
