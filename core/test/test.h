/* test.h - the smallest test runner: TEST(name) { CHECK(...); }.
 *
 * Each program prints "ok name" or "not ok name" lines and, last, "N passed, N failed".  A test
 * that hangs ends the program and is named. */
#ifndef ML_TEST_H
#define ML_TEST_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static int test_bad;

#define TEST(id)                                                                                   \
    static void test_##id(void);                                                                   \
    static struct test entry_##id = {#id, test_##id, NULL};                                        \
    __attribute__((constructor)) static void register_##id(void)                                   \
    {                                                                                              \
        *test_last = &entry_##id;                                                                  \
        test_last = &entry_##id.next;                                                              \
    }                                                                                              \
    static void test_##id(void)

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            printf("# %s:%d: %s\n", __FILE__, __LINE__, #what);                                    \
            test_bad++;                                                                            \
        }                                                                                          \
    } while (0)

/* A copy of len bytes that ends right at an unmapped page: one byte read too far is a crash. */
__attribute__((unused)) static char *test_cliff(const void *bytes, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (len / page + 1) * page;
    char *p = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + room, page, PROT_NONE) != 0)
        abort();
    return len > 0 ? memcpy(p + room - len, bytes, len) : p + room;
}

/* Unmaps what test_cliff returned for len bytes. */
__attribute__((unused)) static void test_cliff_free(char *copy, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), room = (len / page + 1) * page;

    munmap(copy + len - room, room + page);
}

enum { TEST_LIMIT_S = 60 }; /* many times what the slowest one takes on a busy machine */

static const char *test_name;

static void test_hangs(int signal)
{
    const char *const parts[] = {"not ok ", test_name, ": it hangs\n"};

    (void)signal;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (write(STDOUT_FILENO, parts[i], strlen(parts[i])) < 0)
            break;
    _exit(1);
}

int main(void)
{
    int passed = 0, failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0); /* a crash loses no line, a forked child repeats none */
    signal(SIGALRM, test_hangs);
    for (struct test *t = test_first; t != NULL; t = t->next) {
        test_bad = 0;
        test_name = t->name;
        alarm(TEST_LIMIT_S);
        t->run();
        printf("%s %s\n", test_bad ? "not ok" : "ok", t->name);
        test_bad ? failed++ : passed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}

#endif
