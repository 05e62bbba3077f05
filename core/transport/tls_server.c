/* tls_server.c - a server's certificates by name, its tickets, its staples, its demands on clients.
 *
 * Certificates for the same names share one SSL_CTX, where OpenSSL picks the kind of key that the
 * client can verify.  The name a client sends (SNI) picks the SSL_CTX: an exact one first, then a
 * wildcard of one label, else the first. */
#include "transport/tls_parts.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/ocsp.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <time.h>

enum { NAME_MAX_LEN = 255, NAMES_MAX = 4096 };

/* ---- names ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tls_name *)a)->name, ((const struct tls_name *)b)->name);
}

static SSL_CTX *find_name(const struct ml_tls *tls, const char *name)
{
    struct tls_name key = {.name = (char *)name};
    const struct tls_name *found = tls->name_count > 0 ? bsearch(&key, tls->names, tls->name_count,
                                                                 sizeof *tls->names, by_name)
                                                       : NULL;

    return found != NULL ? found->ctx : NULL;
}

/* Lower case, without a final dot; false: too long. */
static bool canonical(const char *name, char out[NAME_MAX_LEN + 1])
{
    size_t len = strlen(name);

    if (len > 0 && name[len - 1] == '.')
        len--;
    if (len == 0 || len > NAME_MAX_LEN)
        return false;
    for (size_t i = 0; i < len; i++)
        out[i] = ml_lower(name[i]);
    out[len] = '\0';
    return true;
}

static int on_name(SSL *ssl, int *alert, void *arg)
{
    const struct ml_tls *tls = arg;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), *dot;
    char name[NAME_MAX_LEN + 1];
    SSL_CTX *ctx;

    (void)alert;
    if (asked == NULL || tls->name_count == 0 || !canonical(asked, name))
        return SSL_TLSEXT_ERR_NOACK;
    ctx = find_name(tls, name);
    dot = strchr(name, '.');
    if (ctx == NULL && dot != NULL && dot != name)
        ctx = find_name(tls, dot); /* "*.x" is kept as ".x" */
    if (ctx != NULL && ctx != tls->ctx)
        (void)SSL_set_SSL_CTX(ssl, ctx);
    return SSL_TLSEXT_ERR_OK;
}

struct name_list {
    char **names;
    int count;
};

static void list_free(struct name_list *l)
{
    for (int i = 0; i < l->count; i++)
        free(l->names[i]);
    free(l->names);
    *l = (struct name_list){0};
}

static void list_add(struct name_list *l, const char *name)
{
    char out[NAME_MAX_LEN + 1];
    const char *kept = out;

    if (!canonical(name, out) || l->count >= NAMES_MAX)
        return;
    if (strncmp(out, "*.", 2) == 0)
        kept = out + 1;
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->names[i], kept) == 0)
            return;
    l->names = realloc(l->names, (size_t)(l->count + 1) * sizeof *l->names);
    if (l->names == NULL || (l->names[l->count++] = strdup(kept)) == NULL)
        abort();
}

static void list_common_name(struct name_list *l, X509 *leaf)
{
    char name[NAME_MAX_LEN + 1];
    int len =
        X509_NAME_get_text_by_NID(X509_get_subject_name(leaf), NID_commonName, name, sizeof name);

    if (len > 0 && (size_t)len == strlen(name))
        list_add(l, name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names a pair is for, sorted. */
static struct name_list names_of(const struct ml_tls_pair *pair, X509 *leaf)
{
    struct name_list l = {0};
    GENERAL_NAMES *alt = NULL;

    for (const char *const *n = pair->names; n != NULL && *n != NULL; n++)
        list_add(&l, *n);
    if (pair->names == NULL)
        alt = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(alt); i++) {
        const GENERAL_NAME *g = sk_GENERAL_NAME_value(alt, i);
        const char *text;

        if (g->type != GEN_DNS)
            continue;
        text = (const char *)ASN1_STRING_get0_data(g->d.dNSName);
        if (strlen(text) == (size_t)ASN1_STRING_length(g->d.dNSName))
            list_add(&l, text);
    }
    GENERAL_NAMES_free(alt);
    if (pair->names == NULL && l.count == 0)
        list_common_name(&l, leaf);
    if (l.count > 0)
        qsort(l.names, (size_t)l.count, sizeof *l.names, by_text);
    return l;
}

/* ---- staples ---- */

static unsigned kind_of(const X509 *x)
{
    return EVP_PKEY_get_base_id(X509_get0_pubkey(x)) == EVP_PKEY_EC ? 0 : 1;
}

static int on_status(SSL *ssl, void *arg)
{
    const struct tls_cert *cert = arg;
    X509 *shown = SSL_get_certificate(ssl);
    const struct tls_staple *s;
    unsigned char *copy;

    if (shown == NULL)
        return SSL_TLSEXT_ERR_NOACK;
    s = &cert->staple[kind_of(shown)];
    if (s->len == 0 || (s->until != 0 && s->until <= (int64_t)time(NULL)))
        return SSL_TLSEXT_ERR_NOACK;
    copy = OPENSSL_memdup(s->der, s->len); /* OpenSSL frees it */
    if (copy == NULL)
        abort();
    SSL_set_tlsext_status_ocsp_resp(ssl, copy, (long)s->len);
    return SSL_TLSEXT_ERR_OK;
}

/* Is the answer about this certificate?  *until: when it ends, 0: it does not say. */
static bool staple_fits(OCSP_RESPONSE *response, X509 *leaf, int64_t *until)
{
    OCSP_BASICRESP *basic = OCSP_response_get1_basic(response);
    bool fits = false;

    for (int i = 0; basic != NULL && i < OCSP_resp_count(basic) && !fits; i++) {
        OCSP_SINGLERESP *one = OCSP_resp_get0(basic, i);
        ASN1_INTEGER *serial = NULL;
        ASN1_GENERALIZEDTIME *next = NULL;
        struct tm tm;

        OCSP_id_get0_info(NULL, NULL, NULL, &serial, (OCSP_CERTID *)OCSP_SINGLERESP_get0_id(one));
        fits = ASN1_INTEGER_cmp(serial, X509_get0_serialNumber(leaf)) == 0;
        (void)OCSP_single_get0_status(one, NULL, NULL, NULL, &next);
        *until = next != NULL && ASN1_TIME_to_tm(next, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
    }
    OCSP_BASICRESP_free(basic);
    return fits;
}

static bool add_staple(struct tls_cert *cert, const struct ml_tls_pair *pair, X509 *leaf,
                       char *error)
{
    const unsigned char *at = (const unsigned char *)pair->ocsp.p;
    const char *name = pair->ocsp_name != NULL ? pair->ocsp_name : "the OCSP answer";
    struct tls_staple *s = &cert->staple[kind_of(leaf)];
    OCSP_RESPONSE *response;
    bool fits;

    if (pair->ocsp.len == 0)
        return true;
    response = d2i_OCSP_RESPONSE(NULL, &at, (long)pair->ocsp.len);
    if (response == NULL || OCSP_response_status(response) != OCSP_RESPONSE_STATUS_SUCCESSFUL) {
        OCSP_RESPONSE_free(response);
        return tls_error(error, "%s: there is no good OCSP answer in it (DER)", name);
    }
    fits = staple_fits(response, leaf, &s->until);
    OCSP_RESPONSE_free(response);
    if (!fits)
        return tls_error(error, "%s: the OCSP answer is about another certificate", name);
    s->der = OPENSSL_memdup(pair->ocsp.p, pair->ocsp.len);
    if (s->der == NULL)
        abort();
    s->len = pair->ocsp.len;
    return true;
}

/* ---- tickets ---- */

static const struct ml_tls_ticket_keys *ticket_keys;

void ml_tls_set_ticket_keys(const struct ml_tls_ticket_keys *keys)
{
    ticket_keys = keys;
}

const struct ml_tls_ticket_keys *ml_tls_ticket_keys(void)
{
    return ticket_keys;
}

/* Without keys from outside: one of this process. */
static bool own_key(void *ctx, const unsigned char *name, unsigned char out[ML_TLS_TICKET_KEY],
                    bool *fresh)
{
    static unsigned char key[ML_TLS_TICKET_KEY];
    static bool made;

    (void)ctx;
    if (!made && RAND_bytes(key, sizeof key) != 1)
        abort();
    made = true;
    *fresh = true;
    if (name != NULL && memcmp(name, key, 16) != 0)
        return false;
    memcpy(out, key, sizeof key);
    return true;
}

static bool ticket_key(const unsigned char *name, unsigned char out[ML_TLS_TICKET_KEY], bool *fresh)
{
    if (ticket_keys == NULL)
        return own_key(NULL, name, out, fresh);
    return ticket_keys->find(ticket_keys->ctx, name, out, fresh);
}

/* Looked up once: that takes longer than using it. */
static const EVP_CIPHER *ticket_cipher(void)
{
    static EVP_CIPHER *cipher;

    if (cipher == NULL)
        cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    return cipher;
}

/* 1: go on; 2: and give a new ticket; 0: no such key, a full handshake; -1: failure. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    unsigned char key[ML_TLS_TICKET_KEY];
    bool fresh = true;
    OSSL_PARAM params[2] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end()};
    int ok;

    (void)ssl;
    if (!ticket_key(seal ? NULL : name, key, &fresh))
        return 0;
    if (seal) {
        memcpy(name, key, 16);
        if (RAND_bytes(iv, 16) != 1)
            return -1;
    }
    ok = EVP_CipherInit_ex2(cipher, ticket_cipher(), key + 48, iv, seal, NULL) == 1 &&
         EVP_MAC_init(mac, key + 16, 32, params) == 1;
    OPENSSL_cleanse(key, sizeof key);
    if (!ok)
        return -1;
    return !seal && !fresh ? 2 : 1;
}

static void demands_on_clients(const struct ml_tls_server_conf *conf, unsigned char *id)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1 ||
        EVP_DigestUpdate(md, conf->client_ca.p, conf->client_ca.len) != 1 ||
        EVP_DigestUpdate(md, conf->client_crl.p, conf->client_crl.len) != 1 ||
        EVP_DigestFinal_ex(md, id, NULL) != 1)
        abort();
    EVP_MD_CTX_free(md);
}

static void set_sessions(SSL_CTX *ctx, const struct ml_tls_server_conf *conf)
{
    unsigned char id[EVP_MAX_MD_SIZE];

    /* a session that was made under other demands on clients is not taken up */
    demands_on_clients(conf, id);
    id[0] = (unsigned char)conf->client_auth;
    (void)SSL_CTX_set_session_id_context(ctx, id, SSL_MAX_SID_CTX_LENGTH);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets only: nothing is kept */
    if (conf->session_s <= 0) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
        return;
    }
    SSL_CTX_set_timeout(ctx, (long)conf->session_s);
    SSL_CTX_set_num_tickets(ctx, 1);
    (void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
}

/* ---- contexts ---- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    const struct ml_tls *tls = arg;

    (void)ssl;
    /* RFC 7301 section 3.2: no common protocol is fatal, which also stops cross-protocol attacks */
    return SSL_select_next_proto((unsigned char **)out, out_len, tls->alpn, tls->alpn_len, in,
                                 in_len) == OPENSSL_NPN_NEGOTIATED
               ? SSL_TLSEXT_ERR_OK
               : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool set_clients(SSL_CTX *ctx, const struct ml_tls_server_conf *conf, char *error)
{
    int mode = SSL_VERIFY_PEER;

    if (conf->client_auth == ML_TLS_NO_CLIENT_CERT)
        return true;
    if (conf->client_auth == ML_TLS_REQUIRED)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, mode, NULL);
    if (conf->client_crl.p != NULL &&
        !tls_add_crl(ctx, conf->client_crl, conf->client_crl_name, error))
        return false;
    return tls_add_ca(ctx, conf->client_ca, conf->client_ca_name, true, error);
}

static struct tls_cert *cert_new(struct ml_tls *tls, const struct ml_tls_server_conf *conf,
                                 char *error)
{
    SSL_CTX *ctx = tls_ctx_new(TLS_server_method(), &conf->settings, error);
    struct tls_cert *cert, **end = &tls->certs;

    if (ctx == NULL)
        return NULL;
    cert = calloc(1, sizeof *cert);
    if (cert == NULL)
        abort();
    while (*end != NULL)
        end = &(*end)->next;
    *end = cert;
    cert->ctx = ctx;
    if (tls->ctx == NULL) {
        tls->ctx = ctx;
        (void)SSL_CTX_up_ref(ctx);
        (void)SSL_CTX_set_tlsext_servername_callback(ctx, on_name);
        (void)SSL_CTX_set_tlsext_servername_arg(ctx, tls);
    }
    if (tls->alpn_len > 0)
        SSL_CTX_set_alpn_select_cb(ctx, on_alpn, tls);
    (void)SSL_CTX_set_tlsext_status_cb(ctx, on_status);
    (void)SSL_CTX_set_tlsext_status_arg(ctx, cert);
    set_sessions(ctx, conf);
    return set_clients(ctx, conf, error) ? cert : NULL;
}

static struct tls_cert *cert_of(struct ml_tls *tls, const SSL_CTX *ctx)
{
    struct tls_cert *cert = tls->certs;

    while (cert->ctx != ctx)
        cert = cert->next;
    return cert;
}

/* Do these names belong to ctx, all and nothing else? */
static bool same_names(const struct ml_tls *tls, const SSL_CTX *ctx, const struct name_list *l)
{
    int of_ctx = 0;

    for (unsigned i = 0; i < tls->name_count; i++)
        of_ctx += tls->names[i].ctx == ctx;
    for (int i = 0; i < l->count; i++)
        if (find_name(tls, l->names[i]) != ctx)
            return false;
    return of_ctx == l->count;
}

static bool has_kind(SSL_CTX *ctx, X509 *leaf)
{
    int type = EVP_PKEY_get_base_id(X509_get0_pubkey(leaf));

    for (int more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST); more == 1;
         more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT))
        if (EVP_PKEY_get_base_id(X509_get0_pubkey(SSL_CTX_get0_certificate(ctx))) == type)
            return true;
    return false;
}

static void name_ctx(struct ml_tls *tls, const struct name_list *l, SSL_CTX *ctx)
{
    unsigned count = tls->name_count;

    tls->names = realloc(tls->names, (count + (unsigned)l->count + 1) * sizeof *tls->names);
    if (tls->names == NULL)
        abort();
    for (int i = 0; i < l->count; i++) {
        if (find_name(tls, l->names[i]) != NULL) /* the one that came first keeps it */
            continue;
        tls->names[count] = (struct tls_name){strdup(l->names[i]), ctx};
        if (tls->names[count++].name == NULL)
            abort();
    }
    tls->name_count = count;
    if (count > 0)
        qsort(tls->names, count, sizeof *tls->names, by_name);
}

/* Puts a pair where it belongs: beside one for the same names with another kind of key, or into a
 * context of its own. */
static bool add_pair(struct ml_tls *tls, const struct ml_tls_server_conf *conf,
                     const struct ml_tls_pair *pair, char *error)
{
    X509 *leaf = tls_leaf(pair, error);
    struct tls_cert *cert = NULL;
    struct name_list l = {0};
    SSL_CTX *ctx = NULL;
    bool ok = false;

    if (leaf == NULL)
        return false;
    l = names_of(pair, leaf);
    if (l.count > 0)
        ctx = find_name(tls, l.names[0]);
    if (ctx != NULL && same_names(tls, ctx, &l) && !has_kind(ctx, leaf))
        cert = cert_of(tls, ctx);
    else
        cert = cert_new(tls, conf, error);
    if (cert != NULL)
        ok = tls_use_pair(tls, cert->ctx, pair, error) && add_staple(cert, pair, leaf, error);
    if (ok)
        name_ctx(tls, &l, cert->ctx);
    list_free(&l);
    X509_free(leaf);
    return ok;
}

static void server_clear(struct ml_tls *tls)
{
    struct tls_cert *cert = tls->certs, *next;

    for (; cert != NULL; cert = next) {
        next = cert->next;
        SSL_CTX_free(cert->ctx);
        for (int i = 0; i < 2; i++)
            OPENSSL_free(cert->staple[i].der);
        free(cert);
    }
    for (unsigned i = 0; i < tls->name_count; i++)
        free(tls->names[i].name);
    free(tls->names);
}

struct ml_tls *ml_tls_server_new(const struct ml_tls_server_conf *conf, char *error)
{
    struct ml_tls *tls = calloc(1, sizeof *tls);
    bool ok;

    if (tls == NULL)
        abort();
    tls->refs = 1;
    tls->server = true;
    tls->clear = server_clear;
    ok = tls_alpn_wire(tls, conf->settings.alpn, error);
    if (ok && conf->pair_count == 0)
        ok = tls_error(error, "there is no certificate");
    if (ok && conf->client_auth != ML_TLS_NO_CLIENT_CERT && conf->client_ca.len == 0)
        ok = tls_error(error, "client certificates need a list of authorities");
    for (unsigned i = 0; ok && i < conf->pair_count; i++)
        ok = add_pair(tls, conf, &conf->pairs[i], error);
    if (!ok)
        ml_tls_free(&tls);
    return tls;
}
