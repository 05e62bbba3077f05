/* jwt_code.h - the one table of what may be wrong with a token.  Clients see word and message, so
 * neither says anything of keys. */
#ifndef ML_BASE_JWT_CODE_H
#define ML_BASE_JWT_CODE_H

#define ML_JWT_CODES(X)                                                                            \
    X(OK, "ok", "The token is valid")                                                              \
    X(MISSING, "token_missing", "A token is required")                                             \
    X(MALFORMED, "token_malformed", "The token is malformed")                                      \
    X(TOO_LARGE, "token_too_large", "The token is too large")                                      \
    X(CRITICAL, "header_critical", "The token needs an extension that is not supported")           \
    X(TYPE, "token_type_not_allowed", "A token of this type is not accepted here")                 \
    X(ALG, "alg_not_allowed", "The algorithm of the token is not allowed")                         \
    X(KEY, "key_unknown", "The key of the token is not known")                                     \
    X(NO_KEYS, "keys_unavailable", "The keys of the issuer can not be had at the moment")          \
    X(SIGNATURE, "signature_invalid", "The signature of the token is invalid")                     \
    X(CLAIM, "claim_invalid", "A claim of the token has a wrong type or value")                    \
    X(REQUIRED, "claim_missing", "A required claim is missing in the token")                       \
    X(EXPIRED, "token_expired", "The token has expired")                                           \
    X(EARLY, "token_not_yet_valid", "The token is not valid yet")                                  \
    X(ISSUER, "issuer_invalid", "The issuer of the token is not accepted here")                    \
    X(AUDIENCE, "audience_invalid", "The token is not meant for this audience")                    \
    X(SUBJECT, "subject_invalid", "The subject of the token is not accepted here")

enum ml_jwt_code {
#define X(name, word, message) ML_JWT_##name,
    ML_JWT_CODES(X)
#undef X
        ML_JWT_CODE_COUNT
};

const char *ml_jwt_word(enum ml_jwt_code code);
const char *ml_jwt_message(enum ml_jwt_code code);

#endif
