/* head.h - what both kinds of heads must fulfil: the same end however they arrive, and fields that
 * say one thing only. */
#ifndef ML_FUZZ_HEAD_H
#define ML_FUZZ_HEAD_H

#include "fuzz.h"
#include "protocol/http1.h"

static const struct ml_http1_limits fuzz_limits = {
    .line_max = 256, .head_max = 2048, .fields_max = 16};

static enum ml_err scan_in_pieces(struct ml_str in, size_t *head_len)
{
    struct fuzz_random random = fuzz_random_of(in);
    struct ml_http1_scan scan = {0};
    enum ml_err err = ML_AGAIN;

    for (size_t n = 0; err == ML_AGAIN && n < in.len;) {
        char *copy;

        n += fuzz_piece(&random, in.len - n);
        copy = fuzz_copy(in.p, n);
        err = ml_http1_scan(&scan, &fuzz_limits, copy, n, head_len);
        free(copy);
    }
    return err;
}

/* Scans in two ways.  ML_OK: *head is a copy of exactly the head, which the caller frees. */
static enum ml_err fuzz_head(struct ml_str in, struct ml_str *head)
{
    struct ml_http1_scan scan = {0};
    size_t whole_len = 0, len = 0;
    enum ml_err err = ml_http1_scan(&scan, &fuzz_limits, in.p, in.len, &whole_len);

    MUST(scan_in_pieces(in, &len) == err || in.len == 0);
    if (err != ML_OK)
        return err;
    MUST(len == whole_len && len <= in.len && len <= fuzz_limits.head_max && len >= 4);
    MUST(memcmp(in.p + len - 4, "\r\n\r\n", 4) == 0);
    *head = (struct ml_str){fuzz_copy(in.p, len), len};
    return ML_OK;
}

static unsigned count_of(const struct ml_headers *h, enum ml_header_id id)
{
    const struct ml_field *f = ml_headers_get(h, id);
    unsigned n = 0;

    for (; f != NULL; f = ml_headers_next(h, f))
        n++;
    return n;
}

static void check_fields(const struct ml_headers *h, int minor, enum ml_framing framing)
{
    unsigned lengths = count_of(h, ML_H_CONTENT_LENGTH);
    unsigned codings = count_of(h, ML_H_TRANSFER_ENCODING);

    MUST(h->count <= fuzz_limits.fields_max);
    MUST(lengths <= 1 && codings <= 1 && lengths + codings <= 1);
    MUST(codings == 0 || minor == 1);
    MUST(framing != ML_BODY_CHUNKED || codings == 1);
    MUST(framing != ML_BODY_LENGTH || lengths == 1);
    for (uint32_t i = 0; i < h->count; i++) {
        struct ml_str value = h->v[i].value;

        MUST(ml_header_name_ok(h->v[i].name) && ml_header_value_ok(value));
        MUST(h->v[i].id == ml_header_id(h->v[i].name));
        MUST(value.len == 0 || strchr(" \t", value.p[0]) == NULL);
        MUST(value.len == 0 || strchr(" \t", value.p[value.len - 1]) == NULL);
    }
}

/* Writes what was understood, as a peer behind us would get it. */
static void write_fields(struct ml_buf *b, const struct ml_headers *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        ml_buf_append(b, h->v[i].name);
        ml_buf_append(b, ML_STR(": "));
        ml_buf_append(b, h->v[i].value);
        ml_buf_append(b, ML_STR("\r\n"));
    }
    ml_buf_append(b, ML_STR("\r\n"));
}

static void check_same_fields(const struct ml_headers *a, const struct ml_headers *b)
{
    MUST(a->count == b->count);
    for (uint32_t i = 0; i < a->count; i++)
        MUST(ml_str_eq(a->v[i].name, b->v[i].name) && ml_str_eq(a->v[i].value, b->v[i].value));
}

#endif
