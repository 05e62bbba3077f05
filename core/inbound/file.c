/* file.c - openat2(2) with RESOLVE_BENEATH, or where the kernel has none a walk from directory to
 * directory that follows no symbolic link.
 *
 * The path was made safe as a text already; the kernel is asked again because links and renames
 * change what a text means. */
#include "inbound/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* O_NONBLOCK: to open a named pipe would wait for somebody who writes to it. */
enum { FLAGS = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, RACES_MAX = 8 };

static unsigned open_files;
static bool walk_only;

/* ---- paths ---- */

/* One name between slashes, unescaped already. */
static bool name_ok(struct ml_str name, bool dotfiles, bool first)
{
    if (name.len > ML_FILE_NAME_MAX || ml_str_eq(name, ML_STR(".")) ||
        ml_str_eq(name, ML_STR("..")))
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];

        if (c < ' ' || c == 0x7f || c == '/' || c == '\\')
            return false;
    }
    return dotfiles || name.p[0] != '.' || (first && ml_str_eq(name, ML_STR(".well-known")));
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ml_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends a name without its escapes; false when one is broken. */
static bool unescape(struct ml_str name, struct ml_buf *out)
{
    char *to = ml_buf_reserve(out, name.len);
    size_t len = 0;

    for (size_t i = 0; i < name.len; i++) {
        int high, low;

        if (name.p[i] != '%') {
            to[len++] = name.p[i];
            continue;
        }
        if (name.len - i < 3 || (high = hex(name.p[i + 1])) < 0 || (low = hex(name.p[i + 2])) < 0)
            return false;
        to[len++] = (char)(high * 16 + low);
        i += 2;
    }
    ml_buf_commit(out, len);
    return true;
}

bool ml_file_path(struct ml_str escaped, bool dotfiles, struct ml_buf *out)
{
    size_t begin = ml_buf_len(out);

    if (escaped.len > ML_FILE_PATH_MAX)
        return false;
    for (size_t i = 0; i < escaped.len;) {
        size_t end = i, at;

        while (end < escaped.len && escaped.p[end] != '/')
            end++;
        if (end > i) {
            if (ml_buf_len(out) > begin)
                ml_buf_append(out, ML_STR("/"));
            at = ml_buf_len(out);
            if (!unescape((struct ml_str){escaped.p + i, end - i}, out) ||
                !name_ok((struct ml_str){ml_buf_str(out).p + at, ml_buf_len(out) - at}, dotfiles,
                         at == begin))
                return false;
        }
        i = end + 1;
    }
    return true;
}

/* ---- opening ---- */

int ml_file_root(const char *path)
{
    return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* One name, which leads down or nowhere. */
static int open_step(int at, const char *name, int flags)
{
    if (name[0] != '\0' && strcmp(name, "..") != 0)
        return openat(at, name, flags | O_NOFOLLOW | O_CLOEXEC);
    errno = EXDEV;
    return -1;
}

/* The directory that holds the last name of path, which *name points to; -1.  May be root itself.
 */
static int walk_to_last(int root, char *path, const char **name)
{
    int at = root, next;
    char *slash;

    while ((slash = strchr(path, '/')) != NULL) {
        *slash = '\0';
        next = open_step(at, path, O_PATH | O_DIRECTORY);
        if (at != root)
            close(at);
        if (next < 0)
            return -1;
        at = next;
        path = slash + 1;
    }
    *name = path;
    return at;
}

static int open_by_walk(int root, const char *path)
{
    char copy[ML_FILE_PATH_MAX + 1];
    const char *name;
    size_t len = strlen(path);
    int dir, fd, error;

    if (len > ML_FILE_PATH_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(copy, path, len + 1);
    dir = walk_to_last(root, copy, &name);
    if (dir < 0)
        return -1;
    fd = open_step(dir, name, FLAGS);
    error = errno;
    if (dir != root)
        close(dir);
    errno = error;
    return fd;
}

static int open_beneath(int root, const char *path, enum ml_symlinks links)
{
    struct open_how how = {.flags = FLAGS, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = -1;

    if (links == ML_SYMLINKS_NO)
        how.resolve |= RESOLVE_NO_SYMLINKS;
    if (walk_only)
        return open_by_walk(root, path);
    for (int i = 0; i < RACES_MAX && fd < 0; i++) { /* EAGAIN: a rename on the way, look again */
        fd = syscall(SYS_openat2, root, path, &how, sizeof how);
        if (fd < 0 && errno != EAGAIN && errno != EINTR)
            break;
    }
    if (fd < 0 &&
        (errno == ENOSYS || errno == EPERM)) /* EPERM: what some containers' filters say */
        return open_by_walk(root, path);
    return (int)fd;
}

static enum ml_file_kind kind_of_errno(void)
{
    switch (errno) {
    case EACCES:
    case EPERM:
        return ML_FILE_DENIED;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EIO:
    case EAGAIN:
        return ML_FILE_BUSY;
    default: /* ENOENT, ENOTDIR, ELOOP and EXDEV for links, ENXIO for sockets, ENAMETOOLONG */
        return ML_FILE_MISSING;
    }
}

static struct ml_file *file_new(int fd, const struct stat *st)
{
    struct ml_file *f = malloc(sizeof *f);

    if (f == NULL)
        abort();
    *f = (struct ml_file){fd,         1,         (uint64_t)st->st_size, st->st_mtim, st->st_ctim,
                          st->st_dev, st->st_ino};
    open_files++;
    return f;
}

enum ml_file_kind ml_file_open(int root, const char *path, enum ml_symlinks links,
                               struct ml_file **out)
{
    struct stat st = {0};
    int fd;

    if (path[0] == '\0')
        return ML_FILE_DIRECTORY;
    fd = links == ML_SYMLINKS_ANY ? openat(root, path, FLAGS) : open_beneath(root, path, links);
    if (fd < 0)
        return kind_of_errno();
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *out = file_new(fd, &st);
        return ML_FILE_REGULAR;
    }
    close(fd);
    return S_ISDIR(st.st_mode) ? ML_FILE_DIRECTORY : ML_FILE_MISSING;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool ml_file_same(const struct ml_file *f)
{
    struct stat st;

    return fstat(f->fd, &st) == 0 && st.st_nlink > 0 && (uint64_t)st.st_size == f->size &&
           same_time(st.st_mtim, f->modified) && same_time(st.st_ctim, f->changed);
}

/* ---- sharing ---- */

struct ml_file *ml_file_hold(struct ml_file *f)
{
    f->holders++;
    return f;
}

void ml_file_release(struct ml_file **file)
{
    struct ml_file *f = *file;

    *file = NULL;
    if (f == NULL)
        return;
    assert(f->holders > 0);
    if (--f->holders > 0)
        return;
    close(f->fd);
    free(f);
    open_files--;
}

unsigned ml_file_count(void)
{
    return open_files;
}

void ml_file_walk_only(bool on)
{
    walk_only = on;
}
