/* websocket.c - frames of RFC 6455, what may be in them, and where they end.
 *
 *    0               1               2               3
 *   |F|R|R|R| opcode|M| length (7)  | length (16 or 64) | mask (32) | payload
 *
 * The handshake is in websocket_handshake.c. */
#include "protocol/websocket.h"

#include <assert.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { FIN = 0x80, RSV = 0x70, RSV1 = 0x40, MASK = 0x80, LENGTH_16 = 126, LENGTH_64 = 127 };

/* ---- heads ---- */

static size_t head_len(unsigned char second)
{
    size_t len = 2 + ((second & MASK) != 0 ? 4 : 0);

    if ((second & 0x7f) == LENGTH_16)
        return len + 2;
    return (second & 0x7f) == LENGTH_64 ? len + 8 : len;
}

static uint64_t big_endian(const unsigned char *p, size_t count)
{
    uint64_t n = 0;

    for (size_t i = 0; i < count; i++)
        n = n << 8 | p[i];
    return n;
}

/* The first two bytes: what they say, and whether they may (section 5.2). */
static bool first_two(const unsigned char *p, bool may_pack, struct ml_websocket_frame *out)
{
    unsigned opcode = p[0] & 0x0f;
    bool control = opcode >= ML_WEBSOCKET_CLOSE;

    out->opcode = (enum ml_websocket_opcode)opcode;
    out->fin = (p[0] & FIN) != 0;
    out->packed = (p[0] & RSV1) != 0;
    out->masked = (p[1] & MASK) != 0;
    out->length = p[1] & 0x7f;
    if ((p[0] & (RSV & ~RSV1)) != 0 || (opcode > ML_WEBSOCKET_BINARY && !control) ||
        opcode > ML_WEBSOCKET_PONG)
        return false;
    /* RFC 7692 section 6: only the first frame of a message says it */
    if (out->packed && (!may_pack || control || opcode == ML_WEBSOCKET_MORE))
        return false;
    return !control || (out->fin && out->length <= ML_WEBSOCKET_CONTROL_MAX);
}

enum ml_err ml_websocket_head(struct ml_str bytes, bool may_pack, struct ml_websocket_frame *out,
                              size_t *used)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    size_t len, at = 2;

    if (bytes.len < 2)
        return ML_AGAIN;
    if (!first_two(p, may_pack, out))
        return ML_BAD_FRAMING;
    len = head_len(p[1]);
    if (bytes.len < len)
        return ML_AGAIN;
    if (out->length == LENGTH_16) {
        out->length = big_endian(p + 2, 2);
        at = 4;
        if (out->length < LENGTH_16) /* the shortest form is a must */
            return ML_BAD_FRAMING;
    } else if (out->length == LENGTH_64) {
        out->length = big_endian(p + 2, 8);
        at = 10;
        if (out->length <= 0xffff || out->length >> 63 != 0)
            return ML_BAD_FRAMING;
    }
    if (out->masked)
        memcpy(out->mask, p + at, 4);
    *used = len;
    return ML_OK;
}

void ml_websocket_mask(char *p, size_t len, const unsigned char mask[4], uint64_t at)
{
    unsigned char turned[16];
    size_t i = 0;

    for (size_t k = 0; k < sizeof turned; k++)
        turned[k] = mask[(at + k) & 3];
#ifdef __SSE2__
    __m128i key = _mm_loadu_si128((const __m128i *)(const void *)turned);

    for (; len - i >= 16; i += 16) {
        __m128i *to = (__m128i *)(void *)(p + i);

        _mm_storeu_si128(to, _mm_xor_si128(_mm_loadu_si128(to), key));
    }
#endif
    for (; i < len; i++)
        p[i] = (char)((unsigned char)p[i] ^ turned[i & 15]);
}

static size_t put_head(unsigned char *p, unsigned first, size_t len, const unsigned char *mask)
{
    size_t at = 2;

    p[0] = (unsigned char)first;
    if (len < LENGTH_16) {
        p[1] = (unsigned char)len;
    } else if (len <= 0xffff) {
        p[1] = LENGTH_16;
        p[2] = (unsigned char)(len >> 8);
        p[3] = (unsigned char)len;
        at = 4;
    } else {
        p[1] = LENGTH_64;
        for (int i = 0; i < 8; i++)
            p[2 + i] = (unsigned char)((uint64_t)len >> (56 - 8 * i));
        at = 10;
    }
    if (mask == NULL)
        return at;
    p[1] |= MASK;
    memcpy(p + at, mask, 4);
    return at + 4;
}

void ml_websocket_put(struct ml_buf *out, enum ml_websocket_opcode opcode, bool fin, bool packed,
                      const unsigned char *mask, struct ml_str payload)
{
    char *p = ml_buf_reserve(out, ML_WEBSOCKET_HEAD_MAX + payload.len);
    unsigned first = (unsigned)opcode | (fin ? FIN : 0) | (packed ? RSV1 : 0);
    size_t at = put_head((unsigned char *)p, first, payload.len, mask);

    if (payload.len > 0)
        memcpy(p + at, payload.p, payload.len);
    if (mask != NULL)
        ml_websocket_mask(p + at, payload.len, mask, 0);
    ml_buf_commit(out, at + payload.len);
}

/* ---- closing ---- */

bool ml_websocket_code_ok(int code)
{
    if (code >= 3000 && code <= 4999)
        return true;
    return code >= 1000 && code <= 1014 && code != 1004 && code != ML_WEBSOCKET_NO_CODE &&
           code != ML_WEBSOCKET_LOST;
}

void ml_websocket_put_close(struct ml_buf *out, int code, struct ml_str reason,
                            const unsigned char *mask)
{
    char payload[ML_WEBSOCKET_CONTROL_MAX];

    if (code == ML_WEBSOCKET_NO_CODE) {
        ml_websocket_put(out, ML_WEBSOCKET_CLOSE, true, false, mask, ML_STR(""));
        return;
    }
    if (reason.len > sizeof payload - 2)
        reason.len = sizeof payload - 2;
    while (reason.len > 0) { /* a character that was cut goes whole */
        struct ml_utf8 u = {0};

        if (ml_utf8_feed(&u, reason) && ml_utf8_whole(&u))
            break;
        reason.len--;
    }
    payload[0] = (char)(code >> 8);
    payload[1] = (char)code;
    if (reason.len > 0)
        memcpy(payload + 2, reason.p, reason.len);
    ml_websocket_put(out, ML_WEBSOCKET_CLOSE, true, false, mask,
                     (struct ml_str){payload, reason.len + 2});
}

bool ml_websocket_read_close(struct ml_str payload, int *code, struct ml_str *reason)
{
    const unsigned char *p = (const unsigned char *)payload.p;
    struct ml_utf8 u = {0};

    *code = ML_WEBSOCKET_NO_CODE;
    *reason = ML_STR("");
    if (payload.len == 0)
        return true;
    *code = ML_WEBSOCKET_PROTOCOL;
    if (payload.len == 1 || !ml_websocket_code_ok(p[0] << 8 | p[1]))
        return false;
    *reason = (struct ml_str){payload.p + 2, payload.len - 2};
    if (!ml_utf8_feed(&u, *reason) || !ml_utf8_whole(&u)) {
        *code = ML_WEBSOCKET_BAD_DATA;
        *reason = ML_STR("");
        return false;
    }
    *code = p[0] << 8 | p[1];
    return true;
}

/* ---- UTF-8 ---- */

/* The first byte of a character: how many follow, and what the second may be (RFC 3629 section 4:
 * no overlong form, no surrogate, nothing above U+10FFFF). */
static bool utf8_first(struct ml_utf8 *u, unsigned char c)
{
    u->low = 0x80;
    u->high = 0xbf;
    if (c < 0xc2 || c > 0xf4)
        return false;
    if (c < 0xe0) {
        u->left = 1;
    } else if (c < 0xf0) {
        u->left = 2;
        if (c == 0xe0)
            u->low = 0xa0;
        if (c == 0xed)
            u->high = 0x9f;
    } else {
        u->left = 3;
        if (c == 0xf0)
            u->low = 0x90;
        if (c == 0xf4)
            u->high = 0x8f;
    }
    return true;
}

/* The first byte from p on that is no ASCII, or end. */
static const unsigned char *skip_ascii(const unsigned char *p, const unsigned char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        int mask = _mm_movemask_epi8(_mm_loadu_si128((const __m128i *)(const void *)p));

        if (mask != 0)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    while (p < end && *p < 0x80)
        p++;
    return p;
}

bool ml_utf8_feed(struct ml_utf8 *u, struct ml_str bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.p, *end = p + bytes.len;

    while (p < end) {
        if (u->left > 0) {
            if (*p < u->low || *p > u->high)
                return false;
            u->low = 0x80;
            u->high = 0xbf;
            u->left--;
            p++;
            continue;
        }
        p = skip_ascii(p, end);
        if (p < end && !utf8_first(u, *p++))
            return false;
    }
    return true;
}

/* ---- the ends of frames ---- */

/* A whole head is at p. */
static void track_payload(struct ml_websocket_track *t, const unsigned char *p)
{
    t->left = p[1] & 0x7f;
    if (t->left == LENGTH_16)
        t->left = big_endian(p + 2, 2);
    else if (t->left == LENGTH_64)
        t->left = big_endian(p + 2, 8);
    t->lost = t->left >> 63 != 0;
    t->closing = (p[0] & 0x0f) == ML_WEBSOCKET_CLOSE;
    t->have = 0;
}

/* Takes bytes of a head; says how many. */
static size_t track_head(struct ml_websocket_track *t, struct ml_str bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    size_t taken = 0;

    if (t->have == 0 && bytes.len >= 2 && bytes.len >= head_len(p[1])) { /* as it mostly is */
        track_payload(t, p);
        return head_len(p[1]);
    }
    do {
        if (taken == bytes.len)
            return taken;
        t->head[t->have++] = p[taken++];
    } while (t->have < 2 || t->have < head_len(t->head[1]));
    track_payload(t, t->head);
    return taken;
}

size_t ml_websocket_track(struct ml_websocket_track *t, struct ml_str bytes, bool stop)
{
    size_t at = 0;

    if (stop && ml_websocket_at_end(t))
        return 0;
    while (at < bytes.len && !t->lost) {
        size_t step = bytes.len - at;

        if (t->left == 0)
            at += track_head(t, (struct ml_str){bytes.p + at, step});
        else {
            step = t->left < step ? (size_t)t->left : step;
            t->left -= step;
            at += step;
        }
        if (t->left > 0 || t->have > 0)
            continue;
        t->closed |= t->closing;
        if (stop && !t->lost)
            return at;
    }
    return t->lost ? bytes.len : at;
}
