/* static.h - a directory of files as answers to GET and HEAD: what nginx's root, index, try_files
 * and gzip_static do together.
 *
 * Files are read from the disk when they are asked for.  What was found is remembered for a short
 * while, with its descriptor: an open file is looked at for each answer (fstat), so changed content
 * is seen at once and only the way to it (a renamed directory, a link) may be a moment old. */
#ifndef ML_INBOUND_STATIC_H
#define ML_INBOUND_STATIC_H

#include "inbound/exchange.h"
#include "inbound/file.h"

enum ml_static_try_kind {
    ML_STATIC_PATH,      /* the file of the path with `text` behind it */
    ML_STATIC_DIRECTORY, /* an index file in the directory of the path */
    ML_STATIC_FILE       /* the file `text` below the root */
};

struct ml_static_try {
    enum ml_static_try_kind kind;
    struct ml_str text;
};

struct ml_static_pair { /* types: extension -> type; rules: pattern -> Cache-Control */
    struct ml_str key, value;
};

struct ml_static_conf { /* everything in the arena given with it */
    struct ml_str root; /* NUL-terminated, as all texts here */
    struct ml_str *index;
    unsigned index_count;
    struct ml_static_try *tries;
    unsigned try_count;
    struct ml_str missing; /* the page for 404; empty: none */
    struct ml_str *assets; /* patterns of paths for which ML_STATIC_FILE does not count */
    unsigned asset_count;
    struct ml_static_pair *types, *rules; /* rules: the first that matches counts */
    unsigned type_count, rule_count;
    struct ml_str charset; /* empty: none is named */
    enum ml_symlinks symlinks;
    bool dotfiles, precompressed;
    double recheck_s;
};

struct ml_static;

/* Takes the arena over and NULLs it; NULL with a sentence in why, and the arena stays, when the
 * root is no directory that can be read. */
struct ml_static *ml_static_new(struct ml_arena **arena, const struct ml_static_conf *conf,
                                struct ml_buf *why);
void ml_static_free(struct ml_static **s);

struct ml_static_refusal {
    int status;    /* 404, 405, 403, 412, 416, 500, 503 */
    uint64_t size; /* with 416 */
};

/* Fills ex->res, which is empty, for the path below the root (escaped, as it is in a URL).  False:
 * *no says which error is to be answered. */
bool ml_static_serve(struct ml_static *s, struct ml_exchange *ex, struct ml_str path,
                     struct ml_static_refusal *no);

/* Does name match a pattern with '*' (any run) and '?' (any byte)?  One without '/' is for the last
 * name of the path only.  name begins with '/'. */
bool ml_static_match(struct ml_str pattern, struct ml_str name);

#endif
