/* scan.c - walks a script directory by descriptors, so that a name means the same all the way.
 *
 *   directory -- hidden or temporary name --> skipped
 *       |------- *.lua and data files ------> read
 *       '------- directory -----------------> walked, unless it is another site, the site's specs
 * or public files, or one that the walk is already inside of
 *
 * Symbolic links count as what they point to, under the name that is seen in the directory: that is
 * how Kubernetes lays out a ConfigMap (gateway.lua -> ..data/gateway.lua, ..data -> ..2024_05/). */
#include "script/scan.h"

#include "base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 16, ENTRIES_MAX = 65536, NAME_LEN_MAX = 1024 };

struct level { /* a directory that the walk is inside of */
    const struct level *parent;
    const char *path; /* below the site, "" for the site itself */
    unsigned depth;
    int fd;
    dev_t dev;
    ino_t ino;
};

static bool walk(struct ml_scan *scan, const struct level *level);

/* ---- hashes ---- */

/* The seed is fixed: the hash of a directory is the same on all machines, and protects from
 * accidents, not from somebody who may write to the directory anyway. */
static uint64_t hash_with(uint64_t first, uint64_t second, struct ml_str s)
{
    return ml_hash_bytes((struct ml_hash_seed){{first, second}}, s);
}

uint64_t ml_scan_hash_file(struct ml_str name, struct ml_str bytes)
{
    return hash_with(bytes.len, hash_with(name.len, 1, name), bytes);
}

uint64_t ml_scan_hash_next(uint64_t hash, uint64_t file_hash)
{
    return hash_with(hash, 2, (struct ml_str){(const char *)&file_hash, sizeof file_hash});
}

uint64_t ml_scan_hash(const struct ml_scan *scan)
{
    uint64_t hash = ML_SCAN_HASH;

    for (unsigned i = 0; i < scan->count; i++)
        hash = ml_scan_hash_next(hash, scan->files[i].hash);
    return hash;
}

/* ---- saying what is wrong ---- */

/* "DIR/path/name", with the slashes that are needed. */
static void say_path(struct ml_scan *scan, const struct level *level, const char *name)
{
    size_t len = strlen(scan->dir);

    ml_buf_printf(scan->why, "%s%s%s%s%s", scan->dir,
                  len > 0 && scan->dir[len - 1] == '/' ? "" : "/", level->path,
                  level->path[0] != '\0' ? "/" : "", name);
}

/* errno says why a name cannot be used; one that has gone away may be there in the next pass. */
static bool fail_errno(struct ml_scan *scan, const struct level *level, const char *name)
{
    int err = errno;

    scan->moved = err == ENOENT || err == ENOTDIR || err == ESTALE;
    ml_buf_append(scan->why, ML_STR("cannot read "));
    say_path(scan, level, name);
    ml_buf_printf(scan->why, ": %s", strerror(err));
    return false;
}

static bool fail_limit(struct ml_scan *scan, const char *format, unsigned limit)
{
    ml_buf_printf(scan->why, "%s ", scan->dir);
    ml_buf_printf(scan->why, format, limit);
    return false;
}

/* ---- which names count ---- */

static bool ends_with(const char *name, size_t len, const char *end)
{
    size_t end_len = strlen(end);

    return len > end_len && memcmp(name + len - end_len, end, end_len) == 0;
}

/* Hidden, or what an editor leaves beside the file that it saves. */
static bool is_ignored(const char *name, size_t len)
{
    return name[0] == '.' || name[len - 1] == '~' || (name[0] == '#' && name[len - 1] == '#');
}

static bool is_site_file(const char *name, size_t len)
{
    static const char *const ends[] = {".lua", ".json", ".pem", ".txt", ".jwk", ".jwks", ".html"};

    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends_with(name, len, ends[i]))
            return true;
    return false;
}

/* public/ has the files that are served from the disk (gw.static). */
static bool is_skipped_directory(const struct level *parent, const char *name)
{
    return strcmp(name, "node_modules") == 0 ||
           (parent->depth == 0 && (strcmp(name, "spec") == 0 || strcmp(name, "public") == 0));
}

/* ---- files ---- */

static struct ml_scan_file *add_file(struct ml_scan *scan)
{
    if (scan->count == scan->cap) {
        scan->cap = scan->cap > 0 ? scan->cap * 2 : 64;
        scan->files = realloc(scan->files, scan->cap * sizeof *scan->files);
        if (scan->files == NULL)
            abort();
    }
    scan->files[scan->count] = (struct ml_scan_file){0};
    return &scan->files[scan->count++];
}

static char *join(const struct level *level, const char *name)
{
    char *path = malloc(strlen(level->path) + 1 + strlen(name) + 1);

    if (path == NULL)
        abort();
    path[0] = '\0';
    if (level->path[0] != '\0')
        strcat(strcpy(path, level->path), "/");
    return strcat(path, name);
}

/* Reads to the end of the file, or to one byte more than all files may have. */
static ssize_t read_all(int fd, size_t guess, size_t max, char **bytes)
{
    size_t cap = (guess < max ? guess : max) + 1, len = 0;
    ssize_t n;

    if ((*bytes = malloc(cap)) == NULL)
        abort();
    for (;;) {
        n = read(fd, *bytes + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || (len += (size_t)n) > max)
            return n < 0 ? -1 : (ssize_t)len;
        if (len == cap) {
            cap = cap * 2 < max ? cap * 2 : max + 1;
            if ((*bytes = realloc(*bytes, cap)) == NULL)
                abort();
        }
    }
}

static bool take_bytes(struct ml_scan *scan, const struct level *level, const char *name, int fd,
                       size_t guess)
{
    struct ml_scan_file *file = add_file(scan);
    size_t max = ML_SCAN_BYTES_MAX - scan->total;
    ssize_t len = read_all(fd, guess, max, &file->bytes);

    file->name = join(level, name);
    if (len < 0)
        return fail_errno(scan, level, name);
    if ((size_t)len > max)
        return fail_limit(scan, "has more than %u MiB of files", ML_SCAN_BYTES_MAX >> 20);
    file->len = (size_t)len;
    scan->total += file->len;
    file->hash = ml_scan_hash_file(ml_str_of(file->name), (struct ml_str){file->bytes, file->len});
    if (!scan->keep) {
        free(file->bytes);
        file->bytes = NULL;
    }
    return true;
}

/* O_NONBLOCK: a named pipe that takes the file's place now would make open wait. */
static bool take_file(struct ml_scan *scan, const struct level *level, const char *name)
{
    struct stat st;
    bool ok;
    int fd;

    if (scan->count == ML_SCAN_FILES_MAX)
        return fail_limit(scan, "has more than %u files", ML_SCAN_FILES_MAX);
    fd = openat(level->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return fail_errno(scan, level, name);
    if (fstat(fd, &st) != 0)
        ok = fail_errno(scan, level, name);
    else
        ok = !S_ISREG(st.st_mode) || take_bytes(scan, level, name, fd, (size_t)st.st_size);
    close(fd);
    return ok;
}

/* A file that the site names although it is not a part of it.  One that is missing, or no file, is
 * left out: whoever wanted it says so. */
static bool take_more(struct ml_scan *scan, const struct level *top, const char *name)
{
    const char *path = strncmp(name, "//", 2) == 0 ? name + 2 : name;
    int fd = openat(top->fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    bool ok = true;

    if (fd < 0)
        return true;
    if (scan->count == ML_SCAN_FILES_MAX)
        ok = fail_limit(scan, "has more than %u files", ML_SCAN_FILES_MAX);
    else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        ok = take_bytes(scan, top, name, fd, (size_t)st.st_size);
    close(fd);
    return ok;
}

static bool take_all_more(struct ml_scan *scan, const struct level *top)
{
    struct ml_str left = scan->more;

    while (left.len > 0) {
        size_t len = strnlen(left.p, left.len);

        if (len == left.len || !take_more(scan, top, left.p))
            return len == left.len; /* without its NUL it is no name */
        left.p += len + 1;
        left.len -= len + 1;
    }
    return true;
}

/* ---- directories ---- */

static bool is_inside(const struct level *level, const struct stat *st)
{
    for (; level != NULL; level = level->parent)
        if (level->dev == st->st_dev && level->ino == st->st_ino)
            return true;
    return false;
}

/* A link back to a directory that the walk is inside of adds nothing, and neither does another
 * site. */
static bool take_opened(struct ml_scan *scan, const struct level *parent, const char *name, int fd)
{
    struct level level = {.parent = parent, .depth = parent->depth + 1, .fd = fd};
    struct stat st, site;
    char *path;
    bool ok;

    if (fstat(fd, &st) != 0)
        return fail_errno(scan, parent, name);
    if (is_inside(parent, &st) || fstatat(fd, "gateway.lua", &site, 0) == 0)
        return true;
    if (level.depth > DEPTH_MAX)
        return fail_limit(scan, "has more than %u directories inside each other", DEPTH_MAX);
    level.dev = st.st_dev;
    level.ino = st.st_ino;
    level.path = path = join(parent, name);
    ok = walk(scan, &level);
    free(path);
    return ok;
}

static bool take_directory(struct ml_scan *scan, const struct level *parent, const char *name)
{
    int fd;
    bool ok;

    if (is_skipped_directory(parent, name))
        return true;
    fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(scan, parent, name);
    ok = take_opened(scan, parent, name, fd);
    close(fd);
    return ok;
}

/* A name that leads nowhere matters only when it would be a file of the site. */
static bool take_entry(struct ml_scan *scan, const struct level *level, const char *name)
{
    size_t len = strlen(name);
    struct stat st;

    if (is_ignored(name, len))
        return true;
    if (++scan->seen > ENTRIES_MAX)
        return fail_limit(scan, "has more than %u names", ENTRIES_MAX);
    if (strlen(level->path) + len > NAME_LEN_MAX)
        return fail_limit(scan, "has a name that is longer than %u bytes", NAME_LEN_MAX);
    if (fstatat(level->fd, name, &st, 0) != 0)
        return !is_site_file(name, len) || fail_errno(scan, level, name);
    if (S_ISDIR(st.st_mode))
        return take_directory(scan, level, name);
    if (S_ISREG(st.st_mode) && is_site_file(name, len))
        return take_file(scan, level, name);
    return true;
}

static bool walk(struct ml_scan *scan, const struct level *level)
{
    int fd = openat(level->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    bool ok = true;

    if (list == NULL) {
        ok = fail_errno(scan, level, "");
        if (fd >= 0)
            close(fd);
        return ok;
    }
    if (scan->entered != NULL)
        scan->entered(scan->ctx, level->fd); /* before it is read: no change falls in between */
    while (ok && (errno = 0, entry = readdir(list)) != NULL)
        ok = take_entry(scan, level, entry->d_name);
    if (ok && errno != 0)
        ok = fail_errno(scan, level, "");
    closedir(list);
    return ok;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ml_scan_file *)a)->name, ((const struct ml_scan_file *)b)->name);
}

static bool fail_top(struct ml_scan *scan)
{
    int err = errno;

    scan->moved = err == ENOENT;
    if (err == ENOENT)
        ml_buf_printf(scan->why, "%s: there is no such directory", scan->dir);
    else if (err == ENOTDIR)
        ml_buf_printf(scan->why, "%s is not a directory", scan->dir);
    else
        ml_buf_printf(scan->why, "cannot read %s: %s", scan->dir, strerror(err));
    return false;
}

bool ml_scan_run(struct ml_scan *scan, struct ml_buf *why)
{
    struct level top = {.path = ""};
    struct stat st;
    bool ok;

    scan->why = why;
    top.fd = open(scan->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top.fd < 0)
        return fail_top(scan);
    ok = fstat(top.fd, &st) == 0 || fail_top(scan);
    if (ok) {
        top.dev = st.st_dev;
        top.ino = st.st_ino;
        ok = walk(scan, &top) && take_all_more(scan, &top);
    }
    close(top.fd);
    if (ok && scan->count > 1)
        qsort(scan->files, scan->count, sizeof *scan->files, by_name);
    return ok;
}

void ml_scan_drop(struct ml_scan *scan)
{
    for (unsigned i = 0; i < scan->count; i++) {
        free(scan->files[i].name);
        free(scan->files[i].bytes);
    }
    free(scan->files);
    scan->files = NULL;
    scan->count = scan->cap = scan->seen = 0;
    scan->total = 0;
    scan->moved = false;
}
