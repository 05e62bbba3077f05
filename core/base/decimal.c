/* decimal.c - digits from the last to the first. */
#include "base/decimal.h"

#include <string.h>

size_t ml_decimal(char out[ML_DECIMAL_CAP], uint64_t n)
{
    char digits[ML_DECIMAL_CAP];
    size_t at = sizeof digits;

    if (n < 10) {
        out[0] = (char)('0' + n);
        return 1;
    }
    do
        digits[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}
