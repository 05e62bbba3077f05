/* err.c - reads the table of outcomes of err.h. */
#include "base/err.h"

#include <assert.h>

static const struct {
    const char *word, *text;
    int status;
} table[ML_ERR_COUNT] = {
#define X(name, word, status, text) [ML_##name] = {word, text, status},
    ML_ERR_TABLE(X)
#undef X
};

const char *ml_err_word(enum ml_err err)
{
    assert(err >= 0 && err < ML_ERR_COUNT);
    return table[err].word;
}

const char *ml_err_text(enum ml_err err)
{
    assert(err >= 0 && err < ML_ERR_COUNT);
    return table[err].text;
}

int ml_err_status(enum ml_err err)
{
    assert(err >= 0 && err < ML_ERR_COUNT);
    return table[err].status;
}
