/* log_event.h - what the program itself has to say: JSON lines on stderr, one per event.
 *
 *   ml_log_event(ML_LOG_WARN, "worker died", ML_KV("worker", pid), ML_KV("signal", name));
 *   {"@timestamp":"2024-05-06T07:08:09.123Z","level":"warn","message":"worker died","pid":1,...}
 *
 * Each event is written at once, but without waiting: base/log.h.  Events are rare; what happens
 * once per exchange belongs in the access log. */
#ifndef ML_BASE_LOG_EVENT_H
#define ML_BASE_LOG_EVENT_H

#include "base/buf.h"
#include "base/log.h"

enum ml_log_level { ML_LOG_DEBUG, ML_LOG_INFO, ML_LOG_WARN, ML_LOG_ERROR };

struct ml_log_kv { /* borrowed until the call returns */
    const char *key;
    enum { ML_LOG_KV_STRING, ML_LOG_KV_INTEGER, ML_LOG_KV_UNSIGNED, ML_LOG_KV_DOUBLE } type;
    struct ml_str string;
    long long integer;
    double number;
};

static inline struct ml_log_kv ml_log_kv_string(const char *key, struct ml_str s)
{
    return (struct ml_log_kv){.key = key, .type = ML_LOG_KV_STRING, .string = s};
}

static inline struct ml_log_kv ml_log_kv_text(const char *key, const char *z)
{
    return ml_log_kv_string(key, ml_str_of(z != NULL ? z : ""));
}

static inline struct ml_log_kv ml_log_kv_integer(const char *key, long long n)
{
    return (struct ml_log_kv){.key = key, .type = ML_LOG_KV_INTEGER, .integer = n};
}

static inline struct ml_log_kv ml_log_kv_unsigned(const char *key, unsigned long long n)
{
    return (struct ml_log_kv){.key = key, .type = ML_LOG_KV_UNSIGNED, .integer = (long long)n};
}

static inline struct ml_log_kv ml_log_kv_double(const char *key, double n)
{
    return (struct ml_log_kv){.key = key, .type = ML_LOG_KV_DOUBLE, .number = n};
}

/* A key and a value: char *, struct ml_str, double or any integer. */
#define ML_KV(key, value)                                                                          \
    _Generic((value),                                                                              \
        char *: ml_log_kv_text,                                                                    \
        const char *: ml_log_kv_text,                                                              \
        struct ml_str: ml_log_kv_string,                                                           \
        float: ml_log_kv_double,                                                                   \
        double: ml_log_kv_double,                                                                  \
        unsigned long: ml_log_kv_unsigned,                                                         \
        unsigned long long: ml_log_kv_unsigned,                                                    \
        default: ml_log_kv_integer)(key, value)

/* Writes an event of a level that is not below the minimum; message is a char * or struct ml_str,
 * followed by any number of ML_KV(). */
#define ml_log_event(level, message, ...)                                                          \
    ml_log_event_write(level, (const struct ml_log_kv[]){                                          \
                                  ML_KV("message", message), ##__VA_ARGS__, {.key = NULL}})

/* The fields begin with the message and end with one whose key is NULL. */
void ml_log_event_write(enum ml_log_level level, const struct ml_log_kv *fields);

/* The minimum level of this process; at first ML_LOG_INFO. */
void ml_log_event_set_level(enum ml_log_level minimum);
enum ml_log_level ml_log_event_level(void);
/* "debug", "info", "warn", "error" and back; false when it is none of them. */
const char *ml_log_level_name(enum ml_log_level level);
/* What makes a terminal show it in a colour of its own. */
const char *ml_log_level_colour(enum ml_log_level level);
bool ml_log_level_parse(struct ml_str name, enum ml_log_level *level);

/* Sends the events of this process to a log that the caller keeps; NULL: to stderr. */
void ml_log_event_set_sink(struct ml_log *sink);
/* For people rather than as JSON; and, as JSON, also to whoever wants a copy: NULL, nobody. */
struct ml_tap;
void ml_log_event_set_pretty(bool pretty);
bool ml_log_event_on_terminal(void); /* do events go to a terminal? */
void ml_log_event_set_tap(const struct ml_tap *tap);
/* Writes what had to wait. */
void ml_log_event_flush(void);
/* Events lost so far by the log they go to. */
uint64_t ml_log_event_dropped(void);
/* For a child after fork(), before it closes descriptors it does not know: events go to stderr. */
void ml_log_event_forget(void);

/* Appends a time as RFC 3339 with milliseconds, in UTC: 2024-05-06T07:08:09.123Z. */
void ml_log_timestamp(struct ml_buf *out, double wall_s);

#endif
