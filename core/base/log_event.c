/* log_event.c - one JSON object per event.
 *
 * The calendar of the last second is kept, since an access log asks for it once per exchange. */
#include "base/log_event.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/lines.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static enum ml_log_level minimum_level = ML_LOG_INFO;
static bool pretty;
static const struct ml_tap *tap; /* borrowed, or NULL */
static struct ml_log *events;    /* borrowed, or NULL: standard */
static struct ml_log *standard;  /* our own on stderr, made when it is needed */

void ml_log_event_set_level(enum ml_log_level minimum)
{
    minimum_level = minimum;
}

enum ml_log_level ml_log_event_level(void)
{
    return minimum_level;
}

const char *ml_log_level_name(enum ml_log_level level)
{
    return level_names[level];
}

const char *ml_log_level_colour(enum ml_log_level level)
{
    static const char *const colours[] = {"\x1b[90m", "\x1b[32m", "\x1b[33m", "\x1b[31m"};

    return colours[level];
}

bool ml_log_level_parse(struct ml_str name, enum ml_log_level *level)
{
    for (int i = ML_LOG_DEBUG; i <= ML_LOG_ERROR; i++)
        if (ml_str_eq(name, ml_str_of(level_names[i]))) {
            *level = (enum ml_log_level)i;
            return true;
        }
    return false;
}

static struct ml_log *events_log(void)
{
    if (events != NULL)
        return events;
    if (standard == NULL)
        standard = ml_log_on_fd(STDERR_FILENO);
    return standard;
}

void ml_log_event_set_sink(struct ml_log *sink)
{
    events = sink;
}

void ml_log_event_flush(void)
{
    ml_log_flush(events_log());
}

void ml_log_event_forget(void)
{
    events = NULL;
    tap = NULL;
    ml_log_free(&standard);
}

/* Writes two digits. */
static char *put2(char *o, int n)
{
    o[0] = (char)('0' + n / 10 % 10);
    o[1] = (char)('0' + n % 10);
    return o + 2;
}

/* Writes "2024-05-06T07:08:09", 19 bytes. */
static void put_calendar(char *o, time_t second)
{
    struct tm t;

    gmtime_r(&second, &t);
    o = put2(put2(o, (t.tm_year + 1900) / 100), (t.tm_year + 1900) % 100);
    *o++ = '-';
    o = put2(o, t.tm_mon + 1);
    *o++ = '-';
    o = put2(o, t.tm_mday);
    *o++ = 'T';
    o = put2(o, t.tm_hour);
    *o++ = ':';
    o = put2(o, t.tm_min);
    *o++ = ':';
    put2(o, t.tm_sec);
}

void ml_log_timestamp(struct ml_buf *out, double wall_s)
{
    static char calendar[19];
    static time_t calendar_second = -1;
    long long ms = (long long)floor(wall_s * 1000);
    time_t second = (time_t)(ms / 1000);
    char *o = ml_buf_reserve(out, 24), *begin = o;

    if (second != calendar_second) {
        put_calendar(calendar, second);
        calendar_second = second;
    }
    memcpy(o, calendar, sizeof calendar);
    o += sizeof calendar;
    *o++ = '.';
    *o++ = (char)('0' + ms / 100 % 10);
    o = put2(o, (int)(ms % 100));
    *o++ = 'Z';
    ml_buf_commit(out, (size_t)(o - begin));
}

static void append_number(struct ml_buf *line, double n)
{
    if (isfinite(n))
        ml_buf_printf(line, "%.15g", n);
    else
        ml_buf_append(line, ML_STR("null")); /* RFC 8259 section 6: no infinity, no NaN */
}

static void append_value(struct ml_buf *line, const struct ml_log_kv *kv)
{
    if (kv->type == ML_LOG_KV_STRING)
        ml_json_string(line, kv->string);
    else if (kv->type == ML_LOG_KV_DOUBLE)
        append_number(line, kv->number);
    else if (kv->type == ML_LOG_KV_UNSIGNED)
        ml_buf_printf(line, "%llu", (unsigned long long)kv->integer);
    else
        ml_buf_printf(line, "%lld", kv->integer);
}

static void append_field(struct ml_buf *line, const struct ml_log_kv *kv)
{
    ml_json_string(line, ml_str_of(kv->key));
    ml_buf_append(line, ML_STR(":"));
    append_value(line, kv);
}

static void json_line(struct ml_buf *line, enum ml_log_level level, const struct ml_log_kv *fields)
{
    ml_buf_append(line, ML_STR("{\"@timestamp\":\""));
    ml_log_timestamp(line, ml_clock_wall_s());
    ml_buf_printf(line, "\",\"level\":\"%s\",", level_names[level]);
    append_field(line, fields);
    ml_buf_printf(line, ",\"pid\":%ld", (long)getpid());
    while ((++fields)->key != NULL) {
        ml_buf_append(line, ML_STR(","));
        append_field(line, fields);
    }
    ml_buf_append(line, ML_STR("}\n"));
}

/* 07:08:09.123 warn  worker died pid=1 signal="KILL" */
static void pretty_line(struct ml_buf *line, enum ml_log_level level,
                        const struct ml_log_kv *fields)
{
    struct ml_buf time = {0};

    ml_log_timestamp(&time, ml_clock_wall_s());
    ml_buf_append(line, (struct ml_str){ml_buf_str(&time).p + 11, 12});
    ml_buf_release(&time);
    ml_buf_printf(line, " %s%-5s\x1b[0m ", ml_log_level_colour(level), level_names[level]);
    ml_json_string(&time, fields->string);
    ml_buf_append(line, (struct ml_str){ml_buf_str(&time).p + 1, ml_buf_len(&time) - 2});
    ml_buf_release(&time);
    while ((++fields)->key != NULL) {
        ml_buf_append(line, ML_STR(" "));
        ml_json_string(&time, ml_str_of(fields->key));
        ml_buf_append(line, (struct ml_str){ml_buf_str(&time).p + 1, ml_buf_len(&time) - 2});
        ml_buf_release(&time);
        ml_buf_append(line, ML_STR("="));
        append_value(line, fields);
    }
    ml_buf_append(line, ML_STR("\n"));
}

void ml_log_event_set_pretty(bool is_pretty)
{
    pretty = is_pretty;
}

bool ml_log_event_on_terminal(void)
{
    return ml_log_is_terminal(events_log());
}

void ml_log_event_set_tap(const struct ml_tap *to)
{
    tap = to;
}

void ml_log_event_write(enum ml_log_level level, const struct ml_log_kv *fields)
{
    struct ml_buf line = {0};

    if (level < minimum_level)
        return;
    json_line(&line, level, fields);
    if (tap != NULL)
        tap->line(tap->ctx, (struct ml_str){ml_buf_str(&line).p, ml_buf_len(&line) - 1});
    if (pretty) {
        ml_buf_release(&line);
        pretty_line(&line, level, fields);
    }
    ml_log_line(events_log(), ml_buf_str(&line));
    ml_log_flush(events_log());
    ml_buf_release(&line);
}

uint64_t ml_log_event_dropped(void)
{
    return ml_log_dropped(events_log());
}
