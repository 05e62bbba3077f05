/* tls_lab.h - certificates of every kind a test needs, signed by an authority or by nobody, and two
 * streams that talk TLS over a pair of sockets. */
#ifndef ML_TEST_TLS_LAB_H
#define ML_TEST_TLS_LAB_H

#include "test.h"
#include "transport/stream.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

struct identity {
    EVP_PKEY *key;
    X509 *cert;
    struct ml_str cert_pem, key_pem;
};

static void lab_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (e == NULL || X509_add_ext(x, e, -1) != 1)
        abort();
    X509_EXTENSION_free(e);
}

static struct ml_str lab_pem(BIO *b)
{
    char *p;
    long len = BIO_get_mem_data(b, &p);
    char *copy = malloc((size_t)len);

    memcpy(copy, p, (size_t)len);
    BIO_free(b);
    return (struct ml_str){copy, (size_t)len};
}

/* rsa: else P-256.  alt: "DNS:a,IP:127.0.0.1", or NULL for an authority.  by: NULL: itself. */
static struct identity identity(bool rsa, const char *name, const char *alt,
                                const struct identity *by, long days)
{
    static long serial = 1000;
    struct identity id = {.key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256"), .cert = X509_new()};
    X509 *x = id.cert;
    BIO *c = BIO_new(BIO_s_mem()), *k = BIO_new(BIO_s_mem());

    X509_set_version(x, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x), -3600 * 24 * 30);
    X509_time_adj_ex(X509_getm_notAfter(x), (int)days, 0, NULL);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(by != NULL ? by->cert : x));
    X509_set_pubkey(x, id.key);
    if (alt != NULL)
        lab_extension(x, by != NULL ? by->cert : x, NID_subject_alt_name, alt);
    else
        lab_extension(x, x, NID_basic_constraints, "critical,CA:TRUE");
    if (X509_sign(x, by != NULL ? by->key : id.key, EVP_sha256()) <= 0)
        abort();
    PEM_write_bio_X509(c, x);
    PEM_write_bio_PrivateKey(k, id.key, NULL, NULL, 0, NULL, NULL);
    id.cert_pem = lab_pem(c);
    id.key_pem = lab_pem(k);
    return id;
}

static void identity_free(struct identity *id)
{
    EVP_PKEY_free(id->key);
    X509_free(id->cert);
    free((char *)id->cert_pem.p);
    free((char *)id->key_pem.p);
    *id = (struct identity){0};
}

static struct ml_tls_pair pair_of(const struct identity *id)
{
    return (struct ml_tls_pair){
        .cert = id->cert_pem, .key = id->key_pem, .cert_name = "cert.pem", .key_name = "key.pem"};
}

/* ---- streams ---- */

static struct ml_loop *loop;
static struct ml_timer guard;

struct side { /* one end: a stream and what it was told */
    struct ml_stream *s;
    struct ml_buf in, out, body;
    enum ml_err read, write; /* the last outcomes */
    bool readable, writable, reads;
    int reads_told;
};

static void too_long(void *ctx)
{
    (void)ctx;
    printf("# an event is missing\n");
    exit(1);
}

static void side_read(struct side *side)
{
    bool more = true;

    while (side->read == ML_OK && more)
        side->read = ml_stream_read(side->s, &side->in, SIZE_MAX / 8, &more);
    if (side->read == ML_AGAIN)
        side->read = ML_OK;
}

static void on_side(void *ctx, int what)
{
    struct side *side = ctx;

    side->reads_told += (what & ML_STREAM_READ) != 0;
    if (what & ML_STREAM_READ && side->reads)
        side_read(side);
    side->readable |= (what & ML_STREAM_READ) != 0;
    if (what & ML_STREAM_WRITE) {
        side->writable = true;
        if (side->write == ML_AGAIN)
            side->write = ml_stream_write2(side->s, &side->out, &side->body);
    }
    if (side->s != NULL && side->read != ML_OK)
        ml_stream_want_read(side->s, false);
}

static void side_new(struct side *side, int fd)
{
    *side = (struct side){.s = ml_stream_new(loop, fd), .reads = true};
    ml_stream_listen_to(side->s, on_side, side);
}

static void side_free(struct side *side)
{
    ml_stream_close(&side->s);
    ml_buf_release(&side->in);
    ml_buf_release(&side->out);
    ml_buf_release(&side->body);
}

static void lab_open(struct side *a, struct side *b)
{
    int fds[2];

    loop = ml_loop_new();
    ml_timer_init(&guard, loop, too_long, NULL);
    ml_timer_set(&guard, 30);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0)
        abort();
    side_new(a, fds[0]);
    side_new(b, fds[1]);
}

static void lab_close(struct side *a, struct side *b)
{
    side_free(a);
    side_free(b);
    ml_timer_drop(&guard);
    ml_loop_free(&loop);
}

__attribute__((unused)) static void say(struct side *side, const char *words)
{
    ml_buf_append(&side->out, ml_str_of(words));
    side->write = ml_stream_write(side->s, &side->out);
}

__attribute__((unused)) static bool said(struct side *side)
{
    while (side->write == ML_AGAIN)
        ml_loop_turn(loop);
    return side->write == ML_OK;
}

__attribute__((unused)) static bool heard(struct side *side, const char *words)
{
    struct ml_str w = ml_str_of(words);

    while (ml_buf_len(&side->in) < w.len && side->read == ML_OK)
        ml_loop_turn(loop);
    if (!ml_str_eq(ml_buf_str(&side->in), w))
        return false;
    ml_buf_consume(&side->in, w.len);
    return true;
}

#endif
