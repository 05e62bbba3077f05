/* http1_scan.c - finds the end of a head, looking at each byte once however it arrives.
 *
 * Only control characters are events: everything between them is skipped 16 bytes at a time.  A CR
 * must be followed by LF, and nothing else may be there but HTAB (RFC 9112 section 2.2 lets a
 * recipient take a bare LF for a line end; two parsers in a row that differ in it are the classic
 * way to smuggle, so it is refused).
 *
 * The outcome does not depend on how the bytes are split: a limit counts before anything that comes
 * after the byte which passes it. */
#include "protocol/chars.h"
#include "protocol/http1.h"

/* RFC 9112 section 2.2: one empty line ahead of a request line is ignored, no more. */
static bool begins_badly(const char *bytes, size_t len, size_t line)
{
    if (len <= line)
        return false;
    return !ml_char_is(bytes[line], ML_CHAR_TOKEN) && !(line == 0 && bytes[0] == '\r');
}

static bool first_line_too_long(const struct ml_http1_scan *s, const struct ml_http1_limits *limits,
                                size_t at)
{
    return s->lines == 0 && at - s->line > limits->line_max;
}

/* The line ends in a CRLF at seen.  Says ML_OK at the empty line that ends the head. */
static enum ml_err end_line(struct ml_http1_scan *s, const struct ml_http1_limits *limits)
{
    bool empty = s->seen == s->line;

    s->seen += 2;
    s->line = s->seen;
    if (empty)
        return s->lines > 0 ? ML_OK : ML_AGAIN;
    s->lines++;
    return s->lines - 1 > limits->fields_max ? ML_HEADERS_TOO_LARGE : ML_AGAIN;
}

/* Handles the control character at seen.  ML_AGAIN with *wait: its LF has not come yet. */
static enum ml_err take_control(struct ml_http1_scan *s, const struct ml_http1_limits *limits,
                                const char *bytes, size_t len, bool *wait)
{
    if (first_line_too_long(s, limits, s->seen))
        return ML_URI_TOO_LONG;
    if (bytes[s->seen] != '\r')
        return ML_BAD_REQUEST;
    *wait = len - s->seen < 2;
    if (*wait)
        return ML_AGAIN;
    return bytes[s->seen + 1] == '\n' ? end_line(s, limits) : ML_BAD_REQUEST;
}

static enum ml_err scan_within(struct ml_http1_scan *s, const struct ml_http1_limits *limits,
                               const char *bytes, size_t len)
{
    bool wait = false;

    for (;;) {
        enum ml_err err;

        if (s->lines == 0 && begins_badly(bytes, len, s->line))
            return ML_BAD_REQUEST;
        s->seen = (size_t)(ml_chars_find_control(bytes + s->seen, bytes + len) - bytes);
        if (s->seen == len)
            return first_line_too_long(s, limits, len) ? ML_URI_TOO_LONG : ML_AGAIN;
        err = take_control(s, limits, bytes, len, &wait);
        if (err != ML_AGAIN || wait)
            return err;
    }
}

enum ml_err ml_http1_scan(struct ml_http1_scan *scan, const struct ml_http1_limits *limits,
                          const char *bytes, size_t len, size_t *head_len)
{
    size_t in_reach = len < limits->head_max ? len : limits->head_max;
    enum ml_err err = scan_within(scan, limits, bytes, in_reach);

    if (err == ML_OK)
        *head_len = scan->seen;
    if (err == ML_AGAIN && in_reach == limits->head_max)
        return ML_HEADERS_TOO_LARGE;
    return err;
}
