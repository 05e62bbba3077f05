/* snapshot.c - the serialised site: a sealed memory file that any process can map and trust.
 *
 *   header | entries in name order | directory as given, NUL | names and bytes
 *
 * Sealed means that nobody can change or shorten it, so that a mapping cannot fault and what was
 * checked once stays true.  The bytes may come from a process that ran scripts: ml_snapshot_open
 * checks seals, each range, the order of names and the hash before anything is used. */
#include "script/snapshot.h"

#include "script/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PASSES = 8, DIR_LEN_MAX = 4096, NAME_LEN_MAX = ML_SNAPSHOT_NAME_MAX, HASH_LEN = 16 };
enum { SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

struct header {
    char magic[8];
    uint64_t size; /* of the whole file */
    uint64_t hash; /* of names and bytes */
    uint32_t count;
    uint32_t dir_len; /* without its NUL */
};

struct entry { /* offsets from the start of the file */
    uint64_t name, name_len;
    uint64_t bytes, bytes_len;
};

static const char MAGIC[8] = "mlsite1";

struct ml_snapshot {
    const char *base; /* mapped, read only */
    size_t size;
    const struct header *head;
    const struct entry *entries;
    const char *dir;
    int fd; /* owned */
    char hash[HASH_LEN + 1];
};

static void print_hash(char out[HASH_LEN + 1], uint64_t hash)
{
    snprintf(out, HASH_LEN + 1, "%016" PRIx64, hash);
}

/* ---- checking what another process wrote ---- */

static bool range_ok(const struct ml_snapshot *s, uint64_t from, uint64_t len)
{
    return from <= s->size && len <= s->size - from;
}

/* The name has no NUL: it goes into messages and compares as one string. */
static bool name_ok(struct ml_str name)
{
    return name.len > 0 && name.len <= NAME_LEN_MAX &&
           memchr(name.p, '\0', name.len) == NULL;
}

static int compare(struct ml_str a, struct ml_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = memcmp(a.p, b.p, len);

    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static bool entries_ok(const struct ml_snapshot *s)
{
    uint64_t hash = ML_SCAN_HASH;

    for (unsigned i = 0; i < s->head->count; i++) {
        const struct entry *e = &s->entries[i];

        if (!range_ok(s, e->name, e->name_len) || !range_ok(s, e->bytes, e->bytes_len) ||
            !name_ok(ml_snapshot_name(s, i)))
            return false;
        if (i > 0 && compare(ml_snapshot_name(s, i - 1), ml_snapshot_name(s, i)) >= 0)
            return false;
        hash = ml_scan_hash_next(
            hash, ml_scan_hash_file(ml_snapshot_name(s, i), ml_snapshot_bytes(s, i)));
    }
    return hash == s->head->hash;
}

static bool contents_ok(struct ml_snapshot *s)
{
    size_t list, dir = sizeof *s->head;

    s->head = (const struct header *)s->base;
    if (s->size < sizeof *s->head || memcmp(s->head->magic, MAGIC, sizeof MAGIC) != 0 ||
        s->head->size != s->size || s->head->count > ML_SCAN_FILES_MAX ||
        s->head->dir_len > DIR_LEN_MAX)
        return false;
    list = s->head->count * sizeof *s->entries;
    dir += list;
    if (!range_ok(s, sizeof *s->head, list) || !range_ok(s, dir, s->head->dir_len + 1u))
        return false;
    s->entries = (const struct entry *)(s->base + sizeof *s->head);
    s->dir = s->base + dir;
    return strnlen(s->dir, s->head->dir_len + 1u) == s->head->dir_len && entries_ok(s);
}

static bool map(struct ml_snapshot *s, struct ml_buf *why)
{
    static const size_t size_max = ML_SCAN_BYTES_MAX + ML_SCAN_FILES_MAX * (NAME_LEN_MAX + 64u);
    int seals = fcntl(s->fd, F_GET_SEALS);
    struct stat st;
    void *base;

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(s->fd, &st) != 0 || st.st_size <= 0 ||
        (size_t)st.st_size > size_max) {
        ml_buf_append(why, ML_STR("the snapshot is not a sealed memory file of a fair size"));
        return false;
    }
    base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, s->fd, 0);
    if (base == MAP_FAILED) {
        ml_buf_printf(why, "cannot map the snapshot: %s", strerror(errno));
        return false;
    }
    s->base = base;
    s->size = (size_t)st.st_size;
    if (contents_ok(s))
        return true;
    ml_buf_append(why, ML_STR("the snapshot is damaged"));
    return false;
}

/* Takes fd over. */
static struct ml_snapshot *open_owned(int fd, struct ml_buf *why)
{
    struct ml_snapshot *s = calloc(1, sizeof *s);

    if (s == NULL)
        abort();
    s->fd = fd;
    if (!map(s, why)) {
        ml_snapshot_free(&s);
        return NULL;
    }
    print_hash(s->hash, s->head->hash);
    return s;
}

struct ml_snapshot *ml_snapshot_open(int fd, struct ml_buf *why)
{
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    if (own < 0) {
        ml_buf_printf(why, "cannot open the snapshot: %s", strerror(errno));
        return NULL;
    }
    return open_owned(own, why);
}

void ml_snapshot_free(struct ml_snapshot **sp)
{
    struct ml_snapshot *s = *sp;

    if (s == NULL)
        return;
    *sp = NULL;
    if (s->base != NULL)
        munmap((void *)s->base, s->size);
    close(s->fd);
    free(s);
}

/* ---- writing ---- */

static size_t serialised_size(const struct ml_scan *scan)
{
    size_t size =
        sizeof(struct header) + scan->count * sizeof(struct entry) + strlen(scan->dir) + 1;

    for (unsigned i = 0; i < scan->count; i++)
        size += strlen(scan->files[i].name) + scan->files[i].len;
    return size;
}

static char *put(char *to, const void *from, size_t len)
{
    if (len > 0)
        memcpy(to, from, len);
    return to + len;
}

static void serialise(const struct ml_scan *scan, char *base, size_t size)
{
    struct header head = {.size = size,
                          .hash = ml_scan_hash(scan),
                          .count = scan->count,
                          .dir_len = (uint32_t)strlen(scan->dir)};
    struct entry *entry = (struct entry *)(base + sizeof head);
    char *to;

    memcpy(head.magic, MAGIC, sizeof MAGIC);
    put(base, &head, sizeof head);
    to = put((char *)(entry + scan->count), scan->dir, head.dir_len + 1u);
    for (unsigned i = 0; i < scan->count; i++, entry++) {
        const struct ml_scan_file *file = &scan->files[i];

        *entry = (struct entry){(uint64_t)(to - base), strlen(file->name), 0, file->len};
        to = put(to, file->name, entry->name_len);
        entry->bytes = (uint64_t)(to - base);
        to = put(to, file->bytes, file->len);
    }
}

static bool fill(int fd, const struct ml_scan *scan)
{
    size_t size = serialised_size(scan);
    void *base;

    if (ftruncate(fd, (off_t)size) != 0)
        return false;
    base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return false;
    serialise(scan, base, size);
    munmap(base, size); /* no writable mapping may be left when it is sealed */
    return fcntl(fd, F_ADD_SEALS, SEALS) == 0;
}

struct ml_snapshot *ml_snapshot_make(const struct ml_scan *scan, struct ml_buf *why)
{
    int fd;

    if (strlen(scan->dir) > DIR_LEN_MAX) {
        ml_buf_append(why, ML_STR("the name of the directory is too long"));
        return NULL;
    }
    fd = memfd_create("moonlatch-site", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || !fill(fd, scan)) {
        ml_buf_printf(why, "cannot make a memory file for %s: %s", scan->dir, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    return open_owned(fd, why);
}

/* ---- reading a directory ---- */

static bool has_gateway(const struct ml_scan *scan)
{
    for (unsigned i = 0; i < scan->count; i++)
        if (strcmp(scan->files[i].name, "gateway.lua") == 0)
            return true;
    return false;
}

enum pass { AGREED, FAILED, AGAIN };

/* Reads everything, then reads it once more to see whether it was one moment. */
static enum pass read_twice(const char *dir, struct ml_scan *scan, struct ml_buf *why)
{
    struct ml_scan again = {.dir = dir, .more = scan->more};
    enum pass result = AGAIN;

    if (!ml_scan_run(scan, why))
        return scan->moved ? AGAIN : FAILED;
    if (!ml_scan_run(&again, why))
        result = again.moved ? AGAIN : FAILED;
    else if (ml_scan_hash(&again) == ml_scan_hash(scan))
        result = AGREED;
    ml_scan_drop(&again);
    return result;
}

static struct ml_snapshot *agreed(const struct ml_scan *scan, struct ml_buf *why)
{
    if (has_gateway(scan))
        return ml_snapshot_make(scan, why);
    ml_buf_printf(why, "%s has no gateway.lua", scan->dir);
    return NULL;
}

struct ml_snapshot *ml_snapshot_read_with(const char *dir, struct ml_str more, struct ml_buf *why)
{
    struct ml_scan scan = {.dir = dir, .more = more, .keep = true};
    struct ml_snapshot *s = NULL;
    enum pass pass = AGAIN;

    for (int i = 0; i < PASSES && pass == AGAIN; i++) {
        ml_scan_drop(&scan);
        ml_buf_consume(why, ml_buf_len(why));
        pass = read_twice(dir, &scan, why);
    }
    if (pass == AGREED)
        s = agreed(&scan, why);
    else if (ml_buf_len(why) == 0)
        ml_buf_printf(why, "%s keeps changing while it is read", dir);
    ml_scan_drop(&scan);
    return s;
}

void ml_snapshot_hash_with(const char *dir, struct ml_str more, char out[17])
{
    struct ml_scan scan = {.dir = dir, .more = more};
    struct ml_buf why = {0};
    bool ok = false;

    for (int i = 0; i < PASSES && !ok && (i == 0 || scan.moved); i++) {
        ml_scan_drop(&scan);
        ok = ml_scan_run(&scan, &why);
    }
    out[0] = '\0';
    if (ok)
        print_hash(out, ml_scan_hash(&scan));
    ml_scan_drop(&scan);
    ml_buf_release(&why);
}

struct ml_snapshot *ml_snapshot_read(const char *dir, struct ml_buf *why)
{
    return ml_snapshot_read_with(dir, ML_STR_NONE, why);
}

void ml_snapshot_hash_dir(const char *dir, char out[17])
{
    ml_snapshot_hash_with(dir, ML_STR_NONE, out);
}

/* ---- looking things up ---- */

int ml_snapshot_fd(const struct ml_snapshot *s)
{
    return s->fd;
}

const char *ml_snapshot_hash(const struct ml_snapshot *s)
{
    return s->hash;
}

const char *ml_snapshot_dir(const struct ml_snapshot *s)
{
    return s->dir;
}

unsigned ml_snapshot_count(const struct ml_snapshot *s)
{
    return s->head->count;
}

struct ml_str ml_snapshot_name(const struct ml_snapshot *s, unsigned index)
{
    return (struct ml_str){s->base + s->entries[index].name, s->entries[index].name_len};
}

struct ml_str ml_snapshot_bytes(const struct ml_snapshot *s, unsigned index)
{
    return (struct ml_str){s->base + s->entries[index].bytes, s->entries[index].bytes_len};
}

bool ml_snapshot_find(const struct ml_snapshot *s, struct ml_str name, struct ml_str *bytes)
{
    unsigned from = 0, to = s->head->count;

    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        int order = compare(name, ml_snapshot_name(s, middle));

        if (order == 0) {
            *bytes = ml_snapshot_bytes(s, middle);
            return true;
        }
        if (order < 0)
            to = middle;
        else
            from = middle + 1;
    }
    return false;
}
