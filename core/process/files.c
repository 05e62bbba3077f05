/* files.c - load, see what was asked for, read that too, load again.
 *
 * Which files a site wants is known when it has been loaded, and loading reads nothing.  So a first
 * load may pass over what is missing, and the next one has it.  When scripts must run as another
 * user, all but the last load happen in processes of their own, for there is no way back. */
#include "process/files.h"

#include "process/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS_MAX = 4, REPORT_MAX = 1 << 20 };

/* ---- lists of names, each with its NUL ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, and each once. */
static void sort_names(struct ml_buf *list)
{
    struct ml_str left = ml_buf_str(list);
    struct ml_buf sorted = {0};
    const char **names = malloc((left.len + 1) * sizeof *names);
    size_t count = 0;

    if (names == NULL)
        abort();
    for (size_t at = 0; at < left.len; at += strlen(left.p + at) + 1)
        names[count++] = left.p + at;
    qsort(names, count, sizeof *names, by_text);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i - 1], names[i]) != 0)
            ml_buf_append(&sorted, (struct ml_str){names[i], strlen(names[i]) + 1});
    free(names);
    ml_buf_release(list);
    *list = sorted;
}

/* ---- one load ---- */

static struct ml_generation *load(const struct ml_stage_conf *conf, struct ml_snapshot *snapshot,
                                  bool later, struct ml_buf *files, struct ml_buf *why)
{
    struct ml_script_host host = {.files = files, /* no I/O */
                                  .files_later = later,
                                  .explain = conf->explain != NULL,
                                  .metrics_region = conf->metrics};
    struct ml_generation *g = ml_generation_load(snapshot, conf->number, &host, why);

    sort_names(files);
    return g;
}

static bool send_all(int fd, struct ml_str s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.p, s.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s.p += n;
        s.len -= (size_t)n;
    }
    return true;
}

static _Noreturn void report(const struct ml_stage_conf *conf, struct ml_snapshot *snapshot,
                             bool later, int fd)
{
    struct ml_buf files = {0}, why = {0};
    bool ok = ml_user_become(conf->user, &why) && load(conf, snapshot, later, &files, &why) != NULL;

    ok = send_all(fd, ok ? ML_STR("+") : ML_STR("-")) &&
         send_all(fd, ok ? ml_buf_str(&files) : ml_buf_str(&why));
    _exit(ok ? 0 : 1);
}

static void receive(int fd, struct ml_buf *all)
{
    for (;;) {
        ssize_t n = read(fd, ml_buf_reserve(all, 4096), 4096);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || ml_buf_len(all) > REPORT_MAX)
            return;
        ml_buf_commit(all, (size_t)n);
    }
}

/* The load in a process that has become the other user; false with a sentence. */
static bool ask(const struct ml_stage_conf *conf, struct ml_snapshot *snapshot, bool later,
                struct ml_buf *files, struct ml_buf *why)
{
    int ends[2], status = 0;
    pid_t parent = getpid(), pid;
    struct ml_buf all = {0};
    bool ok;

    if (pipe(ends) != 0 || (pid = ml_child_fork()) < 0) {
        ml_buf_printf(why, "cannot start the process that loads the site: %s", strerror(errno));
        return false;
    }
    if (pid == 0) {
        ml_child_tie(parent, SIGKILL);
        close(ends[0]);
        report(conf, snapshot, later, ends[1]);
    }
    close(ends[1]);
    receive(ends[0], &all);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    ok = ml_buf_len(&all) > 0 && ml_buf_str(&all).p[0] == '+' && status == 0;
    if (ml_buf_len(&all) > 0)
        ml_buf_consume(&all, 1);
    ml_buf_append(ok ? files : why, ml_buf_str(&all));
    if (!ok && ml_buf_len(why) == 0)
        ml_buf_append(why, ML_STR("the process that loads the site ended without an answer"));
    ml_buf_release(&all);
    return ok;
}

/* ---- rounds ---- */

/* *g stays NULL when the load was another process's. */
static bool try_load(const struct ml_stage_conf *conf, struct ml_snapshot *snapshot, bool later,
                     struct ml_buf *files, struct ml_generation **g, struct ml_buf *why)
{
    if (conf->user != NULL && conf->user->set)
        return ask(conf, snapshot, later, files, why);
    *g = load(conf, snapshot, later, files, why);
    return *g != NULL;
}

/* True when the site asked for what the snapshot was made with. */
static bool settle(const struct ml_stage_conf *conf, struct ml_snapshot **snapshot,
                   struct ml_buf *more, struct ml_generation **g, struct ml_buf *why)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct ml_buf files = {0};
        bool ok, same;

        *snapshot = ml_snapshot_read_with(conf->dir, ml_buf_str(more), why);
        ok = *snapshot != NULL && try_load(conf, *snapshot, round == 0, &files, g, why);
        same = ml_str_eq(ml_buf_str(&files), ml_buf_str(more));
        ml_buf_release(more);
        *more = files;
        if (!ok || same)
            return ok;
        if (*g != NULL)
            ml_generation_retire(g);
        ml_snapshot_free(snapshot);
    }
    ml_buf_append(why, ML_STR("the site asks for other files each time it is loaded"));
    return false;
}

struct ml_generation *ml_files_load(const struct ml_stage_conf *conf, struct ml_snapshot **snapshot,
                                    struct ml_buf *more, struct ml_buf *why)
{
    struct ml_generation *g = NULL;
    struct ml_buf files = {0};

    ml_buf_append(more, conf->more);
    if (!settle(conf, snapshot, more, &g, why) || g != NULL)
        return g;
    if (ml_user_become(conf->user, why))
        g = load(conf, *snapshot, false, &files, why);
    ml_buf_release(&files);
    return g;
}

struct ml_generation *ml_files_load_again(const struct ml_stage_conf *conf,
                                          struct ml_snapshot **snapshot, struct ml_buf *why)
{
    struct ml_generation *g = NULL;
    struct ml_buf files = {0};

    *snapshot = ml_snapshot_open(*conf->from, why);
    if (*snapshot != NULL && (conf->user == NULL || ml_user_become(conf->user, why)))
        g = load(conf, *snapshot, false, &files, why);
    ml_buf_release(&files);
    return g;
}
