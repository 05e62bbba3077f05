/* test_tls_context.c - what a context refuses, and which certificate a name gets. */
#include "tls_lab.h"

#include <openssl/ssl.h>

#include "transport/tls_make.h"

static char error[ML_TLS_ERROR_MAX];

static struct ml_tls *server_of(const struct ml_tls_pair *pairs, unsigned count,
                                struct ml_tls_settings settings)
{
    return ml_tls_server_new(
        &(struct ml_tls_server_conf){
            .pairs = pairs, .pair_count = count, .settings = settings, .session_s = 60},
        error);
}

/* The error that these settings lead to; "" when there is none. */
static const char *refused(struct ml_tls_settings settings)
{
    struct identity id = identity(false, "a.test", "DNS:a.test", NULL, 30);
    struct ml_tls_pair pair = pair_of(&id);
    struct ml_tls *tls = server_of(&pair, 1, settings);

    if (tls != NULL)
        error[0] = '\0';
    ml_tls_free(&tls);
    identity_free(&id);
    return error;
}

TEST(names_that_do_not_exist_are_errors_wherever_they_stand)
{
    const char *const good[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_AES_256_GCM_SHA384", NULL};
    const char *const bad[] = {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-AES", NULL};
    const char *const bad13[] = {"TLS_AES_512_GCM", NULL};
    const char *const joined[] = {"ECDHE-ECDSA-AES128-GCM-SHA256:NONE", NULL};
    const char *const curves[] = {"X25519", "P-521", NULL};
    const char *const no_curve[] = {"X25519", "P-255", NULL};

    CHECK(strcmp(refused((struct ml_tls_settings){.ciphers = good, .curves = curves}), "") == 0);
    CHECK(strcmp(refused((struct ml_tls_settings){.ciphers = bad}),
                 "there is no cipher 'ECDHE-AES'") == 0);
    CHECK(strcmp(refused((struct ml_tls_settings){.ciphers = bad13}),
                 "there is no cipher 'TLS_AES_512_GCM'") == 0);
    CHECK(strstr(refused((struct ml_tls_settings){.ciphers = joined}), "one cipher") != NULL);
    CHECK(strcmp(refused((struct ml_tls_settings){.curves = no_curve}),
                 "there is no curve 'P-255'") == 0);
    CHECK(strstr(refused((struct ml_tls_settings){.min = 11}), "1.2 and 1.3") != NULL);
    CHECK(strstr(refused((struct ml_tls_settings){.min = 13, .max = 12}), "above") != NULL);
}

static void check_pair(struct ml_tls_pair pair, const char *expected)
{
    struct ml_tls *tls = server_of(&pair, 1, (struct ml_tls_settings){0});

    CHECK(tls == NULL && strstr(error, expected) != NULL);
    CHECK(strstr(error, "PRIVATE") == NULL);
    ml_tls_free(&tls);
}

TEST(a_pair_that_does_not_match_or_cannot_be_read_is_named)
{
    struct identity a = identity(false, "a.test", "DNS:a.test", NULL, 30);
    struct identity b = identity(false, "b.test", "DNS:b.test", NULL, 30);
    struct ml_tls_pair pair = pair_of(&a);
    struct ml_str whole = pair.cert;

    pair.key = b.key_pem;
    check_pair(pair, "cert.pem: the key in key.pem is not the one of this certificate");
    pair.key = ML_STR("nothing");
    check_pair(pair, "key.pem: there is no private key in it");
    pair = pair_of(&a);
    pair.cert = ML_STR_NONE;
    check_pair(pair, "cert.pem: there is no certificate in it");
    pair.cert = (struct ml_str){whole.p, whole.len - 40};
    check_pair(pair, "cert.pem: certificate 1 of it is broken");
    pair = pair_of(&a);
    pair.ocsp = ML_STR("rubbish");
    pair.ocsp_name = "a.ocsp";
    check_pair(pair, "a.ocsp: there is no good OCSP answer");
    identity_free(&a);
    identity_free(&b);
}

TEST(client_certificates_need_an_authority)
{
    struct identity a = identity(false, "a.test", "DNS:a.test", NULL, 30);
    struct ml_tls_pair pair = pair_of(&a);
    struct ml_tls *tls = ml_tls_server_new(
        &(struct ml_tls_server_conf){
            .pairs = &pair, .pair_count = 1, .client_auth = ML_TLS_REQUIRED},
        error);

    CHECK(tls == NULL && strstr(error, "authorities") != NULL);
    identity_free(&a);
}

TEST(the_first_end_of_all_certificates_is_known)
{
    struct identity a = identity(false, "a.test", "DNS:a.test", NULL, 30);
    struct identity b = identity(false, "b.test", "DNS:b.test", NULL, 10);
    struct ml_tls_pair pairs[2] = {pair_of(&a), pair_of(&b)};
    struct ml_tls *tls = server_of(pairs, 2, (struct ml_tls_settings){0});
    int64_t left = ml_tls_expires(tls) - (int64_t)time(NULL);

    CHECK(left > 9 * 86400 && left <= 10 * 86400);
    ml_tls_free(&tls);
    identity_free(&a);
    identity_free(&b);
}

/* The subject of the certificate that a client which asks for name is shown. */
static const char *shown_for(struct ml_tls *tls, const char *name, const char *sigalgs)
{
    static char subject[100];
    struct side a, b;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);

    lab_open(&a, &b);
    int fd = dup(ml_stream_splice_fd(a.s));
    ml_stream_close(&a.s);
    ml_stream_start_tls(b.s, tls, NULL);
    SSL_set_fd(ssl, fd);
    SSL_set_connect_state(ssl);
    if (name != NULL)
        SSL_set_tlsext_host_name(ssl, name);
    if (sigalgs != NULL)
        SSL_set1_sigalgs_list(ssl, sigalgs);
    while (SSL_do_handshake(ssl) != 1 && b.read == ML_OK)
        ml_loop_turn(loop);
    X509 *x = SSL_get1_peer_certificate(ssl);
    snprintf(subject, sizeof subject, "nothing");
    if (x != NULL)
        X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, subject,
                                  sizeof subject);
    X509_free(x);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    lab_close(&a, &b);
    return subject;
}

TEST(a_name_gets_its_certificate_and_any_other_the_first)
{
    struct identity a = identity(false, "first", "DNS:a.test", NULL, 30);
    struct identity b = identity(false, "wild", "DNS:*.b.test,DNS:b.test", NULL, 30);
    struct identity c = identity(false, "exact", "DNS:c.b.test", NULL, 30);
    struct ml_tls_pair pairs[3] = {pair_of(&a), pair_of(&b), pair_of(&c)};
    struct ml_tls *tls = server_of(pairs, 3, (struct ml_tls_settings){0});

    CHECK(strcmp(shown_for(tls, "a.test", NULL), "first") == 0);
    CHECK(strcmp(shown_for(tls, "b.test", NULL), "wild") == 0);
    CHECK(strcmp(shown_for(tls, "X.B.test", NULL), "wild") == 0);
    CHECK(strcmp(shown_for(tls, "c.b.test", NULL), "exact") == 0);
    CHECK(strcmp(shown_for(tls, "x.y.b.test", NULL), "first") == 0);
    CHECK(strcmp(shown_for(tls, "unknown.test", NULL), "first") == 0);
    CHECK(strcmp(shown_for(tls, NULL, NULL), "first") == 0);
    ml_tls_free(&tls);
    identity_free(&a);
    identity_free(&b);
    identity_free(&c);
}

TEST(a_client_gets_the_kind_of_key_it_can_verify)
{
    struct identity ec = identity(false, "ec", "DNS:a.test", NULL, 30);
    struct identity rsa = identity(true, "rsa", "DNS:a.test", NULL, 30);
    struct ml_tls_pair pairs[2] = {pair_of(&ec), pair_of(&rsa)};
    struct ml_tls *tls = server_of(pairs, 2, (struct ml_tls_settings){0});

    CHECK(strcmp(shown_for(tls, "a.test", NULL), "ec") == 0);
    CHECK(strcmp(shown_for(tls, "a.test", "RSA-PSS+SHA256"), "rsa") == 0);
    CHECK(strcmp(shown_for(tls, NULL, "ECDSA+SHA256"), "ec") == 0);
    ml_tls_free(&tls);
    identity_free(&ec);
    identity_free(&rsa);
}

TEST(a_development_certificate_serves)
{
    const char *const names[] = {"localhost", "127.0.0.1", "::1", NULL};
    struct ml_buf cert = {0}, key = {0};

    ml_tls_make(names, 30, &cert, &key);
    struct ml_tls_pair pair = {.cert = ml_buf_str(&cert), .key = ml_buf_str(&key)};
    struct ml_tls *tls = server_of(&pair, 1, (struct ml_tls_settings){0});
    CHECK(tls != NULL && strcmp(shown_for(tls, "localhost", NULL), "localhost") == 0);
    ml_tls_free(&tls);
    ml_buf_release(&cert);
    ml_buf_release(&key);
}
