/* coding.c - one interface to zlib and brotli, each of which works on pieces of any size.
 *
 * What differs between them is in three functions, code_*: take some input, give some output, say
 * whether they are done.  ml_coder_run does the rest.  Encoders of gzip are kept for use again, for
 * their memory is large and nearly all answers are short. */
#include "protocol/coding.h"

#include "base/str_cut.h"
#include "protocol/headers.h"

#include <assert.h>
#include <brotli/decode.h>
#include <brotli/encode.h>
#include <stdlib.h>
#include <zlib.h>

enum { SPARE_MAX = 4, STEP = 16384 };

enum progress { WORKING, DONE, MALFORMED };

struct ml_coder {
    enum ml_coding coding;
    bool decodes;
    bool ended; /* the last byte of the coded text was seen or written */
    unsigned level;
    z_stream z;
    BrotliEncoderState *br_out;
    BrotliDecoderState *br_in;
};

static unsigned coders;
static struct ml_coder *spare[SPARE_MAX]; /* encoders of zlib, reset */
static unsigned spare_count;

/* ---- names, and the choice ---- */

enum ml_coding ml_coding_of(struct ml_str name)
{
    if (ml_str_ieq(name, ML_STR("gzip")) || ml_str_ieq(name, ML_STR("x-gzip")))
        return ML_CODING_GZIP;
    if (ml_str_ieq(name, ML_STR("deflate")))
        return ML_CODING_DEFLATE;
    return ml_str_ieq(name, ML_STR("br")) ? ML_CODING_BROTLI : ML_CODING_NONE;
}

struct ml_str ml_coding_name(enum ml_coding coding)
{
    static const char *const names[] = {"", "gzip", "deflate", "br"};

    return ml_str_of(names[coding]);
}

/* A weight in thousandths (RFC 9110 section 12.4.2); what is none counts as 0. */
static int weight(struct ml_str s)
{
    int q = 0, scale = 1000;

    if (s.len == 0 || s.len > 5 || (s.p[0] != '0' && s.p[0] != '1') || (s.len > 1 && s.p[1] != '.'))
        return 0;
    for (size_t i = 0; i < s.len; i++) {
        if (i == 1)
            continue;
        if (s.p[i] < '0' || s.p[i] > '9')
            return 0;
        q += (s.p[i] - '0') * scale;
        scale /= 10;
    }
    return q <= 1000 ? q : 0;
}

/* "gzip;q=0.5" -> name and weight. */
static struct ml_str split(struct ml_str element, int *q)
{
    const char *semicolon = memchr(element.p, ';', element.len);
    struct ml_str name = element, rest;

    *q = 1000;
    if (semicolon == NULL)
        return name;
    name.len = (size_t)(semicolon - element.p);
    rest = ml_str_trim((struct ml_str){semicolon + 1, element.len - name.len - 1});
    *q = 0;
    if (rest.len > 2 && (rest.p[0] == 'q' || rest.p[0] == 'Q') && rest.p[1] == '=')
        *q = weight((struct ml_str){rest.p + 2, rest.len - 2});
    return ml_str_trim(name);
}

/* What the field says of a coding: its weight, or that of "*", or none (-1). */
static int wanted(struct ml_str accept, enum ml_coding coding)
{
    struct ml_str rest = accept, element;
    int any = -1, q;

    while (ml_list_next(&rest, &element)) {
        struct ml_str name = split(element, &q);

        if (coding == ML_CODING_NONE ? ml_str_ieq(name, ML_STR("identity"))
                                     : ml_coding_of(name) == coding)
            return q;
        if (ml_str_eq(name, ML_STR("*")))
            any = q;
    }
    return coding == ML_CODING_NONE ? -1 : any;
}

enum ml_coding ml_coding_choose(struct ml_str accept, const enum ml_coding *offers, unsigned count)
{
    enum ml_coding best = ML_CODING_NONE;
    int best_q = 0;

    for (unsigned i = 0; i < count; i++) {
        int q = wanted(accept, offers[i]);

        if (q > best_q) {
            best = offers[i];
            best_q = q;
        }
    }
    return wanted(accept, ML_CODING_NONE) > best_q ? ML_CODING_NONE : best;
}

/* ---- the life of a coder ---- */

static struct ml_coder *coder_new(enum ml_coding coding, unsigned level, bool decodes)
{
    struct ml_coder *c;

    assert(coding != ML_CODING_NONE);
    if (coders >= ML_CODERS_MAX)
        return NULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    coders++;
    c->coding = coding;
    c->level = level;
    c->decodes = decodes;
    return c;
}

static struct ml_coder *take_spare(enum ml_coding coding, unsigned level)
{
    for (unsigned i = 0; i < spare_count; i++) {
        struct ml_coder *c = spare[i];

        if (c->coding != coding || c->level != level)
            continue;
        spare[i] = spare[--spare_count];
        coders++;
        return c;
    }
    return NULL;
}

struct ml_coder *ml_encoder_new(enum ml_coding coding, unsigned level)
{
    struct ml_coder *c;
    int bits = coding == ML_CODING_GZIP ? 15 + 16 : 15; /* 16: gzip's frame */

    if (level == 0)
        level = coding == ML_CODING_BROTLI ? ML_CODING_LEVEL_BROTLI : ML_CODING_LEVEL_GZIP;
    c = coders < ML_CODERS_MAX ? take_spare(coding, level) : NULL;
    if (c != NULL)
        return c;
    c = coder_new(coding, level, false);
    if (c == NULL)
        return NULL;
    if (coding == ML_CODING_BROTLI) {
        c->br_out = BrotliEncoderCreateInstance(NULL, NULL, NULL);
        if (c->br_out == NULL)
            abort();
        BrotliEncoderSetParameter(c->br_out, BROTLI_PARAM_QUALITY, level);
        BrotliEncoderSetParameter(c->br_out, BROTLI_PARAM_LGWIN, 18); /* 256 KiB */
    } else if (deflateInit2(&c->z, (int)level, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        abort(); /* no memory: the parameters are right */
    }
    return c;
}

struct ml_coder *ml_decoder_new(enum ml_coding coding)
{
    struct ml_coder *c = coder_new(coding, 0, true);

    if (c == NULL)
        return NULL;
    if (coding == ML_CODING_BROTLI) {
        c->br_in = BrotliDecoderCreateInstance(NULL, NULL, NULL);
        if (c->br_in == NULL)
            abort();
    } else if (inflateInit2(&c->z, coding == ML_CODING_GZIP ? 15 + 16 : 15) != Z_OK) {
        abort();
    }
    return c;
}

static bool keep(struct ml_coder *c)
{
    if (c->decodes || c->coding == ML_CODING_BROTLI || spare_count == SPARE_MAX)
        return false;
#ifdef ML_HARD
    return false;
#endif
    c->ended = false;
    if (deflateReset(&c->z) != Z_OK)
        return false;
    spare[spare_count++] = c;
    return true;
}

void ml_coder_free(struct ml_coder **coder)
{
    struct ml_coder *c = *coder;

    if (c == NULL)
        return;
    *coder = NULL;
    coders--;
    if (keep(c))
        return;
    if (c->br_out != NULL)
        BrotliEncoderDestroyInstance(c->br_out);
    else if (c->br_in != NULL)
        BrotliDecoderDestroyInstance(c->br_in);
    else if (c->decodes)
        inflateEnd(&c->z);
    else
        deflateEnd(&c->z);
    free(c);
}

/* ---- one step ---- */

struct span { /* what a step may read or write; it moves p on */
    unsigned char *p;
    size_t len;
};

static enum progress code_zlib(struct ml_coder *c, struct span *in, enum ml_coder_end end,
                               struct span *out)
{
    static const int flush[] = {Z_NO_FLUSH, Z_SYNC_FLUSH, Z_FINISH};
    int r;

    c->z.next_in = in->p;
    c->z.avail_in = (uInt)in->len;
    c->z.next_out = out->p;
    c->z.avail_out = (uInt)out->len;
    r = c->decodes ? inflate(&c->z, Z_NO_FLUSH) : deflate(&c->z, flush[end]);
    *in = (struct span){c->z.next_in, c->z.avail_in};
    *out = (struct span){c->z.next_out, c->z.avail_out};
    if (r == Z_STREAM_END) {
        c->ended = true;
        return DONE;
    }
    if (r != Z_OK && r != Z_BUF_ERROR) /* the latter: nothing could be done, which is no error */
        return MALFORMED;
    return !c->decodes && end == ML_CODER_FINISH ? WORKING : out->len > 0 ? DONE : WORKING;
}

static enum progress code_br_out(struct ml_coder *c, struct span *in, enum ml_coder_end end,
                                 struct span *out)
{
    static const BrotliEncoderOperation ops[] = {BROTLI_OPERATION_PROCESS, BROTLI_OPERATION_FLUSH,
                                                 BROTLI_OPERATION_FINISH};
    const uint8_t *from = in->p;
    uint8_t *to = out->p;

    if (!BrotliEncoderCompressStream(c->br_out, ops[end], &in->len, &from, &out->len, &to, NULL))
        return MALFORMED;
    in->p = (unsigned char *)(uintptr_t)from;
    out->p = to;
    c->ended = BrotliEncoderIsFinished(c->br_out);
    if (end == ML_CODER_FINISH)
        return c->ended ? DONE : WORKING;
    return in->len > 0 || BrotliEncoderHasMoreOutput(c->br_out) ? WORKING : DONE;
}

static enum progress code_br_in(struct ml_coder *c, struct span *in, struct span *out)
{
    const uint8_t *from = in->p;
    uint8_t *to = out->p;
    BrotliDecoderResult r =
        BrotliDecoderDecompressStream(c->br_in, &in->len, &from, &out->len, &to, NULL);

    in->p = (unsigned char *)(uintptr_t)from;
    out->p = to;
    if (r == BROTLI_DECODER_RESULT_ERROR)
        return MALFORMED;
    c->ended = r == BROTLI_DECODER_RESULT_SUCCESS;
    return r == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT ? WORKING : DONE;
}

/* Behind the end of a coded text: gzip may go on with another member (RFC 1952 section 2.2). */
static enum progress go_on(struct ml_coder *c, const struct span *in)
{
    if (in->len == 0)
        return DONE;
    assert(c->decodes);
    if (c->coding != ML_CODING_GZIP || inflateReset(&c->z) != Z_OK)
        return MALFORMED;
    c->ended = false;
    return WORKING;
}

static enum progress step(struct ml_coder *c, struct span *in, enum ml_coder_end end,
                          struct span *out)
{
    if (c->ended && go_on(c, in) != WORKING)
        return go_on(c, in);
    if (c->coding != ML_CODING_BROTLI)
        return code_zlib(c, in, end, out);
    return c->decodes ? code_br_in(c, in, out) : code_br_out(c, in, end, out);
}

enum ml_err ml_coder_run(struct ml_coder *c, struct ml_buf *in, enum ml_coder_end end,
                         struct ml_buf *out, size_t max)
{
    enum progress p;

    do {
        size_t room = max < STEP ? max : STEP;
        struct span from = {(unsigned char *)in->p + in->start, ml_buf_len(in)};
        struct span to;
        size_t in_len = from.len;

        if (room == 0)
            return ML_AGAIN;
        to = (struct span){(unsigned char *)ml_buf_reserve(out, room), room};
        p = step(c, &from, end, &to);
        ml_buf_consume(in, in_len - from.len);
        ml_buf_commit(out, room - to.len);
        max -= room - to.len;
        if (p == MALFORMED)
            return ML_UP_PROTOCOL;
    } while (p == WORKING || (ml_buf_len(in) > 0));
    if (end == ML_CODER_FINISH && !c->ended)
        return ML_UP_PROTOCOL; /* the coded text was cut short */
    return ML_OK;
}
