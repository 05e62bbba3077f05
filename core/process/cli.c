/* cli.c - finds the command, checks what was typed against its row, runs it.
 *
 * Help is printed from the same rows that parsing uses. */
#include "process/cli.h"

#include "base/version.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct option_row {
    const char *typed, *value, *help;
};

static const struct option_row OPTIONS[] = {
#define X(name, typed, value, help) {typed, value, help},
    ML_OPTION_TABLE(X)
#undef X
};

enum dir { NO_DIR, MAY_DIR, MUST_DIR, OWN, NAMES, MAY_WORD, WORDS }; /* OWN: the command reads its arguments itself */

struct command {
    const char *name;
    enum dir dir;
    unsigned options; /* bits by enum ml_option */
    int (*run)(const struct ml_cli_args *args);
    const char *summary, *text;
};

static int print_version(const struct ml_cli_args *args);
static int print_help(const struct ml_cli_args *args);

#define BIT(option) (1u << ML_OPTION_##option)

static const struct command COMMANDS[] = {
    {"run", MUST_DIR, BIT(WORKERS) | BIT(CONTROL) | BIT(PID_FILE) | BIT(DEV), ml_cli_run,
     "serve the site in DIR, in the foreground",
     "A saved file is live about a second later; a site that does not load changes nothing.\n"
     "Signals: TERM and INT end gracefully, a second INT at once, HUP reloads, USR1 reopens log\n"
     "files, USR2 is as \"moonlatch upgrade\".\n"},
    {"check", MUST_DIR, 0, ml_cli_check,
     "load the site in DIR as a reload would, and say what is wrong",
     "Errors and warnings are printed to stderr as \"file:line: what\".\n"},
    {"test", OWN, 0, ml_cli_test,
     "run the specs of the site in DIR with busted, on this gateway's core",
     "  -o, --output NAME    TAP, junit, json, gtest, plainTerminal, utfTerminal, or a file of Lua\n"
     "  --output-file FILE   writes there what would go to stdout\n"
     "  --coverage[=WHAT]    which lines of the site ran: text, lcov:FILE, shipped, min:PERCENT, with\n"
     "                       commas between them (docs/testing.md)\n"
     "  --kit                prints where the kit for plain busted is\n"
     "  --notices            prints the licences of busted and of what it needs\n"
     "Everything else is busted's: --filter, --tags, --list, files of specs ... in DIR.\n"},
    {"init", MUST_DIR, BIT(FORCE), ml_cli_init, "write a small working site to DIR", ""},
    {"reload", MAY_DIR, BIT(WAIT) | BIT(CONTROL), ml_cli_reload,
     "have a running gateway look at its directory now",
     "Without DIR and --control it asks the only gateway that runs.\n"},
    {"upgrade", MAY_DIR, BIT(CONTROL), ml_cli_upgrade,
     "have a running gateway start its program anew and hand over to it",
     "No connection is lost; when the new program does not start, the old one goes on.\n"},
    {"status", MAY_DIR, BIT(JSON) | BIT(CONTROL), ml_cli_status,
     "what runs: generation, workers, listeners, upstream servers",
     "Without DIR and --control it asks the only gateway that runs.\n"},
    {"drain", NAMES, BIT(CONTROL), ml_cli_drain,
     "no new requests for a server of an upstream; those in flight finish",
     "SERVER is its URL as \"moonlatch status\" shows it.  It lasts until undrain or the next start.\n"},
    {"undrain", NAMES, BIT(CONTROL), ml_cli_undrain,
     "use a drained server of an upstream again", ""},
    {"why", MAY_WORD, BIT(SITE) | BIT(CONTROL) | BIT(LAST) | BIT(REFUSED) | BIT(JSON), ml_cli_why,
     "what was decided about a request, by its id or the beginning of it",
     "Without an id: about the last one, or --last N.  Requests that were refused, that failed or were\n"
     "slow are remembered longer than the others, and with all that was decided.\n"},
    {"explain", WORDS, BIT(HEADER) | BIT(SITE) | BIT(CONTROL) | BIT(JSON), ml_cli_explain,
     "what would become of a request, and why; none is sent",
     "By the site in the directory of --site, or by the generation that is live in a running gateway.\n"},
    {"generations", MAY_DIR, BIT(JSON) | BIT(CONTROL), ml_cli_generations,
     "what was live when, what changed, and what can be made live again",
     "Without DIR and --control it asks the only gateway that runs.\n"},
    {"rollback", MAY_WORD, BIT(SITE) | BIT(CONTROL), ml_cli_rollback,
     "make a former generation live again, without NUMBER the last one",
     "The next change of a file of the site, and \"moonlatch reload\", load what is in the directory.\n"},
    {"top", MAY_DIR, BIT(ONCE) | BIT(JSON) | BIT(CONTROL), ml_cli_top,
     "watch requests, latencies, routes, servers and workers",
     "Each two seconds; --once, or a pipe, prints one picture of a second.  q or Ctrl-C ends it.\n"},
    {"version", NO_DIR, 0, print_version, "print the version", ""},
    {"help", NO_DIR, 0, print_help, "print this", ""},
};

enum { COMMAND_COUNT = sizeof COMMANDS / sizeof COMMANDS[0] };

/* ---- explaining ---- */

static void print_usage(FILE *to, const struct command *command)
{
    static const char *const dir[] = {"", " [DIR]", " DIR", " [OPTIONS] DIR [SPECS]",
                                      " UPSTREAM SERVER", NULL, " METHOD URL"};
    const char *word = strcmp(command->name, "why") == 0 ? " [ID]" : " [NUMBER]";

    fprintf(to, "usage: moonlatch %s%s", command->name,
            command->dir == MAY_WORD ? word : dir[command->dir]);
    for (int i = 0; i < ML_OPTION_COUNT; i++)
        if (command->options & 1u << i)
            fprintf(to, " [%s%s%s]", OPTIONS[i].typed, OPTIONS[i].value != NULL ? " " : "",
                    OPTIONS[i].value != NULL ? OPTIONS[i].value : "");
    fputc('\n', to);
}

static void print_option(const struct option_row *row)
{
    char left[32];

    snprintf(left, sizeof left, "%s %s", row->typed, row->value != NULL ? row->value : "");
    printf("  %-16s %s\n", left, row->help);
}

static void print_exit_codes(void)
{
    printf("\nExit codes:\n");
#define X(name, code, when) printf("  %-3d %s\n", code, when);
    ML_CLI_TABLE(X)
#undef X
}

static int explain(const struct command *command)
{
    print_usage(stdout, command);
    printf("\n%c%s.\n%s\nOptions:\n", toupper((unsigned char)command->summary[0]),
           command->summary + 1, command->text);
    for (int i = 0; i < ML_OPTION_COUNT; i++)
        if (i == ML_OPTION_HELP || command->options & 1u << i)
            print_option(&OPTIONS[i]);
    print_exit_codes();
    return ML_CLI_DONE;
}

static int print_help(const struct ml_cli_args *args)
{
    (void)args;
    printf("moonlatch %s: a gateway whose decisions are Lua scripts in a directory\n\n"
           "usage: moonlatch COMMAND ...\n\n",
           ml_version);
    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        printf("  %-11s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
    printf("\n\"moonlatch COMMAND --help\" explains one of them.\n");
    print_exit_codes();
    return ML_CLI_DONE;
}

static int print_version(const struct ml_cli_args *args)
{
    (void)args;
    printf("moonlatch %s\n", ml_version);
    return ML_CLI_DONE;
}

/* ---- parsing ---- */

__attribute__((format(printf, 2, 3))) static int refuse(const struct command *command,
                                                        const char *format, ...)
{
    va_list args;

    fputs("moonlatch: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    if (command != NULL)
        print_usage(stderr, command);
    fprintf(stderr, "\"moonlatch %s%s\" explains.\n", command != NULL ? command->name : "help",
            command != NULL ? " --help" : "");
    return ML_CLI_USAGE;
}

static const struct command *find_command(const char *name)
{
    static const struct command *const help = &COMMANDS[COMMAND_COUNT - 1];

    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(name, COMMANDS[i].name) == 0)
            return &COMMANDS[i];
    if (strcmp(name, "--version") == 0)
        return find_command("version");
    return strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 ? help : NULL;
}

/* "--name" or "--name=value"; *value is what comes behind the "=", or NULL. */
static int find_option(const char *typed, const char **value)
{
    size_t len = strcspn(typed, "=");

    *value = typed[len] == '=' ? typed + len + 1 : NULL;
    if (strcmp(typed, "-h") == 0)
        return ML_OPTION_HELP;
    if (strcmp(typed, "-H") == 0)
        return ML_OPTION_HEADER;
    for (int i = 0; i < ML_OPTION_COUNT; i++)
        if (strlen(OPTIONS[i].typed) == len && memcmp(OPTIONS[i].typed, typed, len) == 0)
            return i;
    return -1;
}

static int take_option(const struct command *command, struct ml_cli_args *args, char ***argv)
{
    const char *typed = **argv, *value;
    int i = find_option(typed, &value);

    if (i < 0 || (i != ML_OPTION_HELP && !(command->options & 1u << i)))
        return refuse(command, "unknown option %s", typed);
    if (args->options[i] != NULL && i != ML_OPTION_HEADER)
        return refuse(command, "%s is given twice", OPTIONS[i].typed);
    if (OPTIONS[i].value == NULL && value != NULL)
        return refuse(command, "%s takes no value", OPTIONS[i].typed);
    if (OPTIONS[i].value != NULL && value == NULL)
        value = (*argv)[1] != NULL ? *++*argv : NULL;
    if (OPTIONS[i].value != NULL && (value == NULL || value[0] == '\0'))
        return refuse(command, "%s needs a value: %s", OPTIONS[i].typed, OPTIONS[i].value);
    args->options[i] = value != NULL ? value : "";
    if (i == ML_OPTION_HEADER && args->header_count == ML_CLI_HEADERS_MAX)
        return refuse(command, "there are more than %d headers", (int)ML_CLI_HEADERS_MAX);
    if (i == ML_OPTION_HEADER)
        args->headers[args->header_count++] = value;
    return ML_CLI_DONE;
}

static int take_dir(const struct command *command, struct ml_cli_args *args, const char *typed)
{
    if ((command->dir == NAMES || command->dir == WORDS) && args->dir != NULL && args->name == NULL) {
        args->name = typed;
        return ML_CLI_DONE;
    }
    if (command->dir == NO_DIR || args->dir != NULL)
        return refuse(command, "unexpected argument \"%s\"", typed);
    if (typed[0] == '\0')
        return refuse(command, "the directory's name is empty");
    args->dir = typed;
    return ML_CLI_DONE;
}

static int parse(const struct command *command, char **argv, struct ml_cli_args *args)
{
    bool only_names = false;
    int code = ML_CLI_DONE;

    if (command->dir == OWN && (*argv == NULL || find_option(*argv, &(const char *){NULL}) < 0)) {
        args->rest = argv;
        return ML_CLI_DONE;
    }
    for (; *argv != NULL && code == ML_CLI_DONE; argv++) {
        if (!only_names && strcmp(*argv, "--") == 0)
            only_names = true;
        else if (!only_names && (*argv)[0] == '-' && (*argv)[1] != '\0')
            code = take_option(command, args, &argv);
        else
            code = take_dir(command, args, *argv);
    }
    return code;
}

int ml_cli_main(int argc, char **argv)
{
    struct ml_cli_args args = {0};
    const struct command *command;
    int code;

    if (argc < 2)
        return refuse(NULL, "a command is missing");
    command = find_command(argv[1]);
    if (command == NULL)
        return refuse(NULL, "unknown command \"%s\"", argv[1]);
    code = parse(command, argv + 2, &args);
    if (code != ML_CLI_DONE)
        return code;
    if (args.options[ML_OPTION_HELP] != NULL)
        return explain(command);
    if (command->dir == MUST_DIR && args.dir == NULL)
        return refuse(command, "the site's directory is missing");
    if (command->dir == NAMES && args.name == NULL)
        return refuse(command, "an upstream and one of its servers are expected");
    if (command->dir == WORDS && args.name == NULL)
        return refuse(command, "a method and a URL are expected");
    code = command->run(&args);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("moonlatch: cannot write to stdout");
        return ML_CLI_START;
    }
    return code;
}
