/* http1_chunks.c - the decoder of the chunked coding (RFC 9112 section 7.1).
 *
 *   SIZE -> [BWS] -> [EXT] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                                    \-> LINE -> NAME -> VALUE -> LINE_LF -> LINE ...
 *                                           \-> END_LF -> END
 *
 * It may stop after any byte.  Data is handed out as runs, everything else is walked byte by byte.
 * Lines end in CRLF only, and no control character is skipped: an extension that hides a bare LF is
 * a request to whoever reads LF as a line end. */
#include "base/buf.h"
#include "base/str_cut.h"
#include "protocol/chars.h"
#include "protocol/headers.h"
#include "protocol/http1.h"

enum state {
    SIZE,
    BWS, /* white space between the size and ';', RFC 9112 section 7.1.1 */
    EXT,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE, /* first byte of a trailer line, or of the last CRLF */
    NAME,
    VALUE,
    LINE_LF,
    END_LF,
    END
};

enum { DIGITS_MAX = 16, OVERHEAD_MAX = 8192 };

static enum ml_err digit(struct ml_http1_chunks *c, char byte)
{
    int value = ml_char_hex(byte);

    if (value < 0 || c->digits == DIGITS_MAX || c->left > (uint64_t)INT64_MAX >> 4)
        return ML_BAD_CHUNK;
    c->left = c->left << 4 | (uint64_t)value;
    c->digits++;
    return ML_AGAIN;
}

static enum ml_err size_line(struct ml_http1_chunks *c, char byte)
{
    bool blank = byte == ' ' || byte == '\t';

    if (c->state == SIZE && ml_char_hex(byte) >= 0)
        return digit(c, byte);
    if (c->digits == 0)
        return ML_BAD_CHUNK;
    if (c->state == EXT ? !ml_char_is_control(byte) : byte == ';')
        c->state = EXT;
    else if (c->state != EXT && blank)
        c->state = BWS;
    else if (c->state != BWS && byte == '\r')
        c->state = SIZE_LF;
    else
        return ML_BAD_CHUNK;
    return ML_AGAIN;
}

static enum ml_err line_feed(struct ml_http1_chunks *c, char byte)
{
    if (byte != '\n')
        return ML_BAD_CHUNK;
    switch (c->state) {
    case SIZE_LF:
        c->state = c->left > 0 ? DATA : LINE;
        c->digits = 0;
        return ML_AGAIN;
    case DATA_LF:
        c->state = SIZE;
        return ML_AGAIN;
    case LINE_LF:
        c->state = LINE;
        return ML_AGAIN;
    default:
        c->state = END;
        return ML_OK;
    }
}

static enum ml_err trailer(struct ml_http1_chunks *c, char byte)
{
    bool token = ml_char_is(byte, ML_CHAR_TOKEN);

    if (c->state == LINE && byte == '\r')
        c->state = END_LF;
    else if (c->state == VALUE && byte == '\r')
        c->state = LINE_LF;
    else if (c->state == NAME && byte == ':')
        c->state = VALUE;
    else if (c->state != VALUE && token)
        c->state = NAME;
    else if (c->state != VALUE || ml_char_is_control(byte))
        return ML_BAD_CHUNK;
    return ML_AGAIN;
}

static enum ml_err step(struct ml_http1_chunks *c, char byte)
{
    switch (c->state) {
    case SIZE:
    case BWS:
    case EXT:
        return size_line(c, byte);
    case DATA_CR:
        c->state = DATA_LF;
        return byte == '\r' ? ML_AGAIN : ML_BAD_CHUNK;
    case LINE:
    case NAME:
    case VALUE:
        return trailer(c, byte);
    default:
        return line_feed(c, byte);
    }
}

/* Does the byte that led from state `from` to the present one belong to a trailer line? */
static bool is_trailer(const struct ml_http1_chunks *c, uint8_t from)
{
    return from >= LINE && from <= LINE_LF && c->state != END_LF;
}

/* Counts what is neither data nor the bare framing of it, so that a body of one-byte chunks costs
 * nothing extra, but extensions and trailers need data to pay for them. */
static enum ml_err charge(struct ml_http1_chunks *c, uint8_t from)
{
    bool extension = c->state == EXT || c->state == BWS;

    if (extension || is_trailer(c, from))
        c->overhead++;
    return c->overhead > OVERHEAD_MAX ? ML_HEADERS_TOO_LARGE : ML_AGAIN;
}

static struct ml_str take_data(struct ml_http1_chunks *c, struct ml_str in)
{
    struct ml_str run = {in.p, in.len < c->left ? in.len : (size_t)c->left};

    c->left -= run.len;
    c->overhead -= run.len < c->overhead ? (uint32_t)run.len : c->overhead;
    if (c->left == 0)
        c->state = DATA_CR;
    return run;
}

/* ---- trailers that may pass ---- */

/* RFC 9110 section 6.5.1: not what frames, routes, authenticates or describes the message.  All
 * fields that the gateway knows are of that kind, and names with '_' are dropped as everywhere. */
bool ml_http1_may_trail(struct ml_str name)
{
    static const char *const no[] = {"accept-ranges", "age",     "cache-control", "content-",
                                     "etag",          "expires", "if-",           "location",
                                     "pragma",        "proxy-",  "range",         "retry-after",
                                     "vary",          "warning", "www-",          "x-forwarded-"};

    if (ml_header_id(name) != ML_H_OTHER || memchr(name.p, '_', name.len) != NULL)
        return false;
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        struct ml_str word = ml_str_of(no[i]);
        bool is_prefix = word.p[word.len - 1] == '-';

        if (name.len >= word.len && (is_prefix || name.len == word.len) &&
            ml_str_ieq(word, (struct ml_str){name.p, word.len}))
            return false;
    }
    return true;
}

/* Leaves of the lines, which are well-formed, those that may pass, in one form. */
static void keep_safe(struct ml_buf *trailers)
{
    struct ml_buf kept = {0};
    const char *p = trailers->p + trailers->start, *end = p + ml_buf_len(trailers);

    while (p < end) {
        const char *eol = memchr(p, '\r', (size_t)(end - p));
        const char *colon = memchr(p, ':', (size_t)(eol - p));
        struct ml_str name = {p, (size_t)(colon - p)};
        struct ml_str value = {colon + 1, (size_t)(eol - colon - 1)};

        if (ml_http1_may_trail(name)) {
            ml_buf_append(&kept, name);
            ml_buf_append(&kept, ML_STR(": "));
            ml_buf_append(&kept, ml_str_trim(value));
            ml_buf_append(&kept, ML_STR("\r\n"));
        }
        p = eol + 2;
    }
    ml_buf_release(trailers);
    *trailers = kept;
}

enum ml_err ml_http1_dechunk(struct ml_http1_chunks *c, struct ml_str in, size_t *used,
                             struct ml_str *data, struct ml_buf *trailers)
{
    *data = ML_STR_NONE;
    *used = 0;
    if (c->state == END)
        return ML_OK;
    while (*used < in.len) {
        uint8_t from = c->state;
        enum ml_err err;

        if (from == DATA) {
            *data = take_data(c, (struct ml_str){in.p + *used, in.len - *used});
            *used += data->len;
            return ML_AGAIN;
        }
        err = step(c, in.p[*used]);
        if (err == ML_AGAIN)
            err = charge(c, from);
        if (err != ML_AGAIN && err != ML_OK)
            return err;
        if (trailers != NULL && err == ML_AGAIN && is_trailer(c, from))
            ml_buf_append(trailers, (struct ml_str){in.p + *used, 1});
        ++*used;
        if (err == ML_OK && trailers != NULL && ml_buf_len(trailers) > 0)
            keep_safe(trailers);
        if (err == ML_OK)
            return ML_OK;
    }
    return ML_AGAIN;
}
