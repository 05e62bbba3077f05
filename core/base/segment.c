/* segment.c - entries as chains of chunks of 128 bytes.
 *
 *   header | buckets[] | chunk 1 | chunk 2 | ...
 *
 *   bucket -> head chunk -bucket_next-> head chunk          free -> chunk -next-> chunk
 *                 | next                                    newest <-> ... <-> oldest
 *              chunk of more bytes
 *
 * Since all chunks are alike, any that is free will do and nothing can fragment: an allocator of
 * runs would have to evict much more than it needs.  A rate limiter's counter fits in one chunk.
 *
 * Expired entries are looked for when room is short, in one sweep over all chunks, at most ten
 * times a second: a flood of new keys must not pay a sweep each.  earliest_s is a lower bound, so a
 * segment without anything to expire is never swept. */
#include "base/segment.h"

#include <assert.h>
#include <math.h>

enum { CHUNK_LEN = 128, SWEEP_PAUSE_S_PER_10 = 1 };

struct head {             /* the begin of the first chunk of an entry; chunk numbers: 0 is none */
    uint32_t next;        /* chunk; in all chunks, the free ones too */
    uint32_t used;        /* 1 in a head, 0 in every other chunk */
    uint32_t bucket_next; /* head with the same bucket */
    uint32_t newer, older;
    uint32_t hash;
    uint16_t key_len;
    uint16_t dict_len;
    uint32_t chunks; /* of this entry */
    struct ml_segment_entry entry;
    char bytes[]; /* dict, key, string; go on in the next chunks */
};

struct tail { /* any chunk but the first */
    uint32_t next;
    uint32_t used;
    char bytes[CHUNK_LEN - 8];
};

struct ml_segment {
    uint32_t chunk_count, free_count;
    uint32_t free;    /* first of the chunks that were given back */
    uint32_t touched; /* chunks beyond this one were never used */
    uint32_t newest, oldest;
    uint32_t bucket_mask;
    double earliest_s;   /* no entry expires before; infinity: none does */
    double next_sweep_s; /* not swept before */
    uint64_t evicted;    /* since the start: a segment that is emptied keeps it */
    uint32_t chunks_at;  /* offset of chunk 1 */
    uint32_t buckets[];
};

enum { HEAD_ROOM = CHUNK_LEN - sizeof(struct head), TAIL_ROOM = CHUNK_LEN - 8 };

_Static_assert(sizeof(struct head) < CHUNK_LEN / 2 + 1, "a head leaves room for a short key");

static struct head *head_at(struct ml_segment *s, uint32_t chunk)
{
    assert(chunk >= 1 && chunk <= s->chunk_count);
    return (struct head *)((char *)s + s->chunks_at + (size_t)(chunk - 1) * CHUNK_LEN);
}

static struct tail *tail_at(struct ml_segment *s, uint32_t chunk)
{
    return (struct tail *)head_at(s, chunk);
}

static uint32_t chunk_of(struct ml_segment *s, const struct head *h)
{
    return (uint32_t)(((const char *)h - (char *)s - s->chunks_at) / CHUNK_LEN) + 1;
}

static struct head *head_of(const struct ml_segment_entry *entry)
{
    return (struct head *)((char *)entry - offsetof(struct head, entry));
}

void ml_segment_format(struct ml_segment *s, size_t len, bool zeroed)
{
    uint32_t buckets = 8;

    assert(len >= 2048 && len < UINT32_MAX);
    while (buckets < len / CHUNK_LEN / 2)
        buckets *= 2;
    s->chunks_at = (sizeof *s + buckets * sizeof s->buckets[0] + 7) & ~7u;
    s->chunk_count = (uint32_t)((len - s->chunks_at) / CHUNK_LEN);
    s->free_count = s->chunk_count;
    s->free = s->touched = 0;
    s->newest = s->oldest = 0;
    s->bucket_mask = buckets - 1;
    s->earliest_s = INFINITY;
    s->next_sweep_s = 0;
    if (!zeroed)
        memset(s->buckets, 0, buckets * sizeof s->buckets[0]);
}

/* -- bytes along a chain ------------------------------------------------------------------------
 */

struct cursor {
    struct ml_segment *segment;
    char *p;     /* in the current chunk */
    size_t room; /* from p to its end */
    uint32_t next;
};

static struct cursor cursor_at(struct ml_segment *s, struct head *h)
{
    return (struct cursor){s, h->bytes, HEAD_ROOM, h->next};
}

/* The next run of up to len bytes in one chunk. */
static size_t cursor_run(struct cursor *c, size_t len, char **run)
{
    if (c->room == 0) {
        struct tail *t = tail_at(c->segment, c->next);

        c->p = t->bytes;
        c->room = TAIL_ROOM;
        c->next = t->next;
    }
    len = len < c->room ? len : c->room;
    *run = c->p;
    c->p += len;
    c->room -= len;
    return len;
}

static void cursor_write(struct cursor *c, struct ml_str s)
{
    while (s.len > 0) {
        char *run;
        size_t n = cursor_run(c, s.len, &run);

        memcpy(run, s.p, n);
        s.p += n;
        s.len -= n;
    }
}

static void cursor_read(struct cursor *c, size_t len, struct ml_buf *out)
{
    while (len > 0) {
        char *run;
        size_t n = cursor_run(c, len, &run);

        if (out != NULL) /* NULL: skip */
            ml_buf_append(out, (struct ml_str){run, n});
        len -= n;
    }
}

static bool cursor_matches(struct cursor *c, struct ml_str s)
{
    while (s.len > 0) {
        char *run;
        size_t n = cursor_run(c, s.len, &run);

        if (memcmp(run, s.p, n) != 0)
            return false;
        s.p += n;
        s.len -= n;
    }
    return true;
}

static size_t chunks_for(size_t bytes)
{
    return bytes <= HEAD_ROOM ? 1 : 1 + (bytes - HEAD_ROOM + TAIL_ROOM - 1) / TAIL_ROOM;
}

/* -- the list of use and the buckets ------------------------------------------------------------
 */

static void unlink_use(struct ml_segment *s, struct head *h)
{
    *(h->newer != 0 ? &head_at(s, h->newer)->older : &s->newest) = h->older;
    *(h->older != 0 ? &head_at(s, h->older)->newer : &s->oldest) = h->newer;
}

static void link_newest(struct ml_segment *s, struct head *h)
{
    uint32_t chunk = chunk_of(s, h);

    h->newer = 0;
    h->older = s->newest;
    *(s->newest != 0 ? &head_at(s, s->newest)->newer : &s->oldest) = chunk;
    s->newest = chunk;
}

static void unlink_bucket(struct ml_segment *s, struct head *h)
{
    uint32_t chunk = chunk_of(s, h), *link = &s->buckets[h->hash & s->bucket_mask];

    while (*link != chunk)
        link = &head_at(s, *link)->bucket_next;
    *link = h->bucket_next;
}

static void free_chunks(struct ml_segment *s, struct head *h)
{
    uint32_t first = chunk_of(s, h), last = first;

    s->free_count += h->chunks;
    h->used = 0;
    while (tail_at(s, last)->next != 0)
        last = tail_at(s, last)->next;
    tail_at(s, last)->next = s->free;
    s->free = first;
}

static void drop(struct ml_segment *s, struct head *h)
{
    unlink_use(s, h);
    unlink_bucket(s, h);
    free_chunks(s, h);
}

static bool expired(const struct head *h, double now_s)
{
    return h->entry.expires_s != 0 && h->entry.expires_s <= now_s;
}

static void sweep(struct ml_segment *s, double now_s)
{
    double earliest_s = INFINITY;

    for (uint32_t i = 1; i <= s->touched; i++) {
        struct head *h = head_at(s, i);

        if (!h->used || h->entry.expires_s == 0)
            continue;
        if (expired(h, now_s))
            drop(s, h);
        else if (h->entry.expires_s < earliest_s)
            earliest_s = h->entry.expires_s;
    }
    s->earliest_s = earliest_s;
    s->next_sweep_s = now_s + SWEEP_PAUSE_S_PER_10 / 10.0;
}

static void make_room(struct ml_segment *s, size_t chunks, double now_s)
{
    if (s->free_count < chunks && s->earliest_s <= now_s && s->next_sweep_s <= now_s)
        sweep(s, now_s);
    while (s->free_count < chunks) {
        struct head *oldest = head_at(s, s->oldest);

        if (!expired(oldest, now_s))
            s->evicted++;
        drop(s, oldest);
    }
}

/* -- entries ------------------------------------------------------------------------------------
 */

static bool has_name(struct ml_segment *s, struct head *h, const struct ml_segment_name *name)
{
    struct cursor c = cursor_at(s, h);

    return h->hash == (uint32_t)name->hash && h->key_len == name->key.len &&
           h->dict_len == name->dict.len && cursor_matches(&c, name->dict) &&
           cursor_matches(&c, name->key);
}

struct ml_segment_entry *ml_segment_find(struct ml_segment *s, const struct ml_segment_name *name,
                                         double now_s)
{
    uint32_t chunk = s->buckets[(uint32_t)name->hash & s->bucket_mask];

    while (chunk != 0) {
        struct head *h = head_at(s, chunk);

        chunk = h->bucket_next;
        if (!has_name(s, h, name))
            continue;
        if (expired(h, now_s)) {
            drop(s, h);
            return NULL;
        }
        if (h->newer != 0) {
            unlink_use(s, h);
            link_newest(s, h);
        }
        return &h->entry;
    }
    return NULL;
}

/* Skips the name; the cursor is then at the string. */
static struct cursor string_cursor(struct ml_segment *s, struct head *h)
{
    struct cursor c = cursor_at(s, h);

    cursor_read(&c, (size_t)h->dict_len + h->key_len, NULL);
    return c;
}

void ml_segment_read(struct ml_segment *s, const struct ml_segment_entry *entry, struct ml_buf *out)
{
    struct cursor c = string_cursor(s, head_of(entry));

    ml_buf_reserve(out, entry->string_len);
    cursor_read(&c, entry->string_len, out);
}

/* Used ones first: memory that was never touched costs nothing yet. */
static uint32_t take_chunk(struct ml_segment *s)
{
    uint32_t chunk = s->free;

    if (chunk != 0)
        s->free = tail_at(s, chunk)->next;
    else
        chunk = ++s->touched;
    s->free_count--;
    tail_at(s, chunk)->next = 0;
    tail_at(s, chunk)->used = 0;
    return chunk;
}

static struct head *take_chunks(struct ml_segment *s, uint32_t chunks)
{
    uint32_t last = take_chunk(s);
    struct head *h = head_at(s, last);

    for (uint32_t i = 1; i < chunks; i++) {
        uint32_t next = take_chunk(s);

        tail_at(s, last)->next = next;
        last = next;
    }
    h->used = 1;
    h->chunks = chunks;
    return h;
}

/* A new entry without a value, in its bucket and newest in use. */
static struct head *make(struct ml_segment *s, const struct ml_segment_name *name, uint32_t chunks)
{
    struct head *h = take_chunks(s, chunks);
    uint32_t *bucket = &s->buckets[(uint32_t)name->hash & s->bucket_mask];
    struct cursor c = cursor_at(s, h);

    h->hash = (uint32_t)name->hash;
    h->key_len = (uint16_t)name->key.len;
    h->dict_len = (uint16_t)name->dict.len;
    h->bucket_next = *bucket;
    *bucket = chunk_of(s, h);
    link_newest(s, h);
    cursor_write(&c, name->dict);
    cursor_write(&c, name->key);
    return h;
}

static void assign(struct ml_segment *s, struct head *h, const struct ml_shdict_value *value,
                   double expires_s)
{
    struct cursor c = string_cursor(s, h);
    bool string = value->type == ML_SHDICT_STRING;

    h->entry.type = (uint8_t)value->type;
    h->entry.number = string ? 0 : value->number;
    h->entry.string_len = string ? (uint32_t)value->string.len : 0;
    h->entry.expires_s = expires_s;
    if (expires_s != 0 && expires_s < s->earliest_s)
        s->earliest_s = expires_s;
    if (string)
        cursor_write(&c, value->string);
}

struct ml_segment_entry *ml_segment_put(struct ml_segment *s, const struct ml_segment_name *name,
                                        const struct ml_shdict_value *value, double expires_s,
                                        double now_s)
{
    size_t string_len = value->type == ML_SHDICT_STRING ? value->string.len : 0;
    size_t chunks;
    struct ml_segment_entry *entry;
    struct head *h;

    if (string_len > (size_t)s->chunk_count * CHUNK_LEN)
        return NULL;
    chunks = chunks_for(name->dict.len + name->key.len + string_len);
    if (chunks > s->chunk_count)
        return NULL;
    entry = ml_segment_find(s, name, now_s);
    h = entry != NULL ? head_of(entry) : NULL;
    if (h != NULL && h->chunks != chunks) {
        drop(s, h);
        h = NULL;
    }
    if (h == NULL) {
        make_room(s, chunks, now_s);
        h = make(s, name, (uint32_t)chunks);
    }
    assign(s, h, value, expires_s);
    return &h->entry;
}

void ml_segment_remove(struct ml_segment *s, struct ml_segment_entry *entry)
{
    drop(s, head_of(entry));
}

static bool in_dict(struct ml_segment *s, struct head *h, struct ml_str dict)
{
    struct cursor c = cursor_at(s, h);

    return h->dict_len == dict.len && cursor_matches(&c, dict);
}

void ml_segment_clear(struct ml_segment *s, struct ml_str dict)
{
    for (uint32_t chunk = s->newest; chunk != 0;) {
        struct head *h = head_at(s, chunk);

        chunk = h->older;
        if (in_dict(s, h, dict))
            drop(s, h);
    }
}

unsigned ml_segment_keys(struct ml_segment *s, struct ml_str dict, unsigned max, double now_s,
                         struct ml_buf *out)
{
    unsigned n = 0;

    for (uint32_t chunk = s->newest; chunk != 0 && n < max; chunk = head_at(s, chunk)->older) {
        struct head *h = head_at(s, chunk);
        struct cursor c = cursor_at(s, h);

        if (expired(h, now_s) || !in_dict(s, h, dict))
            continue;
        cursor_read(&c, h->dict_len, NULL);
        ml_buf_append(out, (struct ml_str){(const char *)&h->key_len, sizeof h->key_len});
        cursor_read(&c, h->key_len, out);
        n++;
    }
    return n;
}

void ml_segment_usage(const struct ml_segment *s, struct ml_shdict_fill *out)
{
    uint32_t count = __atomic_load_n(&s->chunk_count, __ATOMIC_RELAXED);
    uint32_t unused = __atomic_load_n(&s->free_count, __ATOMIC_RELAXED);

    out->used += (uint64_t)(count > unused ? count - unused : 0) * CHUNK_LEN;
    out->evictions += __atomic_load_n(&s->evicted, __ATOMIC_RELAXED);
}
