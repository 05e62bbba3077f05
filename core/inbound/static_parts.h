/* static_parts.h - what the files of static share: static.c (which file), static_cache.c (files
 * that are known, patterns of names), static_answer.c (what is said of one).  Nobody else includes
 * it. */
#ifndef ML_INBOUND_STATIC_PARTS_H
#define ML_INBOUND_STATIC_PARTS_H

#include "inbound/static.h"
#include "protocol/coding.h"
#include "protocol/http_date.h"

enum { STATIC_SLOTS = 128, STATIC_ETAG_MAX = 48, STATIC_VARIANTS = 3 };

struct static_variant {
    struct ml_file *file; /* held; NULL: there is none */
    enum ml_coding coding;
    char etag[STATIC_ETAG_MAX], modified[ML_HTTP_DATE_LEN];
    unsigned etag_len; /* 0: neither tag nor time, for nobody set the time of the file */
    int64_t modified_s;
};

struct static_entry { /* a file that was found, and what is said of it */
    struct static_variant variants[STATIC_VARIANTS]; /* the first is the file itself */
    bool varies;                                     /* there are others */
    struct ml_str cache_control;                     /* of the conf */
    double checked_s, used_s;
    struct ml_str type, name; /* behind the struct */
};

struct ml_static {
    struct ml_static_conf conf;
    struct ml_arena *arena; /* owned */
    int root;               /* descriptor; -1: to be opened */
    double root_s;          /* when it was */
    struct static_entry *slots[STATIC_SLOTS];
    struct static_entry *loose; /* the last one that found no slot */
    struct ml_timer timer; /* lets go of what nobody asks for; loop NULL before the first use */
};

/* static_cache.c: the entry of a file below the root; it lives until the next call. */
enum ml_file_kind ml_static_find(struct ml_static *s, struct ml_loop *loop, struct ml_str name,
                                 struct static_entry **out);
/* It is not what it was. */
void ml_static_forget(struct ml_static *s, struct static_entry *e);
void ml_static_clear(struct ml_static *s);

/* static_answer.c: fills ex->res; false with *no, or with status 0: the file has changed, look
 * again. */
bool ml_static_answer(const struct static_entry *e, struct ml_exchange *ex, int status,
                      struct ml_static_refusal *no);

#endif
