/* json.c - escaping: runs of plain ASCII are copied as they are, the rest goes byte by byte. */
#include "base/json.h"

#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* The longest output of one input byte: \ufffd. */
enum { ESCAPE_MAX = 6 };

#define EACH_BYTE(b) (UINT64_C(0x0101010101010101) * (b))

/* The high bit of each byte of x that is zero; exact for the lowest such byte, so for "is any". */
static inline uint64_t zero_bytes(uint64_t x)
{
    return (x - EACH_BYTE(1)) & ~x & EACH_BYTE(0x80);
}

static inline bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Whether all of the 8 bytes at p are plain. */
static inline bool plain8(const unsigned char *p)
{
    uint64_t x, below_space;

    memcpy(&x, p, sizeof x);
    below_space = (x - EACH_BYTE(0x20)) & ~x & EACH_BYTE(0x80);
    return ((x & EACH_BYTE(0x80)) | below_space | zero_bytes(x ^ EACH_BYTE('"')) |
            zero_bytes(x ^ EACH_BYTE('\\')) | zero_bytes(x ^ EACH_BYTE(0x7f))) == 0;
}

#ifdef __SSE2__
/* A bit for each of the 16 bytes at p that is not plain. */
static inline unsigned special16(const unsigned char *p)
{
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i low = _mm_cmplt_epi8(x, _mm_set1_epi8(0x20)); /* as signed numbers: 0x80 and more too */
    __m128i odd =
        _mm_or_si128(_mm_cmpeq_epi8(x, _mm_set1_epi8('"')), _mm_cmpeq_epi8(x, _mm_set1_epi8('\\')));

    odd = _mm_or_si128(_mm_or_si128(odd, low), _mm_cmpeq_epi8(x, _mm_set1_epi8(0x7f)));
    return (unsigned)_mm_movemask_epi8(odd);
}
#endif

static size_t plain_run(const unsigned char *p, size_t len)
{
    size_t n = 0;

#ifdef __SSE2__
    for (; len - n >= 16; n += 16) {
        unsigned special = special16(p + n);

        if (special != 0)
            return n + (size_t)__builtin_ctz(special);
    }
#endif
    while (len - n >= 8 && plain8(p + n))
        n += 8;
    while (n < len && is_plain(p[n]))
        n++;
    return n;
}

/* The range of the second byte of a sequence that begins with first (Unicode 15, table 3-7); the
 * narrow ones exclude overlong forms, surrogates and what lies above U+10FFFF. */
static void second_range(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    *high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
}

static size_t sequence_len(unsigned char first)
{
    if (first >= 0xc2 && first <= 0xdf)
        return 2;
    if (first >= 0xe0 && first <= 0xef)
        return 3;
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* Bytes of the sequence, or of the piece of one, at p; *valid says which.  len > 0. */
static size_t utf8_scan(const unsigned char *p, size_t len, bool *valid)
{
    size_t want = sequence_len(p[0]), n = 1;
    unsigned char low, high;

    second_range(p[0], &low, &high);
    while (n < want && n < len && p[n] >= low && p[n] <= high) {
        low = 0x80;
        high = 0xbf;
        n++;
    }
    *valid = n == want;
    return n;
}

static char *put_unicode(char *o, unsigned code)
{
    static const char digits[] = "0123456789abcdef";

    *o++ = '\\';
    *o++ = 'u';
    for (int shift = 12; shift >= 0; shift -= 4)
        *o++ = digits[(code >> shift) & 15];
    return o;
}

static char *put_ascii(char *o, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *short_form = c != 0 ? strchr(from, c) : NULL;

    if (short_form == NULL)
        return put_unicode(o, c == 0x7f ? 0xfffd : c);
    *o++ = '\\';
    *o++ = to[short_form - from];
    return o;
}

/* U+2028 and U+2029 end lines for some readers, U+202A to U+202E and U+2066 to U+2069 turn the text
 * around: a log has to look like what it says.  p is a whole sequence. */
static bool misleads(const unsigned char *p)
{
    return p[0] == 0xe2 && ((p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) ||
                            (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

/* Writes one character that is not plain; *used is what it took of the input. */
static char *put_special(char *o, const unsigned char *p, size_t len, size_t *used)
{
    bool valid;

    *used = 1;
    if (p[0] < 0x80)
        return put_ascii(o, p[0]);
    *used = utf8_scan(p, len, &valid);
    if (!valid)
        return put_unicode(o, 0xfffd);
    if (p[0] == 0xc2 && p[1] < 0xa0) /* U+0080 to U+009F */
        return put_unicode(o, p[1]);
    if (misleads(p))
        return put_unicode(o, 0x2000u | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu));
    memcpy(o, p, *used);
    return o + *used;
}

static void append_special(struct ml_buf *out, const unsigned char **p, size_t *len)
{
    size_t used;
    char *begin = ml_buf_reserve(out, ESCAPE_MAX);

    ml_buf_commit(out, (size_t)(put_special(begin, *p, *len, &used) - begin));
    *p += used;
    *len -= used;
}

bool ml_json_plain(struct ml_str s)
{
    return plain_run((const unsigned char *)s.p, s.len) == s.len;
}

void ml_json_string(struct ml_buf *out, struct ml_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t len = s.len;
    char *o = ml_buf_reserve(out, len + 2); /* all that most strings need */
    size_t n = plain_run(p, len);

    *o = '"';
    if (n > 0)
        memcpy(o + 1, p, n);
    ml_buf_commit(out, n + 1);
    for (p += n, len -= n; len > 0;) {
        append_special(out, &p, &len);
        n = plain_run(p, len);
        ml_buf_append(out, (struct ml_str){(const char *)p, n});
        p += n;
        len -= n;
    }
    ml_buf_append(out, ML_STR("\""));
}
