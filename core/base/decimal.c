/* decimal.c - digits from the last to the first, two at a time: a division costs more than a look.
 */
#include "base/decimal.h"

#include <string.h>

static const char pairs[100][3] = {
    "00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14",
    "15", "16", "17", "18", "19", "20", "21", "22", "23", "24", "25", "26", "27", "28", "29",
    "30", "31", "32", "33", "34", "35", "36", "37", "38", "39", "40", "41", "42", "43", "44",
    "45", "46", "47", "48", "49", "50", "51", "52", "53", "54", "55", "56", "57", "58", "59",
    "60", "61", "62", "63", "64", "65", "66", "67", "68", "69", "70", "71", "72", "73", "74",
    "75", "76", "77", "78", "79", "80", "81", "82", "83", "84", "85", "86", "87", "88", "89",
    "90", "91", "92", "93", "94", "95", "96", "97", "98", "99",
};

size_t ml_decimal(char out[ML_DECIMAL_CAP], uint64_t n)
{
    char digits[ML_DECIMAL_CAP];
    size_t at = sizeof digits;

    if (n < 10) {
        out[0] = (char)('0' + n);
        return 1;
    }
    for (; n >= 10; n /= 100) {
        digits[--at] = pairs[n % 100][1];
        digits[--at] = pairs[n % 100][0];
    }
    if (n > 0)
        digits[--at] = (char)('0' + n);
    memcpy(out, digits + at, sizeof digits - at);
    return sizeof digits - at;
}
