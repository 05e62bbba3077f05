/* cli_init.c - `moonlatch init`: the files of lua/site/, which are a part of the program.
 *
 * There they are called dot.x where a site has .x, so that tools do not take them for their own. */
#include "process/cli.h"
#include "script/embed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SITE[] = "site/", DOT[] = "dot.";

static int fail(const char *what, const char *path)
{
    fprintf(stderr, "moonlatch: cannot %s %s: %s\n", what, path, strerror(errno));
    return ML_CLI_START;
}

/* 1 it is empty or was made, 0 it is not, -1 with errno. */
static int prepare(const char *dir)
{
    struct dirent *entry;
    bool empty = true;
    DIR *list;

    if (mkdir(dir, 0777) == 0)
        return 1;
    if (errno != EEXIST || (list = opendir(dir)) == NULL)
        return -1;
    while (empty && (entry = readdir(list)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(list);
    return empty;
}

/* Names have one directory at most. */
static int make_parent(const char *path)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');

    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    return mkdir(parent, 0777) == 0 || errno == EEXIST ? ML_CLI_DONE : fail("make", parent);
}

static int write_file(const char *path, const struct ml_embed *file, bool force)
{
    int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (force ? O_TRUNC : O_EXCL);
    int fd, code = make_parent(path);

    if (code != ML_CLI_DONE)
        return code;
    fd = open(path, flags, 0666);
    if (fd < 0)
        return fail("write", path);
    if (write(fd, file->bytes, file->len) != (ssize_t)file->len)
        code = fail("write", path);
    if (close(fd) != 0 && code == ML_CLI_DONE)
        code = fail("write", path);
    return code;
}

static int write_site(const char *dir, bool force)
{
    char path[PATH_MAX];
    int code = ML_CLI_DONE;

    for (unsigned i = 0; i < ml_embed_count && code == ML_CLI_DONE; i++) {
        const char *name = ml_embed_files[i].name;
        bool dot;

        if (strncmp(name, SITE, sizeof SITE - 1) != 0)
            continue;
        name += sizeof SITE - 1;
        dot = strncmp(name, DOT, sizeof DOT - 1) == 0;
        snprintf(path, sizeof path, "%s/%s", dir, dot ? name + sizeof DOT - 2 : name);
        code = write_file(path, &ml_embed_files[i], force);
    }
    return code;
}

int ml_cli_init(const struct ml_cli_args *args)
{
    bool force = args->options[ML_OPTION_FORCE] != NULL;
    int ready = strlen(args->dir) < PATH_MAX / 2 ? prepare(args->dir) : (errno = ENAMETOOLONG, -1);
    int code;

    if (ready < 0)
        return fail("use", args->dir);
    if (ready == 0 && !force) {
        fprintf(stderr, "moonlatch: %s is not empty; --force writes into it\n", args->dir);
        return ML_CLI_REFUSED;
    }
    code = write_site(args->dir, force);
    if (code == ML_CLI_DONE)
        printf("A site is in %s.  Next:\n  moonlatch test %s\n  moonlatch run %s\n"
               "  curl -i http://127.0.0.1:8080/hello\n",
               args->dir, args->dir, args->dir);
    return code;
}
