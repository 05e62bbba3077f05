/* test_rings.c - records are whole or not there, whoever is killed when. */
#include "base/rings.h"

#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS = 3, KILLS = 150 };

static struct ml_rings *rings;
static char bytes[ML_RING_LONG_MAX];

static void setup(void)
{
    void *memory = mmap(NULL, ml_rings_bytes(WORKERS), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(memory != MAP_FAILED);
    rings = ml_rings_init(memory, WORKERS);
}

static void teardown(void)
{
    munmap(rings, ml_rings_bytes(WORKERS));
}

/* A record of len bytes that all say n. */
static void write_record(unsigned worker, enum ml_ring ring, unsigned char n, size_t len)
{
    char *to = ml_rings_begin(rings, worker, ring);

    CHECK(to != NULL);
    memset(to, n, len);
    ml_rings_end(rings, worker, ring, len);
}

static bool reads(unsigned worker, enum ml_ring ring, unsigned back, unsigned char n, size_t len)
{
    if (ml_rings_read(rings, worker, ring, back, bytes) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)bytes[i] != n)
            return false;
    return true;
}

TEST(the_last_record_is_found_first)
{
    setup();
    CHECK(ml_rings_read(rings, 0, ML_RING_RECENT, 0, bytes) == 0);
    write_record(0, ML_RING_RECENT, 1, 10);
    write_record(0, ML_RING_RECENT, 2, ML_RING_SHORT_MAX);
    CHECK(reads(0, ML_RING_RECENT, 0, 2, ML_RING_SHORT_MAX));
    CHECK(reads(0, ML_RING_RECENT, 1, 1, 10));
    CHECK(ml_rings_read(rings, 0, ML_RING_RECENT, 2, bytes) == 0);
    teardown();
}

TEST(workers_and_rings_do_not_touch_each_other)
{
    setup();
    for (unsigned w = 0; w < WORKERS; w++)
        for (unsigned r = 0; r < ML_RING_COUNT; r++)
            for (unsigned i = 0; i < ml_rings_slots(r) + 2; i++)
                write_record(w, r, (unsigned char)(w * 16 + r + 1), ml_rings_record_max(r));
    for (unsigned w = 0; w < WORKERS; w++)
        for (unsigned r = 0; r < ML_RING_COUNT; r++)
            for (unsigned i = 0; i < ml_rings_slots(r); i += 37)
                CHECK(reads(w, r, i, (unsigned char)(w * 16 + r + 1), ml_rings_record_max(r)));
    CHECK(ml_rings_begin(rings, WORKERS, ML_RING_RECENT) == NULL);
    CHECK(ml_rings_read(rings, WORKERS, ML_RING_RECENT, 0, bytes) == 0);
    CHECK(ml_rings_read(rings, 0, ML_RING_RECENT, ml_rings_slots(ML_RING_RECENT), bytes) == 0);
    teardown();
}

TEST(a_record_that_was_begun_is_not_there)
{
    setup();
    write_record(1, ML_RING_ERRORS, 5, 100);
    for (unsigned i = 1; i < ml_rings_slots(ML_RING_ERRORS); i++)
        write_record(1, ML_RING_ERRORS, 6, 100);
    memset(ml_rings_begin(rings, 1, ML_RING_ERRORS), 7, 50); /* in the place of the first */
    CHECK(reads(1, ML_RING_ERRORS, 0, 6, 100));
    CHECK(ml_rings_read(rings, 1, ML_RING_ERRORS, ml_rings_slots(ML_RING_ERRORS) - 1, bytes) == 0);
    write_record(1, ML_RING_ERRORS, 8, 60); /* the successor writes the same one */
    CHECK(reads(1, ML_RING_ERRORS, 0, 8, 60));
    teardown();
}

/* Writes without an end. */
static void write_for_ever(void)
{
    for (unsigned char n = 1;; n = n == 255 ? 1 : n + 1) {
        size_t len = 100 + n;
        char *to = ml_rings_begin(rings, 0, ML_RING_ERRORS);

        memset(to, n, len);
        ml_rings_end(rings, 0, ML_RING_ERRORS, len);
    }
}

/* Of whatever is there each record is of one piece: its length follows from its bytes. */
static unsigned whole_records(void)
{
    unsigned whole = 0;

    for (unsigned back = 0; back < ml_rings_slots(ML_RING_ERRORS); back++) {
        size_t len = ml_rings_read(rings, 0, ML_RING_ERRORS, back, bytes);

        if (len == 0)
            continue;
        CHECK(len == 100u + (unsigned char)bytes[0]);
        CHECK(memchr(bytes, bytes[0], len) == bytes && bytes[len - 1] == bytes[0]);
        for (size_t i = 1; i < len; i++)
            CHECK(bytes[i] == bytes[0]);
        whole++;
    }
    return whole;
}

TEST(writers_that_are_killed_leave_whole_records)
{
    unsigned slots = ml_rings_slots(ML_RING_ERRORS);

    setup();
    for (int i = 0; i < KILLS; i++) {
        struct timespec pause = {.tv_nsec = 1000 * (1 + rand() % 300)};
        pid_t pid = fork();

        if (pid == 0)
            write_for_ever();
        for (int k = 0; k < 3; k++)
            whole_records(); /* also while it is at work */
        nanosleep(&pause, NULL);
        kill(pid, SIGKILL);
        CHECK(waitpid(pid, NULL, 0) == pid);
        whole_records();
    }
    for (unsigned i = 0; i < slots; i++)
        write_record(0, ML_RING_ERRORS, 9, 109);
    CHECK(whole_records() == slots);
    teardown();
}
