/* fuzz_jwt.c - tokens, claims and key sets of strangers: none is taken for ours, and each has one
 * text. */
#include "base/base64url.h"
#include "base/json_scan.h"
#include "base/jwt.h"
#include "fuzz.h"

static const struct ml_jwk_label any;
static struct ml_jws jws;

static struct ml_jwks *our_keys(void)
{
    struct ml_jwks *set = ml_jwks_new();

    MUST(ml_jwks_add_secret(set, ML_STR("the secret that the fuzzer has no way to use"), &any) ==
         NULL);
    return set;
}

static void check_part(struct ml_str decoded, struct ml_str text)
{
    struct ml_buf again = {0};

    ml_base64url_encode(&again, decoded);
    MUST(ml_str_eq(ml_buf_str(&again), text));
    ml_buf_release(&again);
}

/* The bytes as a token. */
static void check_token(struct ml_str in, struct ml_jwks *keys)
{
    const struct ml_jwt_rules rules = {.algs = (1u << ML_JWA_COUNT) - 1};
    struct ml_jwt_times times;
    struct ml_str rest;
    const char *dot;

    MUST(ml_jwt_verify(keys, &rules, in, 0, &jws, &times) != ML_JWT_OK);
    if (ml_jws_read(in, &jws) != ML_JWT_OK)
        return;
    MUST(jws.alg < ML_JWA_COUNT && jws.signing_input.len < in.len);
    dot = memchr(in.p, '.', in.len);
    rest = (struct ml_str){dot + 1, jws.signing_input.len - (size_t)(dot + 1 - in.p)};
    check_part(jws.payload, rest);
    rest = (struct ml_str){in.p + jws.signing_input.len + 1, in.len - jws.signing_input.len - 1};
    check_part(jws.signature, rest);
}

static void on_item(void *ctx, const struct ml_json_item *item)
{
    unsigned *count = ctx;
    struct ml_buf text = {0};
    double number;

    ++*count;
    if (item->kind == ML_JSON_NUMBER && ml_json_number(item->text, &number))
        MUST(number - number == 0); /* finite */
    if (item->kind != ML_JSON_STRING)
        return;
    ml_json_unescape(&text, item->text);
    MUST(ml_buf_len(&text) <= item->text.len);
    ml_buf_release(&text);
}

/* The bytes as JSON: what is taken is taken again with white space around it, not when cut. */
static void check_json(struct ml_str in)
{
    unsigned count = 0;
    struct ml_buf wide = {0};

    if (!ml_json_scan(in, ML_JSON_OBJECT, on_item, &count))
        return;
    MUST(count <= ML_JSON_SCAN_NAMES_MAX);
    ml_buf_append(&wide, ML_STR(" \n"));
    ml_buf_append(&wide, in);
    ml_buf_append(&wide, ML_STR("\t\r "));
    MUST(ml_json_scan(ml_buf_str(&wide), ML_JSON_OBJECT, NULL, NULL));
    MUST(!ml_json_scan(in, ML_JSON_ARRAY, NULL, NULL));
    ml_buf_append(&wide, ML_STR("x"));
    MUST(!ml_json_scan(ml_buf_str(&wide), ML_JSON_OBJECT, NULL, NULL));
    ml_buf_release(&wide);
}

/* The bytes as claims that we have signed. */
static void check_claims(struct ml_str in, struct ml_jwks *keys)
{
    static const struct ml_str required[] = {{"exp", 3}}, words[] = {{"refresh", 7}};
    const struct ml_jwt_rules rules = {.algs = ML_JWA_BIT(ML_JWA_HS256),
                                       .required = {required, 1},
                                       .issuers = {words, 1},
                                       .reject_types = {words, 1}};
    struct ml_buf token = {0};
    struct ml_jwt_times times;

    if (in.len > 8192 || memchr(in.p, '\0', in.len) != NULL ||
        ml_jwks_sign(keys, ML_JWA_HS256, ML_STR_NONE, in, &token) != NULL)
        return;
    if (ml_jwt_verify(keys, &rules, ml_buf_str(&token), 1000, &jws, &times) == ML_JWT_OK) {
        MUST(ml_json_scan(jws.payload, ML_JSON_OBJECT, NULL, NULL));
        MUST(times.until > 1000 && times.from <= 1000);
    }
    ml_buf_release(&token);
}

/* The bytes as a key set, whose keys must not verify what is not theirs. */
static void check_keys(struct ml_str in)
{
    struct ml_jwks *set = ml_jwks_new();

    if (ml_jwks_add_set(set, in, &any) == NULL)
        MUST(ml_jwks_count(set) > 0 && ml_jwks_count(set) <= ML_JWK_MAX);
    if (ml_jwks_add_jwk(set, in, &any) == NULL)
        MUST(ml_jwks_count(set) > 0);
    ml_jwks_free(&set);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct ml_str in = {fuzz_copy(bytes, len), len};
    struct ml_jwks *keys = our_keys();

    check_token(in, keys);
    check_json(in);
    check_claims(in, keys);
    check_keys(in);
    ml_jwks_free(&keys);
    free((char *)in.p);
    return 0;
}
