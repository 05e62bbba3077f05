/* fuzz_url.c - targets and authorities: the normal form is one, whatever the policy. */
#include "fuzz.h"
#include "protocol/chars.h"
#include "protocol/url.h"

static void check_segment(struct ml_str s, bool last, const struct ml_url_policy *policy)
{
    MUST(!ml_str_eq(s, ML_STR(".")) && !ml_str_eq(s, ML_STR("..")));
    MUST(s.len > 0 || last || policy->keep_slashes);
    for (size_t i = 0; i < s.len; i++) {
        int byte;

        if (s.p[i] != '%') {
            MUST(ml_char_is(s.p[i], ML_CHAR_PATH));
            continue;
        }
        MUST(s.len - i >= 3 && ml_char_hex(s.p[i + 1]) >= 0 && ml_char_hex(s.p[i + 2]) >= 0);
        byte = ml_char_hex(s.p[i + 1]) << 4 | ml_char_hex(s.p[i + 2]);
        MUST(!ml_char_is((char)byte, ML_CHAR_UNRESERVED));
        MUST((s.p[i + 1] & 0x20) == (s.p[i + 1] <= '9' ? 0x20 : 0));
        MUST((s.p[i + 2] & 0x20) == (s.p[i + 2] <= '9' ? 0x20 : 0));
        MUST(byte >= 0x20 && byte != 0x7f && byte != '\\');
        MUST(byte != '/' || policy->allow_encoded_slash);
    }
}

static void check_path(struct ml_str path, const struct ml_url_policy *policy)
{
    const char *p = path.p, *end = path.p + path.len;

    MUST(path.len > 0 && *p == '/');
    while (p < end) {
        const char *from = ++p;

        p = from < end ? memchr(from, '/', (size_t)(end - from)) : NULL;
        if (p == NULL)
            p = end;
        check_segment((struct ml_str){from, (size_t)(p - from)}, p == end, policy);
    }
}

static size_t slashes_in(struct ml_str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += s.p[i] == '/';
    return n;
}

static void check_target(struct ml_str in, const struct ml_url_policy *policy,
                         struct ml_arena *arena)
{
    struct ml_target t;
    struct ml_str again, whole;

    if (ml_url_target(ML_STR("GET"), in, policy, arena, &t) != ML_OK)
        return;
    check_path(t.path, policy);
    MUST(t.path.len <= in.len || ml_str_eq(t.path, ML_STR("/")));
    MUST(slashes_in(t.path) <= slashes_in(in) + 1); /* none was made of an escape */
    MUST((t.form == ML_TARGET_ABSOLUTE) == (in.p[0] != '/'));
    MUST(t.form == ML_TARGET_ORIGIN || ml_url_authority_ok(t.authority));
    MUST(ml_url_path(t.path, policy, arena, &again) == ML_OK && ml_str_eq(again, t.path));
    whole = ml_arena_printf(arena, "%.*s%s%.*s", (int)t.path.len, t.path.p, t.has_query ? "?" : "",
                            (int)t.query.len, t.query.len > 0 ? t.query.p : "");
    MUST(ml_url_target(ML_STR("GET"), whole, policy, arena, &t) == ML_OK);
    MUST(ml_str_eq(t.path, again) && t.form == ML_TARGET_ORIGIN);
}

static void check_authority(struct ml_str in, struct ml_arena *arena)
{
    struct ml_authority a, again;
    bool ok = ml_url_authority_ok(in);

    MUST(ok == (ml_url_authority(in, arena, &a) == ML_OK));
    if (!ok)
        return;
    MUST(a.host.len > 0 && a.host.len <= in.len && a.port >= 0 && a.port <= 65535);
    MUST(ml_url_authority(a.host, arena, &again) == ML_OK);
    MUST(ml_str_eq(a.host, again.host) && again.port == 0);
}

static void check_escapes(struct ml_str in, struct ml_arena *arena)
{
    struct ml_str encoded = ml_url_encode(in, arena);

    MUST(ml_str_eq(ml_url_decode(encoded, false, arena), in));
    MUST(ml_str_eq(ml_url_decode(encoded, true, arena), in));
    MUST(ml_url_decode(in, true, arena).len <= in.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_str in = {fuzz_copy(bytes, len), len};
    struct ml_arena *arena = ml_arena_new();

    for (int i = 0; i < 4; i++) {
        struct ml_url_policy policy = {.allow_encoded_slash = i & 1, .keep_slashes = i & 2};

        check_target(in, &policy, arena);
    }
    check_authority(in, arena);
    check_escapes(in, arena);
    ml_arena_free(&arena);
    free((char *)in.p);
    return 0;
}
