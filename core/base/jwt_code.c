/* jwt_code.c - words and messages. */
#include "base/jwt_code.h"

#include <assert.h>

static const struct {
    const char *word, *message;
} table[] = {
#define X(name, word, message) {word, message},
    ML_JWT_CODES(X)
#undef X
};

const char *ml_jwt_word(enum ml_jwt_code code)
{
    assert(code < ML_JWT_CODE_COUNT);
    return table[code].word;
}

const char *ml_jwt_message(enum ml_jwt_code code)
{
    assert(code < ML_JWT_CODE_COUNT);
    return table[code].message;
}
