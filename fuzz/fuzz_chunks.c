/* fuzz_chunks.c - chunked bodies: decoded whole, in pieces, and by a second decoder that sees all
 * of the bytes at once and is as simple as RFC 9112 section 7.1. */
#include "fuzz.h"
#include "protocol/chars.h"
#include "protocol/http1.h"

struct outcome {
    enum ml_err err;
    size_t used;
    struct ml_buf data, trailers;
};

static void outcome_release(struct outcome *o)
{
    ml_buf_release(&o->data);
    ml_buf_release(&o->trailers);
}

/* random NULL: all at once. */
static struct outcome decode(struct ml_str in, struct fuzz_random *random)
{
    struct ml_http1_chunks c = {0};
    struct outcome o = {.err = ML_AGAIN};

    while (o.err == ML_AGAIN && o.used < in.len) {
        size_t left = in.len - o.used, n = random != NULL ? fuzz_piece(random, left) : left, used;
        char *copy = fuzz_copy(in.p + o.used, n);
        struct ml_str run;

        o.err = ml_http1_dechunk(&c, (struct ml_str){copy, n}, &used, &run, &o.trailers);
        MUST(used <= n && (used > 0 || o.err != ML_AGAIN));
        MUST(run.len == 0 || (run.p >= copy && run.p + run.len <= copy + used));
        MUST(run.len == 0 || o.err == ML_AGAIN);
        ml_buf_append(&o.data, run);
        o.used += used;
        free(copy);
    }
    return o;
}

/* The line at *p without its CRLF; false when no CRLF ends it or a control character is in it. */
static bool take_line(const char **p, const char *end, struct ml_str *line)
{
    const char *stop = ml_chars_find_control(*p, end);

    if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n')
        return false;
    *line = (struct ml_str){*p, (size_t)(stop - *p)};
    *p = stop + 2;
    return true;
}

static bool take_size(struct ml_str line, uint64_t *size)
{
    size_t i = 0;

    for (*size = 0; i < line.len && ml_char_hex(line.p[i]) >= 0; i++)
        *size = *size * 16 + (uint64_t)ml_char_hex(line.p[i]);
    if (i == 0 || i > 16)
        return false;
    if (i == line.len)
        return true;
    while (i < line.len && (line.p[i] == ' ' || line.p[i] == '\t'))
        i++;
    return i < line.len && line.p[i] == ';';
}

/* Decodes a body that is there completely; false when it is not or is malformed. */
static bool decode_simply(struct ml_str in, struct ml_buf *data, size_t *used)
{
    const char *p = in.p, *end = in.p + in.len;
    struct ml_str line;
    uint64_t size;

    for (;;) {
        if (!take_line(&p, end, &line) || !take_size(line, &size))
            return false;
        if (size == 0)
            break;
        if ((uint64_t)(end - p) < size)
            return false;
        ml_buf_append(data, (struct ml_str){p, (size_t)size});
        p += size;
        if (!take_line(&p, end, &line) || line.len > 0)
            return false;
    }
    for (;;) {
        const char *colon;

        if (!take_line(&p, end, &line))
            return false;
        if (line.len == 0)
            break;
        colon = ml_chars_skip_token(line.p, line.p + line.len);
        if (colon == line.p || colon == line.p + line.len || *colon != ':')
            return false;
    }
    *used = (size_t)(p - in.p);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_str in = {(const char *)bytes, len};
    struct fuzz_random random = fuzz_random_of(in);
    struct outcome whole = decode(in, NULL), pieces = decode(in, &random);
    struct ml_buf simple = {0};
    size_t used = 0;
    bool good = decode_simply(in, &simple, &used);

    MUST(whole.err == pieces.err);
    if (whole.err == ML_OK || whole.err == ML_AGAIN) {
        MUST(whole.used == pieces.used);
        MUST(ml_str_eq(ml_buf_str(&whole.data), ml_buf_str(&pieces.data)));
        MUST(ml_str_eq(ml_buf_str(&whole.trailers), ml_buf_str(&pieces.trailers)));
    }
    if (whole.err == ML_OK)
        MUST(good && used == whole.used && ml_str_eq(ml_buf_str(&simple), ml_buf_str(&whole.data)));
    else
        MUST(!good || whole.err == ML_HEADERS_TOO_LARGE);
    ml_buf_release(&simple);
    outcome_release(&whole);
    outcome_release(&pieces);
    return 0;
}
