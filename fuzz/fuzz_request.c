/* fuzz_request.c - heads of requests: the same however they are split, and what is accepted means
 * the same again when it is written out. */
#include "head.h"
#include "protocol/chars.h"
#include "protocol/url.h"

static void check_request(const struct ml_http1_request *r)
{
    unsigned hosts = count_of(&r->headers, ML_H_HOST);

    MUST(ml_header_name_ok(r->method) && !ml_str_eq(r->method, ML_STR("CONNECT")));
    MUST(r->target.len > 0 && r->target.len <= fuzz_limits.line_max);
    MUST(r->minor == 0 || r->minor == 1);
    MUST(hosts == 1 || (hosts == 0 && r->minor == 0));
    MUST(hosts == 0 || ml_url_authority_ok(ml_headers_get(&r->headers, ML_H_HOST)->value));
    MUST(r->framing != ML_BODY_CLOSE);
    MUST(!r->expect_continue || r->framing != ML_BODY_NONE);
    MUST(r->upgrade.len == 0 || (r->minor == 1 && r->framing != ML_BODY_CHUNKED));
    for (uint32_t i = 0; i < r->headers.count; i++)
        MUST(memchr(r->headers.v[i].name.p, '_', r->headers.v[i].name.len) == NULL);
    check_fields(&r->headers, r->minor, r->framing);
}

/* Writes the request out, which a limit may then refuse: ": " can be longer than ":". */
static void check_again(const struct ml_http1_request *r, struct ml_arena *arena)
{
    struct ml_http1_request again;
    struct ml_http1_scan scan = {0};
    struct ml_buf out = {0};
    size_t len = 0;
    enum ml_err err;

    ml_buf_append(&out, r->method);
    ml_buf_append(&out, ML_STR(" "));
    ml_buf_append(&out, r->target);
    ml_buf_printf(&out, " HTTP/1.%d\r\n", r->minor);
    write_fields(&out, &r->headers);
    err = ml_http1_scan(&scan, &fuzz_limits, out.p + out.start, ml_buf_len(&out), &len);
    if (err == ML_OK) {
        MUST(len == ml_buf_len(&out));
        MUST(ml_http1_parse_request(out.p + out.start, len, arena, &fuzz_limits, &again) == ML_OK);
        MUST(ml_str_eq(r->method, again.method) && ml_str_eq(r->target, again.target));
        MUST(r->framing == again.framing && r->length == again.length);
        MUST(r->keep_alive == again.keep_alive && r->expect_continue == again.expect_continue);
        MUST(ml_str_eq(r->upgrade, again.upgrade));
        check_same_fields(&r->headers, &again.headers);
    } else {
        MUST(err == ML_HEADERS_TOO_LARGE);
    }
    ml_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_http1_request r;
    struct ml_arena *arena;
    struct ml_str head;

    if (fuzz_head((struct ml_str){(const char *)bytes, len}, &head) != ML_OK)
        return 0;
    arena = ml_arena_new();
    if (ml_http1_parse_request(head.p, head.len, arena, &fuzz_limits, &r) == ML_OK) {
        check_request(&r);
        check_again(&r, arena);
    }
    ml_arena_free(&arena);
    free((char *)head.p);
    return 0;
}
