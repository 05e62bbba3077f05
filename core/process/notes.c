/* notes.c - made anew with each generation. */
#include "process/notes.h"

#include "base/log_event.h"

void ml_notes_begin(struct ml_notes *n, const struct ml_settings *started)
{
    struct ml_settings *s = &n->started;

    n->arena = ml_arena_new();
    *s = *started;
    s->user = ml_arena_dup(n->arena, s->user);
    s->access_log = s->error_log = s->log_level = s->service = ML_STR("");
}

static void log_lines(const char *message, struct ml_str s)
{
    while (s.len > 0) {
        const char *end = memchr(s.p, '\n', s.len);
        size_t len = end != NULL ? (size_t)(end - s.p) : s.len, used = end != NULL ? len + 1 : len;

        ml_log_event(ML_LOG_WARN, message, ML_KV("note", ((struct ml_str){s.p, len})));
        s = (struct ml_str){s.p + used, s.len - used};
    }
}

void ml_notes_take(struct ml_notes *n, const struct ml_summary *live)
{
    ml_buf_consume(&n->text, ml_buf_len(&n->text));
    ml_summary_restart_notes(&n->started, &live->settings, &n->text);
    log_lines("a setting needs a restart", ml_buf_str(&n->text));
    log_lines("the site has a flaw", live->warnings);
    ml_buf_append(&n->text, live->warnings);
}

void ml_notes_end(struct ml_notes *n)
{
    ml_buf_release(&n->text);
    ml_arena_free(&n->arena);
}
