/* tls.h - contexts of TLS: what one side of a connection shows and demands (OpenSSL 3).
 *
 * A context is made once at load, from bytes: it does no I/O and is never changed.  Connections
 * hold it for as long as they live, so replacing it leaves open ones alone.  Defaults: TLS 1.2
 * and 1.3, AEAD ciphers with forward secrecy only, X25519 first, no compression, no renegotiation;
 * a client verifies its peer. */
#ifndef ML_TRANSPORT_TLS_H
#define ML_TRANSPORT_TLS_H

#include "base/str.h"

#include <stdint.h>

enum { ML_TLS_ERROR_MAX = 400 };

struct ml_tls; /* reference counted by its owners and by the connections that use it */

/* Lists are NULL or end with NULL; NULL means the default. */
struct ml_tls_settings {
    int min, max;               /* 12, 13 for TLS 1.2, 1.3; 0: both are allowed */
    const char *const *ciphers; /* OpenSSL's names, of TLS 1.2 and 1.3 */
    const char *const *curves;  /* "X25519", "P-256", ... */
    const char *const *alpn;    /* most wanted first; NULL: none is negotiated */
};

struct ml_tls_pair { /* a certificate chain, leaf first, and its key; PEM */
    struct ml_str cert, key;
    struct ml_str ocsp;    /* DER of the answer to staple; may be empty */
    const char *cert_name; /* for messages: where they are from; may be NULL */
    const char *key_name, *ocsp_name;
    const char *const *names; /* which SNI names get it; NULL: those in the certificate */
};

enum ml_tls_client_auth { ML_TLS_NO_CLIENT_CERT, ML_TLS_OPTIONAL, ML_TLS_REQUIRED };

struct ml_tls_server_conf {
    struct ml_tls_settings settings;
    const struct ml_tls_pair *pairs; /* the first is for clients that name nobody we know */
    unsigned pair_count;
    enum ml_tls_client_auth client_auth;
    struct ml_str client_ca; /* PEM; whom client certificates are verified with */
    const char *client_ca_name;
    struct ml_str client_crl; /* PEM: which of them are revoked; NULL: nobody looks */
    const char *client_crl_name;
    double session_s; /* how long a session can be resumed; 0: never */
};

struct ml_tls_client_conf {
    struct ml_tls_settings settings;
    struct ml_str ca; /* PEM; empty: the system's */
    const char *ca_name;
    bool insecure;                  /* takes any certificate */
    const struct ml_tls_pair *pair; /* shown to servers that ask; may be NULL */
};

/* NULL: error says in one line what is wrong, with the names of conf and never with a key. */
struct ml_tls *ml_tls_server_new(const struct ml_tls_server_conf *conf, char *error);
struct ml_tls *ml_tls_client_new(const struct ml_tls_client_conf *conf, char *error);
struct ml_tls *ml_tls_ref(struct ml_tls *tls);
void ml_tls_free(struct ml_tls **tls); /* gives one reference back */

/* When the first certificate of it (chains included) ends, in seconds since 1970; 0: it has none.
 */
int64_t ml_tls_expires(const struct ml_tls *tls);
/* The name that is asked for is checked by the peer's certificate: not for a server. */
bool ml_tls_is_server(const struct ml_tls *tls);

/* ---- session tickets: the keys are the caller's, shared by all workers ---- */

enum { ML_TLS_TICKET_KEY = 80 }; /* 16 name, 32 HMAC-SHA256, 32 AES-256 */
/* fill(ctx, name, out): name NULL: the key to seal new tickets with; else the one of that 16-byte
 * name.  false: there is none.  *fresh: the ticket need not be renewed. */
struct ml_tls_ticket_keys {
    bool (*find)(void *ctx, const unsigned char *name, unsigned char out[ML_TLS_TICKET_KEY],
                 bool *fresh);
    void *ctx;
};
/* For this process; NULL: keys of this process alone, made at first use. */
void ml_tls_set_ticket_keys(const struct ml_tls_ticket_keys *keys);
const struct ml_tls_ticket_keys *ml_tls_ticket_keys(void); /* as they were set */

#endif
