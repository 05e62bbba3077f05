/* tls_parts.h - what the files of tls share: tls.c (settings, clients), tls_server.c (certificates
 * by name, tickets, stapling), tls_link.c (a connection).  Nobody else includes it. */
#ifndef ML_TRANSPORT_TLS_PARTS_H
#define ML_TRANSPORT_TLS_PARTS_H

#include "transport/tls.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct tls_name { /* an SNI name and what it gets */
    char *name;   /* lower case; "*.x" is kept as ".x" */
    SSL_CTX *ctx; /* borrowed from the list */
};

struct tls_staple {
    unsigned char *der;
    size_t len;
    int64_t until; /* seconds since 1970; 0: for ever */
};

struct tls_cert { /* certificates for the same names: one for each kind of key */
    SSL_CTX *ctx;
    struct tls_staple staple[2]; /* of the EC, and of any other key */
    struct tls_cert *next;
};

struct ml_tls {
    unsigned refs;
    bool server, insecure;
    void (*clear)(struct ml_tls *tls); /* gives back what only a server has; or NULL */
    SSL_CTX *ctx;                      /* the one connections begin with */
    struct tls_cert *certs;            /* further ones; the first has ctx */
    struct tls_name *names;            /* sorted */
    unsigned name_count;
    unsigned char *alpn; /* in the form of the wire */
    unsigned alpn_len;
    int64_t expires;
};

/* tls.c: all return false with the reason in error. */
bool tls_error(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, followed by what OpenSSL says. */
bool tls_openssl_error(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
SSL_CTX *tls_ctx_new(const SSL_METHOD *method, const struct ml_tls_settings *s, char *error);
bool tls_alpn_wire(struct ml_tls *tls, const char *const *alpn, char *error);
bool tls_use_pair(struct ml_tls *tls, SSL_CTX *ctx, const struct ml_tls_pair *pair, char *error);
X509 *tls_leaf(const struct ml_tls_pair *pair, char *error); /* its own certificate, owned */
/* From now on certificates are looked up in these lists of revoked ones. */
bool tls_add_crl(SSL_CTX *ctx, struct ml_str pem, const char *name, char *error);
bool tls_add_ca(SSL_CTX *ctx, struct ml_str pem, const char *name, bool announce, char *error);

#endif
