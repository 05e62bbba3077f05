/* tls_info.h - what a finished handshake has agreed on, for whoever asks later.
 *
 * A session is a reference that may outlive the stream it was taken from. */
#ifndef ML_TRANSPORT_TLS_INFO_H
#define ML_TRANSPORT_TLS_INFO_H

#include "base/buf.h"

#include <openssl/types.h>

struct ml_tls_info {
    const char *version; /* "TLSv1.3" */
    const char *cipher;  /* OpenSSL's name */
    struct ml_str sni;   /* as sent; empty: none.  Lives as long as the session */
    struct ml_str alpn;
    bool resumed;
    bool client; /* a certificate of the client was verified */
};

SSL *ml_tls_session_ref(SSL *ssl);
void ml_tls_session_free(SSL **ssl); /* NULLs it; NULL is nothing */
void ml_tls_info(SSL *ssl, struct ml_tls_info *out);

struct ml_tls_client {                 /* of the client's certificate */
    struct ml_buf subject, issuer;     /* RFC 2253 */
    struct ml_buf serial, fingerprint; /* hexadecimal; the fingerprint is SHA-256 */
    struct ml_buf names; /* its alternative names, "DNS:a" "email:b", each with a NUL */
};
/* False when there is none. */
bool ml_tls_client(SSL *ssl, struct ml_tls_client *out);
void ml_tls_client_free(struct ml_tls_client *c);

#endif
