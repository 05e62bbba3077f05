/* decimal.h - numbers as decimal digits, for what is written once per request. */
#ifndef ML_BASE_DECIMAL_H
#define ML_BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

enum { ML_DECIMAL_CAP = 20 }; /* digits of the largest number */

/* Writes n without sign, zeros in front or NUL; how many digits there are. */
size_t ml_decimal(char out[ML_DECIMAL_CAP], uint64_t n);

#endif
