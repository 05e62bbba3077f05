/* chars.c - the table of character classes; what is not named is in no class. */
#include "protocol/chars.h"

enum {
    T = ML_CHAR_TOKEN,
    Q = ML_CHAR_QUERY,
    P = ML_CHAR_PATH | ML_CHAR_PLAIN | Q,
    U = ML_CHAR_UNRESERVED | P
};

const uint8_t ml_chars[256] = {
    ['!'] = T | P,         ['#'] = T,             ['$'] = T | P,         ['%'] = T,
    ['&' ... '\''] = T | P, ['(' ... ')'] = P,     ['*' ... '+'] = T | P, [','] = P,
    ['-' ... '.'] = T | U, ['/'] = Q,             ['0' ... '9'] = T | U, [':'] = P,
    [';'] = ML_CHAR_PATH | Q, ['='] = P,          ['?'] = Q,             ['@'] = P,
    ['A' ... 'Z'] = T | U, ['['] = Q,             [']'] = Q,             ['^'] = T | Q,
    ['_'] = T | U,         ['`'] = T | Q,         ['a' ... 'z'] = T | U, ['|'] = T | Q,
    ['{'] = Q,             ['}'] = Q,             ['~'] = T | U,
};
