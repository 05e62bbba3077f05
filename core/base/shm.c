/* shm.c - one mapping: workers, servers, the in-flight counts of each worker, the shared dicts, the
 * counters of limits, the metrics.
 *
 * The truth about requests in flight is held by the rows, one per worker, which only that worker
 * writes; a server's in_flight is their sum, kept beside them because least_conn reads it for each
 * request.  begin() counts the sum first and the row second, end() the other way round: a worker
 * that is killed in between leaves a sum that is one too high, never one that wraps below zero.
 *
 * The mark of each worker says which server it is counting for, so that this sum can be put right.
 * That needs a moment in which nobody counts for the server: who finds it being settled waits for
 * the supervisor, a microsecond as a rule and never longer than YIELDS_MAX turns.
 *
 * Pages that nobody uses are never touched and cost nothing. */
#include "base/shm.h"

#include "base/clock.h"
#include "base/limiter.h"
#include "base/lists.h"
#include "base/metrics.h"
#include "base/rings.h"
#include "base/shdict.h"

#include <assert.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    DICT_BYTES = 32 << 20,
    LIMITER_BYTES = 8 << 20,
    METRICS_WORKERS = 4,
    MARK_BITS = 13,
    WORKER_BITS = 9,
    RECLAIM_MS = 3600 * 1000, /* so long after it left all lists a slot may be another server's */
    SETTLE_TRIES = 10000,
    YIELDS_MAX = 1000,
    READ_TRIES = 1000
};

_Static_assert(ML_SHM_WORKERS_MAX < 1 << WORKER_BITS, "a lease holds the number of any worker");
_Static_assert(ML_SHM_SERVERS_MAX < 1 << MARK_BITS, "a mark holds the number of any server");

struct mark {
    /* How often the worker has counted, shifted; in the low bits 1 + the server it counts for at
     * this moment, or 0. */
    _Alignas(64) _Atomic uint64_t word;
};

struct row {
    _Alignas(64) _Atomic uint32_t in_flight[ML_SHM_SERVERS_MAX];
};

/* Readers copy the slot of the version they see; the writer fills the other one and then raises the
 * version.  So a writer that is killed leaves a whole slot behind. */
struct gateway {
    _Alignas(64) _Atomic uint64_t version;
    struct ml_shm_gateway slots[2];
};

struct ml_shm {
    size_t len;
    struct ml_shdict_region *dicts;
    struct ml_limiter_region *limiter;
    struct ml_lists_region *lists;
    struct ml_metrics_region *metrics;
    struct ml_rings *rings;
    unsigned char secret[ML_SHM_SECRET_LEN]; /* never changes */
    _Alignas(64) _Atomic uint32_t settling;  /* 1 + server, or 0 */
    _Atomic uint64_t prober; /* when it said so last, in ms, shifted; low bits: 1 + worker */
    struct ml_shm_worker workers[ML_SHM_WORKERS_MAX];
    struct ml_shm_server servers[ML_SHM_SERVERS_MAX];
    struct mark marks[ML_SHM_WORKERS_MAX];
    struct row rows[ML_SHM_WORKERS_MAX];
    struct gateway gateway;
};

static void die(const char *what)
{
    perror(what);
    abort();
}

/* Rounded up to whole pages. */
static size_t pages(size_t wanted, size_t otherwise, size_t least)
{
    size_t len = wanted > 0 ? wanted : otherwise;

    return ((len > least ? len : least) + 4095) & ~(size_t)4095;
}

struct ml_shm *ml_shm_new(size_t dict_bytes)
{
    return ml_shm_new_with(dict_bytes, 0);
}

struct ml_shm *ml_shm_new_with(size_t dict_bytes, size_t limiter_bytes)
{
    return ml_shm_new_for(dict_bytes, limiter_bytes, METRICS_WORKERS);
}

struct ml_shm *ml_shm_new_for(size_t dict_bytes, size_t limiter_bytes, unsigned workers)
{
    size_t limiter_at = pages(sizeof(struct ml_shm), 0, 0);
    size_t limiter_len = pages(limiter_bytes, LIMITER_BYTES, ML_LIMITER_BYTES_MIN);
    size_t dict_len = pages(dict_bytes, DICT_BYTES, ML_SHDICT_BYTES_MIN);
    size_t dicts_at = limiter_at + limiter_len, metrics_at = dicts_at + dict_len;
    size_t lists_at = metrics_at + pages(ml_metrics_bytes(workers), 0, 0);
    size_t rings_at = lists_at + pages(ml_lists_bytes(), 0, 0);
    size_t len = rings_at + ml_rings_bytes(workers);
    struct ml_shm *shm;

    shm =
        mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (shm == MAP_FAILED)
        die("shared memory");
    shm->len = len;
    ml_random_bytes(shm->secret, sizeof shm->secret);
    shm->limiter = ml_limiter_init((char *)shm + limiter_at, limiter_len);
    shm->dicts = ml_shdict_init((char *)shm + dicts_at, dict_len);
    shm->metrics = ml_metrics_init((char *)shm + metrics_at, workers);
    shm->lists = ml_lists_init((char *)shm + lists_at);
    shm->rings = ml_rings_init((char *)shm + rings_at, workers);
    return shm;
}

void ml_shm_free(struct ml_shm **shm)
{
    if (*shm != NULL && munmap(*shm, (*shm)->len) != 0)
        die("munmap");
    *shm = NULL;
}

struct ml_shm_worker *ml_shm_worker(struct ml_shm *shm, unsigned index)
{
    assert(index < ML_SHM_WORKERS_MAX);
    return &shm->workers[index];
}

struct ml_shdict_region *ml_shm_dicts(struct ml_shm *shm)
{
    return shm->dicts;
}

struct ml_limiter_region *ml_shm_limiter(struct ml_shm *shm)
{
    return shm->limiter;
}

struct ml_lists_region *ml_shm_lists(struct ml_shm *shm)
{
    return shm->lists;
}

struct ml_metrics_region *ml_shm_metrics(struct ml_shm *shm)
{
    return shm->metrics;
}

struct ml_rings *ml_shm_rings(struct ml_shm *shm)
{
    return shm->rings;
}

const unsigned char *ml_shm_secret(const struct ml_shm *shm)
{
    return shm->secret;
}

/* FNV-1a, 64 bits: group and address come from the site's own files, so nobody aims at collisions,
 * and by chance 4096 names meet once in 2^41. */
static uint64_t hash_add(uint64_t hash, struct ml_str s)
{
    for (size_t i = 0; i < s.len; i++)
        hash = (hash ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
    return hash;
}

static uint64_t server_key(struct ml_str group, struct ml_str address)
{
    uint64_t hash = hash_add(UINT64_C(0xcbf29ce484222325), group);

    hash = hash_add(hash_add(hash, (struct ml_str){"", 1}), address);
    return hash != 0 ? hash : 1;
}

/* Any process that finds the slot without a name writes it, in case the one that took the slot was
 * killed first.  All write the same bytes, and the first byte last: who sees it sees all. */
static void name_server(struct ml_shm_server *s, struct ml_str group, struct ml_str address)
{
    char name[sizeof s->name];

    if (__atomic_load_n(&s->name[0], __ATOMIC_ACQUIRE) != '\0')
        return;
    snprintf(name, sizeof name, "%.*s %.*s", (int)group.len, group.p, (int)address.len, address.p);
    memcpy(s->name + 1, name + 1, sizeof name - 1);
    __atomic_store_n(&s->name[0], name[0], __ATOMIC_RELEASE);
}

struct ml_shm_server *ml_shm_server_find(struct ml_shm *shm, struct ml_str group,
                                         struct ml_str address)
{
    uint64_t key = server_key(group, address);

    for (unsigned i = 0; i < ML_SHM_SERVERS_MAX; i++) {
        struct ml_shm_server *s = &shm->servers[(key + i) % ML_SHM_SERVERS_MAX];
        uint64_t found = atomic_load(&s->key);

        if (found == key)
            return s;
        if (found == 0)
            return NULL;
    }
    return NULL;
}

/* What the server before it left. */
static void forget_server(struct ml_shm_server *s)
{
    __atomic_store_n(&s->name[0], '\0', __ATOMIC_RELAXED);
    atomic_store(&s->fails, 0);
    atomic_store(&s->down_until_ms, 0);
    atomic_store(&s->requests, 0);
    atomic_store(&s->errors, 0);
    atomic_store(&s->last_error, 0);
    atomic_store(&s->check, 0);
    atomic_store(&s->drained, 0);
    atomic_store(&s->recovered_ms, 0);
    atomic_store(&s->checked_ms, 0);
    atomic_store(&s->checks, 0);
    atomic_store(&s->checks_failed, 0);
    atomic_store(&s->check_result, 0);
}

/* All slots are taken: that of a server which left the lists long ago is given to another.  A
 * process that still knows the old one counts for the new one then, which is wrong and harmless. */
static struct ml_shm_server *reclaim(struct ml_shm *shm, uint64_t key)
{
    uint64_t now_ms = ml_clock_mono_ms();

    for (unsigned i = 0; i < ML_SHM_SERVERS_MAX; i++) {
        struct ml_shm_server *s = &shm->servers[(key + i) % ML_SHM_SERVERS_MAX];
        uint64_t gone_ms = atomic_load(&s->unlisted_ms), old = atomic_load(&s->key);

        if (gone_ms == 0 || now_ms - gone_ms < RECLAIM_MS || atomic_load(&s->in_flight) > 0)
            continue;
        if (atomic_compare_exchange_strong(&s->unlisted_ms, &gone_ms, now_ms) &&
            atomic_compare_exchange_strong(&s->key, &old, key)) {
            forget_server(s);
            return s;
        }
    }
    return NULL;
}

struct ml_shm_server *ml_shm_server(struct ml_shm *shm, struct ml_str group, struct ml_str address)
{
    uint64_t key = server_key(group, address);
    struct ml_shm_server *s;

    for (unsigned i = 0; i < ML_SHM_SERVERS_MAX; i++) {
        uint64_t found = 0;

        s = &shm->servers[(key + i) % ML_SHM_SERVERS_MAX];
        if (atomic_compare_exchange_strong(&s->key, &found, key) || found == key) {
            name_server(s, group, address);
            return s;
        }
    }
    s = reclaim(shm, key);
    if (s != NULL)
        name_server(s, group, address);
    return s;
}

struct ml_shm_server *ml_shm_server_at(struct ml_shm *shm, unsigned index)
{
    for (unsigned i = 0; i < ML_SHM_SERVERS_MAX; i++)
        if (atomic_load_explicit(&shm->servers[i].key, memory_order_acquire) != 0 && index-- == 0)
            return &shm->servers[i];
    return NULL;
}

static void mark_begin(struct ml_shm *shm, unsigned worker, unsigned server)
{
    _Atomic uint64_t *word = &shm->marks[worker].word;

    assert(worker < ML_SHM_WORKERS_MAX && server < ML_SHM_SERVERS_MAX);
    for (int i = 0;; i++) {
        uint64_t idle = atomic_load_explicit(word, memory_order_relaxed);

        atomic_store(word, idle + (1 << MARK_BITS) + server + 1);
        if (atomic_load(&shm->settling) != server + 1 || i == YIELDS_MAX)
            return;
        atomic_store(word, idle);
        sched_yield();
    }
}

static void mark_end(struct ml_shm *shm, unsigned worker, unsigned server)
{
    _Atomic uint64_t *word = &shm->marks[worker].word;
    uint64_t busy = atomic_load_explicit(word, memory_order_relaxed);

    atomic_store_explicit(word, busy - (server + 1), memory_order_release);
}

void ml_shm_server_begin(struct ml_shm *shm, struct ml_shm_server *s, unsigned worker)
{
    unsigned server = (unsigned)(s - shm->servers);

    mark_begin(shm, worker, server);
    atomic_fetch_add(&s->in_flight, 1);
    atomic_fetch_add(&shm->rows[worker].in_flight[server], 1);
    mark_end(shm, worker, server);
}

void ml_shm_server_end(struct ml_shm *shm, struct ml_shm_server *s, unsigned worker)
{
    unsigned server = (unsigned)(s - shm->servers);

    mark_begin(shm, worker, server);
    assert(atomic_load(&shm->rows[worker].in_flight[server]) > 0);
    atomic_fetch_sub(&shm->rows[worker].in_flight[server], 1);
    atomic_fetch_sub(&s->in_flight, 1);
    mark_end(shm, worker, server);
}

/* The low bits of a mark: 1 + server, or 0. */
static unsigned marked(uint64_t word)
{
    return (unsigned)(word & ((1 << MARK_BITS) - 1));
}

/* Reads the marks of all workers; false while one of them counts for this server. */
static bool read_marks(struct ml_shm *shm, unsigned server, uint64_t words[ML_SHM_WORKERS_MAX])
{
    for (unsigned w = 0; w < ML_SHM_WORKERS_MAX; w++) {
        words[w] = atomic_load(&shm->marks[w].word);
        if (marked(words[w]) == server + 1)
            return false;
    }
    return true;
}

/* A worker whose mark is 0 has never counted: its row is not touched. */
static uint32_t sum_rows(struct ml_shm *shm, unsigned server,
                         const uint64_t words[ML_SHM_WORKERS_MAX])
{
    uint32_t sum = 0;

    for (unsigned w = 0; w < ML_SHM_WORKERS_MAX; w++)
        if (words[w] != 0)
            sum += atomic_load(&shm->rows[w].in_flight[server]);
    return sum;
}

/* What the sum of a server is off by, at a moment when nobody counted for it; false when there was
 * no such moment.  A worker that gave up waiting is seen by its changed mark. */
static bool measure_drift(struct ml_shm *shm, unsigned server, uint32_t *drift)
{
    uint64_t before[ML_SHM_WORKERS_MAX], after[ML_SHM_WORKERS_MAX];

    if (!read_marks(shm, server, before))
        return false;
    *drift = atomic_load(&shm->servers[server].in_flight) - sum_rows(shm, server, before);
    return read_marks(shm, server, after) && memcmp(before, after, sizeof before) == 0;
}

/* When this fails, another worker has died in the same place and will be settled in its turn. */
static void settle(struct ml_shm *shm, unsigned server)
{
    uint32_t drift;

    atomic_store(&shm->settling, server + 1);
    for (int i = 0; i < SETTLE_TRIES; i++) {
        if (measure_drift(shm, server, &drift)) {
            atomic_fetch_sub(&shm->servers[server].in_flight, drift);
            break;
        }
        sched_yield();
    }
    atomic_store(&shm->settling, 0);
}

static void forget_row(struct ml_shm *shm, unsigned worker)
{
    for (unsigned i = 0; i < ML_SHM_SERVERS_MAX; i++) {
        uint32_t n = atomic_load(&shm->rows[worker].in_flight[i]);

        if (n > 0) {
            atomic_store(&shm->rows[worker].in_flight[i], 0);
            atomic_fetch_sub(&shm->servers[i].in_flight, n);
        }
    }
}

/* ---- who checks the servers ---- */

bool ml_shm_prober(struct ml_shm *shm, unsigned worker, uint64_t now_ms, uint64_t lease_ms)
{
    uint64_t word = atomic_load(&shm->prober), mine = now_ms << WORKER_BITS | (worker + 1);
    uint64_t who = word & ((1 << WORKER_BITS) - 1);

    if (who != 0 && who != worker + 1 && now_ms < (word >> WORKER_BITS) + lease_ms)
        return false;
    return atomic_compare_exchange_strong(&shm->prober, &word, mine);
}

unsigned ml_shm_prober_who(struct ml_shm *shm)
{
    return (unsigned)(atomic_load(&shm->prober) & ((1 << WORKER_BITS) - 1));
}

void ml_shm_prober_leave(struct ml_shm *shm, unsigned worker)
{
    uint64_t word = atomic_load(&shm->prober);

    if ((word & ((1 << WORKER_BITS) - 1)) == worker + 1)
        atomic_compare_exchange_strong(&shm->prober, &word, 0);
}

void ml_shm_worker_died(struct ml_shm *shm, unsigned worker)
{
    struct ml_shm_worker *w = ml_shm_worker(shm, worker);
    uint64_t word = atomic_load(&shm->marks[worker].word);

    ml_shm_prober_leave(shm, worker);
    forget_row(shm, worker);
    atomic_store(&shm->marks[worker].word, word - marked(word));
    if (marked(word) != 0)
        settle(shm, marked(word) - 1);
    atomic_store(&w->connections, 0);
    atomic_store(&w->websockets, 0);
    atomic_store(&w->script_since_ms, 0);
    atomic_store(&w->beat_ms, 0);
    memset(w->script, 0, sizeof w->script);
    for (unsigned i = 0; i < ML_SHM_OLD_MAX; i++)
        atomic_store(&w->in_hand[i].number, 0);
    ml_metrics_unset_gauges(shm->metrics, worker);
}

void ml_shm_text(char *out, size_t cap, struct ml_str s)
{
    size_t len = s.len < cap ? s.len : cap - 1;

    if (len > 0)
        memcpy(out, s.p, len);
    out[len] = '\0';
}

void ml_shm_gateway_publish(struct ml_shm *shm, const struct ml_shm_gateway *g)
{
    uint64_t next = atomic_load(&shm->gateway.version) + 1;

    memcpy(&shm->gateway.slots[next & 1], g, sizeof *g);
    atomic_store(&shm->gateway.version, next);
}

void ml_shm_gateway_read(struct ml_shm *shm, struct ml_shm_gateway *out)
{
    uint64_t before = atomic_load(&shm->gateway.version), after;

    for (int i = 0; i < READ_TRIES; i++) {
        memcpy(out, &shm->gateway.slots[before & 1], sizeof *out);
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load(&shm->gateway.version);
        if (after == before)
            return;
        before = after;
    }
    memset(out, 0, sizeof *out); /* a writer that publishes without pause is none of ours */
}
