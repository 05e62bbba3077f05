/* tls_make.c - a key, a certificate, both as PEM.  A failure here is ours: it aborts. */
#include "transport/tls_make.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

static void must(int ok)
{
    if (ok != 1)
        abort();
}

static void take_pem(BIO *from, struct ml_buf *to)
{
    char *p;
    long len = BIO_get_mem_data(from, &p);

    ml_buf_append(to, (struct ml_str){p, (size_t)len});
    BIO_free(from);
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    must(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static void add_names(X509 *x, const char *const *names)
{
    struct ml_buf list = {0};

    for (const char *const *n = names; *n != NULL; n++)
        ml_buf_printf(&list, "%s%s:%s", n == names ? "" : ",", is_address(*n) ? "IP" : "DNS", *n);
    ml_buf_append(&list, (struct ml_str){"", 1});
    add_extension(x, NID_subject_alt_name, list.p + list.start);
    ml_buf_release(&list);
}

static void set_serial(X509 *x)
{
    unsigned char bytes[16];
    BIGNUM *n;

    must(RAND_bytes(bytes, sizeof bytes));
    bytes[0] &= 0x7f; /* positive */
    n = BN_bin2bn(bytes, sizeof bytes, NULL);
    must(n != NULL && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL);
    BN_free(n);
}

static X509 *make_cert(EVP_PKEY *key, const char *const *names, int days)
{
    X509 *x = X509_new();
    X509_NAME *subject;

    must(x != NULL && X509_set_version(x, X509_VERSION_3) == 1);
    set_serial(x);
    must(X509_gmtime_adj(X509_getm_notBefore(x), -3600) != NULL);
    must(X509_time_adj_ex(X509_getm_notAfter(x), days, 0, NULL) != NULL);
    subject = X509_get_subject_name(x);
    must(X509_NAME_add_entry_by_txt(subject, "O", MBSTRING_UTF8,
                                    (const unsigned char *)"moonlatch development", -1, -1, 0));
    must(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)names[0],
                                    -1, -1, 0));
    must(X509_set_issuer_name(x, subject));
    must(X509_set_pubkey(x, key));
    add_names(x, names);
    add_extension(x, NID_basic_constraints, "critical,CA:FALSE");
    add_extension(x, NID_key_usage, "critical,digitalSignature");
    add_extension(x, NID_ext_key_usage, "serverAuth");
    must(X509_sign(x, key, EVP_sha256()) > 0 ? 1 : 0);
    return x;
}

void ml_tls_make(const char *const *names, int days, struct ml_buf *cert, struct ml_buf *key)
{
    EVP_PKEY *pair = EVP_EC_gen("P-256");
    BIO *cert_out = BIO_new(BIO_s_mem()), *key_out = BIO_new(BIO_s_mem());
    X509 *x;

    must(pair != NULL && cert_out != NULL && key_out != NULL);
    x = make_cert(pair, names, days);
    must(PEM_write_bio_X509(cert_out, x));
    must(PEM_write_bio_PrivateKey(key_out, pair, NULL, NULL, 0, NULL, NULL));
    take_pem(cert_out, cert);
    take_pem(key_out, key);
    X509_free(x);
    EVP_PKEY_free(pair);
}

struct ml_tls_pair ml_tls_development(void)
{
    static struct ml_buf cert, key;
    char host[256] = "";
    const char *names[] = {"localhost", "*.localhost", "127.0.0.1", "::1", NULL, NULL};

    if (ml_buf_len(&cert) == 0) {
        if (gethostname(host, sizeof host - 1) == 0 && host[strspn(host, HOST_CHARS)] == '\0' &&
            host[0] != '\0')
            names[4] = host;
        ml_tls_make(names, 365, &cert, &key);
    }
    return (struct ml_tls_pair){.cert = ml_buf_str(&cert),
                                .key = ml_buf_str(&key),
                                .cert_name = "the development certificate",
                                .key_name = "its key"};
}
