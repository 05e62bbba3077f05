/* http2.c - the preface, the patience with a peer, and frame heads as far as they cost something.
 */
#include "protocol/http2.h"

#include <string.h>

enum frame_type {
    DATA,
    HEADERS,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    PUSH,
    PING,
    GOAWAY,
    WINDOW,
    CONTINUATION
};
enum frame_flag { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum ml_err ml_http2_preface(struct ml_str bytes)
{
    size_t len = bytes.len < ML_HTTP2_PREFACE_LEN ? bytes.len : ML_HTTP2_PREFACE_LEN;

    if (len > 0 && memcmp(bytes.p, preface, len) != 0)
        return ML_VERSION;
    return len == ML_HTTP2_PREFACE_LEN ? ML_OK : ML_AGAIN;
}

/* ---- patience ---- */

static const int prices[ML_HTTP2_TOLLS] = {
#define X(name, price, word) price,
    ML_HTTP2_TOLL_TABLE(X)
#undef X
};

const char *ml_http2_toll_word(enum ml_http2_toll toll)
{
    static const char *const words[ML_HTTP2_TOLLS] = {
#define X(name, price, word) word,
        ML_HTTP2_TOLL_TABLE(X)
#undef X
    };

    return words[toll];
}

void ml_http2_patience_init(struct ml_http2_patience *p, double now_s)
{
    *p = (struct ml_http2_patience){ML_HTTP2_PATIENCE, now_s};
}

void ml_http2_patience_earn(struct ml_http2_patience *p, double points)
{
    p->left += points;
    if (p->left > ML_HTTP2_PATIENCE)
        p->left = ML_HTTP2_PATIENCE;
}

bool ml_http2_patience_pay(struct ml_http2_patience *p, enum ml_http2_toll toll, double now_s)
{
    if (now_s > p->at_s) {
        ml_http2_patience_earn(p, (now_s - p->at_s) * ML_HTTP2_PER_SECOND);
        p->at_s = now_s;
    }
    p->left -= prices[toll];
    return p->left >= 0;
}

/* ---- frames ---- */

static uint32_t frame_len(const unsigned char *head)
{
    return (uint32_t)head[0] << 16 | (uint32_t)head[1] << 8 | head[2];
}

/* The head of a DATA frame includes the length of its padding: only with that is it known whether
 * the frame carries anything. */
static uint8_t head_len(const struct ml_http2_scan *s)
{
    bool padded = s->have >= ML_HTTP2_FRAME_HEAD && s->head[3] == DATA && (s->head[4] & PADDED) &&
                  frame_len(s->head) > 0;

    return ML_HTTP2_FRAME_HEAD + padded;
}

static bool is_empty_data(const unsigned char *head)
{
    uint32_t len = frame_len(head);

    if (head[4] & END_STREAM)
        return false;
    return len == 0 || ((head[4] & PADDED) && head[9] + 1u >= len);
}

/* What a frame costs; false: nothing. */
static bool toll_of(const unsigned char *head, enum ml_http2_toll *toll)
{
    switch (head[3]) {
    case DATA:
        *toll = ML_HTTP2_EMPTY_DATA;
        return is_empty_data(head);
    case HEADERS: /* a request costs what it is; what is wrong with it is paid with its reset */
        return false;
    case PRIORITY:
        *toll = ML_HTTP2_PRIORITY;
        return true;
    case RST_STREAM:
        *toll = ML_HTTP2_CANCEL;
        return true;
    case SETTINGS:
        *toll = ML_HTTP2_SETTINGS;
        return true;
    case PING:
        *toll = ML_HTTP2_PING;
        return true;
    case WINDOW:
        *toll = ML_HTTP2_WINDOW_UPDATE;
        return true;
    case CONTINUATION:
        *toll = ML_HTTP2_CONTINUATION;
        return true;
    default:
        *toll = ML_HTTP2_UNKNOWN;
        return true;
    }
}

static void begin_frame(struct ml_http2_scan *s)
{
    s->left = frame_len(s->head) - (s->have - ML_HTTP2_FRAME_HEAD);
    s->frame_is_block = s->head[3] == HEADERS || s->head[3] == CONTINUATION;
    if (s->frame_is_block)
        s->in_block = (s->head[4] & END_HEADERS) == 0;
    s->have = 0;
}

/* ---- streams ---- */

static uint32_t stream_id(const unsigned char *head)
{
    return (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 |
           head[8];
}

static uint64_t *word_of(uint64_t *words, uint32_t id, uint64_t *bit)
{
    uint32_t slot = id / 2 % ML_HTTP2_REMEMBERED;

    *bit = (uint64_t)1 << slot % 64;
    return &words[slot / 64];
}

static bool has(uint64_t *words, uint32_t id)
{
    uint64_t bit, *word = word_of(words, id, &bit);

    return (*word & bit) != 0;
}

static void set(uint64_t *words, uint32_t id, bool on)
{
    uint64_t bit, *word = word_of(words, id, &bit);

    *word = on ? *word | bit : *word & ~bit;
}

/* Those between the last one and this one can not be begun any more; the oldest are forgotten. */
static void begin_stream(struct ml_http2_streams *t, uint32_t id)
{
    uint32_t skipped = t->last == 0 ? id / 2 : (id - t->last) / 2;
    uint32_t back = skipped < ML_HTTP2_REMEMBERED ? skipped : ML_HTTP2_REMEMBERED;

    for (uint32_t i = 0; i < back; i++) {
        set(t->begun, id - 2 * i, false);
        set(t->ended, id - 2 * i, false);
    }
    set(t->begun, id, true);
    set(t->ended, id, false);
    t->last = id;
}

/* nghttp2 passes over these frames when it has forgotten the stream; it judges all others. */
static enum ml_err follow_stream(struct ml_http2_streams *t, const unsigned char *head)
{
    uint32_t id = stream_id(head);
    bool carries = head[3] == HEADERS || head[3] == DATA;
    bool known = id <= t->last && (t->last - id) / 2 < ML_HTTP2_REMEMBERED;

    if (id % 2 == 0 || (!carries && head[3] != RST_STREAM))
        return ML_OK;
    if (head[3] == HEADERS && id > t->last)
        begin_stream(t, id);
    else if (!known)
        return ML_OK;
    else if (carries && has(t->ended, id))
        return ML_EOF;
    else if (head[3] == HEADERS && !has(t->begun, id))
        return ML_BAD_REQUEST;
    if (head[3] == RST_STREAM || (head[4] & END_STREAM))
        set(t->ended, id, true);
    return ML_OK;
}

/* ---- the walk ---- */

static enum ml_err judge(struct ml_http2_scan *s, struct ml_http2_patience *p, double now_s)
{
    if (toll_of(s->head, &s->toll) && !ml_http2_patience_pay(p, s->toll, now_s))
        return ML_LIMIT;
    return s->of_server ? ML_OK : follow_stream(&s->streams, s->head);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

enum ml_err ml_http2_scan(struct ml_http2_scan *s, struct ml_str bytes, double now_s,
                          struct ml_http2_patience *p)
{
    size_t at = smaller(bytes.len, (size_t)(ML_HTTP2_PREFACE_LEN - s->preface));

    if (s->failed != ML_OK)
        return s->failed;
    s->preface += (uint8_t)at;
    while (at < bytes.len) {
        size_t step;

        if (s->left > 0) {
            step = smaller(bytes.len - at, s->left);
            s->left -= (uint32_t)step;
            at += step;
            continue;
        }
        s->head[s->have++] = (unsigned char)bytes.p[at++];
        if (s->have < head_len(s))
            continue;
        s->failed = judge(s, p, now_s);
        if (s->failed != ML_OK)
            return s->failed;
        begin_frame(s);
    }
    return ML_OK;
}

bool ml_http2_scan_in_block(const struct ml_http2_scan *s)
{
    return s->in_block || (s->frame_is_block && s->left > 0);
}
