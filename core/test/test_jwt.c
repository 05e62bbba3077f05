#include "jwt_lab.h"

#define HS "{\"alg\":\"HS256\"}"

static const struct ml_jwt_rules hs = {.algs = ML_JWA_BIT(ML_JWA_HS256)};
static const struct ml_jwt_rules everything = {.algs = ALL_ALGS};

TEST(the_vectors_of_the_rfcs_are_good)
{
    IS(verdict(jwk_set(HS_JWK), &everything, HS_TOKEN, 1300819379), "ok");
    IS(verdict(jwk_set(RS_JWK), &everything, RS_TOKEN, 1300819379), "ok");
    IS(verdict(jwk_set(ES_JWK), &everything, ES_TOKEN, 1300819379), "ok");
    IS(verdict(jwk_set(RS_JWK), &everything, RS_TOKEN, 1300819380), "token_expired");
    /* their payload is no JSON, which is looked at behind the signature only */
    IS(verdict(jwk_set(ES512_JWK), &everything, ES512_TOKEN, 0), "token_malformed");
    CHECK(ml_str_eq(jws.payload, ML_STR("Payload")));
    IS(verdict(jwk_set(ED_JWK), &everything, ED_TOKEN, 0), "token_malformed");
    CHECK(ml_str_eq(jws.payload, ML_STR("Example of Ed25519 signing")));
}

/* Each byte of the signature and of what it covers counts. */
static unsigned survivors(const char *json, const char *token)
{
    struct ml_jwks *set = jwk_set(json);
    char *copy = strdup(token);
    unsigned count = 0;

    for (char *p = copy; *p != '\0'; p++) {
        char before = *p;
        enum ml_jwt_code code;

        *p = before == 'A' ? 'B' : 'A';
        code = ml_jwt_verify(set, &everything, ml_str_of(copy), 1, &jws, &times);
        count += code == ML_JWT_OK || code > ML_JWT_SIGNATURE; /* claims were read */
        *p = before;
    }
    free(copy);
    ml_jwks_free(&set);
    return count;
}

TEST(one_changed_byte_makes_any_token_bad)
{
    CHECK(survivors(HS_JWK, HS_TOKEN) == 0);
    CHECK(survivors(RS_JWK, RS_TOKEN) == 0);
    CHECK(survivors(ES_JWK, ES_TOKEN) == 0);
    CHECK(survivors(ED_JWK, ED_TOKEN) == 0);
}

TEST(every_shorter_and_longer_token_is_bad)
{
    struct ml_jwks *set = jwk_set(ES_JWK);
    const char *token = ES_TOKEN;
    char longer[512];

    for (size_t len = 0; len < strlen(token); len++)
        CHECK(ml_jwt_verify(set, &everything, (struct ml_str){token, len}, 1, &jws, &times) !=
              ML_JWT_OK);
    for (const char *tail = ".=A \n\t!\"-_"; *tail != '\0'; tail++) {
        snprintf(longer, sizeof longer, "%s%c", token, *tail);
        CHECK(ml_jwt_verify(set, &everything, ml_str_of(longer), 1, &jws, &times) != ML_JWT_OK);
        snprintf(longer, sizeof longer, "%c%s", *tail, token);
        CHECK(ml_jwt_verify(set, &everything, ml_str_of(longer), 1, &jws, &times) != ML_JWT_OK);
    }
    ml_jwks_free(&set);
}

TEST(the_header_must_name_an_algorithm_that_is_allowed)
{
    const char *good = "{\"sub\":\"a\"}";

    IS(verdict_of(HS, good, &hs), "ok");
    IS(verdict_of("{\"alg\":\"HS384\"}", good, &hs), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"none\"}", good, &everything), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"nOnE\"}", good, &everything), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"hs256\"}", good, &everything), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"HS256 \"}", good, &everything), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"\"}", good, &everything), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"HS256\\u0000\"}", good, &everything), "alg_not_allowed");
    IS(verdict_of("{\"alg\":\"\\u0048S256\"}", good, &everything), "ok");
    IS(verdict_of("{\"alg\":[\"HS256\"]}", good, &everything), "token_malformed");
    IS(verdict_of("{}", good, &everything), "token_malformed");
    IS(verdict_of("{\"ALG\":\"HS256\"}", good, &everything), "token_malformed");
    IS(verdict_of("{\"alg\":\"HS256\",\"alg\":\"none\"}", good, &everything), "token_malformed");
    IS(verdict_of("{\"alg\":\"HS256\",\"al\\u0067\":\"none\"}", good, &everything),
       "token_malformed");
    IS(verdict_of("[\"HS256\"]", good, &everything), "token_malformed");
    IS(verdict_of("\"HS256\"", good, &everything), "token_malformed");
}

TEST(extensions_and_foreign_types_are_refused)
{
    IS(verdict_of("{\"alg\":\"HS256\",\"crit\":[\"x\"],\"x\":1}", "{}", &hs), "header_critical");
    IS(verdict_of("{\"alg\":\"HS256\",\"crit\":[]}", "{}", &hs), "header_critical");
    IS(verdict_of("{\"alg\":\"HS256\",\"b64\":false}", "{}", &hs), "header_critical");
    IS(verdict_of("{\"alg\":\"HS256\",\"typ\":\"jwt\"}", "{}", &hs), "ok");
    IS(verdict_of("{\"alg\":\"HS256\",\"typ\":\"at+jwt\"}", "{}", &hs), "ok");
    IS(verdict_of("{\"alg\":\"HS256\",\"typ\":\"application/at+JWT\"}", "{}", &hs), "ok");
    IS(verdict_of("{\"alg\":\"HS256\",\"typ\":\"dpop+jwt\"}", "{}", &hs), "token_type_not_allowed");
    IS(verdict_of("{\"alg\":\"HS256\",\"typ\":5}", "{}", &hs), "token_malformed");
    IS(verdict_of("{\"alg\":\"HS256\",\"kid\":5}", "{}", &hs), "token_malformed");
    IS(verdict_of("{\"alg\":\"HS256\",\"jku\":\"http://x\",\"jwk\":{},\"x5c\":[]}", "{}", &hs),
       "ok"); /* not read */
}

TEST(times_are_numbers_and_have_leeway)
{
    struct ml_jwt_rules late = {.algs = hs.algs, .leeway_s = 10};

    IS(verdict_of(HS, "{\"exp\":1700000001}", &hs), "ok");
    IS(verdict_of(HS, "{\"exp\":1700000000}", &hs), "token_expired");
    IS(verdict_of(HS, "{\"exp\":1700000000.5}", &hs), "ok");
    IS(verdict_of(HS, "{\"exp\":17.0e8}", &hs), "token_expired");
    IS(verdict_of(HS, "{\"exp\":1699999991}", &late), "ok");
    IS(verdict_of(HS, "{\"exp\":1699999990}", &late), "token_expired");
    IS(verdict_of(HS, "{\"nbf\":1700000000}", &hs), "ok");
    IS(verdict_of(HS, "{\"nbf\":1700000001}", &hs), "token_not_yet_valid");
    IS(verdict_of(HS, "{\"nbf\":1700000010}", &late), "ok");
    IS(verdict_of(HS, "{\"exp\":-9223372036854775808}", &hs), "token_expired");
    IS(verdict_of(HS, "{\"exp\":1e300}", &hs), "ok");
    IS(verdict_of(HS, "{\"exp\":1e999}", &hs), "claim_invalid");
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"exp", "nbf", "iat"};
        static const char *const bad[] = {"\"1700000001\"", "null", "true", "[1]", "{}"};

        for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
            char claims[64];

            snprintf(claims, sizeof claims, "{\"%s\":%s}", names[i], bad[j]);
            IS(verdict_of(HS, claims, &hs), "claim_invalid");
        }
    }
}

TEST(when_a_token_is_good_is_told)
{
    IS(verdict_of(HS, "{\"exp\":1700000100,\"nbf\":1699999900}", &hs), "ok");
    CHECK(times.from == 1699999900 && times.until == 1700000100);
    IS(verdict_of(HS, "{}", &hs), "ok");
    CHECK(isinf(times.from) && times.from < 0 && isinf(times.until) && times.until > 0);
}

TEST(issuer_audience_and_subject_are_compared)
{
    const struct ml_str issuers[] = {ML_STR("a"), ML_STR("\xc3\xa9")},
                        audiences[] = {ML_STR("api")};
    const struct ml_jwt_rules rules = {.algs = hs.algs,
                                       .issuers = {issuers, 2},
                                       .audiences = {audiences, 1},
                                       .subject = ML_STR("7")};

    IS(verdict_of(HS, "{\"iss\":\"a\",\"aud\":\"api\",\"sub\":\"7\"}", &rules), "ok");
    IS(verdict_of(HS, "{\"iss\":\"\\u00e9\",\"aud\":[\"x\",\"\\u0061pi\"],\"sub\":\"7\"}", &rules),
       "ok");
    IS(verdict_of(HS, "{\"iss\":\"A\",\"aud\":\"api\",\"sub\":\"7\"}", &rules), "issuer_invalid");
    IS(verdict_of(HS, "{\"aud\":\"api\",\"sub\":\"7\"}", &rules), "issuer_invalid");
    IS(verdict_of(HS, "{\"iss\":\"a\",\"aud\":\"apis\",\"sub\":\"7\"}", &rules),
       "audience_invalid");
    IS(verdict_of(HS, "{\"iss\":\"a\",\"aud\":[],\"sub\":\"7\"}", &rules), "audience_invalid");
    IS(verdict_of(HS, "{\"iss\":\"a\",\"sub\":\"7\"}", &rules), "audience_invalid");
    IS(verdict_of(HS, "{\"iss\":\"a\",\"aud\":[\"api\",1],\"sub\":\"7\"}", &rules),
       "claim_invalid");
    IS(verdict_of(HS, "{\"iss\":[\"a\"],\"aud\":\"api\",\"sub\":\"7\"}", &rules), "claim_invalid");
    IS(verdict_of(HS, "{\"iss\":\"a\",\"aud\":\"api\",\"sub\":\"8\"}", &rules), "subject_invalid");
    IS(verdict_of(HS, "{\"sub\":{\"a\":1}}", &hs), "claim_invalid");
}

TEST(required_claims_and_rejected_types)
{
    const struct ml_str required[] = {ML_STR("exp"), ML_STR("role")}, types[] = {ML_STR("refresh")};
    const struct ml_jwt_rules rules = {.algs = hs.algs, .required = {required, 2}};
    const struct ml_jwt_rules access = {.algs = hs.algs, .reject_types = {types, 1}};

    IS(verdict_of(HS, "{\"exp\":1800000000,\"role\":\"x\"}", &rules), "ok");
    IS(verdict_of(HS, "{\"exp\":1800000000}", &rules), "claim_missing");
    IS(verdict_of(HS, "{\"exp\":1800000000,\"role\":null}", &rules), "claim_missing");
    IS(verdict_of(HS, "{\"role\":\"x\"}", &rules), "claim_missing");
    IS(verdict_of(HS, "{\"typ\":\"access\"}", &access), "ok");
    IS(verdict_of(HS, "{\"typ\":\"refresh\"}", &access), "token_type_not_allowed");
    IS(verdict_of(HS, "{\"type\":\"ref\\u0072esh\"}", &access), "token_type_not_allowed");
    IS(verdict_of(HS, "{\"token_use\":\"refresh\"}", &access), "token_type_not_allowed");
}

TEST(claims_are_one_strict_object)
{
    IS(verdict_of(HS, "not json", &hs), "token_malformed");
    IS(verdict_of(HS, "[1,2]", &hs), "token_malformed");
    IS(verdict_of(HS, "\"text\"", &hs), "token_malformed");
    IS(verdict_of(HS, "{} {}", &hs), "token_malformed");
    IS(verdict_of(HS, "{\"sub\":\"al\xffice\"}", &hs), "token_malformed");
    IS(verdict_of(HS, "{\"sub\":\"a\",\"sub\":\"b\"}", &hs), "token_malformed");
    IS(verdict_of(HS, "{\"a\":{\"b\":1,\"b\":2}}", &hs), "token_malformed");
    IS(verdict_of(HS, "{\"a\":{\"b\":1},\"b\":2,\"c\":[{\"b\":1},{\"b\":2}]}", &hs), "ok");
}

TEST(tokens_have_a_size)
{
    char *claims = malloc(20000), *token;
    const char *const words[] = {"ok", "token_too_large"};

    for (int i = 0; i < 2; i++) {
        int pad = i == 0 ? 12000 : 13000;

        snprintf(claims, 20000, "{\"a\":\"%0*d\"}", pad, 0);
        token = token_of(HS, ml_str_of(claims), SECRET);
        IS(verdict(secret_set(SECRET), &hs, token, NOW), words[i]);
        free(token);
    }
    free(claims);
}

TEST(no_keys_is_not_a_bad_token)
{
    IS(verdict(ml_jwks_new(), &everything, HS_TOKEN, 1), "keys_unavailable");
    IS(verdict(ml_jwks_new(), &everything, "x", 1), "token_malformed");
}
