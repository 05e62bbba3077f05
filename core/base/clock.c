/* clock.c - the kernel's clocks and random bytes, or a test's.
 *
 * Random bytes are drawn 4 KiB at a time, since a request id costs 16 of them and a system call
 * costs more than all the rest of it.  The stock is thrown away in a forked child: otherwise two
 * workers would give the same ids.  Used bytes are wiped, so that a later leak of memory does not
 * tell earlier ids. */
#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static struct {
    unsigned char bytes[4096];
    size_t left; /* the last left bytes are unused */
} stock;

static uint64_t kernel_mono_ns(void *ctx)
{
    struct timespec t;

    (void)ctx;
    if (clock_gettime(CLOCK_MONOTONIC, &t) != 0)
        abort();
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double kernel_wall_s(void *ctx)
{
    struct timespec t;

    (void)ctx;
    if (clock_gettime(CLOCK_REALTIME, &t) != 0)
        abort();
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void kernel_draw(unsigned char *p, size_t len)
{
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno != EINTR)
            abort();
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

static void forget_stock(void)
{
    explicit_bzero(&stock, sizeof stock);
}

__attribute__((constructor)) static void watch_forks(void)
{
    if (pthread_atfork(NULL, NULL, forget_stock) != 0)
        abort();
}

static void kernel_random(void *ctx, void *p, size_t len)
{
    (void)ctx;
    if (len > sizeof stock.bytes / 4) {
        kernel_draw(p, len);
        return;
    }
    if (stock.left < len) {
        kernel_draw(stock.bytes, sizeof stock.bytes);
        stock.left = sizeof stock.bytes;
    }
    unsigned char *from = stock.bytes + sizeof stock.bytes - stock.left;

    memcpy(p, from, len);
    explicit_bzero(from, len);
    stock.left -= len;
}

static const struct ml_clock_source kernel = {kernel_mono_ns, kernel_wall_s, kernel_random, NULL};
static const struct ml_clock_source *source = &kernel;

void ml_clock_set_source(const struct ml_clock_source *replacement)
{
    source = replacement != NULL ? replacement : &kernel;
}

double ml_clock_mono_s(void)
{
    return (double)source->mono_ns(source->ctx) / 1e9;
}

uint64_t ml_clock_mono_ns(void)
{
    return source->mono_ns(source->ctx);
}

uint64_t ml_clock_mono_ms(void)
{
    return source->mono_ns(source->ctx) / 1000000u;
}

double ml_clock_wall_s(void)
{
    return source->wall_s(source->ctx);
}

void ml_random_bytes(void *p, size_t len)
{
    if (len > 0)
        source->random(source->ctx, p, len);
}

void ml_random_hex(char *out, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char chunk[64];

    while (bytes > 0) {
        size_t n = bytes < sizeof chunk ? bytes : sizeof chunk;

        ml_random_bytes(chunk, n);
        for (size_t i = 0; i < n; i++) {
            *out++ = digits[chunk[i] >> 4];
            *out++ = digits[chunk[i] & 15];
        }
        bytes -= n;
    }
    *out = '\0';
}
