/* chars.h - the character classes of HTTP and URIs: one table, and the scans that heads spend their
 * time in.
 *
 * The scans look at 16 bytes at a time where SSE2 is there and never past end. */
#ifndef ML_PROTOCOL_CHARS_H
#define ML_PROTOCOL_CHARS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    ML_CHAR_TOKEN = 1,      /* tchar, RFC 9110 section 5.6.2 */
    ML_CHAR_UNRESERVED = 2, /* RFC 3986 section 2.3 */
    ML_CHAR_PATH = 4,       /* pchar without '%', RFC 3986 section 3.3 */
    /* The same with '/' and '?', and []{}|^` : beyond RFC 3986, but browsers send them as they are.
     */
    ML_CHAR_QUERY = 8,
    ML_CHAR_PLAIN = 16 /* PATH without ';' : no rule of a path looks at it */
};

extern const uint8_t ml_chars[256];

static inline bool ml_char_is(char c, uint8_t classes)
{
    return (ml_chars[(uint8_t)c] & classes) != 0;
}

/* The value of a hexadecimal digit, or -1. */
static inline int ml_char_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A control character other than HTAB; obs-text is none. */
static inline bool ml_char_is_control(char c)
{
    return ((uint8_t)c < 0x20 && c != '\t') || c == 0x7f;
}

/* The first control character other than HTAB in [p, end), or end. */
static inline const char *ml_chars_find_control(const char *p, const char *end)
{
#ifdef __SSE2__
    const __m128i one = _mm_set1_epi8(1), bound = _mm_set1_epi8(0x21);

    while (end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* signed: 0x7f becomes negative, as obs-text is, which is rare and looked at again */
        int mask = _mm_movemask_epi8(_mm_cmplt_epi8(_mm_add_epi8(x, one), bound));

        for (; mask != 0; mask &= mask - 1)
            if (ml_char_is_control(p[__builtin_ctz((unsigned)mask)]))
                return p + __builtin_ctz((unsigned)mask);
        p += 16;
    }
#endif
    while (p < end && !ml_char_is_control(*p))
        p++;
    return p;
}

/* Is c one of the first len bytes of [p, end)? */
static inline bool ml_chars_have(const char *p, size_t len, const char *end, char c)
{
#ifdef __SSE2__
    if (len <= 16 && end - p >= 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned mask = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, _mm_set1_epi8(c)));

        return (mask & ((1u << len) - 1)) != 0;
    }
#endif
    (void)end;
    return memchr(p, c, len) != NULL;
}

/* The first byte in [p, end) that can not be in a token, or end.  Letters, digits, '-' and '.', of
 * which nearly all field names consist, are seen 16 at a time. */
static inline const char *ml_chars_skip_token(const char *p, const char *end)
{
#ifdef __SSE2__
    for (; end - p >= 16; p += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i lower = _mm_or_si128(x, _mm_set1_epi8(0x20));
        __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                                       _mm_cmplt_epi8(lower, _mm_set1_epi8('z' + 1)));
        __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(x, _mm_set1_epi8('-' - 1)),
                                      _mm_cmplt_epi8(x, _mm_set1_epi8('9' + 1)));
        __m128i fine =
            _mm_andnot_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('/')), _mm_or_si128(letter, digit));
        unsigned odd = (unsigned)_mm_movemask_epi8(fine) ^ 0xffffu;

        if (odd != 0) {
            p += __builtin_ctz(odd);
            break;
        }
    }
#endif
    while (p < end && ml_char_is(*p, ML_CHAR_TOKEN))
        p++;
    return p;
}

#endif
