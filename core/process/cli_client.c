/* cli_client.c - `moonlatch reload` and `moonlatch status`: one question to a running gateway. */
#include "process/cli_parts.h"
#include "process/render.h"

#include <stdio.h>

static const double STATUS_TIMEOUT_S = 10, RELOAD_TIMEOUT_S = 150;

int ml_cli_complain(struct ml_buf *why, int code)
{
    fprintf(stderr, "moonlatch: %.*s\n", (int)ml_buf_len(why), ml_buf_str(why).p);
    ml_buf_release(why);
    return code;
}

int ml_cli_find(const struct ml_cli_args *args, const char *dir, char path[ML_CONTROL_PATH_MAX],
                struct ml_buf *why)
{
    switch (ml_control_find(args->options[ML_OPTION_CONTROL], dir, path, why)) {
    case ML_CONTROL_FOUND:
        return ML_CLI_DONE;
    case ML_CONTROL_SEVERAL:
        return ML_CLI_USAGE;
    default:
        return ML_CLI_NOT_RUNNING;
    }
}

/* Shows an answer as text on the stream. */
int ml_cli_show(FILE *to, const char *function, struct ml_str json, int code)
{
    struct ml_buf text = {0}, why = {0};

    if (!ml_render(function, json, &text, &why)) {
        ml_buf_release(&text);
        return ml_cli_complain(&why, ML_CLI_NOT_RUNNING);
    }
    fwrite(ml_buf_str(&text).p, 1, ml_buf_len(&text), to);
    ml_buf_release(&text);
    return code;
}

static int print_json(struct ml_str json)
{
    printf("%.*s\n", (int)json.len, json.p);
    return ML_CLI_DONE;
}

int ml_cli_call(const struct ml_cli_args *args, const char *dir, struct ml_str request,
                const char *function)
{
    struct ml_buf json = {0}, why = {0}, line = {0};
    char path[ML_CONTROL_PATH_MAX];
    int code = ml_cli_find(args, dir, path, &why);

    if (code != ML_CLI_DONE)
        return ml_cli_complain(&why, code);
    ml_buf_printf(&line, "call %.*s", (int)request.len, request.p);
    ml_buf_append(&line, (struct ml_str){"", 1});
    switch (ml_control_ask(path, ml_buf_str(&line).p, RELOAD_TIMEOUT_S, &json, &why)) {
    case ML_CONTROL_OK:
        if (function == NULL || args->options[ML_OPTION_JSON] != NULL)
            code = print_json(ml_buf_str(&json));
        else
            code = ml_cli_show(stdout, function, ml_buf_str(&json), ML_CLI_DONE);
        break;
    case ML_CONTROL_REFUSED:
        code = ml_cli_show(stderr, "refused", ml_buf_str(&json), ML_CLI_REFUSED);
        break;
    default:
        code = ml_cli_complain(&why, ML_CLI_NOT_RUNNING);
    }
    ml_buf_release(&json);
    ml_buf_release(&line);
    return code;
}

int ml_cli_status(const struct ml_cli_args *args)
{
    struct ml_buf json = {0}, why = {0};
    char path[ML_CONTROL_PATH_MAX];
    int code = ml_cli_find(args, args->dir, path, &why);

    if (code != ML_CLI_DONE)
        return ml_cli_complain(&why, code);
    if (ml_control_ask(path, "status", STATUS_TIMEOUT_S, &json, &why) == ML_CONTROL_NO_ANSWER)
        code = ml_cli_complain(&why, ML_CLI_NOT_RUNNING);
    else if (args->options[ML_OPTION_JSON] != NULL)
        code = print_json(ml_buf_str(&json));
    else
        code = ml_cli_show(stdout, "status", ml_buf_str(&json), ML_CLI_DONE);
    ml_buf_release(&json);
    return code;
}

static int ask_drain(const char *path, const char *request)
{
    struct ml_buf json = {0}, why = {0};
    int code = ML_CLI_DONE;

    switch (ml_control_ask(path, request, STATUS_TIMEOUT_S, &json, &why)) {
    case ML_CONTROL_OK:
        code = ml_cli_show(stdout, "drained", ml_buf_str(&json), ML_CLI_DONE);
        break;
    case ML_CONTROL_REFUSED:
        code = ml_cli_show(stderr, "refused", ml_buf_str(&json), ML_CLI_REFUSED);
        break;
    default:
        code = ml_cli_complain(&why, ML_CLI_NOT_RUNNING);
    }
    ml_buf_release(&json);
    return code;
}

static int drain(const struct ml_cli_args *args, const char *verb)
{
    struct ml_buf request = {0}, why = {0};
    char path[ML_CONTROL_PATH_MAX];
    int code;

    code = ml_cli_find(args, NULL, path, &why);
    if (code != ML_CLI_DONE)
        return ml_cli_complain(&why, code);
    ml_buf_printf(&request, "%s %s %s", verb, args->dir, args->name);
    ml_buf_append(&request, (struct ml_str){"", 1});
    code = ask_drain(path, ml_buf_str(&request).p);
    ml_buf_release(&request);
    return code;
}

int ml_cli_drain(const struct ml_cli_args *args)
{
    return drain(args, "drain");
}

int ml_cli_undrain(const struct ml_cli_args *args)
{
    return drain(args, "undrain");
}

/* Asks for something that takes a while, and shows the answer; done NULL: no success is shown. */
static int ask_and_show(const char *path, const char *verb, const char *done)
{
    struct ml_buf json = {0}, why = {0};
    int code = ML_CLI_DONE;

    switch (ml_control_ask(path, verb, RELOAD_TIMEOUT_S, &json, &why)) {
    case ML_CONTROL_OK:
        if (done != NULL)
            code = ml_cli_show(stdout, done, ml_buf_str(&json), ML_CLI_DONE);
        break;
    case ML_CONTROL_REFUSED:
        code = ml_cli_show(stderr, "refused", ml_buf_str(&json), ML_CLI_REFUSED);
        break;
    default:
        code = ml_cli_complain(&why, ML_CLI_NOT_RUNNING);
    }
    ml_buf_release(&json);
    return code;
}

int ml_cli_upgrade(const struct ml_cli_args *args)
{
    struct ml_buf why = {0};
    char path[ML_CONTROL_PATH_MAX];
    int code = ml_cli_find(args, args->dir, path, &why);

    if (code != ML_CLI_DONE)
        return ml_cli_complain(&why, code);
    return ask_and_show(path, "upgrade", "upgraded");
}

int ml_cli_reload(const struct ml_cli_args *args)
{
    char path[ML_CONTROL_PATH_MAX];
    struct ml_buf why = {0};
    int code = ml_cli_find(args, args->dir, path, &why);

    if (code != ML_CLI_DONE)
        return ml_cli_complain(&why, code);
    return ask_and_show(path, args->options[ML_OPTION_WAIT] != NULL ? "reload" : "notify",
                        args->options[ML_OPTION_WAIT] != NULL ? "reloaded" : NULL);
}
