/* cli_check.c - `moonlatch check`: a reload's staging, without a gateway. */
#include "process/cli.h"
#include "process/stage.h"

#include <stdio.h>

static const double DEADLINE_S = 60;

struct check {
    struct ml_loop *loop; /* borrowed */
    const char *dir;
    int code;
};

static void print_warnings(struct ml_str s)
{
    if (s.len == 0)
        return;
    fprintf(stderr, "%.*s%s", (int)s.len, s.p, s.p[s.len - 1] == '\n' ? "" : "\n");
}

static void print_listeners(const struct ml_summary *summary)
{
    for (unsigned i = 0; i < summary->listener_count; i++)
        printf("%s %.*s:%d", i == 0 ? ", listens on" : ",", (int)summary->listeners[i].host.len,
               summary->listeners[i].host.p, summary->listeners[i].port);
}

static void on_staged(void *ctx, struct ml_stage_result *result)
{
    struct check *check = ctx;

    ml_loop_stop(check->loop);
    if (result->summary == NULL) {
        fprintf(stderr, "%.*s\n", (int)result->error.len, result->error.p);
        check->code = ML_CLI_REFUSED;
        return;
    }
    print_warnings(result->summary->warnings);
    printf("%s: ok, %u route%s", check->dir, result->summary->route_count,
           result->summary->route_count == 1 ? "" : "s");
    print_listeners(result->summary);
    printf(", content %.*s\n", (int)result->summary->hash.len, result->summary->hash.p);
    check->code = ML_CLI_DONE;
}

int ml_cli_check(const struct ml_cli_args *args)
{
    struct ml_loop *loop = ml_loop_new();
    struct check check = {.loop = loop, .dir = args->dir, .code = ML_CLI_START};
    struct ml_stage_conf conf = {.loop = loop,
                                 .dir = args->dir,
                                 .number = 1,
                                 .deadline_s = DEADLINE_S,
                                 .done = on_staged,
                                 .ctx = &check};
    struct ml_stage *stage = ml_stage_new(&conf);

    ml_loop_run(loop);
    ml_stage_free(&stage);
    ml_loop_free(&loop);
    return check.code;
}
