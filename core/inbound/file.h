/* file.h - regular files below a directory, opened so that a request can not lead out of it.
 *
 * Never waits: a named pipe or a device is refused without being read.  An open file is shared by
 * all who send it, and closed with the last of them; one that is replaced meanwhile stays the one
 * that was opened. */
#ifndef ML_INBOUND_FILE_H
#define ML_INBOUND_FILE_H

#include "base/buf.h"

#include <sys/stat.h>

enum ml_symlinks {
    ML_SYMLINKS_NO,     /* none is followed */
    ML_SYMLINKS_INSIDE, /* relative ones that stay below the root */
    ML_SYMLINKS_ANY     /* the files decide */
};

enum { ML_FILE_PATH_MAX = 4096, ML_FILE_NAME_MAX = 255 };

struct ml_file { /* see ml_file_hold */
    int fd;
    unsigned holders;
    uint64_t size;
    struct timespec modified, changed;
    dev_t dev;
    ino_t ino;
};

/* Appends the path of a file below a root to out: escaped "a%20b/c" becomes "a b/c".  False for
 * what is no such path: "." and "..", a NUL or another control character, an escaped slash, a
 * backslash, names and paths that are too long, and, unless dotfiles is true, names that begin with
 * a dot (but for ".well-known", RFC 8615).  Slashes at both ends and repeated ones are dropped. */
bool ml_file_path(struct ml_str escaped, bool dotfiles, struct ml_buf *out);

/* The directory to begin at, or -1 and errno. */
int ml_file_root(const char *path);

enum ml_file_kind {
    ML_FILE_MISSING,
    ML_FILE_REGULAR,
    ML_FILE_DIRECTORY,
    ML_FILE_DENIED,
    ML_FILE_BUSY
};

/* Opens path, which ml_file_path made or which the site wrote, "" the root itself.  REGULAR: *out
 * is held once.  DENIED: the permissions of the file.  BUSY: no descriptor is left, or the disk
 * fails. */
enum ml_file_kind ml_file_open(int root, const char *path, enum ml_symlinks links,
                               struct ml_file **out);
/* Looks at the open file again: false when its name went away or its content changed, in which case
 * it is to be opened anew. */
bool ml_file_same(const struct ml_file *f);

struct ml_file *ml_file_hold(struct ml_file *f);
void ml_file_release(struct ml_file **f);

/* Open files in this process. */
unsigned ml_file_count(void);
/* For tests: opens step by step, as on kernels without openat2(2). */
void ml_file_walk_only(bool on);

#endif
