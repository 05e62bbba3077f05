/* tls.c - contexts: settings that are checked name by name, certificates, trust, clients. */
#include "transport/tls_parts.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char *const CIPHERS[] = {
    "TLS_AES_128_GCM_SHA256",       "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",  "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",  "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",  NULL};
static const char *const CURVES[] = {"X25519", "P-256", "P-384", NULL};

enum { LIST_MAX = 2048 };

/* ---- errors ---- */

bool tls_error(char *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, ML_TLS_ERROR_MAX, format, args);
    va_end(args);
    ERR_clear_error();
    return false;
}

bool tls_openssl_error(char *error, const char *format, ...)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(error, ML_TLS_ERROR_MAX, format, args);
    va_end(args);
    if (len > 0 && len < ML_TLS_ERROR_MAX && reason != NULL)
        snprintf(error + len, ML_TLS_ERROR_MAX - (size_t)len, " (%s)", reason);
    ERR_clear_error();
    return false;
}

static const char *shown(const char *name, const char *otherwise)
{
    return name != NULL ? name : otherwise;
}

/* ---- settings ---- */

static bool append(char *list, const char *word)
{
    size_t have = strlen(list), len = strlen(word);

    if (have + len + 2 > LIST_MAX)
        return false;
    if (have > 0)
        list[have++] = ':';
    memcpy(list + have, word, len + 1);
    return true;
}

/* OpenSSL passes over names it does not know, so each is tried by itself. */
static bool set_ciphers(SSL_CTX *ctx, const char *const *names, char *error)
{
    char old[LIST_MAX] = "", suites[LIST_MAX] = "";

    for (; *names != NULL; names++) {
        bool suite = strncmp(*names, "TLS_", 4) == 0;

        if (strpbrk(*names, ":, ") != NULL || **names == '\0')
            return tls_error(error, "'%s' is not the name of one cipher", *names);
        if (suite ? SSL_CTX_set_ciphersuites(ctx, *names) != 1
                  : SSL_CTX_set_cipher_list(ctx, *names) != 1)
            return tls_error(error, "there is no cipher '%s'", *names);
        if (!append(suite ? suites : old, *names))
            return tls_error(error, "there are too many ciphers");
    }
    if (suites[0] == '\0')
        for (int i = 0; i < 3; i++)
            (void)append(suites, CIPHERS[i]);
    for (int i = 3; old[0] == '\0' && CIPHERS[i] != NULL; i++)
        (void)append(old, CIPHERS[i]);
    if (SSL_CTX_set_ciphersuites(ctx, suites) != 1 || SSL_CTX_set_cipher_list(ctx, old) != 1)
        return tls_openssl_error(error, "the list of ciphers cannot be used");
    return true;
}

static bool set_curves(SSL_CTX *ctx, const char *const *names, char *error)
{
    char list[LIST_MAX] = "";

    for (; *names != NULL; names++) {
        if (strpbrk(*names, ":, ") != NULL || SSL_CTX_set1_groups_list(ctx, *names) != 1)
            return tls_error(error, "there is no curve '%s'", *names);
        if (!append(list, *names))
            return tls_error(error, "there are too many curves");
    }
    if (SSL_CTX_set1_groups_list(ctx, list) != 1)
        return tls_openssl_error(error, "the list of curves cannot be used");
    return true;
}

static int version_of(int number)
{
    return number == 12 ? TLS1_2_VERSION : number == 13 ? TLS1_3_VERSION : -1;
}

static bool set_versions(SSL_CTX *ctx, const struct ml_tls_settings *s, char *error)
{
    int min = version_of(s->min != 0 ? s->min : 12), max = version_of(s->max != 0 ? s->max : 13);

    if (min < 0 || max < 0)
        return tls_error(error, "the versions of TLS are 1.2 and 1.3");
    if (min > max)
        return tls_error(error, "the least version of TLS is above the greatest");
    if (SSL_CTX_set_min_proto_version(ctx, min) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, max) != 1)
        return tls_openssl_error(error, "these versions of TLS cannot be used");
    return true;
}

SSL_CTX *tls_ctx_new(const SSL_METHOD *method, const struct ml_tls_settings *s, char *error)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (ctx == NULL)
        abort();
    SSL_CTX_set_options(ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);
    if (set_versions(ctx, s, error) &&
        set_ciphers(ctx, s->ciphers != NULL ? s->ciphers : CIPHERS, error) &&
        set_curves(ctx, s->curves != NULL ? s->curves : CURVES, error))
        return ctx;
    SSL_CTX_free(ctx);
    return NULL;
}

bool tls_alpn_wire(struct ml_tls *tls, const char *const *alpn, char *error)
{
    unsigned len = 0;

    for (const char *const *a = alpn; a != NULL && *a != NULL; a++) {
        size_t one = strlen(*a);

        if (one == 0 || one > 255 || len + one > 4096)
            return tls_error(error, "'%s' cannot be a protocol of ALPN", *a);
        len += 1 + (unsigned)one;
    }
    if (len == 0)
        return true;
    tls->alpn = malloc(len);
    if (tls->alpn == NULL)
        abort();
    for (const char *const *a = alpn; *a != NULL; a++) {
        size_t one = strlen(*a);

        tls->alpn[tls->alpn_len] = (unsigned char)one;
        memcpy(tls->alpn + tls->alpn_len + 1, *a, one);
        tls->alpn_len += 1 + (unsigned)one;
    }
    return true;
}

/* ---- certificates ---- */

static int no_password(char *buf, int size, int rw, void *ctx)
{
    (void)buf, (void)size, (void)rw, (void)ctx;
    return 0; /* and never a question on the terminal */
}

static BIO *open_pem(struct ml_str pem)
{
    BIO *in = BIO_new_mem_buf(pem.len > 0 ? pem.p : "", (int)pem.len);

    if (in == NULL)
        abort();
    return in;
}

/* All certificates of a file. */
static STACK_OF(X509) * read_certs(struct ml_str pem, const char *name, char *error)
{
    STACK_OF(X509) *certs = sk_X509_new_null();
    BIO *in = open_pem(pem);
    X509 *x;

    while ((x = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL)
        if (sk_X509_push(certs, x) <= 0)
            abort();
    bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;

    BIO_free(in);
    if (ended && sk_X509_num(certs) > 0) {
        ERR_clear_error();
        return certs;
    }
    if (ended)
        tls_error(error, "%s: there is no certificate in it (PEM)", name);
    else
        tls_openssl_error(error, "%s: certificate %d of it is broken", name,
                          sk_X509_num(certs) + 1);
    sk_X509_pop_free(certs, X509_free);
    return NULL;
}

static EVP_PKEY *read_key(struct ml_str pem, const char *name, char *error)
{
    BIO *in = open_pem(pem);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, no_password, NULL);

    BIO_free(in);
    if (key == NULL)
        tls_error(error, "%s: there is no private key in it (PEM, without a password)", name);
    return key;
}

/* The first end among the certificates that are shown. */
static void note_expiry(struct ml_tls *tls, STACK_OF(X509) * certs)
{
    for (int i = 0; i < sk_X509_num(certs); i++) {
        struct tm tm;
        int64_t at;

        if (ASN1_TIME_to_tm(X509_get0_notAfter(sk_X509_value(certs, i)), &tm) != 1)
            continue;
        at = (int64_t)timegm(&tm);
        if (tls->expires == 0 || at < tls->expires)
            tls->expires = at;
    }
}

static bool install(SSL_CTX *ctx, STACK_OF(X509) * certs, EVP_PKEY *key,
                    const struct ml_tls_pair *pair, char *error)
{
    const char *cert_name = shown(pair->cert_name, "the certificate");
    X509 *leaf = sk_X509_value(certs, 0);

    if (X509_check_private_key(leaf, key) != 1)
        return tls_error(error, "%s: the key in %s is not the one of this certificate", cert_name,
                         shown(pair->key_name, "the key file"));
    if (SSL_CTX_use_certificate(ctx, leaf) != 1 || SSL_CTX_use_PrivateKey(ctx, key) != 1)
        return tls_openssl_error(error, "%s: the certificate cannot be used", cert_name);
    for (int i = 1; i < sk_X509_num(certs); i++)
        if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(certs, i)) != 1)
            return tls_openssl_error(error, "%s: certificate %d of it cannot be used", cert_name,
                                     i + 1);
    return true;
}

bool tls_use_pair(struct ml_tls *tls, SSL_CTX *ctx, const struct ml_tls_pair *pair, char *error)
{
    STACK_OF(X509) *certs =
        read_certs(pair->cert, shown(pair->cert_name, "the certificate"), error);
    EVP_PKEY *key = NULL;
    bool ok = false;

    if (certs != NULL)
        key = read_key(pair->key, shown(pair->key_name, "the key"), error);
    if (key != NULL)
        ok = install(ctx, certs, key, pair, error);
    if (ok)
        note_expiry(tls, certs);
    EVP_PKEY_free(key);
    sk_X509_pop_free(certs, X509_free);
    return ok;
}

X509 *tls_leaf(const struct ml_tls_pair *pair, char *error)
{
    STACK_OF(X509) *certs =
        read_certs(pair->cert, shown(pair->cert_name, "the certificate"), error);
    X509 *leaf = certs != NULL ? sk_X509_shift(certs) : NULL;

    sk_X509_pop_free(certs, X509_free);
    return leaf;
}

/* Trusts what is in pem; announce: asks clients for certificates of these. */
bool tls_add_ca(SSL_CTX *ctx, struct ml_str pem, const char *name, bool announce, char *error)
{
    STACK_OF(X509) *certs = read_certs(pem, shown(name, "the list of authorities"), error);
    bool ok = certs != NULL;

    for (int i = 0; ok && i < sk_X509_num(certs); i++) {
        X509 *x = sk_X509_value(certs, i);

        if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), x) != 1 ||
            (announce && SSL_CTX_add_client_CA(ctx, x) != 1))
            ok = tls_openssl_error(error, "%s: certificate %d of it cannot be used",
                                   shown(name, "the list of authorities"), i + 1);
    }
    sk_X509_pop_free(certs, X509_free);
    return ok;
}

/* Every authority of a chain that is trusted must have a list that is not out of date. */
bool tls_add_crl(SSL_CTX *ctx, struct ml_str pem, const char *name, char *error)
{
    BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.len);
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_CRL *crl;
    bool ok = true;
    int count = 0;

    if (bio == NULL)
        abort();
    while (ok && (crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)) != NULL) {
        ok = X509_STORE_add_crl(store, crl) == 1;
        X509_CRL_free(crl);
        count++;
    }
    BIO_free(bio);
    ok = ok && count > 0 && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
    if (!ok)
        return tls_openssl_error(error, "%s: what is in it are not lists of revoked certificates",
                                 shown(name, "client_crl"));
    ERR_clear_error();
    if (X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) != 1)
        abort();
    return true;
}

/* ---- clients ---- */

static bool trust(SSL_CTX *ctx, const struct ml_tls_client_conf *conf, char *error)
{
    if (conf->insecure) {
        SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
        return true;
    }
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (conf->ca.len > 0)
        return tls_add_ca(ctx, conf->ca, conf->ca_name, false, error);
    if (SSL_CTX_set_default_verify_paths(ctx) != 1)
        return tls_openssl_error(error, "the system's list of authorities cannot be read");
    return true;
}

struct ml_tls *ml_tls_client_new(const struct ml_tls_client_conf *conf, char *error)
{
    struct ml_tls *tls = calloc(1, sizeof *tls);

    if (tls == NULL)
        abort();
    tls->refs = 1;
    tls->insecure = conf->insecure;
    tls->ctx = tls_ctx_new(TLS_client_method(), &conf->settings, error);
    if (tls->ctx == NULL || !tls_alpn_wire(tls, conf->settings.alpn, error) ||
        !trust(tls->ctx, conf, error) ||
        (conf->pair != NULL && !tls_use_pair(tls, tls->ctx, conf->pair, error))) {
        ml_tls_free(&tls);
        return NULL;
    }
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF);
    /* 0 is success here */
    if (tls->alpn_len > 0 && SSL_CTX_set_alpn_protos(tls->ctx, tls->alpn, tls->alpn_len) != 0)
        abort();
    return tls;
}

/* ---- life ---- */

struct ml_tls *ml_tls_ref(struct ml_tls *tls)
{
    tls->refs++;
    return tls;
}

void ml_tls_free(struct ml_tls **owner)
{
    struct ml_tls *tls = *owner;

    *owner = NULL;
    if (tls == NULL || --tls->refs > 0)
        return;
    if (tls->clear != NULL)
        tls->clear(tls);
    SSL_CTX_free(tls->ctx);
    free(tls->alpn);
    free(tls);
}

int64_t ml_tls_expires(const struct ml_tls *tls)
{
    return tls->expires;
}

bool ml_tls_is_server(const struct ml_tls *tls)
{
    return tls->server;
}
