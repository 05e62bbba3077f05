/* fuzz_http2.c - the walk over frames: the same however the bytes are cut, and patience never grows
 * beyond its limit. */
#include "fuzz.h"
#include "protocol/http2.h"

static enum ml_err walk(struct ml_http2_scan *s, struct ml_http2_patience *p, struct ml_str in,
                        struct fuzz_random *random)
{
    memset(s, 0, sizeof *s);
    ml_http2_patience_init(p, 1);
    while (in.len > 0) {
        size_t n = random != NULL ? fuzz_piece(random, in.len) : in.len;
        char *copy = fuzz_copy(in.p, n);
        enum ml_err err = ml_http2_scan(s, (struct ml_str){copy, n}, 1, p);

        free(copy);
        MUST(p->left <= ML_HTTP2_PATIENCE);
        MUST(s->preface <= ML_HTTP2_PREFACE_LEN && s->have <= sizeof s->head);
        if (err != ML_OK) {
            for (int i = 0; i < 100; i++) /* nothing more is looked at */
                MUST(ml_http2_scan(s, in, 1, p) == err && s->have <= sizeof s->head);
            return err;
        }
        in.p += n;
        in.len -= n;
    }
    return ML_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_str in = {(const char *)bytes, len};
    struct fuzz_random random = fuzz_random_of(in);
    struct ml_http2_scan whole, cut;
    struct ml_http2_patience a, b;
    enum ml_err err = walk(&whole, &a, in, NULL);

    MUST(walk(&cut, &b, in, &random) == err);
    MUST(err == ML_OK || err == ML_LIMIT || err == ML_EOF || err == ML_BAD_REQUEST);
    MUST(a.left == b.left && whole.left == cut.left);
    MUST(ml_http2_scan_in_block(&whole) == ml_http2_scan_in_block(&cut));
    if (err == ML_LIMIT)
        MUST(a.left < 0 && whole.toll == cut.toll);
    return 0;
}
