/* cli.h - the command line: one table of commands and options that both parses and explains. */
#ifndef ML_PROCESS_CLI_H
#define ML_PROCESS_CLI_H

#include <stdbool.h>

/* Exit codes, X(name, code, when) */
#define ML_CLI_TABLE(X)                                                                            \
    X(DONE, 0, "done; run: the gateway ended as it was told to")                                   \
    X(REFUSED, 1, "the site does not load, or what was asked for is refused")                      \
    X(USAGE, 2, "the command line is wrong")                                                       \
    X(START, 3, "cannot bind, cannot start, or a system call failed")                              \
    X(NOT_RUNNING, 4, "no gateway is running, or it does not answer")                              \
    X(AT_ONCE, 130, "run: a second SIGINT ended it without waiting")

enum ml_cli_exit {
#define X(name, code, when) ML_CLI_##name = code,
    ML_CLI_TABLE(X)
#undef X
};

/* Options, X(name, as it is typed, name of its value or NULL, explanation) */
#define ML_OPTION_TABLE(X)                                                                         \
    X(WORKERS, "--workers", "N", "number of worker processes; else gateway.lua's, else one a CPU") \
    X(CONTROL, "--control", "PATH", "unix socket that reload and status talk through")             \
    X(PID_FILE, "--pid-file", "PATH", "where the id of the process is written while it serves")      \
    X(WAIT, "--wait", NULL, "wait until the site is live in all workers, or refused")              \
    X(JSON, "--json", NULL, "print everything as JSON")                                            \
    X(DEV, "--dev", NULL, "development: answers tell what is wrong with a script")                 \
    X(LAST, "--last", "N", "the last N requests, at most 100")                                     \
    X(REFUSED, "--refused", NULL, "only what was refused, failed or was slow")                     \
    X(SITE, "--site", "DIR", "directory of the site")                                              \
    X(HEADER, "--header", "TEXT", "or -H: a header \"Name: value\" of the request; repeatable")    \
    X(ONCE, "--once", NULL, "print once and end")                                                  \
    X(FORCE, "--force", NULL, "write into a directory that is not empty; overwrites files")        \
    X(HELP, "--help", NULL, "explain this command")

enum ml_option {
#define X(name, typed, value, help) ML_OPTION_##name,
    ML_OPTION_TABLE(X)
#undef X
        ML_OPTION_COUNT
};

enum { ML_CLI_HEADERS_MAX = 40 };

struct ml_cli_args {
    const char *dir;                      /* NULL when it was left out; drain: the upstream */
    const char *name;                     /* drain: the server */
    const char *options[ML_OPTION_COUNT]; /* value, "" for a flag, NULL when not given */
    const char *headers[ML_CLI_HEADERS_MAX];
    unsigned header_count;
    char **rest;                          /* test: all that was typed; ends with NULL */
};

/* Commands; they return an exit code and say on stderr what went wrong. */
int ml_cli_run(const struct ml_cli_args *args);
int ml_cli_check(const struct ml_cli_args *args);
int ml_cli_test(const struct ml_cli_args *args);
int ml_cli_init(const struct ml_cli_args *args);
int ml_cli_reload(const struct ml_cli_args *args);
int ml_cli_upgrade(const struct ml_cli_args *args);
int ml_cli_status(const struct ml_cli_args *args);
int ml_cli_drain(const struct ml_cli_args *args);
int ml_cli_undrain(const struct ml_cli_args *args);
int ml_cli_why(const struct ml_cli_args *args);
int ml_cli_explain(const struct ml_cli_args *args);
int ml_cli_generations(const struct ml_cli_args *args);
int ml_cli_rollback(const struct ml_cli_args *args);
int ml_cli_top(const struct ml_cli_args *args);

/* Parses argv and runs a command. */
int ml_cli_main(int argc, char **argv);

#endif
