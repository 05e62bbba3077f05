/* jwt_lab.h - keys of RFC 7515 and 8037, and tokens made by hand, for tests of tokens. */
#ifndef ML_TEST_JWT_LAB_H
#define ML_TEST_JWT_LAB_H

#include "test.h"

#include "base/base64url.h"
#include "base/jwt.h"

#include <math.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>

/* RFC 7515, appendices A.1 to A.4: keys, and what they signed */
#define HS_JWK                                                                                     \
    "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4" \
    "hcgUuTwjAzZr1Z9CAow\"}"
#define RFC_PAYLOAD                                                                                \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV"  \
    "lfQ"
#define HS_TOKEN                                                                                   \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." RFC_PAYLOAD                                        \
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define RS_JWK                                                                                     \
    "{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W2" \
    "6mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47"  \
    "soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMT"  \
    "BQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDT"  \
    "W9gb54h4FRWyuXpoQ\"}"
#define RS_TOKEN                                                                                   \
    "eyJhbGciOiJSUzI1NiJ9." RFC_PAYLOAD                                                            \
    ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F"  \
    "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBM"  \
    "Hlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2"  \
    "w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
#define ES_JWK                                                                                     \
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","     \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}"
#define ES_TOKEN                                                                                   \
    "eyJhbGciOiJFUzI1NiJ9." RFC_PAYLOAD                                                            \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define ES512_JWK                                                                                  \
    "{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5" \
    "EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk\",\"y\":\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l"  \
    "2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2\"}"
#define ES512_TOKEN                                                                                \
    "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc"  \
    "-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnw"  \
    "NrmxYbSW9ERBXukOXolLzeO_Jn"
/* RFC 8037, appendix A */
#define ED_X "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""
#define ED_JWK "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," ED_X "}"
#define ED_PRIVATE_JWK                                                                             \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"nWGxne_"                                         \
    "9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"," ED_X "}"
#define ED_TOKEN                                                                                   \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcv"  \
    "Mg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

#define SECRET "a secret of thirty-two bytes 1234"
#define NOW 1700000000.0
#define ALL_ALGS ((1u << ML_JWA_COUNT) - 1)

static const struct ml_jwk_label any;

__attribute__((unused)) static struct ml_jwks *jwk_set(const char *json)
{
    struct ml_jwks *set = ml_jwks_new();
    const char *why = ml_jwks_add_jwk(set, ml_str_of(json), &any);

    if (why != NULL)
        printf("# %s\n", why);
    return set;
}

__attribute__((unused)) static struct ml_jwks *secret_set(const char *secret)
{
    struct ml_jwks *set = ml_jwks_new();

    ml_jwks_add_secret(set, ml_str_of(secret), &any);
    return set;
}

/* header.payload.HMAC-SHA256, of any texts; the caller frees it. */
__attribute__((unused)) static char *token_of(const char *header, struct ml_str payload,
                                              const char *secret)
{
    struct ml_buf out = {0};
    unsigned char mac[32];
    char *token;

    ml_base64url_encode(&out, ml_str_of(header));
    ml_buf_append(&out, ML_STR("."));
    ml_base64url_encode(&out, payload);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)ml_buf_str(&out).p,
         ml_buf_len(&out), mac, NULL);
    ml_buf_append(&out, ML_STR("."));
    ml_base64url_encode(&out, (struct ml_str){(char *)mac, sizeof mac});
    token = strndup(ml_buf_str(&out).p, ml_buf_len(&out));
    ml_buf_release(&out);
    return token;
}

static struct ml_jws jws;
static struct ml_jwt_times times;

/* The word of what becomes of a token with these keys, which are freed. */
__attribute__((unused)) static const char *
verdict(struct ml_jwks *set, const struct ml_jwt_rules *rules, const char *token, double now)
{
    size_t len = strlen(token);
    char *copy = test_cliff(token, len);
    enum ml_jwt_code code =
        ml_jwt_verify(set, rules, (struct ml_str){copy, len}, now, &jws, &times);

    test_cliff_free(copy, len);
    ml_jwks_free(&set);
    return ml_jwt_word(code);
}

/* The same for a header and claims that SECRET signs. */
__attribute__((unused)) static const char *verdict_of(const char *header, const char *claims,
                                                      const struct ml_jwt_rules *rules)
{
    char *token = token_of(header, ml_str_of(claims), SECRET);
    const char *word = verdict(secret_set(SECRET), rules, token, NOW);

    free(token);
    return word;
}

#define IS(word, want) CHECK(test_is(word, want))
__attribute__((unused)) static bool test_is(const char *word, const char *want)
{
    if (strcmp(word, want) == 0)
        return true;
    printf("# it is %s, not %s\n", word, want);
    return false;
}

#endif
