/* client_tls.c - contexts by the digest of their settings.
 *
 * The digest is over every byte of the settings, each text with its length before it, so two sets
 * are the same only when all of them are; it names the context, and its first bytes tell pools
 * whose connections may be used. */
#include "outbound/client_tls.h"

#include <assert.h>
#include <openssl/evp.h>
#include <stdlib.h>

enum { DIGEST = 32 };

struct entry { /* what a struct ml_client_tls is the first member of */
    struct ml_client_tls c;
    struct ml_outbound *o; /* in whose list it is */
    struct entry *next;
    unsigned refs;
    unsigned char digest[DIGEST];
};

/* ---- the digest ---- */

static void add(EVP_MD_CTX *md, const void *bytes, size_t len)
{
    uint64_t n = len;

    if (EVP_DigestUpdate(md, &n, sizeof n) != 1 || EVP_DigestUpdate(md, bytes, len) != 1)
        abort();
}

static void add_list(EVP_MD_CTX *md, const char *const *list)
{
    unsigned count = 0;

    while (list != NULL && list[count] != NULL)
        count++;
    add(md, &count, sizeof count);
    for (unsigned i = 0; i < count; i++)
        add(md, list[i], strlen(list[i]));
}

static void digest_of(const struct ml_tls_client_conf *conf, struct ml_str name,
                      unsigned char out[DIGEST])
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();

    if (md == NULL || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1)
        abort();
    add(md, &conf->settings.min, sizeof conf->settings.min);
    add(md, &conf->settings.max, sizeof conf->settings.max);
    add_list(md, conf->settings.ciphers);
    add_list(md, conf->settings.curves);
    add_list(md, conf->settings.alpn);
    add(md, conf->ca.p, conf->ca.len);
    add(md, &conf->insecure, sizeof conf->insecure);
    add(md, name.p, name.len);
    if (conf->pair != NULL) {
        add(md, conf->pair->cert.p, conf->pair->cert.len);
        add(md, conf->pair->key.p, conf->pair->key.len);
    }
    if (EVP_DigestFinal_ex(md, out, NULL) != 1)
        abort();
    EVP_MD_CTX_free(md);
}

/* ---- the list ---- */

static struct entry **list_of(struct ml_outbound *o)
{
    return (struct entry **)&o->client_tls;
}

static struct entry *find(struct ml_outbound *o, const unsigned char digest[DIGEST])
{
    struct entry *e = *list_of(o);

    while (e != NULL && memcmp(e->digest, digest, DIGEST) != 0)
        e = e->next;
    return e;
}

static struct entry *entry_new(struct ml_outbound *o, const unsigned char digest[DIGEST],
                               struct ml_str name)
{
    struct entry *e = calloc(1, sizeof *e);

    if (e == NULL)
        abort();
    e->o = o;
    memcpy(e->digest, digest, DIGEST);
    memcpy(&e->c.key, digest, sizeof e->c.key);
    e->c.key |= 1;
    if (name.len > 0)
        memcpy(e->c.name, name.p, name.len);
    e->next = *list_of(o);
    *list_of(o) = e;
    return e;
}

struct ml_client_tls *ml_client_tls_hold(struct ml_outbound *o,
                                         const struct ml_tls_client_conf *conf, struct ml_str name,
                                         char *error)
{
    static const struct ml_tls_client_conf defaults;
    unsigned char digest[DIGEST];
    struct ml_tls *tls;
    struct entry *e;

    conf = conf != NULL ? conf : &defaults;
    assert(name.len < sizeof e->c.name);
    digest_of(conf, name, digest);
    e = find(o, digest);
    if (e == NULL) {
        tls = ml_tls_client_new(conf, error);
        if (tls == NULL)
            return NULL;
        e = entry_new(o, digest, name);
        e->c.tls = tls;
    }
    e->refs++;
    return &e->c;
}

struct ml_client_tls *ml_client_tls_ref(struct ml_client_tls *c)
{
    ((struct entry *)c)->refs++;
    return c;
}

void ml_client_tls_release(struct ml_client_tls **c)
{
    struct entry *e = (struct entry *)*c, **link;

    *c = NULL;
    if (e == NULL || --e->refs > 0)
        return;
    for (link = list_of(e->o); *link != e; link = &(*link)->next)
        ;
    *link = e->next;
    ml_tls_free(&e->c.tls);
    free(e);
}

void ml_client_tls_start(const struct ml_client_tls *c, struct ml_stream *stream,
                         struct ml_str host)
{
    char name[256] = "";

    if (c->name[0] == '\0' && host.len < sizeof name)
        memcpy(name, host.p, host.len);
    ml_stream_start_tls(stream, c->tls, c->name[0] != '\0' ? c->name : name);
}
