#include "jwt_lab.h"

#include <jwt.h>

static const struct ml_jwt_rules everything = {.algs = ALL_ALGS};

static const char *add_jwk(const char *json)
{
    struct ml_jwks *set = ml_jwks_new();
    const char *why = ml_jwks_add_jwk(set, ml_str_of(json), &any);

    ml_jwks_free(&set);
    return why != NULL ? why : "ok";
}

/* ---- PEM texts of fresh keys ---- */

static char *pem_of(EVP_PKEY *pkey, bool private)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *p, *text;
    long len;

    if (private)
        PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL);
    else
        PEM_write_bio_PUBKEY(bio, pkey);
    len = BIO_get_mem_data(bio, &p);
    text = strndup(p, (size_t)len);
    BIO_free(bio);
    return text;
}

struct pair {
    char *private, *public;
};

static struct pair pair_of(EVP_PKEY *pkey)
{
    struct pair pair = {pem_of(pkey, true), pem_of(pkey, false)};

    EVP_PKEY_free(pkey);
    return pair;
}

static void pair_free(struct pair *pair)
{
    free(pair->private);
    free(pair->public);
}

static struct ml_jwks *pem_set(const char *pem)
{
    struct ml_jwks *set = ml_jwks_new();
    const char *why = ml_jwks_add_pem(set, ml_str_of(pem), &any);

    if (why != NULL)
        printf("# %s\n", why);
    return set;
}

/* A token of the private key, judged by the public one. */
static const char *round_trip(const struct pair *pair, enum ml_jwa alg)
{
    struct ml_jwks *signer = pem_set(pair->private);
    struct ml_buf token = {0};
    const char *why = ml_jwks_sign(signer, alg, ML_STR_NONE,
                                   ML_STR("{\"sub\":\"a\",\"exp\":1800000000}"), &token);

    ml_jwks_free(&signer);
    ml_buf_append(&token, (struct ml_str){"", 1});
    if (why == NULL)
        why = verdict(pem_set(pair->public), &everything, ml_buf_str(&token).p, NOW);
    ml_buf_release(&token);
    return why;
}

TEST(each_algorithm_signs_and_verifies)
{
    struct pair rsa = pair_of(EVP_RSA_gen(2048)),
                ed = pair_of(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
    static const char *const curves[] = {"P-256", "P-384", "P-521"};

    for (enum ml_jwa alg = ML_JWA_RS256; alg <= ML_JWA_PS512; alg++)
        IS(round_trip(&rsa, alg), "ok");
    for (int i = 0; i < 3; i++) {
        struct pair ec = pair_of(EVP_EC_gen(curves[i]));

        IS(round_trip(&ec, ML_JWA_ES256 + i), "ok");
        IS(round_trip(&ec, ML_JWA_ES256 + (i + 1) % 3),
           "no key of the set can sign with this algorithm");
        pair_free(&ec);
    }
    IS(round_trip(&ed, ML_JWA_EDDSA), "ok");
    IS(round_trip(&ed, ML_JWA_HS256), "no key of the set can sign with this algorithm");
    pair_free(&rsa);
    pair_free(&ed);
}

/* What libjwt says of a token; it is asked as somebody else who knows the format. */
static bool oracle_accepts(const char *token, const char *key, jwt_alg_t alg)
{
    jwt_t *jwt = NULL;
    bool good = jwt_decode(&jwt, token, (const unsigned char *)key, (int)strlen(key)) == 0 &&
                jwt_get_alg(jwt) == alg;

    if (jwt != NULL)
        jwt_free(jwt);
    return good;
}

TEST(libjwt_and_we_agree)
{
    struct pair rsa = pair_of(EVP_RSA_gen(2048)), ec = pair_of(EVP_EC_gen("P-256"));
    const struct {
        jwt_alg_t theirs;
        enum ml_jwa ours;
        const char *private, *public;
    } cases[] = {{JWT_ALG_HS256, ML_JWA_HS256, SECRET, SECRET},
                 {JWT_ALG_HS512, ML_JWA_HS512, SECRET, SECRET},
                 {JWT_ALG_RS256, ML_JWA_RS256, rsa.private, rsa.public},
                 {JWT_ALG_RS384, ML_JWA_RS384, rsa.private, rsa.public},
                 {JWT_ALG_ES256, ML_JWA_ES256, ec.private, ec.public}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool secret = i < 2;
        struct ml_jwks *set = secret ? secret_set(SECRET) : pem_set(cases[i].private);
        struct ml_buf token = {0};
        char *text;

        CHECK(ml_jwks_sign(set, cases[i].ours, ML_STR("k1"), ML_STR("{\"sub\":\"a\"}"), &token) ==
              NULL);
        ml_buf_append(&token, (struct ml_str){"", 1});
        text = ml_buf_str(&token).p != NULL ? strdup(ml_buf_str(&token).p) : strdup("");
        CHECK(oracle_accepts(text, cases[i].public, cases[i].theirs));
        IS(verdict(set, &everything, text, NOW), "ok");
        CHECK(jws.has_kid && ml_str_eq(jws.kid, ML_STR("k1")));
        text[strlen(text) - 8] ^= 1;
        CHECK(!oracle_accepts(text, cases[i].public, cases[i].theirs));
        set = secret ? secret_set(SECRET) : pem_set(cases[i].public);
        CHECK(strcmp(verdict(set, &everything, text, NOW), "ok") != 0);
        free(text);
        ml_buf_release(&token);
    }
    pair_free(&rsa);
    pair_free(&ec);
}

/* libjwt accepts this one: the HMAC of a token with the text of an RSA key. */
TEST(a_public_key_is_no_secret)
{
    struct pair rsa = pair_of(EVP_RSA_gen(2048));
    char *token = token_of("{\"alg\":\"HS256\"}", ML_STR("{\"sub\":\"admin\"}"), rsa.public);
    struct ml_jwks *set = ml_jwks_new();

    IS(verdict(pem_set(rsa.public), &everything, token, NOW), "key_unknown");
    CHECK(ml_jwks_add_secret(set, ml_str_of(rsa.public), &any) != NULL);
    CHECK(ml_jwks_add_secret(set, ML_STR(""), &any) != NULL);
    CHECK(ml_jwks_count(set) == 0);
    ml_jwks_free(&set);
    free(token);
    pair_free(&rsa);
}

TEST(weak_and_foreign_keys_are_refused)
{
    struct pair small = pair_of(EVP_RSA_gen(1024)), curve = pair_of(EVP_EC_gen("secp256k1")),
                x = pair_of(EVP_PKEY_Q_keygen(NULL, NULL, "X25519"));
    struct ml_jwks *set = ml_jwks_new();

    CHECK(ml_jwks_add_pem(set, ml_str_of(small.public), &any) != NULL);
    CHECK(ml_jwks_add_pem(set, ml_str_of(curve.public), &any) != NULL);
    CHECK(ml_jwks_add_pem(set, ml_str_of(x.public), &any) != NULL);
    CHECK(ml_jwks_add_pem(set, ML_STR("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"),
                          &any) != NULL);
    CHECK(ml_jwks_add_pem(set, ML_STR(""), &any) != NULL);
    CHECK(ml_jwks_count(set) == 0);
    ml_jwks_free(&set);
    pair_free(&small);
    pair_free(&curve);
    pair_free(&x);
}

#define OCT "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T\""

TEST(a_jwk_says_what_it_is_for)
{
    IS(add_jwk(OCT "}"), "ok");
    IS(add_jwk(OCT ",\"alg\":\"HS256\",\"use\":\"sig\",\"key_ops\":[\"verify\"]}"), "ok");
    IS(add_jwk(OCT ",\"use\":\"enc\"}"), "the JWK is not for signatures (use)");
    IS(add_jwk(OCT ",\"key_ops\":[\"encrypt\"]}"), "the JWK is not for signatures (key_ops)");
    IS(add_jwk(OCT ",\"key_ops\":\"verify\"}"),
       "the JWK is no JSON object with members of the right types, each once");
    IS(add_jwk(OCT ",\"alg\":\"RS256\"}"), "the JWK's alg does not fit its type, or is unknown");
    IS(add_jwk(OCT ",\"alg\":\"none\"}"), "the JWK's alg does not fit its type, or is unknown");
    IS(add_jwk(OCT ",\"k\":\"AAAA\"}"),
       "the JWK is no JSON object with members of the right types, each once");
    IS(add_jwk("{\"kty\":\"oct\",\"k\":\"\"}"), "a JWK of the type oct needs k");
    IS(add_jwk("{\"kty\":\"oct\",\"k\":\"AA==\"}"), "k of the JWK is not base64url");
    IS(verdict(jwk_set(OCT ",\"key_ops\":[\"sign\"]}"), &everything, HS_TOKEN, 1), "key_unknown");
}

TEST(points_off_the_curve_and_short_numbers_are_refused)
{
    const char *why = "the JWK has an unknown type or curve, or numbers that are no key";

    IS(add_jwk(ES_JWK), "ok");
    IS(add_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
               "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
               "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1\"}"),
       why);
    IS(add_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83O\",\"y\":\"x_FE\"}"), why);
    IS(add_jwk("{\"kty\":\"EC\",\"crv\":\"P-256\"}"), why);
    IS(add_jwk("{\"kty\":\"OKP\",\"crv\":\"X25519\"," ED_X "}"), why);
    IS(add_jwk("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"}"), why);
    IS(add_jwk("{\"kty\":\"RSA\",\"n\":\"\",\"e\":\"AQAB\"}"), why);
    IS(add_jwk("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"),
       "an RSA key must have 2048 to 8192 bits");
    IS(add_jwk("{}"), why);
}

/* ---- sets ---- */

static struct ml_jwks *set_of(const char *json, const char **why)
{
    struct ml_jwks *set = ml_jwks_new();

    *why = ml_jwks_add_set(set, ml_str_of(json), &any);
    return set;
}

static const char *kid_verdict(const char *json, const char *header)
{
    const char *why;
    struct ml_jwks *set = set_of(json, &why);
    char *token = token_of(header, ML_STR("{}"), SECRET);
    const char *word = verdict(set, &everything, token, NOW);

    free(token);
    return word;
}

/* the base64url of SECRET */
#define K "\"kty\":\"oct\",\"k\":\"YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyAxMjM0\""
#define OTHER "\"kty\":\"oct\",\"k\":\"b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI\""

TEST(kid_chooses_the_key)
{
    const char *two = "{\"keys\":[{" OTHER ",\"kid\":\"a\"},{" K ",\"kid\":\"b\\/1\"}]}";

    IS(kid_verdict(two, "{\"alg\":\"HS256\",\"kid\":\"b/1\"}"), "ok");
    IS(kid_verdict(two, "{\"alg\":\"HS256\",\"kid\":\"a\"}"), "signature_invalid");
    IS(kid_verdict(two, "{\"alg\":\"HS256\",\"kid\":\"c\"}"), "key_unknown");
    IS(kid_verdict(two, "{\"alg\":\"HS256\",\"kid\":\"\"}"), "key_unknown");
    IS(kid_verdict(two, "{\"alg\":\"HS256\"}"), "ok");
    IS(kid_verdict("{\"keys\":[{" K "}]}", "{\"alg\":\"HS256\",\"kid\":\"c\"}"), "ok");
    IS(kid_verdict("{\"keys\":[{" K ",\"alg\":\"HS512\"}]}", "{\"alg\":\"HS256\"}"), "key_unknown");
}

TEST(keys_of_other_kinds_are_left_out_of_a_set)
{
    const char *why;
    struct ml_jwks *set =
        set_of("{\"keys\":[{\"kty\":\"new\"},5,{" K ",\"use\":\"enc\"},{" K "}]}", &why);

    CHECK(why == NULL && ml_jwks_count(set) == 1 && ml_jwks_shortest_secret(set) == 33);
    ml_jwks_free(&set);
    for (int i = 0; i < 5; i++) {
        static const char *const bad[] = {"", "{}", "[]", "{\"keys\":[]}", "{\"keys\":{}}"};

        set = set_of(bad[i], &why);
        CHECK(why != NULL && ml_jwks_count(set) == 0);
        ml_jwks_free(&set);
    }
}

TEST(a_set_that_changed_has_another_identity)
{
    struct ml_jwks *set = secret_set(SECRET), *other = secret_set("another secret"), *rest = other;
    uint64_t before = ml_jwks_identity(set);

    ml_jwks_replace(set, &rest);
    CHECK(rest == NULL && ml_jwks_identity(set) != before && ml_jwks_count(set) == 1);
    CHECK(ml_jwks_shortest_secret(set) == strlen("another secret"));
    ml_jwks_free(&set);
}

TEST(ed25519_signs_as_in_rfc_8037)
{
    struct ml_jwks *set = jwk_set(ED_PRIVATE_JWK);
    struct ml_buf token = {0};
    char *text;

    CHECK(ml_jwks_sign(set, ML_JWA_EDDSA, ML_STR("a\"b"), ML_STR("{\"sub\":\"x\"}"), &token) ==
          NULL);
    text = strndup(ml_buf_str(&token).p, ml_buf_len(&token));
    IS(verdict(jwk_set(ED_JWK), &everything, text, NOW), "ok");
    CHECK(ml_str_eq(jws.kid, ML_STR("a\"b")));
    free(text);
    ml_buf_release(&token);
    ml_jwks_free(&set);
}

TEST(claims_that_are_no_object_are_not_signed)
{
    struct ml_jwks *set = secret_set(SECRET);
    struct ml_buf token = {0};

    CHECK(ml_jwks_sign(set, ML_JWA_HS256, ML_STR_NONE, ML_STR("[1]"), &token) != NULL);
    CHECK(ml_jwks_sign(set, ML_JWA_HS256, ML_STR_NONE, ML_STR("{\"a\":\"\\u0000\"}"), &token) !=
          NULL);
    CHECK(ml_jwks_sign(set, ML_JWA_HS256, (struct ml_str){"a\0b", 3}, ML_STR("{}"), &token) !=
          NULL);
    CHECK(ml_buf_len(&token) == 0);
    ml_jwks_free(&set);
}
