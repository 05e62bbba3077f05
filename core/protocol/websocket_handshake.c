/* websocket_handshake.c - the opening handshake of RFC 6455 section 4, and what RFC 7692 adds. */
#include "protocol/websocket.h"

#include "base/clock.h"
#include "base/str_cut.h"
#include "protocol/chars.h"

#include <assert.h>
#include <openssl/evp.h>

/* ---- the key ---- */

void ml_websocket_accept(struct ml_str key, char out[ML_WEBSOCKET_ACCEPT_LEN])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char text[ML_WEBSOCKET_KEY_LEN + sizeof guid - 1], hash[20];
    unsigned char encoded[ML_WEBSOCKET_ACCEPT_LEN + 1];
    unsigned hash_len = sizeof hash;
    bool done;

    assert(key.len == ML_WEBSOCKET_KEY_LEN);
    memcpy(text, key.p, key.len);
    memcpy(text + key.len, guid, sizeof guid - 1);
    done = EVP_Digest(text, sizeof text, hash, &hash_len, EVP_sha1(), NULL) == 1;
    assert(done);
    (void)done;
    EVP_EncodeBlock(encoded, hash, sizeof hash);
    memcpy(out, encoded, ML_WEBSOCKET_ACCEPT_LEN);
}

void ml_websocket_key(char out[ML_WEBSOCKET_KEY_LEN])
{
    unsigned char nonce[16], encoded[ML_WEBSOCKET_KEY_LEN + 1];

    ml_random_bytes(nonce, sizeof nonce);
    EVP_EncodeBlock(encoded, nonce, sizeof nonce);
    memcpy(out, encoded, ML_WEBSOCKET_KEY_LEN);
}

bool ml_websocket_key_ok(struct ml_str key)
{
    if (key.len != ML_WEBSOCKET_KEY_LEN || key.p[22] != '=' || key.p[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++) {
        char c = key.p[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              c == '+' || c == '/'))
            return false;
    }
    return true;
}

/* The only field of that name, or NULL. */
static const struct ml_field *only(const struct ml_headers *h, struct ml_str name)
{
    const struct ml_field *f = ml_headers_find(h, name);

    return f != NULL && ml_headers_next(h, f) == NULL ? f : NULL;
}

enum ml_websocket_ask ml_websocket_check(const struct ml_headers *h, bool with_key,
                                         struct ml_str *key)
{
    const struct ml_field *version = only(h, ML_STR("sec-websocket-version"));
    const struct ml_field *f = only(h, ML_STR("sec-websocket-key"));

    if (version == NULL || !ml_str_eq(version->value, ML_STR("13")))
        return ML_WEBSOCKET_BAD_VERSION;
    if (with_key && (f == NULL || !ml_websocket_key_ok(f->value)))
        return ML_WEBSOCKET_BAD_KEY;
    *key = with_key ? f->value : ML_STR_NONE;
    return ML_WEBSOCKET_ASKED;
}

/* ---- permessage-deflate (RFC 7692 section 7.1) ---- */

/* The part of *rest in front of the first `at`, which is dropped. */
static struct ml_str cut(struct ml_str *rest, char at)
{
    const char *end = rest->len > 0 ? memchr(rest->p, at, rest->len) : NULL;
    struct ml_str piece = {rest->p, end != NULL ? (size_t)(end - rest->p) : rest->len};
    size_t step = piece.len + (end != NULL);

    if (step > 0)
        *rest = (struct ml_str){rest->p + step, rest->len - step};
    return ml_str_trim(piece);
}

/* "8" to "15", perhaps quoted; 0: something else. */
static int bits_of(struct ml_str s)
{
    if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
        s = (struct ml_str){s.p + 1, s.len - 2};
    if (s.len == 1 && (s.p[0] == '8' || s.p[0] == '9'))
        return s.p[0] - '0';
    return s.len == 2 && s.p[0] == '1' && s.p[1] >= '0' && s.p[1] <= '5' ? 10 + s.p[1] - '0' : 0;
}

enum {
    SEEN_SERVER_FORGETS = 1,
    SEEN_CLIENT_FORGETS = 2,
    SEEN_SERVER_BITS = 4,
    SEEN_CLIENT_BITS = 8
};

/* zlib makes no raw stream with a window of 256 bytes, so an offer that wants one is declined. */
static bool take_bits(struct ml_websocket_pack *p, unsigned which, struct ml_str value, bool given)
{
    int bits = bits_of(value);

    if (given && bits == 0)
        return false;
    if (which == SEEN_CLIENT_BITS) {
        p->tell_client_bits = true;
        if (given && bits < p->client_bits)
            p->client_bits = bits;
        return true;
    }
    if (!given || bits < 9)
        return false;
    if (bits < p->server_bits)
        p->server_bits = bits;
    return true;
}

/* One parameter of an offer; false: it can not be accepted. */
static bool take_parameter(struct ml_websocket_pack *p, struct ml_str text, unsigned *seen)
{
    bool given = text.len > 0 && memchr(text.p, '=', text.len) != NULL;
    struct ml_str value = text, name = cut(&value, '=');
    unsigned which = 0;

    value = ml_str_trim(value);
    if (ml_str_ieq(name, ML_STR("server_no_context_takeover")))
        which = SEEN_SERVER_FORGETS;
    else if (ml_str_ieq(name, ML_STR("client_no_context_takeover")))
        which = SEEN_CLIENT_FORGETS;
    else if (ml_str_ieq(name, ML_STR("server_max_window_bits")))
        which = SEEN_SERVER_BITS;
    else if (ml_str_ieq(name, ML_STR("client_max_window_bits")))
        which = SEEN_CLIENT_BITS;
    if (which == 0 || (*seen & which) != 0)
        return false;
    *seen |= which;
    if (which >= SEEN_SERVER_BITS)
        return take_bits(p, which, value, given);
    p->server_forgets |= which == SEEN_SERVER_FORGETS;
    p->client_forgets |= which == SEEN_CLIENT_FORGETS;
    return !given;
}

static bool take_offer(struct ml_str offer, const struct ml_websocket_pack *bounds,
                       struct ml_websocket_pack *out)
{
    struct ml_websocket_pack p = *bounds;
    unsigned seen = 0;

    if (!ml_str_ieq(cut(&offer, ';'), ML_STR("permessage-deflate")))
        return false;
    while (offer.len > 0)
        if (!take_parameter(&p, cut(&offer, ';'), &seen))
            return false;
    if (!p.tell_client_bits) /* RFC 7692 section 7.1.2.2: it may not be told then */
        p.client_bits = 15;
    *out = p;
    return true;
}

bool ml_websocket_agree(const struct ml_headers *h, struct ml_websocket_pack *out)
{
    const struct ml_websocket_pack bounds = *out;
    const struct ml_field *f = ml_headers_find(h, ML_STR("sec-websocket-extensions"));

    for (; f != NULL; f = ml_headers_next(h, f)) {
        struct ml_str rest = f->value, offer;

        while (ml_list_next(&rest, &offer))
            if (take_offer(offer, &bounds, out))
                return true;
    }
    return false;
}

void ml_websocket_put_agreed(struct ml_buf *out, const struct ml_websocket_pack *p)
{
    ml_buf_append(out, ML_STR("permessage-deflate"));
    if (p->server_forgets)
        ml_buf_append(out, ML_STR("; server_no_context_takeover"));
    if (p->client_forgets)
        ml_buf_append(out, ML_STR("; client_no_context_takeover"));
    if (p->server_bits < 15)
        ml_buf_printf(out, "; server_max_window_bits=%d", p->server_bits);
    if (p->tell_client_bits && p->client_bits < 15)
        ml_buf_printf(out, "; client_max_window_bits=%d", p->client_bits);
}
