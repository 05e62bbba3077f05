/* trace.c - a handler around the scripts' own, and core.trace for chains, both writing to one file.
 */
#include "process/trace.h"

#include "base/decimal.h"
#include "base/json.h"
#include "base/log.h"
#include "base/log_event.h"
#include "script/task.h"

#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct ml_handler inner; /* of this process, which is a worker */
static const struct ml_script_host *host;
static int trace_fd = -1;
static char page_path[PATH_MAX];
static struct ml_deferred page; /* after the exchange was counted */

static void begin_line(struct ml_buf *out, const struct ml_exchange *ex, const char *what)
{
    char digits[ML_DECIMAL_CAP];

    ml_buf_append(out, ML_STR("{\"n\":"));
    ml_buf_append(out, (struct ml_str){digits, ml_decimal(digits, ex->serial)});
    ml_buf_append(out, ML_STR(",\"what\":"));
    ml_json_string(out, ml_str_of(what));
}

static void text(struct ml_buf *out, const char *name, struct ml_str value)
{
    ml_buf_append(out, ML_STR(",\""));
    ml_buf_append(out, ml_str_of(name));
    ml_buf_append(out, ML_STR("\":"));
    ml_json_string(out, value);
}

/* Whole lines by one write: workers share the file. */
static void end_line(struct ml_buf *out)
{
    ml_buf_append(out, ML_STR("}\n"));
    if (write(trace_fd, ml_buf_str(out).p, ml_buf_len(out)) != (ssize_t)ml_buf_len(out))
        ml_log_event(ML_LOG_WARN, "the trace is not complete");
    ml_buf_release(out);
}

static void outcome(const struct ml_exchange *ex)
{
    const struct ml_exchange_notes *n = &ex->notes;
    char digits[ML_DECIMAL_CAP];
    struct ml_buf line = {0};

    begin_line(&line, ex, "done");
    text(&line, "method", ex->req.method);
    text(&line, "target", ex->req.raw_target);
    text(&line, "id", ex->req.id);
    text(&line, "route", n->route);
    text(&line, "upstream", n->upstream);
    text(&line, "server", n->server);
    text(&line, "user", n->user_id);
    if (n->why != ML_OK)
        text(&line, "why", ml_str_of(ml_err_word(n->why)));
    ml_buf_append(&line, ML_STR(",\"tries\":"));
    ml_buf_append(&line, (struct ml_str){digits, ml_decimal(digits, n->tries)});
    ml_buf_append(&line, ML_STR(",\"status\":"));
    ml_buf_append(&line, (struct ml_str){digits, ml_decimal(digits, (uint64_t)ex->res.status)});
    end_line(&line);
    ml_loop_defer(ex->loop, &page);
}

/* The page of metrics as it is now, in the place of the one before. */
static void write_page(void *ctx)
{
    struct ml_buf text = {0};
    char fresh[PATH_MAX + 8];
    FILE *f;

    (void)ctx;
    snprintf(fresh, sizeof fresh, "%s.new", page_path);
    host->metrics_text(host->status_ctx, ML_PROMETHEUS, &text);
    f = fopen(fresh, "we");
    if (f != NULL) {
        fwrite(ml_buf_str(&text).p, 1, ml_buf_len(&text), f);
        if (fclose(f) == 0)
            (void)rename(fresh, page_path);
    }
    ml_buf_release(&text);
}

static void start(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    inner.start(inner.ctx, ex);
}

static void cancel(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    outcome(ex);
    inner.cancel(inner.ctx, ex);
}

static void done(void *ctx, struct ml_exchange *ex)
{
    (void)ctx;
    outcome(ex);
    inner.done(inner.ctx, ex);
}

static struct ml_str optional(lua_State *L, int index)
{
    struct ml_str s = {0};

    if (lua_type(L, index) == LUA_TSTRING)
        s.p = lua_tolstring(L, index, &s.len);
    return s;
}

/* core.trace(what, name, detail) */
static int trace(lua_State *L)
{
    struct ml_task *task = ml_task_running(L);
    struct ml_exchange *ex = task != NULL ? ml_task_exchange(ml_task_root(task)) : NULL;
    struct ml_buf line = {0};

    if (ex == NULL)
        return 0;
    begin_line(&line, ex, luaL_checkstring(L, 1));
    text(&line, "name", optional(L, 2));
    text(&line, "detail", optional(L, 3));
    end_line(&line);
    return 0;
}

static void extend(lua_State *L, void *ctx)
{
    (void)ctx;
    lua_pushcfunction(L, trace);
    lua_setfield(L, -2, "trace");
}

void ml_trace_install(struct ml_script_host *of, struct ml_handler *handler)
{
    const char *path = getenv("MOONLATCH_TRACE");

    if (path == NULL || path[0] == '\0')
        return;
    trace_fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (trace_fd < 0) {
        ml_log_event(ML_LOG_WARN, "the file of MOONLATCH_TRACE can not be written",
                     ML_KV("file", path));
        return;
    }
    ml_log_eager();
    snprintf(page_path, sizeof page_path, "%s.metrics", path);
    page.fire = write_page;
    host = of;
    inner = *handler;
    *handler = (struct ml_handler){start, cancel, done, NULL};
    of->extend = extend;
}
