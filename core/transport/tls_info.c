/* tls_info.c - a handshake's results in words. */
#include "transport/tls_info.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

enum { NAMES_MAX = 64, NAMES_BYTES_MAX = 16384 };

SSL *ml_tls_session_ref(SSL *ssl)
{
    if (SSL_up_ref(ssl) != 1)
        abort();
    return ssl;
}

void ml_tls_session_free(SSL **ssl)
{
    SSL_free(*ssl);
    *ssl = NULL;
}

void ml_tls_info(SSL *ssl, struct ml_tls_info *out)
{
    const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    const unsigned char *alpn;
    unsigned alpn_len;
    X509 *client = SSL_get0_peer_certificate(ssl);

    SSL_get0_alpn_selected(ssl, &alpn, &alpn_len);
    *out = (struct ml_tls_info){
        .version = SSL_get_version(ssl),
        .cipher = SSL_get_cipher_name(ssl),
        .sni = sni != NULL ? ml_str_of(sni) : ML_STR_NONE,
        .alpn = {(const char *)alpn, alpn_len},
        .resumed = SSL_session_reused(ssl) == 1,
        .client = client != NULL && SSL_get_verify_result(ssl) == X509_V_OK,
    };
}

static void hex(struct ml_buf *out, const unsigned char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ml_buf_printf(out, "%02x", bytes[i]);
}

static void take(BIO *from, struct ml_buf *to)
{
    char *p;
    long len = BIO_get_mem_data(from, &p);

    if (len > 0)
        ml_buf_append(to, (struct ml_str){p, (size_t)len});
    BIO_free(from);
}

/* Escaped: no control characters, no lone separators. */
static void name_text(struct ml_buf *out, const X509_NAME *name)
{
    BIO *b = BIO_new(BIO_s_mem());

    if (b == NULL)
        abort();
    if (X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0)
        (void)BIO_reset(b);
    take(b, out);
}

/* One alternative name; kinds whose text could be read as something else are left out. */
static void alternative(struct ml_buf *out, const GENERAL_NAME *g)
{
    const char *kind = g->type == GEN_DNS     ? "DNS:"
                       : g->type == GEN_EMAIL ? "email:"
                       : g->type == GEN_URI   ? "URI:"
                                              : NULL;
    struct ml_str s;

    if (kind == NULL)
        return;
    s = (struct ml_str){(const char *)ASN1_STRING_get0_data(g->d.ia5),
                        (size_t)ASN1_STRING_length(g->d.ia5)};
    for (size_t i = 0; i < s.len; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~')
            return;
    ml_buf_append(out, ml_str_of(kind));
    ml_buf_append(out, s);
    ml_buf_append(out, (struct ml_str){"", 1});
}

static void alternatives(struct ml_buf *out, X509 *x)
{
    GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);

    for (int i = 0; i < sk_GENERAL_NAME_num(list) && i < NAMES_MAX; i++)
        if (ml_buf_len(out) < NAMES_BYTES_MAX)
            alternative(out, sk_GENERAL_NAME_value(list, i));
    GENERAL_NAMES_free(list);
}

bool ml_tls_client(SSL *ssl, struct ml_tls_client *out)
{
    X509 *x = SSL_get0_peer_certificate(ssl);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const ASN1_INTEGER *serial;

    *out = (struct ml_tls_client){0};
    if (x == NULL || SSL_get_verify_result(ssl) != X509_V_OK)
        return false;
    name_text(&out->subject, X509_get_subject_name(x));
    name_text(&out->issuer, X509_get_issuer_name(x));
    serial = X509_get0_serialNumber(x);
    hex(&out->serial, ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
    if (X509_digest(x, EVP_sha256(), digest, &len) == 1)
        hex(&out->fingerprint, digest, len);
    alternatives(&out->names, x);
    ERR_clear_error();
    return true;
}

void ml_tls_client_free(struct ml_tls_client *c)
{
    ml_buf_release(&c->subject);
    ml_buf_release(&c->issuer);
    ml_buf_release(&c->serial);
    ml_buf_release(&c->fingerprint);
    ml_buf_release(&c->names);
}
