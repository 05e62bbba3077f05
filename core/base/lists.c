/* lists.c - a table under one robust mutex.
 *
 * Each name has two texts; a writer fills the one that is not current and then says that it is, in
 * one store.  So one that is killed leaves the old text behind. */
#include "base/lists.h"

#include "base/hash.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct text {
    uint64_t version, mark;
    uint32_t len;
    char bytes[ML_LISTS_TEXT_MAX];
};

struct list {
    uint64_t key; /* of the name; 0: free */
    _Atomic uint32_t current;
    struct text texts[2];
};

struct ml_lists_region {
    pthread_mutex_t lock;
    _Alignas(64) _Atomic uint64_t version;
    struct list lists[ML_LISTS_MAX];
};

size_t ml_lists_bytes(void)
{
    return (sizeof(struct ml_lists_region) + 4095) & ~(size_t)4095;
}

static void check(int error)
{
    if (error != 0)
        abort();
}

struct ml_lists_region *ml_lists_init(void *memory)
{
    struct ml_lists_region *r = memory;
    pthread_mutexattr_t attr;

    check(pthread_mutexattr_init(&attr));
    check(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
    check(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
    check(pthread_mutex_init(&r->lock, &attr));
    check(pthread_mutexattr_destroy(&attr));
    return r;
}

uint64_t ml_lists_version(const struct ml_lists_region *r)
{
    return atomic_load_explicit(&r->version, memory_order_acquire);
}

static void lock(struct ml_lists_region *r)
{
    int error = pthread_mutex_lock(&r->lock);

    if (error == EOWNERDEAD)
        error = pthread_mutex_consistent(&r->lock); /* nothing is ever half changed */
    check(error);
}

/* The list of a name, or a free one. */
static struct list *find(struct ml_lists_region *r, struct ml_str name, uint64_t *key)
{
    *key = ml_hash_bytes((struct ml_hash_seed){{1, 2}}, name) | 1;
    for (unsigned i = 0; i < ML_LISTS_MAX; i++) {
        struct list *l = &r->lists[(*key + i) % ML_LISTS_MAX];

        if (l->key == *key || l->key == 0)
            return l;
    }
    return NULL;
}

static struct text *current(struct list *l)
{
    return &l->texts[atomic_load(&l->current) & 1];
}

static bool same(const struct text *t, uint64_t mark, struct ml_str text)
{
    return t->version != 0 && t->mark == mark && t->len == text.len &&
           (text.len == 0 || memcmp(t->bytes, text.p, text.len) == 0);
}

static void put(struct ml_lists_region *r, struct list *l, uint64_t key, uint64_t mark,
                struct ml_str text)
{
    uint32_t next = (atomic_load(&l->current) & 1) ^ 1;
    struct text *t = &l->texts[next];

    if (text.len > 0)
        memcpy(t->bytes, text.p, text.len);
    t->len = (uint32_t)text.len;
    t->mark = mark;
    t->version = atomic_load(&r->version) + 1;
    atomic_store(&l->current, next);
    l->key = key; /* a new one is not looked at before */
    atomic_fetch_add(&r->version, 1);
}

bool ml_lists_set(struct ml_lists_region *r, struct ml_str name, uint64_t mark, struct ml_str text)
{
    struct list *l;
    uint64_t key;

    if (text.len > ML_LISTS_TEXT_MAX)
        return false;
    lock(r);
    l = find(r, name, &key);
    if (l != NULL && !(l->key == key && same(current(l), mark, text)))
        put(r, l, key, mark, text);
    check(pthread_mutex_unlock(&r->lock));
    return l != NULL;
}

uint64_t ml_lists_get(struct ml_lists_region *r, struct ml_str name, uint64_t *mark,
                      struct ml_buf *out)
{
    uint64_t key, version = 0;
    struct list *l;

    lock(r);
    l = find(r, name, &key);
    if (l != NULL && l->key == key) {
        const struct text *t = current(l);

        version = t->version;
        *mark = t->mark;
        ml_buf_append(out, (struct ml_str){t->bytes, t->len});
    }
    check(pthread_mutex_unlock(&r->lock));
    return version;
}
