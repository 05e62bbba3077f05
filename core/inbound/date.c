/* date.c - two texts, made anew when the second changes; only the milliseconds move in between. */
#include "inbound/date.h"

#include "base/clock.h"
#include "protocol/http_date.h"

#include <stdint.h>
#include <stdio.h>
#include <time.h>

static struct {
    int64_t second; /* what both texts say */
    char http[64], rfc3339[64];
} now = {.second = INT64_MIN};

static void format(int64_t second)
{
    time_t t = (time_t)second;
    struct tm tm;

    gmtime_r(&t, &tm);
    ml_http_date_write(second, now.http);
    snprintf(now.rfc3339, sizeof now.rfc3339, "%04d-%02d-%02dT%02d:%02d:%02d.000Z",
             tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
    now.second = second;
}

/* Brings the texts up to date; says the milliseconds since the second. */
static unsigned refresh(void)
{
    double wall_s = ml_clock_wall_s();
    int64_t second = (int64_t)wall_s;

    if (second != now.second)
        format(second);
    return (unsigned)((wall_s - (double)second) * 1000);
}

struct ml_str ml_date_http(void)
{
    refresh();
    return (struct ml_str){now.http, ML_DATE_HTTP_LEN};
}

struct ml_str ml_date_rfc3339(void)
{
    unsigned ms = refresh();
    char *digits = now.rfc3339 + 20;

    digits[0] = (char)('0' + ms / 100 % 10);
    digits[1] = (char)('0' + ms / 10 % 10);
    digits[2] = (char)('0' + ms % 10);
    return (struct ml_str){now.rfc3339, ML_DATE_RFC3339_LEN};
}
