/* static.c - from the path of a request to a file below the root.
 *
 *   path --ml_file_path--> name --each try--> regular file: answered
 *                                 directory with an index, asked for without '/': 301
 *          nothing of these: the page for 404, or 404 */
#include "inbound/static_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LOOKS_MAX = 3 }; /* at one name whose file changes all the time */

struct search { /* one request */
    struct ml_static *s;
    struct ml_exchange *ex;
    struct ml_buf path; /* below the root, ends with NUL */
    struct ml_buf name; /* what is looked for, likewise */
    bool slash;         /* the directory is meant */
    bool is_asset;
    bool denied, busy;
    struct ml_static_refusal *no;
};

enum outcome { NOT_FOUND, IS_DIRECTORY, DONE, REFUSED };

/* ---- one name ---- */

static enum outcome refuse(struct search *q, int status)
{
    *q->no = (struct ml_static_refusal){status, 0};
    return REFUSED;
}

/* The name in q->name, which may change while it is looked at. */
static enum outcome answer_name(struct search *q, int status)
{
    struct static_entry *e;

    for (int i = 0; i < LOOKS_MAX; i++) {
        struct ml_str name = {q->name.p + q->name.start, ml_buf_len(&q->name) - 1};
        enum ml_file_kind kind = ml_static_find(q->s, q->ex->loop, name, &e);

        q->denied |= kind == ML_FILE_DENIED;
        q->busy |= kind == ML_FILE_BUSY;
        if (kind != ML_FILE_REGULAR)
            return kind == ML_FILE_DIRECTORY ? IS_DIRECTORY : NOT_FOUND;
        if (ml_static_answer(e, q->ex, status, q->no))
            return DONE;
        if (q->no->status != 0)
            return REFUSED;
        ml_static_forget(q->s, e);
        q->ex->res = (struct ml_response){0};
    }
    return refuse(q, 500);
}

static void set_name(struct search *q, struct ml_str a, struct ml_str b, struct ml_str c)
{
    ml_buf_consume(&q->name, ml_buf_len(&q->name));
    ml_buf_append(&q->name, a);
    ml_buf_append(&q->name, b);
    ml_buf_append(&q->name, c);
    ml_buf_append(&q->name, (struct ml_str){"", 1});
}

static struct ml_str path_of(const struct search *q)
{
    return (struct ml_str){q->path.p + q->path.start, ml_buf_len(&q->path) - 1};
}

/* ---- directories ---- */

/* To the same place with a slash behind it.  Only one slash in front: what follows two would be
 * another host. */
static enum outcome redirect(struct search *q)
{
    const struct ml_request *req = &q->ex->req;
    struct ml_response *res = &q->ex->res;
    struct ml_str path = req->path;

    while (path.len > 0 && (*path.p == '/' || *path.p == '\\')) {
        path.p++;
        path.len--;
    }
    ml_headers_add(&res->headers, q->ex->arena, ML_STR("Location"),
                   ml_arena_printf(q->ex->arena, "/%.*s/%s%.*s", (int)path.len, path.p,
                                   req->has_query ? "?" : "", (int)req->query.len,
                                   req->query.len > 0 ? req->query.p : ""));
    res->status = 301;
    res->from = ML_FROM_SCRIPT;
    res->has_length = true;
    return DONE;
}

static enum outcome try_directory(struct search *q)
{
    const struct ml_static_conf *c = &q->s->conf;
    struct ml_str path = path_of(q);
    struct static_entry *e;
    enum outcome outcome;

    for (unsigned i = 0; i < c->index_count; i++) {
        set_name(q, path, path.len > 0 ? ML_STR("/") : ML_STR(""), c->index[i]);
        if (q->slash)
            outcome = answer_name(q, 200);
        else if (ml_static_find(
                     q->s, q->ex->loop,
                     (struct ml_str){q->name.p + q->name.start, ml_buf_len(&q->name) - 1},
                     &e) == ML_FILE_REGULAR)
            outcome = redirect(q);
        else
            outcome = NOT_FOUND;
        if (outcome == DONE || outcome == REFUSED)
            return outcome;
    }
    return NOT_FOUND;
}

/* ---- the tries ---- */

static bool is_asset(const struct search *q)
{
    const struct ml_static_conf *c = &q->s->conf;
    struct ml_str path = path_of(q), whole = ML_STR_NONE;

    if (c->asset_count > 0)
        whole = ml_arena_printf(q->ex->arena, "/%.*s", (int)path.len, path.p);
    for (unsigned i = 0; i < c->asset_count; i++)
        if (ml_static_match(c->assets[i], whole))
            return true;
    return false;
}

static enum outcome try_one(struct search *q, const struct ml_static_try *t, bool is_file)
{
    switch (t->kind) {
    case ML_STATIC_PATH:
        if (q->slash || ml_buf_len(&q->path) == 1)
            return NOT_FOUND;
        set_name(q, path_of(q), t->text, ML_STR(""));
        return answer_name(q, 200);
    case ML_STATIC_DIRECTORY:
        return is_file ? NOT_FOUND : try_directory(q);
    case ML_STATIC_FILE:
        if (is_asset(q))
            return NOT_FOUND;
        set_name(q, t->text, ML_STR(""), ML_STR(""));
        return answer_name(q, 200);
    }
    return NOT_FOUND;
}

static enum outcome run(struct search *q)
{
    const struct ml_static_conf *c = &q->s->conf;
    bool absent = false; /* there is nothing of the path's very name: no directory either */

    for (unsigned i = 0; i < c->try_count; i++) {
        const struct ml_static_try *t = &c->tries[i];
        enum outcome outcome = try_one(q, t, absent);

        if (outcome == DONE || outcome == REFUSED)
            return outcome;
        if (t->kind == ML_STATIC_PATH && t->text.len == 0 && !q->slash && ml_buf_len(&q->path) > 1)
            absent = outcome == NOT_FOUND;
    }
    return NOT_FOUND;
}

static enum outcome not_found(struct search *q)
{
    if (q->busy)
        return refuse(q, 503);
    if (q->denied)
        return refuse(q, 403);
    if (q->s->conf.missing.len > 0) {
        set_name(q, q->s->conf.missing, ML_STR(""), ML_STR(""));
        if (answer_name(q, 404) == DONE)
            return DONE;
    }
    return refuse(q, 404);
}

bool ml_static_serve(struct ml_static *s, struct ml_exchange *ex, struct ml_str path,
                     struct ml_static_refusal *no)
{
    struct search q = {.s = s, .ex = ex, .no = no};
    enum outcome outcome = NOT_FOUND;

    *no = (struct ml_static_refusal){0, 0};
    if (!ml_str_eq(ex->req.method, ML_STR("GET")) && !ml_str_eq(ex->req.method, ML_STR("HEAD"))) {
        no->status = 405;
        return false;
    }
    q.slash = path.len == 0 || path.p[path.len - 1] == '/';
    if (ml_file_path(path, s->conf.dotfiles, &q.path)) {
        ml_buf_append(&q.path, (struct ml_str){"", 1});
        outcome = run(&q);
    }
    if (outcome == NOT_FOUND)
        outcome = not_found(&q);
    ml_buf_release(&q.path);
    ml_buf_release(&q.name);
    return outcome == DONE;
}

/* ---- life ---- */

struct ml_static *ml_static_new(struct ml_arena **arena, const struct ml_static_conf *conf,
                                struct ml_buf *why)
{
    struct ml_static *s;
    int root = ml_file_root(conf->root.p);

    if (root < 0) {
        ml_buf_printf(why, "%s: %s", conf->root.p, strerror(errno));
        return NULL;
    }
    close(root); /* workers open it when they need it */
    s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    s->conf = *conf;
    s->arena = *arena;
    s->root = -1;
    *arena = NULL;
    return s;
}

void ml_static_free(struct ml_static **sp)
{
    struct ml_static *s = *sp;

    *sp = NULL;
    if (s == NULL)
        return;
    ml_static_clear(s);
    ml_arena_free(&s->arena);
    free(s);
}
