/* http_date.c - each form is a pattern of letters, digits and names, read from left to right. */
#include "protocol/http_date.h"

#include <string.h>
#include <time.h>

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* ---- writing ---- */

static char *put(char *p, const char *text, size_t len)
{
    memcpy(p, text, len);
    return p + len;
}

static char *put_digits(char *p, int value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        p[i] = (char)('0' + value % 10);
    return p + count;
}

void ml_http_date_write(int64_t second, char out[ML_HTTP_DATE_LEN])
{
    time_t t = (time_t)second;
    struct tm tm = {0};
    char *p = out;

    gmtime_r(&t, &tm);
    p = put(put(p, days + 3 * tm.tm_wday, 3), ", ", 2);
    p = put(put_digits(p, tm.tm_mday, 2), " ", 1);
    p = put(put(p, months + 3 * tm.tm_mon, 3), " ", 1);
    p = put(put_digits(p, tm.tm_year + 1900, 4), " ", 1);
    p = put(put_digits(p, tm.tm_hour, 2), ":", 1);
    p = put(put_digits(p, tm.tm_min, 2), ":", 1);
    put(put_digits(p, tm.tm_sec, 2), " GMT", 4);
}

/* ---- reading ---- */

struct cursor {
    const char *p, *end;
    bool bad;
};

static void take_text(struct cursor *c, const char *text)
{
    size_t len = strlen(text);

    if ((size_t)(c->end - c->p) < len || memcmp(c->p, text, len) != 0)
        c->bad = true;
    else
        c->p += len;
}

static int take_digits(struct cursor *c, int count)
{
    int value = 0;

    for (int i = 0; i < count; i++, c->p++) {
        if (c->p == c->end || *c->p < '0' || *c->p > '9') {
            c->bad = true;
            return 0;
        }
        value = value * 10 + (*c->p - '0');
    }
    return value;
}

/* The index of one of the names, each three letters; -1 and bad for none. */
static int take_name(struct cursor *c, const char *names)
{
    for (int i = 0; c->end - c->p >= 3 && names[3 * i] != '\0'; i++)
        if (memcmp(c->p, names + 3 * i, 3) == 0) {
            c->p += 3;
            return i;
        }
    c->bad = true;
    return -1;
}

static void take_time(struct cursor *c, struct tm *tm)
{
    tm->tm_hour = take_digits(c, 2);
    take_text(c, ":");
    tm->tm_min = take_digits(c, 2);
    take_text(c, ":");
    tm->tm_sec = take_digits(c, 2);
}

/* ", 06 Nov 1994 08:49:37 GMT" */
static void take_fixed(struct cursor *c, struct tm *tm)
{
    take_text(c, ", ");
    tm->tm_mday = take_digits(c, 2);
    take_text(c, " ");
    tm->tm_mon = take_name(c, months);
    take_text(c, " ");
    tm->tm_year = take_digits(c, 4) - 1900;
    take_text(c, " ");
    take_time(c, tm);
    take_text(c, " GMT");
}

static int this_year(int64_t now_s)
{
    time_t t = (time_t)now_s;
    struct tm now = {0};

    gmtime_r(&t, &now);
    return now.tm_year;
}

/* "day, 06-Nov-94 08:49:37 GMT", behind the first letters of the day */
static void take_rfc850(struct cursor *c, struct tm *tm, int64_t now_s)
{
    int year = this_year(now_s);

    while (c->p < c->end && *c->p >= 'a' && *c->p <= 'z')
        c->p++;
    take_text(c, ", ");
    tm->tm_mday = take_digits(c, 2);
    take_text(c, "-");
    tm->tm_mon = take_name(c, months);
    take_text(c, "-");
    tm->tm_year = take_digits(c, 2) + year - year % 100;
    if (tm->tm_year > year + 50)
        tm->tm_year -= 100;
    take_text(c, " ");
    take_time(c, tm);
    take_text(c, " GMT");
}

/* " Nov  6 08:49:37 1994" */
static void take_asctime(struct cursor *c, struct tm *tm)
{
    take_text(c, " ");
    tm->tm_mon = take_name(c, months);
    take_text(c, " ");
    if (c->p < c->end && *c->p == ' ') {
        c->p++;
        tm->tm_mday = take_digits(c, 1);
    } else {
        tm->tm_mday = take_digits(c, 2);
    }
    take_text(c, " ");
    take_time(c, tm);
    take_text(c, " ");
    tm->tm_year = take_digits(c, 4) - 1900;
}

static bool is_time(const struct tm *tm)
{
    return tm->tm_mday >= 1 && tm->tm_mday <= 31 && tm->tm_hour < 24 && tm->tm_min < 60 &&
           tm->tm_sec <= 60;
}

bool ml_http_date_parse(struct ml_str text, int64_t now_s, int64_t *second)
{
    struct cursor c = {text.p, text.p + text.len, false};
    struct tm tm = {0};

    take_name(&c, days);
    if (c.bad || c.p == c.end)
        return false;
    if (*c.p == ',')
        take_fixed(&c, &tm);
    else if (*c.p == ' ')
        take_asctime(&c, &tm);
    else
        take_rfc850(&c, &tm, now_s);
    if (c.bad || c.p != c.end || !is_time(&tm))
        return false;
    *second = (int64_t)timegm(&tm);
    return true;
}
