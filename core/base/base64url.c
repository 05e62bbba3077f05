/* base64url.c - a table each way. */
#include "base/base64url.h"

static const char alphabet[64] = {'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M',
                                  'N', 'O', 'P', 'Q', 'R', 'S', 'T', 'U', 'V', 'W', 'X', 'Y', 'Z',
                                  'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
                                  'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
                                  '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '_'};

enum { NONE = 0x80 }; /* or-ed together, one character that is none shows */

#define X NONE
static const unsigned char value_of[256] = {
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  62, X,  X,
    52, 53, 54, 55, 56, 57, 58, 59, 60, 61, X,  X,  X,  X,  X,  X,  X,  0,  1,  2,  3,  4,  5,  6,
    7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, X,  X,  X,  X,  63,
    X,  26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48,
    49, 50, 51, X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,
    X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X,  X};
#undef X

/* The two or three characters behind the last whole group of four. */
static bool decode_rest(const unsigned char *p, size_t left, char *out)
{
    unsigned a, b, c;

    if (left == 0)
        return true;
    a = value_of[p[0]];
    b = value_of[p[1]];
    c = left == 3 ? value_of[p[2]] : 0;
    if (((a | b | c) & NONE) != 0 || (left == 2 ? b & 15 : c & 3) != 0)
        return false;
    out[0] = (char)(a << 2 | b >> 4);
    if (left == 3)
        out[1] = (char)(b << 4 | c >> 2);
    return true;
}

bool ml_base64url_decode(struct ml_str text, char *out, size_t *len)
{
    const unsigned char *p = (const unsigned char *)text.p;
    size_t groups = text.len / 4, left = text.len % 4;
    unsigned bad = 0;

    if (left == 1)
        return false;
    for (size_t i = 0; i < groups; i++, p += 4, out += 3) {
        unsigned a = value_of[p[0]], b = value_of[p[1]], c = value_of[p[2]], d = value_of[p[3]];

        bad |= a | b | c | d;
        out[0] = (char)(a << 2 | b >> 4);
        out[1] = (char)(b << 4 | c >> 2);
        out[2] = (char)(c << 6 | d);
    }
    *len = groups * 3 + (left > 0 ? left - 1 : 0);
    return (bad & NONE) == 0 && decode_rest(p, left, out);
}

void ml_base64url_encode(struct ml_buf *out, struct ml_str bytes)
{
    const unsigned char *p = (const unsigned char *)bytes.p;
    char *w = ml_buf_reserve(out, bytes.len / 3 * 4 + 4), *begin = w;
    size_t left = bytes.len;

    for (; left >= 3; left -= 3, p += 3) {
        *w++ = alphabet[p[0] >> 2];
        *w++ = alphabet[(p[0] & 3) << 4 | p[1] >> 4];
        *w++ = alphabet[(p[1] & 15) << 2 | p[2] >> 6];
        *w++ = alphabet[p[2] & 63];
    }
    if (left > 0) {
        *w++ = alphabet[p[0] >> 2];
        *w++ = alphabet[(p[0] & 3) << 4 | (left > 1 ? p[1] >> 4 : 0)];
    }
    if (left > 1)
        *w++ = alphabet[(p[1] & 15) << 2];
    ml_buf_commit(out, (size_t)(w - begin));
}
