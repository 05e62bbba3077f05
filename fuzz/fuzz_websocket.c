/* fuzz_websocket.c - frames: what the parser says must not depend on how the bytes are cut, what it
 * accepts is written back as the same bytes, the tracker of ends agrees with the parser, and
 * nothing that is unpacked passes its limit. */
#include "fuzz.h"
#include "protocol/websocket.h"
#include "protocol/websocket_pack.h"

enum { MAX = 20000 };

/* The end of the last whole frame, by the parser alone; *sure: no frame is malformed. */
static size_t parse(struct ml_str in, bool *sure, bool *closed)
{
    size_t at = 0;

    *sure = true;
    *closed = false;
    while (at < in.len) {
        struct ml_websocket_frame f;
        struct ml_buf again = {0};
        struct ml_str rest = {in.p + at, in.len - at};
        size_t used = 0;
        enum ml_err err = ml_websocket_head(rest, true, &f, &used);

        MUST(err == ML_OK || err == ML_AGAIN || err == ML_BAD_FRAMING);
        *sure &= err != ML_BAD_FRAMING;
        if (err != ML_OK || f.length > rest.len - used)
            return at;
        MUST(used >= 2 && used <= ML_WEBSOCKET_HEAD_MAX);
        struct ml_str payload = {rest.p + used, (size_t)f.length};
        char *plain = fuzz_copy(payload.p, payload.len);

        if (f.masked)
            ml_websocket_mask(plain, payload.len, f.mask, 0);
        ml_websocket_put(&again, f.opcode, f.fin, f.packed, f.masked ? f.mask : NULL,
                         (struct ml_str){plain, payload.len});
        MUST(ml_str_eq(ml_buf_str(&again), (struct ml_str){rest.p, used + payload.len}));
        *closed |= f.opcode == ML_WEBSOCKET_CLOSE;
        free(plain);
        ml_buf_release(&again);
        at += used + payload.len;
    }
    return at;
}

static void track(struct ml_str in, struct fuzz_random *random)
{
    struct ml_websocket_track t = {0};
    size_t at = 0, last = 0, want;
    bool sure, closed;

    want = parse(in, &sure, &closed);
    while (at < in.len) {
        size_t n = fuzz_piece(random, in.len - at), used;
        char *copy = fuzz_copy(in.p + at, n);
        bool stop = !ml_websocket_at_end(&t);

        used = ml_websocket_track(&t, (struct ml_str){copy, n}, stop);
        MUST(used <= n && used > 0);
        free(copy);
        at += used;
        if (stop && ml_websocket_at_end(&t))
            last = at;
        if (!stop && ml_websocket_at_end(&t) && at <= want)
            last = at;
    }
    if (sure && want == in.len)
        MUST(last == want && ml_websocket_at_end(&t) && t.closed == closed);
    if (sure && want < in.len)
        MUST(!ml_websocket_at_end(&t));
}

static void utf8(struct ml_str in, struct fuzz_random *random)
{
    struct ml_utf8 whole = {0}, parts = {0};
    bool ok = ml_utf8_feed(&whole, in), again = true;

    for (size_t at = 0; at < in.len && again;) {
        size_t n = fuzz_piece(random, in.len - at);

        again = ml_utf8_feed(&parts, (struct ml_str){in.p + at, n});
        at += n;
    }
    MUST(ok == again && (!ok || ml_utf8_whole(&whole) == ml_utf8_whole(&parts)));
}

static void unpack(struct ml_str in, struct fuzz_random *random)
{
    struct ml_websocket_pack agreed = {.server_bits = 9 + (int)fuzz_below(random, 7),
                                       .client_forgets = fuzz_below(random, 2) == 0,
                                       .server_forgets = fuzz_below(random, 2) == 0};
    struct ml_websocket_zip *z = ml_websocket_zip_new(&agreed, 1);
    struct ml_buf out = {0}, packed = {0}, back = {0};
    enum ml_err err = ML_OK;

    for (size_t at = 0; at < in.len && err == ML_OK;) {
        size_t n = fuzz_piece(random, in.len - at);

        err = ml_websocket_unpack(z, (struct ml_str){in.p + at, n}, at + n == in.len, &out, MAX);
        at += n;
    }
    MUST(ml_buf_len(&out) <= MAX + 1);
    ml_websocket_zip_free(&z);
    agreed.client_forgets = agreed.server_forgets;
    z = ml_websocket_zip_new(&agreed, 1);
    ml_websocket_pack(z, in, &packed);
    MUST(ml_websocket_unpack(z, ml_buf_str(&packed), true, &back, in.len) == ML_OK);
    MUST(ml_str_eq(ml_buf_str(&back), in));
    ml_websocket_zip_free(&z);
    ml_buf_release(&out);
    ml_buf_release(&packed);
    ml_buf_release(&back);
}

static void offers(struct ml_str in)
{
    struct ml_websocket_pack p = {.server_bits = 15, .client_bits = 15};
    struct ml_arena *arena = ml_arena_new();
    struct ml_headers h = {0};
    struct ml_buf text = {0};

    ml_headers_add(&h, arena, ML_STR("Sec-WebSocket-Extensions"), in);
    if (ml_websocket_agree(&h, &p)) {
        MUST(p.server_bits >= 9 && p.server_bits <= 15 && p.client_bits >= 8 &&
             p.client_bits <= 15);
        ml_websocket_put_agreed(&text, &p);
        MUST(ml_header_value_ok(ml_buf_str(&text)));
    }
    ml_buf_release(&text);
    ml_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char *copy = fuzz_copy(bytes, len);
    struct ml_str in = {copy, len}, reason;
    struct fuzz_random random = fuzz_random_of(in);
    int code;

    track(in, &random);
    utf8(in, &random);
    unpack(in, &random);
    offers(in);
    if (len <= ML_WEBSOCKET_CONTROL_MAX && ml_websocket_read_close(in, &code, &reason))
        MUST(code == ML_WEBSOCKET_NO_CODE || ml_websocket_code_ok(code));
    free(copy);
    return 0;
}
