/* tls_make.h - certificates for development: nobody trusts them, and nobody should. */
#ifndef ML_TRANSPORT_TLS_MAKE_H
#define ML_TRANSPORT_TLS_MAKE_H

#include "base/buf.h"

/* A P-256 key and a certificate that it signs itself, valid from now for days: PEM, appended.
 * names: host names and addresses, ends with NULL; the first is the subject's. */
void ml_tls_make(const char *const *names, int days, struct ml_buf *cert, struct ml_buf *key);

#endif
