/* cli_parts.h - what commands that talk to a running gateway share (cli_client.c). */
#ifndef ML_PROCESS_CLI_PARTS_H
#define ML_PROCESS_CLI_PARTS_H

#include "process/cli.h"
#include "process/control_client.h"

#include <stdio.h>

/* Says why on stderr, and returns code. */
int ml_cli_complain(struct ml_buf *why, int code);
/* Where the gateway of args->options[CONTROL] or dir is; an exit code with a sentence in why. */
int ml_cli_find(const struct ml_cli_args *args, const char *dir, char path[ML_CONTROL_PATH_MAX],
                struct ml_buf *why);
/* Shows an answer as text on the stream, by that function of lua/moonlatch/cli.lua. */
int ml_cli_show(FILE *to, const char *function, struct ml_str json, int code);
/* Sends "call ..." and shows the answer: as JSON with --json, else by function. */
int ml_cli_call(const struct ml_cli_args *args, const char *dir, struct ml_str request,
                const char *function);

#endif
