/* cli_admin.c - `why`, `explain`, `generations`, `rollback`: calls of the admin API, shown. */
#include "process/cli_parts.h"
#include "process/stage.h"
#include "protocol/url.h"
#include "script/generation.h"

static const double EXPLAIN_S = 60;

static void param(struct ml_buf *request, const char *name, const char *value)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_str text = ml_url_encode(ml_str_of(value), arena);
    bool first = memchr(ml_buf_str(request).p, '=', ml_buf_len(request)) == NULL;

    ml_buf_printf(request, "%s%s=%.*s", first ? " " : "&", name, (int)text.len, text.p);
    ml_arena_free(&arena);
}

static int call(const struct ml_cli_args *args, const char *dir, struct ml_buf *request,
                const char *function)
{
    int code = ml_cli_call(args, dir, ml_buf_str(request), function);

    ml_buf_release(request);
    return code;
}

int ml_cli_why(const struct ml_cli_args *args)
{
    struct ml_buf request = {0};

    ml_buf_append(&request, ML_STR("why"));
    if (args->dir != NULL)
        param(&request, "id", args->dir);
    if (args->options[ML_OPTION_LAST] != NULL)
        param(&request, "last", args->options[ML_OPTION_LAST]);
    if (args->options[ML_OPTION_REFUSED] != NULL)
        param(&request, "refused", "1");
    return call(args, args->options[ML_OPTION_SITE], &request, "why");
}

int ml_cli_generations(const struct ml_cli_args *args)
{
    struct ml_buf request = {0};

    ml_buf_append(&request, ML_STR("generations"));
    return call(args, args->dir, &request, "generations");
}

int ml_cli_rollback(const struct ml_cli_args *args)
{
    struct ml_buf request = {0};

    ml_buf_append(&request, ML_STR("rollback"));
    if (args->dir != NULL)
        param(&request, "generation", args->dir);
    return call(args, args->options[ML_OPTION_SITE], &request, "reloaded");
}

/* ---- explain without a gateway ---- */

struct offline {
    struct ml_loop *loop; /* borrowed */
    const struct ml_cli_args *args;
    int code;
};

static void on_explained(void *ctx, struct ml_stage_result *result)
{
    struct offline *o = ctx;

    ml_loop_stop(o->loop);
    if (result->explained.len == 0) {
        fprintf(stderr, "%.*s\n", (int)result->error.len, result->error.p);
        o->code = ML_CLI_REFUSED;
    } else if (o->args->options[ML_OPTION_JSON] != NULL) {
        printf("%.*s\n", (int)result->explained.len, result->explained.p);
        o->code = ML_CLI_DONE;
    } else {
        o->code = ml_cli_show(stdout, "explain", result->explained, ML_CLI_DONE);
    }
}

static int explain_offline(const struct ml_cli_args *args)
{
    struct ml_str headers[ML_CLI_HEADERS_MAX];
    struct ml_explain request = {.method = ml_str_of(args->dir),
                                 .url = ml_str_of(args->name),
                                 .headers = headers,
                                 .header_count = args->header_count};
    struct offline o = {.loop = ml_loop_new(), .args = args, .code = ML_CLI_START};
    struct ml_stage_conf conf = {.loop = o.loop,
                                 .dir = args->options[ML_OPTION_SITE],
                                 .number = 1,
                                 .deadline_s = EXPLAIN_S,
                                 .explain = &request,
                                 .done = on_explained,
                                 .ctx = &o};
    struct ml_stage *stage;

    for (unsigned i = 0; i < args->header_count; i++)
        headers[i] = ml_str_of(args->headers[i]);
    stage = ml_stage_new(&conf);
    ml_loop_run(o.loop);
    ml_stage_free(&stage);
    ml_loop_free(&o.loop);
    return o.code;
}

/* With --site the directory counts, whatever runs; else the generation that is live. */
int ml_cli_explain(const struct ml_cli_args *args)
{
    struct ml_buf request = {0};

    if (args->options[ML_OPTION_SITE] != NULL && args->options[ML_OPTION_CONTROL] == NULL)
        return explain_offline(args);
    ml_buf_append(&request, ML_STR("explain"));
    param(&request, "method", args->dir);
    param(&request, "url", args->name);
    for (unsigned i = 0; i < args->header_count; i++)
        param(&request, "header", args->headers[i]);
    return call(args, NULL, &request, "explain");
}
