/* access_pretty.c - what others choose is escaped as in JSON, so that nothing of it reaches the
 * terminal as more than text. */
#include "inbound/access_pretty.h"

#include "base/json.h"
#include "base/log_event.h"
#include "base/redact.h"
#include "inbound/date.h"

enum { TEXT_MAX = 512 };

/* As JSON would have it, without the quotes. */
static void text(struct ml_buf *out, struct ml_str s)
{
    struct ml_buf escaped = {0};

    ml_json_string(&escaped, (struct ml_str){s.p, s.len < TEXT_MAX ? s.len : TEXT_MAX});
    ml_buf_append(out, (struct ml_str){ml_buf_str(&escaped).p + 1, ml_buf_len(&escaped) - 2});
    ml_buf_release(&escaped);
}

static void named(struct ml_buf *out, const char *name, struct ml_str s)
{
    if (s.len == 0)
        return;
    ml_buf_printf(out, " %s=", name);
    text(out, s);
}

void ml_access_pretty(struct ml_buf *out, const struct ml_exchange *ex, enum ml_log_level level,
                      int status)
{
    const struct ml_exchange_notes *n = &ex->notes;
    struct ml_str now = ml_date_rfc3339(); /* 2024-05-06T07:08:09.123Z */
    double took_s = ml_loop_now_s(ex->loop) - n->start_s;
    struct ml_buf copy = {0};

    ml_buf_append(out, (struct ml_str){now.p + 11, 12});
    ml_buf_printf(out, " %s%-5s\x1b[0m ", ml_log_level_colour(level), ml_log_level_name(level));
    text(out, ex->req.method);
    ml_buf_append(out, ML_STR(" "));
    text(out, ml_redact_url(ex->req.raw_target, &copy));
    ml_buf_printf(out, " %d %.1f ms %llu B", status, took_s * 1000,
                  (unsigned long long)n->bytes_out);
    named(out, "upstream", n->upstream);
    named(out, "user", n->user_id);
    if (n->why != ML_OK)
        named(out, "reason", ml_str_of(ml_err_word(n->why)));
    named(out, "ip", ex->req.ip);
    named(out, "id", ex->req.id);
    ml_buf_append(out, ML_STR("\n"));
    ml_buf_release(&copy);
}
