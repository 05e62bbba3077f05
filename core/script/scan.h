/* scan.h - one pass over a script directory: which files belong to the site, and what is in them.
 *
 * A pass is not a snapshot: files may change while it runs.  script/snapshot.h makes two that
 * agree. Which names count is said there. */
#ifndef ML_SCRIPT_SCAN_H
#define ML_SCRIPT_SCAN_H

#include "base/buf.h"
#include "base/str.h"

#include <stdint.h>

struct ml_scan_file {
    char *name;  /* below the directory, "routes/a.lua" */
    char *bytes; /* NULL unless the pass keeps them */
    size_t len;
    uint64_t hash; /* of name and bytes */
};

struct ml_scan { /* fill in the first part, the pass fills in the rest */
    const char *dir;
    struct ml_str more; /* names of further files, each with its NUL; see snapshot.h */
    bool keep;                              /* keep the bytes */
    void (*entered)(void *ctx, int dir_fd); /* each directory of the site; may be NULL */
    void *ctx;

    struct ml_scan_file *files; /* in name order */
    unsigned count;
    bool moved; /* the pass failed because something went away under it: try again */

    unsigned cap, seen; /* room in files; directory entries looked at */
    size_t total;       /* bytes of all files */
    struct ml_buf *why;
};

enum { ML_SCAN_FILES_MAX = 4096, ML_SCAN_BYTES_MAX = 64 << 20 };

/* False with a sentence in why.  Call ml_scan_drop in any case. */
bool ml_scan_run(struct ml_scan *scan, struct ml_buf *why);
void ml_scan_drop(struct ml_scan *scan);

/* Hash of a file, and of all files when their hashes come in name order, from ML_SCAN_HASH on. */
#define ML_SCAN_HASH UINT64_C(0x6d6f6f6e6c617463)
uint64_t ml_scan_hash_file(struct ml_str name, struct ml_str bytes);
uint64_t ml_scan_hash_next(uint64_t hash, uint64_t file_hash);
uint64_t ml_scan_hash(const struct ml_scan *scan);

#endif
