/* tls_link.c - an SSL object between a socket and buffers.
 *
 *   read:  socket --recv--> OpenSSL's record buffer --> the caller's buffer
 *   write: the caller's buffers --> OpenSSL --> wire --send--> socket
 *
 * The BIO reads the socket itself (read_ahead: a record's head and body in one call) and takes
 * every write into `wire`, which leaves at the end of the operation: a flight of the handshake, or
 * four records, in one system call.  wire is bounded: nothing is read or written while WIRE_MAX
 * bytes wait.
 *
 * A client that speaks plain HTTP to a server's port is answered 400 in its own language.
 *
 * OpenSSL's queue of errors belongs to the thread: it is emptied before an operation, in case other
 * code has left something, and after one that failed. */
#include "transport/tls_link.h"

#include "transport/tls_parts.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    FLAGS = MSG_DONTWAIT | MSG_NOSIGNAL,
    RECORD = 16384,
    BATCH = 4 * RECORD, /* plain bytes of one write */
    RECVS = 8,          /* of one operation: a flood without content must not keep us in OpenSSL */
    WIRE_MAX = 64 << 10 /* what a peer that does not read can make us keep, and one operation */
};

struct ml_tls_link {
    SSL *ssl;           /* owned */
    struct ml_tls *tls; /* a reference */
    struct ml_buf wire; /* for the kernel */
    char *failure;      /* owned */
    const char *failed; /* the kind of it */
    int fd;             /* borrowed */
    int recvs_left;
    char first;   /* the first byte of the peer */
    bool drained; /* in this operation the kernel had less than was asked for */
    bool broken;  /* OpenSSL must not be asked again */
    bool pending; /* OpenSSL holds bytes, or an end, that a read will give */
    bool bye;     /* the end of our bytes was said */
};

/* ---- the BIO ---- */

static int bio_read(BIO *bio, char *to, size_t len, size_t *got)
{
    struct ml_tls_link *l = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
#ifdef ML_HARD
    len = len > 3 ? 3 : len;
#endif
    if (l->drained || l->recvs_left-- <= 0) { /* else the socket stays readable */
        BIO_set_retry_read(bio);
        return 0;
    }
    do
        n = recv(l->fd, to, len, FLAGS);
    while (n < 0 && errno == EINTR);
    l->drained = n != (ssize_t)len;
    if (n > 0) {
        if (l->first == '\0')
            l->first = to[0];
        *got = (size_t)n;
        return 1;
    }
    if (n < 0 && errno == EAGAIN)
        BIO_set_retry_read(bio);
    return 0;
}

static int bio_write(BIO *bio, const char *from, size_t len, size_t *took)
{
    struct ml_tls_link *l = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    ml_buf_append(&l->wire, (struct ml_str){from, len});
    *took = len;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *p)
{
    (void)bio, (void)number, (void)p;
    return command == BIO_CTRL_FLUSH;
}

static const BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method;

    if (method == NULL) {
        method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "moonlatch");
        if (method == NULL || BIO_meth_set_read_ex(method, bio_read) != 1 ||
            BIO_meth_set_write_ex(method, bio_write) != 1 ||
            BIO_meth_set_ctrl(method, bio_ctrl) != 1)
            abort();
    }
    return method;
}

/* ---- life ---- */

/* RFC 6066 section 3: addresses are no SNI names. */
static void set_peer_name(SSL *ssl, const struct ml_tls *tls, const char *name)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
    bool address = X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;

    if (!address && SSL_set_tlsext_host_name(ssl, name) != 1)
        abort();
    if (!address && !tls->insecure) {
        X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
            abort();
    }
    ERR_clear_error();
}

struct ml_tls_link *ml_tls_link_new(struct ml_tls *tls, int fd, const char *name)
{
    struct ml_tls_link *l = calloc(1, sizeof *l);
    BIO *bio = BIO_new(bio_method());

    if (l == NULL || bio == NULL || (l->ssl = SSL_new(tls->ctx)) == NULL)
        abort();
    l->tls = ml_tls_ref(tls);
    l->fd = fd;
    BIO_set_data(bio, l);
    BIO_set_init(bio, 1);
    SSL_set_bio(l->ssl, bio, bio);
    if (tls->server) {
        SSL_set_accept_state(l->ssl);
    } else {
        assert(name != NULL);
        SSL_set_connect_state(l->ssl);
        set_peer_name(l->ssl, tls, name);
    }
    return l;
}

void ml_tls_link_free(struct ml_tls_link **link)
{
    struct ml_tls_link *l = *link;

    if (l == NULL)
        return;
    *link = NULL;
    SSL_free(l->ssl);
    ml_tls_free(&l->tls);
    ml_buf_release(&l->wire);
    free(l->failure);
    free(l);
}

/* ---- outcomes ---- */

static void begin(struct ml_tls_link *l)
{
    l->recvs_left = RECVS;
    l->drained = false;
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* No record of TLS or hello of SSL begins with a capital letter, as every method does. */
static bool is_plain_http(const struct ml_tls_link *l)
{
    return l->tls->server && l->first >= 'A' && l->first <= 'Z';
}

static const char *kind_of(const struct ml_tls_link *l, unsigned long code)
{
    int reason = ERR_GET_REASON(code);

    if (is_plain_http(l))
        return "http";
    if (code == 0)
        return "closed";
    if (reason >= SSL_AD_REASON_OFFSET) /* what the peer said */
        return "alert";
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
        return "version";
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_GROUPS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
        return "cipher";
    case SSL_R_NO_APPLICATION_PROTOCOL:
        return "alpn";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return "certificate";
    default:
        return "protocol";
    }
}

/* Why the handshake failed, in one line and in one word. */
static void explain(struct ml_tls_link *l)
{
    long verify = SSL_get_verify_result(l->ssl);
    unsigned long code = ERR_peek_error();
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;

    if (l->failure != NULL)
        return;
    l->failed = kind_of(l, code);
    if (verify != X509_V_OK)
        why = X509_verify_cert_error_string(verify);
    l->failure = strdup(why != NULL ? why : "the connection ended during the handshake");
}

/* In place of the alert, which the client would take for rubbish. */
static void answer_plainly(struct ml_tls_link *l)
{
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
                                 "Content-Type: application/json\r\n"
                                 "Content-Length: 78\r\n"
                                 "Connection: close\r\n\r\n"
                                 "{\"error\":\"bad_request\",\"message\":"
                                 "\"this port speaks TLS: the URL is https://\"}\n";
    char unread[4096];
    size_t before;

    ml_buf_release(&l->wire);
    ml_buf_append(&l->wire, (struct ml_str){answer, sizeof answer - 1});
    do /* now or never, as in ml_tls_link_bye */
        before = ml_buf_len(&l->wire);
    while (ml_tls_link_flush(l) == ML_AGAIN && ml_buf_len(&l->wire) < before);
    (void)shutdown(l->fd, SHUT_WR);
    (void)!recv(l->fd, unread, sizeof unread, FLAGS); /* unread input would become a reset */
}

/* The outcome of an operation that gave ret. */
static enum ml_err outcome(struct ml_tls_link *l, int ret)
{
    int why = SSL_get_error(l->ssl, ret);

    if (why == SSL_ERROR_WANT_READ)
        return ML_AGAIN;
    if (why == SSL_ERROR_ZERO_RETURN)
        return ML_EOF;
    if (!SSL_is_init_finished(l->ssl))
        explain(l);
    l->broken = true; /* the alert that tells the peer is in wire */
    ERR_clear_error();
    if (is_plain_http(l) && l->failed != NULL)
        answer_plainly(l);
    return ML_RESET;
}

/* ---- the wire ---- */

static size_t send_len(size_t len)
{
#ifdef ML_HARD
    return (len + 1) / 2;
#else
    return len;
#endif
}

enum ml_err ml_tls_link_flush(struct ml_tls_link *l)
{
    size_t len = ml_buf_len(&l->wire);
    ssize_t n;

    if (len == 0)
        return ML_OK;
    do
        n = send(l->fd, l->wire.p + l->wire.start, send_len(len), FLAGS);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno != EAGAIN) {
        l->broken = true;
        ml_buf_release(&l->wire);
        return ML_RESET;
    }
    if (n > 0)
        ml_buf_consume(&l->wire, (size_t)n);
    if (ml_buf_len(&l->wire) > 0)
        return ML_AGAIN;
    ml_buf_release(&l->wire);
    return ML_OK;
}

/* The same when the connection ends: now or never. */
static void flush_last(struct ml_tls_link *l)
{
    size_t before;

    do
        before = ml_buf_len(&l->wire);
    while (ml_tls_link_flush(l) == ML_AGAIN && ml_buf_len(&l->wire) < before);
}

bool ml_tls_link_waits(const struct ml_tls_link *l)
{
    return ml_buf_len(&l->wire) > 0;
}

bool ml_tls_link_full(const struct ml_tls_link *l)
{
    return ml_buf_len(&l->wire) >= WIRE_MAX;
}

bool ml_tls_link_pending(const struct ml_tls_link *l)
{
    return l->pending;
}

bool ml_tls_link_open(const struct ml_tls_link *l)
{
    return SSL_is_init_finished(l->ssl);
}

/* ---- operations ---- */

enum ml_err ml_tls_link_handshake(struct ml_tls_link *l)
{
    enum ml_err err, sent;
    int ret;

    if (l->broken)
        return ML_RESET;
    begin(l);
    ret = SSL_do_handshake(l->ssl);
    err = ret == 1 ? ML_OK : outcome(l, ret);
    l->pending = SSL_has_pending(l->ssl) && err == ML_OK;
    sent = ml_tls_link_flush(l);
    return sent == ML_RESET || err == ML_EOF ? ML_RESET : err;
}

enum ml_err ml_tls_link_read(struct ml_tls_link *l, char *to, size_t len, size_t *got)
{
    enum ml_err err = ML_OK;
    size_t n;

    *got = 0;
    l->pending = false;
    if (l->broken)
        return ML_RESET;
    if (ml_tls_link_full(l) && ml_tls_link_flush(l) == ML_RESET)
        return ML_RESET;
    if (ml_tls_link_full(l))
        return ML_AGAIN; /* it makes us answer and takes no answers */
    begin(l);
    do {
        int ret = SSL_read_ex(l->ssl, to + *got, len - *got, &n);

        if (ret != 1) {
            err = outcome(l, ret);
            break;
        }
        *got += n;
    } while (*got < len && SSL_has_pending(l->ssl));
    if (l->broken)
        flush_last(l);
    else if (*got == 0 || err != ML_OK)
        (void)ml_tls_link_flush(
            l); /* of the handshake, or an alert; a ticket leaves with the answer */
    if (*got == 0)
        return err;
    l->pending = err == ML_OK ? SSL_has_pending(l->ssl) : err != ML_AGAIN;
    return ML_OK;
}

/* Two runs of bytes as one record: a head and the begin of its body. */
static struct ml_str joined(struct ml_str a, struct ml_str b)
{
    static char record[RECORD];
    size_t of_b = b.len < RECORD - a.len ? b.len : RECORD - a.len;

    memcpy(record, a.p, a.len);
    memcpy(record + a.len, b.p, of_b);
    return (struct ml_str){record, a.len + of_b};
}

static struct ml_str next_bytes(struct ml_str a, struct ml_str b, size_t took, size_t room)
{
    struct ml_str next;

    if (took < a.len && a.len - took < RECORD && b.len > 0)
        return joined((struct ml_str){a.p + took, a.len - took}, b);
    if (took < a.len)
        next = (struct ml_str){a.p + took, a.len - took};
    else
        next = (struct ml_str){b.p + (took - a.len), b.len - (took - a.len)};
    if (next.len > room)
        next.len = room;
#ifdef ML_HARD
    next.len = (next.len + 1) / 2;
#endif
    return next;
}

/* Encrypts up to BATCH bytes. */
static enum ml_err seal(struct ml_tls_link *l, struct ml_str a, struct ml_str b, size_t *took)
{
    size_t end = a.len + b.len - *took < BATCH ? a.len + b.len : *took + BATCH;

    while (*took < end) {
        struct ml_str next = next_bytes(a, b, *took, end - *took);
        size_t n = 0;
        int ret = SSL_write_ex(l->ssl, next.p, next.len, &n);

        if (ret != 1)
            return outcome(l, ret);
        *took += n;
    }
    return ML_OK;
}

enum ml_err ml_tls_link_write(struct ml_tls_link *l, struct ml_str a, struct ml_str b, size_t *took)
{
    enum ml_err err, sent;

    *took = 0;
    if (l->broken || l->bye)
        return ML_RESET;
    begin(l);
    err = ml_tls_link_flush(l);
    while (err == ML_OK && *took < a.len + b.len) {
        err = seal(l, a, b, took);
        sent = ml_tls_link_flush(l);
        if (err == ML_OK || sent == ML_RESET)
            err = sent;
    }
    return err == ML_EOF ? ML_RESET : err;
}

void ml_tls_link_bye(struct ml_tls_link *l)
{
    if (l->bye || l->broken || !SSL_is_init_finished(l->ssl))
        return;
    l->bye = true;
    begin(l);
    (void)SSL_shutdown(l->ssl);
    begin(l);
    flush_last(l);
}

const char *ml_tls_link_failure(const struct ml_tls_link *l)
{
    return l->failure;
}

const char *ml_tls_link_failed(const struct ml_tls_link *l)
{
    return l->failed;
}

SSL *ml_tls_link_ssl(const struct ml_tls_link *l)
{
    return l->ssl;
}
