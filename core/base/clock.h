/* clock.h - where all time and all randomness of the program enter.
 *
 * Times are whole or fractional seconds or milliseconds, as the names say.  Nothing here fails: a
 * kernel without a monotonic clock or getrandom(2) aborts the program.  One thread per process. */
#ifndef ML_BASE_CLOCK_H
#define ML_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* What a test puts in the place of the kernel; all three functions must be given. */
struct ml_clock_source {
    uint64_t (*mono_ns)(void *ctx); /* never goes back */
    double (*wall_s)(void *ctx);    /* since 1970-01-01 UTC; may jump */
    void (*random)(void *ctx, void *p, size_t len);
    void *ctx;
};

/* Replaces the source, which is borrowed, for this process; NULL brings the kernel's back. */
void ml_clock_set_source(const struct ml_clock_source *source);

double ml_clock_mono_s(void);
uint64_t ml_clock_mono_ns(void);
uint64_t ml_clock_mono_ms(void);
double ml_clock_wall_s(void);

/* Fills p with len unpredictable bytes.  A process and its forked children never share any. */
void ml_random_bytes(void *p, size_t len);
/* Writes 2 * bytes lower-case hexadecimal digits and a NUL to out. */
void ml_random_hex(char *out, size_t bytes);

#endif
