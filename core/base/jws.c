/* jws.c - splits, decodes, reads the header.
 *
 *   bytes:  header | its strings without escapes | payload | signature */
#include "base/jws.h"

#include "base/base64url.h"
#include "base/json_scan.h"

#include <assert.h>

static const char *const names[ML_JWA_COUNT] = {"HS256", "HS384", "HS512", "RS256", "RS384",
                                                "RS512", "PS256", "PS384", "PS512", "ES256",
                                                "ES384", "ES512", "EdDSA"};

enum ml_jwa ml_jwa_of(struct ml_str name)
{
    enum ml_jwa alg = 0;

    while (alg < ML_JWA_COUNT && !ml_str_eq(ml_str_of(names[alg]), name))
        alg++;
    return alg;
}

const char *ml_jwa_name(enum ml_jwa alg)
{
    return alg < ML_JWA_COUNT ? names[alg] : "none";
}

unsigned ml_jwa_bits(enum ml_jwa alg)
{
    return alg < ML_JWA_EDDSA ? 256 + alg % 3 * 128 : 0;
}

/* ---- the header ---- */

struct header {
    struct ml_jws *jws;
    char *room; /* where the next string goes */
    bool has_alg, bad, critical;
};

/* The string of the item, copied behind what is there. */
static struct ml_str text_of(struct header *h, const struct ml_json_item *item)
{
    struct ml_buf out = {0};
    struct ml_str s = item->text;

    if (item->kind != ML_JSON_STRING) {
        h->bad = true;
        return ML_STR_NONE;
    }
    if (memchr(s.p, '\\', s.len) == NULL)
        return s;
    ml_json_unescape(&out, s);
    s = ml_buf_str(&out);
    memcpy(h->room, s.p, s.len);
    s.p = h->room;
    h->room += s.len;
    ml_buf_release(&out);
    return s;
}

static void on_member(void *ctx, const struct ml_json_item *item)
{
    struct header *h = ctx;

    if (ml_str_eq(item->name, ML_STR("alg"))) {
        h->has_alg = true;
        h->jws->alg = ml_jwa_of(text_of(h, item));
    } else if (ml_str_eq(item->name, ML_STR("kid"))) {
        h->jws->has_kid = true;
        h->jws->kid = text_of(h, item);
        h->bad |= h->jws->kid.len > ML_JWS_KID_MAX;
    } else if (ml_str_eq(item->name, ML_STR("typ"))) {
        h->jws->typ = text_of(h, item);
    } else if (ml_str_eq(item->name, ML_STR("crit")) || ml_str_eq(item->name, ML_STR("b64"))) {
        h->critical = true; /* RFC 7515 section 4.1.11: we understand no extension */
    }
}

static enum ml_jwt_code read_header(struct ml_jws *jws, struct ml_str text)
{
    struct header h = {.jws = jws, .room = jws->bytes + text.len};

    jws->alg = ML_JWA_COUNT;
    jws->has_kid = false;
    jws->kid = jws->typ = ML_STR_NONE;
    if (!ml_json_scan(text, ML_JSON_OBJECT, on_member, &h) || h.bad || !h.has_alg)
        return ML_JWT_MALFORMED;
    if (h.critical)
        return ML_JWT_CRITICAL;
    return jws->alg == ML_JWA_COUNT ? ML_JWT_ALG : ML_JWT_OK;
}

/* ---- the parts ---- */

static bool split(struct ml_str token, struct ml_str part[3])
{
    const char *p = token.p, *end = token.p + token.len;

    for (int i = 0; i < 3; i++) {
        const char *dot = p < end ? memchr(p, '.', (size_t)(end - p)) : NULL;

        if ((dot == NULL) != (i == 2))
            return false;
        part[i] = (struct ml_str){p, (size_t)((dot != NULL ? dot : end) - p)};
        p = dot != NULL ? dot + 1 : end;
    }
    return part[0].len > 0 && part[1].len > 0;
}

static bool decode(struct ml_str text, char *at, struct ml_str *out)
{
    out->p = at;
    return ml_base64url_decode(text, at, &out->len);
}

enum ml_jwt_code ml_jws_read(struct ml_str token, struct ml_jws *jws)
{
    struct ml_str part[3], header;
    enum ml_jwt_code code;
    char *at;

    if (token.len > ML_JWS_TOKEN_MAX)
        return ML_JWT_TOO_LARGE;
    if (!split(token, part) || part[0].len > ML_JWS_HEADER_MAX ||
        !decode(part[0], jws->bytes, &header))
        return ML_JWT_MALFORMED;
    code = read_header(jws, header);
    if (code != ML_JWT_OK)
        return code;
    at = jws->bytes + header.len + header.len; /* its strings are no longer than it */
    assert(at + (part[1].len + part[2].len) / 4 * 3 + 6 <= jws->bytes + sizeof jws->bytes);
    if (!decode(part[1], at, &jws->payload) ||
        !decode(part[2], at + jws->payload.len, &jws->signature))
        return ML_JWT_MALFORMED;
    jws->signing_input = (struct ml_str){token.p, part[0].len + 1 + part[1].len};
    return jws->signature.len > 0 ? ML_JWT_OK : ML_JWT_SIGNATURE;
}
