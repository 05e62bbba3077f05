/* pid_file.c - written beside its name and renamed, so nobody reads half of a number. */
#include "process/pid_file.h"

#include "base/log_event.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MAX = 24 };

static int text_of_us(char *text)
{
    return snprintf(text, TEXT_MAX, "%ld\n", (long)getpid());
}

static bool write_new(const char *path)
{
    char text[TEXT_MAX];
    int len = text_of_us(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    bool ok;

    if (fd < 0)
        return false;
    ok = write(fd, text, (size_t)len) == len;
    return close(fd) == 0 && ok;
}

void ml_pid_file_write(const char *path)
{
    char beside[4096];

    if (path == NULL)
        return;
    if (snprintf(beside, sizeof beside, "%s.%ld", path, (long)getpid()) >= (int)sizeof beside)
        errno = ENAMETOOLONG;
    else if (write_new(beside) && rename(beside, path) == 0)
        return;
    ml_log_event(ML_LOG_ERROR, "the file of the process id can not be written", ML_KV("file", path),
                 ML_KV("error", strerror(errno)));
    (void)unlink(beside);
}

void ml_pid_file_remove(const char *path)
{
    char ours[TEXT_MAX], text[TEXT_MAX] = "";
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n;

    if (fd < 0)
        return;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n == text_of_us(ours) && memcmp(text, ours, (size_t)n) == 0)
        (void)unlink(path);
}
