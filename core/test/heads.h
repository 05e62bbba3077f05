/* heads.h - heads for the tests of the parsers: scanned whole, scanned byte by byte, each time on a
 * copy that ends at an unmapped page. */
#ifndef ML_TEST_HEADS_H
#define ML_TEST_HEADS_H

#include "protocol/http1.h"
#include "test.h"

static const struct ml_http1_limits head_limits = {200, 1000, 8};

static enum ml_err scan_on_cliff(struct ml_http1_scan *scan, const struct ml_http1_limits *limits,
                                 const char *bytes, size_t len, size_t *head_len)
{
    char *cliff = test_cliff(bytes, len);
    enum ml_err err = ml_http1_scan(scan, limits, cliff, len, head_len);

    test_cliff_free(cliff, len);
    return err;
}

/* Scans all at once, in all ways of two parts, and byte by byte: it must be the same. */
static enum ml_err head_scan_in(const struct ml_http1_limits *limits, const char *bytes, size_t len,
                                size_t *head_len)
{
    struct ml_http1_scan whole = {0}, slow = {0};
    enum ml_err err = scan_on_cliff(&whole, limits, bytes, len, head_len), other = ML_AGAIN;
    size_t other_len = 0;

    for (size_t n = 0; n <= len && other == ML_AGAIN; n++)
        other = scan_on_cliff(&slow, limits, bytes, n, &other_len);
    CHECK(other == err && (err != ML_OK || other_len == *head_len));
    for (size_t n = 0; n < len; n++) {
        struct ml_http1_scan two = {0};

        other = scan_on_cliff(&two, limits, bytes, n, &other_len);
        if (other == ML_AGAIN)
            other = scan_on_cliff(&two, limits, bytes, len, &other_len);
        CHECK(other == err && (err != ML_OK || other_len == *head_len));
    }
    return err;
}

static enum ml_err head_scan(const char *bytes, size_t len, size_t *head_len)
{
    return head_scan_in(&head_limits, bytes, len, head_len);
}

__attribute__((unused)) static bool str_is(struct ml_str s, const char *text)
{
    return ml_str_eq(s, ml_str_of(text));
}

#endif
