/* fuzz_response.c - heads of responses, to requests of three methods. */
#include "head.h"

static void check_response(const struct ml_http1_response *r, struct ml_str method)
{
    bool head = ml_str_eq(method, ML_STR("HEAD"));
    bool bodiless = r->status < 200 || r->status == 204 || r->status == 304 || head;

    MUST(r->status >= 100 && r->status <= 999 && (r->minor == 0 || r->minor == 1));
    MUST(bodiless == (r->framing == ML_BODY_NONE));
    MUST(r->framing != ML_BODY_CLOSE || !r->keep_alive);
    MUST(ml_header_value_ok(r->reason));
    if (r->status < 200 || r->status == 204)
        MUST(!r->has_length && count_of(&r->headers, ML_H_CONTENT_LENGTH) == 0);
    check_fields(&r->headers, r->minor, r->framing);
}

static void check_again(const struct ml_http1_response *r, struct ml_str method,
                        struct ml_arena *arena)
{
    struct ml_http1_response again;
    struct ml_buf out = {0};
    enum ml_err err;

    ml_buf_printf(&out, "HTTP/1.%d %d ", r->minor, r->status);
    ml_buf_append(&out, r->reason);
    ml_buf_append(&out, ML_STR("\r\n"));
    write_fields(&out, &r->headers);
    err = ml_http1_parse_response(out.p + out.start, ml_buf_len(&out), method, arena, &fuzz_limits,
                                  &again);
    if (err == ML_OK) {
        MUST(r->status == again.status && r->framing == again.framing);
        MUST(r->has_length == again.has_length && (!r->has_length || r->length == again.length));
        MUST(r->keep_alive == again.keep_alive);
        check_same_fields(&r->headers, &again.headers);
    } else {
        MUST(err == ML_UP_TOO_LARGE);
    }
    ml_buf_release(&out);
}

static void respond_to(struct ml_str method, struct ml_str head)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_http1_response r;
    enum ml_err err;

    err = ml_http1_parse_response(head.p, head.len, method, arena, &fuzz_limits, &r);
    if (err == ML_OK) {
        check_response(&r, method);
        check_again(&r, method, arena);
    } else {
        MUST(err == ML_UP_PROTOCOL || err == ML_UP_TOO_LARGE);
    }
    ml_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_str head;

    if (fuzz_head((struct ml_str){(const char *)bytes, len}, &head) != ML_OK)
        return 0;
    respond_to(ML_STR("GET"), head);
    respond_to(ML_STR("HEAD"), head);
    respond_to(ML_STR("POST"), head);
    free((char *)head.p);
    return 0;
}
