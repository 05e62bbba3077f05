/* shdict.c - locks around segments.
 *
 *   region: seed | slot 0: lock, state | ... | slot 255 | table 0 | table 1 | ... | table 255
 *
 * The hash of dict and key picks the slot.  A lock is held for a handful of memory accesses, so
 * waiting for it is no blocking worth the name.  A robust mutex tells its next owner when the last
 * one died (EOWNERDEAD).  It may have died with the table half changed, which the state says: then
 * the segment is emptied.  A torn counter that others trust would be worse than a lost one.
 *
 * Kills come between two instructions, not in the middle of one, and no other process looks at the
 * table before it has the lock: the order of the compiler's stores is all that the state needs.
 *
 * Tables are made when they are first locked: a gateway that counts nothing touches none. */
#include "base/shdict.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/segment.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SEGMENTS = 256, DICT_LEN_MAX = 255, KEY_LEN_MAX = 1024 };

enum state { RAW, WHOLE, CHANGING };

struct slot {
    _Alignas(64) pthread_mutex_t lock;
    volatile enum state state;
};

struct ml_shdict_region {
    struct ml_hash_seed seed;
    size_t table_len;
    struct slot slots[SEGMENTS];
    char tables[]; /* struct ml_segment, each in table_len bytes */
};

static struct ml_segment *table_of(struct ml_shdict_region *r, struct slot *slot)
{
    return (struct ml_segment *)(r->tables + (size_t)(slot - r->slots) * r->table_len);
}

static void check(int error)
{
    if (error != 0)
        abort();
}

static void lock_init(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attr;

    check(pthread_mutexattr_init(&attr));
    check(pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED));
    check(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
    check(pthread_mutex_init(lock, &attr));
    check(pthread_mutexattr_destroy(&attr));
}

struct ml_shdict_region *ml_shdict_init(void *memory, size_t len)
{
    struct ml_shdict_region *r = memory;

    assert(len >= ML_SHDICT_BYTES_MIN && (uintptr_t)memory % 64 == 0);
    ml_random_bytes(&r->seed, sizeof r->seed);
    r->table_len = (len - sizeof *r) / SEGMENTS & ~(size_t)63;
    for (unsigned i = 0; i < SEGMENTS; i++)
        lock_init(&r->slots[i].lock);
    return r;
}

static void set_state(struct slot *slot, enum state state)
{
    atomic_signal_fence(memory_order_seq_cst);
    slot->state = state;
    atomic_signal_fence(memory_order_seq_cst);
}

static struct ml_segment *slot_lock(struct ml_shdict_region *r, struct slot *slot)
{
    int error = pthread_mutex_lock(&slot->lock);

    if (error == EOWNERDEAD) {
        if (slot->state == CHANGING)
            ml_segment_format(table_of(r, slot), r->table_len, false);
        check(pthread_mutex_consistent(&slot->lock));
    } else {
        check(error);
    }
    if (slot->state == RAW) /* killed in here, it is still raw: the buckets were not touched */
        ml_segment_format(table_of(r, slot), r->table_len, true);
    set_state(slot, CHANGING);
    return table_of(r, slot);
}

static void slot_unlock(struct slot *slot)
{
    set_state(slot, WHOLE);
    check(pthread_mutex_unlock(&slot->lock));
}

static bool name_fits(struct ml_str dict, struct ml_str key)
{
    return dict.len <= DICT_LEN_MAX && key.len <= KEY_LEN_MAX;
}

static struct ml_segment_name make_name(struct ml_shdict_region *r, struct ml_str dict,
                                        struct ml_str key)
{
    struct ml_hash_seed seed = r->seed;

    seed.word[0] ^= ml_hash_bytes(seed, dict);
    return (struct ml_segment_name){dict, key, ml_hash_bytes(seed, key)};
}

/* The table uses the low half of the hash. */
static struct slot *slot_of(struct ml_shdict_region *r, const struct ml_segment_name *name)
{
    return &r->slots[name->hash >> 32 & (SEGMENTS - 1)];
}

static double expiry_s(double ttl_s, double now_s)
{
    return ttl_s > 0 ? now_s + ttl_s : 0;
}

static void export(struct ml_segment *table, struct ml_segment_entry *entry, struct ml_buf *scratch,
                   struct ml_shdict_value *value)
{
    *value = (struct ml_shdict_value){.type = ML_SHDICT_NIL};
    if (entry == NULL)
        return;
    value->type = (enum ml_shdict_type)entry->type;
    value->number = entry->number;
    if (value->type == ML_SHDICT_STRING) {
        ml_segment_read(table, entry, scratch);
        value->string = ml_buf_str(scratch);
    }
}

enum ml_err ml_shdict_get(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                          double now_s, struct ml_buf *scratch, struct ml_shdict_value *value)
{
    struct ml_segment_name name;
    struct ml_segment *table;
    struct slot *slot;

    if (!name_fits(dict, key))
        return ML_LIMIT;
    name = make_name(r, dict, key);
    slot = slot_of(r, &name);
    ml_buf_consume(scratch, ml_buf_len(scratch));
    table = slot_lock(r, slot);
    export(table, ml_segment_find(table, &name, now_s), scratch, value);
    slot_unlock(slot);
    return ML_OK;
}

/* Sets or, for NIL, deletes; with only_absent, not when there is an entry. */
static enum ml_err change(struct ml_segment *table, const struct ml_segment_name *name,
                          const struct ml_shdict_value *value, double ttl_s, double now_s,
                          bool only_absent, bool *done)
{
    struct ml_segment_entry *entry = ml_segment_find(table, name, now_s);

    *done = false;
    if (only_absent && entry != NULL)
        return ML_OK;
    if (value->type == ML_SHDICT_NIL) {
        if (entry != NULL)
            ml_segment_remove(table, entry);
    } else if (ml_segment_put(table, name, value, expiry_s(ttl_s, now_s), now_s) == NULL) {
        return ML_LIMIT;
    }
    *done = true;
    return ML_OK;
}

static enum ml_err locked_change(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                                 const struct ml_shdict_value *value, double ttl_s, double now_s,
                                 bool only_absent, bool *done)
{
    struct ml_segment_name name;
    struct slot *slot;
    enum ml_err err;

    if (!name_fits(dict, key))
        return ML_LIMIT;
    name = make_name(r, dict, key);
    slot = slot_of(r, &name);
    err = change(slot_lock(r, slot), &name, value, ttl_s, now_s, only_absent, done);
    slot_unlock(slot);
    return err;
}

enum ml_err ml_shdict_set(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                          const struct ml_shdict_value *value, double ttl_s, double now_s)
{
    bool done;

    return locked_change(r, dict, key, value, ttl_s, now_s, false, &done);
}

enum ml_err ml_shdict_add(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                          const struct ml_shdict_value *value, double ttl_s, double now_s,
                          bool *done)
{
    return locked_change(r, dict, key, value, ttl_s, now_s, true, done);
}

static enum ml_err add_up(struct ml_segment *table, const struct ml_segment_name *name, double by,
                          const struct ml_shdict_value *init, double ttl_s, double now_s,
                          struct ml_segment_entry **entry)
{
    *entry = ml_segment_find(table, name, now_s);
    if (*entry == NULL)
        *entry = ml_segment_put(table, name, init, expiry_s(ttl_s, now_s), now_s);
    if (*entry == NULL)
        return ML_LIMIT;
    if ((*entry)->type != ML_SHDICT_NUMBER)
        return ML_BAD_REQUEST;
    (*entry)->number += by;
    return ML_OK;
}

enum ml_err ml_shdict_incr(struct ml_shdict_region *r, struct ml_str dict, struct ml_str key,
                           double by, double init, double ttl_s, double now_s, double *result,
                           double *left_s)
{
    struct ml_shdict_value first = {.type = ML_SHDICT_NUMBER, .number = init};
    struct ml_segment_entry *entry;
    struct ml_segment_name name;
    struct slot *slot;
    enum ml_err err;

    if (!name_fits(dict, key))
        return ML_LIMIT;
    name = make_name(r, dict, key);
    slot = slot_of(r, &name);
    err = add_up(slot_lock(r, slot), &name, by, &first, ttl_s, now_s, &entry);
    if (err == ML_OK) {
        *result = entry->number;
        *left_s = entry->expires_s != 0 ? entry->expires_s - now_s : 0;
    }
    slot_unlock(slot);
    return err;
}

void ml_shdict_clear(struct ml_shdict_region *r, struct ml_str dict)
{
    for (unsigned i = 0; i < SEGMENTS; i++) {
        struct slot *slot = &r->slots[i];

        ml_segment_clear(slot_lock(r, slot), dict);
        slot_unlock(slot);
    }
}

/* Gives the keys that ml_segment_keys wrote to the caller, outside of any lock. */
static void hand_out(struct ml_buf *keys, void (*each)(void *ctx, struct ml_str key), void *ctx)
{
    while (ml_buf_len(keys) > 0) {
        uint16_t len;

        memcpy(&len, keys->p + keys->start, sizeof len);
        ml_buf_consume(keys, sizeof len);
        each(ctx, (struct ml_str){keys->p + keys->start, len});
        ml_buf_consume(keys, len);
    }
}

void ml_shdict_keys(struct ml_shdict_region *r, struct ml_str dict, unsigned max, double now_s,
                    void (*each)(void *ctx, struct ml_str key), void *ctx)
{
    struct ml_buf keys = {0};
    unsigned left = max > 0 ? max : UINT32_MAX;

    for (unsigned i = 0; i < SEGMENTS && left > 0; i++) {
        struct slot *slot = &r->slots[i];

        left -= ml_segment_keys(slot_lock(r, slot), dict, left, now_s, &keys);
        slot_unlock(slot);
        hand_out(&keys, each, ctx);
    }
    ml_buf_release(&keys);
}

void ml_shdict_usage(struct ml_shdict_region *r, struct ml_shdict_fill *out)
{
    *out = (struct ml_shdict_fill){.bytes = r->table_len * SEGMENTS};
    for (unsigned i = 0; i < SEGMENTS; i++)
        if (r->slots[i].state != RAW)
            ml_segment_usage(table_of(r, &r->slots[i]), out);
}
