/* cli_run.c - `moonlatch run`: options become the configuration of a supervisor. */
#include "process/cli.h"
#include "process/control_client.h"
#include "process/supervisor.h"

#include "base/shm.h"

#include <stdio.h>
#include <stdlib.h>

/* 0 when it is no number of workers. */
static unsigned parse_workers(const char *text)
{
    char *end;
    unsigned long n;

    if (text[0] < '0' || text[0] > '9')
        return 0;
    n = strtoul(text, &end, 10);
    return *end == '\0' && n <= ML_SHM_WORKERS_MAX ? (unsigned)n : 0;
}

int ml_cli_run(const struct ml_cli_args *args)
{
    const char *workers = args->options[ML_OPTION_WORKERS];
    struct ml_supervisor_conf conf = {.dir = args->dir,
                                      .pid_file = args->options[ML_OPTION_PID_FILE],
                                      .development = args->options[ML_OPTION_DEV] != NULL};
    char path[ML_CONTROL_PATH_MAX];
    struct ml_buf why = {0};

    if (workers != NULL && (conf.workers = parse_workers(workers)) == 0) {
        fprintf(stderr, "moonlatch: --workers must be a number from 1 to %d, not \"%s\"\n",
                (int)ML_SHM_WORKERS_MAX, workers);
        return ML_CLI_USAGE;
    }
    if (ml_control_path(args->options[ML_OPTION_CONTROL], args->dir, path, &why))
        conf.control = path;
    else /* traffic matters more than being asked for a status */
        fprintf(stderr, "moonlatch: reload and status will not reach this gateway: %.*s\n",
                (int)ml_buf_len(&why), ml_buf_str(&why).p);
    ml_buf_release(&why);
    return ml_supervisor_run(&conf);
}
