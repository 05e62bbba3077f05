/* static_cache.c - files that were found, by name: one slot for each hash, the last one wins.
 *
 * An entry counts for recheck_s; then the name is looked up again.  Until then only the open file
 * is asked whether it is still the same.  A name that leads nowhere is not remembered, so nobody
 * can fill the slots with such.  The number of descriptors that wait here is bounded for the
 * process. */
#include "inbound/static_parts.h"

#include "base/hash.h"
#include "protocol/media_type.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WAITING_MAX = 512, TYPE_MAX = 256 };

static const double SWEEP_S = 10;
static const struct {
    enum ml_coding coding;
    const char *end, *tag;
} codings[STATIC_VARIANTS] = {
    {ML_CODING_NONE, "", ""}, {ML_CODING_BROTLI, ".br", "-br"}, {ML_CODING_GZIP, ".gz", "-gz"}};

static void entry_free(struct static_entry **entry)
{
    struct static_entry *e = *entry;

    *entry = NULL;
    if (e == NULL)
        return;
    for (unsigned i = 0; i < STATIC_VARIANTS; i++)
        ml_file_release(&e->variants[i].file);
    free(e);
}

/* ---- patterns ---- */

static bool glob(struct ml_str p, struct ml_str s)
{
    size_t i = 0, j = 0, star = SIZE_MAX, retry = 0;

    while (j < s.len) {
        if (i < p.len && p.p[i] == '*') {
            star = i++;
            retry = j;
        } else if (i < p.len && (p.p[i] == '?' || p.p[i] == s.p[j])) {
            i++;
            j++;
        } else if (star != SIZE_MAX) { /* the last star takes one byte more */
            i = star + 1;
            j = ++retry;
        } else {
            return false;
        }
    }
    while (i < p.len && p.p[i] == '*')
        i++;
    return i == p.len;
}

bool ml_static_match(struct ml_str pattern, struct ml_str name)
{
    const char *slash;

    if (pattern.len > 0 && memchr(pattern.p, '/', pattern.len) == NULL) {
        slash = memrchr(name.p, '/', name.len);
        name.len -= (size_t)(slash + 1 - name.p);
        name.p = slash + 1;
    }
    return glob(pattern, name);
}

/* ---- what is said of a file ---- */

/* Files of reproducible builds have the time 0 or 1: it does not tell one version from another. */
static void describe(struct static_variant *v, const char *tag)
{
    const struct ml_file *f = v->file;
    uint64_t ns = (uint64_t)f->modified.tv_sec * 1000000000u + (uint64_t)f->modified.tv_nsec;

    v->modified_s = (int64_t)f->modified.tv_sec;
    if (v->modified_s <= 1)
        return;
    v->etag_len = (unsigned)snprintf(v->etag, sizeof v->etag, "\"%llx-%llx%s\"",
                                     (unsigned long long)ns, (unsigned long long)f->size, tag);
    ml_http_date_write(v->modified_s, v->modified);
}

/* Writes the media type with its charset; how long it is. */
static size_t write_type(const struct ml_static_conf *c, struct ml_str name, char out[TYPE_MAX])
{
    struct ml_str extension = ml_media_extension(name), type = ml_media_type(extension);
    int len;

    for (unsigned i = 0; i < c->type_count; i++)
        if (ml_str_ieq(c->types[i].key, extension))
            type = c->types[i].value;
    if (c->charset.len > 0 && ml_media_is_text(type) && memchr(type.p, ';', type.len) == NULL)
        len = snprintf(out, TYPE_MAX, "%.*s; charset=%s", (int)type.len, type.p, c->charset.p);
    else
        len = snprintf(out, TYPE_MAX, "%.*s", (int)type.len, type.p);
    return len < TYPE_MAX ? (size_t)len : TYPE_MAX - 1;
}

static struct ml_str rule_for(const struct ml_static_conf *c, struct ml_str name)
{
    char path[ML_FILE_PATH_MAX + 2];
    struct ml_str whole = {path, name.len + 1};

    if (c->rule_count == 0 || name.len > ML_FILE_PATH_MAX)
        return ML_STR_NONE;
    path[0] = '/';
    memcpy(path + 1, name.p, name.len);
    for (unsigned i = 0; i < c->rule_count; i++)
        if (ml_static_match(c->rules[i].key, whole))
            return c->rules[i].value;
    return ML_STR_NONE;
}

static struct static_entry *entry_new(const struct ml_static_conf *c, struct ml_str name)
{
    char type[TYPE_MAX];
    size_t type_len = write_type(c, name, type);
    struct static_entry *e = calloc(1, sizeof *e + name.len + 1 + type_len);
    char *text = (char *)(e + 1);

    if (e == NULL)
        abort();
    memcpy(text, name.p, name.len);
    memcpy(text + name.len + 1, type, type_len);
    e->name = (struct ml_str){text, name.len};
    e->type = (struct ml_str){text + name.len + 1, type_len};
    e->cache_control = rule_for(c, name);
    return e;
}

/* ---- looking on the disk ---- */

static int root_of(struct ml_static *s, double now_s)
{
    if (s->root >= 0 && now_s - s->root_s < s->conf.recheck_s)
        return s->root;
    if (s->root >= 0)
        close(s->root);
    s->root = ml_file_root(s->conf.root.p);
    s->root_s = now_s;
    return s->root;
}

/* What was compressed before, beside the file. */
static void open_variants(struct ml_static *s, struct static_entry *e)
{
    char path[ML_FILE_PATH_MAX + 4];

    if (!s->conf.precompressed || e->name.len > ML_FILE_PATH_MAX)
        return;
    for (unsigned i = 1; i < STATIC_VARIANTS; i++) {
        struct static_variant *v = &e->variants[i];

        snprintf(path, sizeof path, "%s%s", e->name.p, codings[i].end);
        if (ml_file_open(s->root, path, s->conf.symlinks, &v->file) != ML_FILE_REGULAR)
            continue;
        v->coding = codings[i].coding;
        describe(v, codings[i].tag);
        e->varies = true;
    }
}

static enum ml_file_kind look(struct ml_static *s, struct ml_str name, double now_s,
                              struct static_entry **out)
{
    struct ml_file *file;
    enum ml_file_kind kind;
    int root = root_of(s, now_s);

    if (root < 0)
        return ML_FILE_MISSING;
    kind = ml_file_open(root, name.p, s->conf.symlinks, &file);
    if (kind != ML_FILE_REGULAR)
        return kind;
    *out = entry_new(&s->conf, name);
    (*out)->variants[0].file = file;
    (*out)->checked_s = now_s;
    describe(&(*out)->variants[0], "");
    open_variants(s, *out);
    return ML_FILE_REGULAR;
}

/* ---- the slots ---- */

static struct static_entry **slot_of(struct ml_static *s, struct ml_str name)
{
    static const struct ml_hash_seed seed; /* nobody but the owner of the files chooses names */

    return &s->slots[ml_hash_bytes(seed, name) % STATIC_SLOTS];
}

static bool sweep(struct ml_static *s, double before_s)
{
    bool any = false;

    entry_free(&s->loose);
    for (unsigned i = 0; i < STATIC_SLOTS; i++) {
        if (s->slots[i] != NULL && s->slots[i]->used_s <= before_s)
            entry_free(&s->slots[i]);
        any |= s->slots[i] != NULL;
    }
    if (!any && s->root >= 0) {
        close(s->root);
        s->root = -1;
    }
    return any;
}

static void on_timer(void *ctx)
{
    struct ml_static *s = ctx;

    if (sweep(s, ml_loop_now_s(s->timer.loop) - SWEEP_S))
        ml_timer_set(&s->timer, SWEEP_S);
}

static void remember(struct ml_static *s, struct ml_loop *loop, struct static_entry *e)
{
    bool full = ml_file_count() > WAITING_MAX;
    struct static_entry **slot = full ? &s->loose : slot_of(s, e->name);

    entry_free(slot);
    *slot = e;
    if (s->timer.loop == NULL)
        ml_timer_init(&s->timer, loop, on_timer, s);
    if (s->timer.due_s == 0)
        ml_timer_set(&s->timer, SWEEP_S);
}

enum ml_file_kind ml_static_find(struct ml_static *s, struct ml_loop *loop, struct ml_str name,
                                 struct static_entry **out)
{
    struct static_entry **slot = slot_of(s, name), *e = *slot;
    double now_s = ml_loop_now_s(loop);
    enum ml_file_kind kind;

    if (e != NULL && ml_str_eq(e->name, name)) {
        if (now_s - e->checked_s < s->conf.recheck_s && ml_file_same(e->variants[0].file)) {
            e->used_s = now_s;
            *out = e;
            return ML_FILE_REGULAR;
        }
        entry_free(slot);
    }
    kind = look(s, name, now_s, &e);
    if (kind != ML_FILE_REGULAR)
        return kind;
    e->used_s = now_s;
    remember(s, loop, e);
    *out = e;
    return ML_FILE_REGULAR;
}

void ml_static_forget(struct ml_static *s, struct static_entry *e)
{
    struct static_entry **slot = slot_of(s, e->name);

    if (*slot == e)
        entry_free(slot);
    else if (s->loose == e)
        entry_free(&s->loose);
}

void ml_static_clear(struct ml_static *s)
{
    if (s->timer.loop != NULL)
        ml_timer_drop(&s->timer);
    sweep(s, INFINITY);
}
