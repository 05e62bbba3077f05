/* test_lists.c - texts by name, whole whatever happens to their writers. */
#include "base/lists.h"

#include "test.h"

#include <sys/wait.h>

static struct ml_lists_region *region(void)
{
    void *p = mmap(NULL, ml_lists_bytes(), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    CHECK(p != MAP_FAILED);
    return ml_lists_init(p);
}

static void done(struct ml_lists_region *r)
{
    munmap(r, ml_lists_bytes());
}

static bool holds(struct ml_lists_region *r, const char *name, const char *text, uint64_t mark)
{
    struct ml_buf out = {0};
    uint64_t found = 0, version = ml_lists_get(r, ml_str_of(name), &found, &out);
    bool ok = version > 0 && found == mark && ml_str_eq(ml_buf_str(&out), ml_str_of(text));

    ml_buf_release(&out);
    return ok;
}

TEST(a_text_is_what_was_set_last)
{
    struct ml_lists_region *r = region();
    struct ml_buf out = {0};
    uint64_t mark;

    CHECK(ml_lists_version(r) == 0 && ml_lists_get(r, ML_STR("a"), &mark, &out) == 0);
    CHECK(ml_lists_set(r, ML_STR("a"), 7, ML_STR("one")) && holds(r, "a", "one", 7));
    CHECK(ml_lists_set(r, ML_STR("b"), 8, ML_STR("two")) && holds(r, "b", "two", 8));
    CHECK(ml_lists_version(r) == 2);
    CHECK(ml_lists_set(r, ML_STR("a"), 7, ML_STR("one")) && ml_lists_version(r) == 2);
    CHECK(ml_lists_set(r, ML_STR("a"), 9, ML_STR("one")) && ml_lists_version(r) == 3);
    CHECK(ml_lists_set(r, ML_STR("a"), 9, ML_STR_NONE) && holds(r, "a", "", 9));
    CHECK(holds(r, "b", "two", 8));
    ml_buf_release(&out);
    done(r);
}

TEST(there_is_room_for_so_many_and_so_much)
{
    struct ml_lists_region *r = region();
    static char text[ML_LISTS_TEXT_MAX + 1];
    char name[16];

    CHECK(ml_lists_set(r, ML_STR("a"), 0, (struct ml_str){text, ML_LISTS_TEXT_MAX}));
    CHECK(!ml_lists_set(r, ML_STR("a"), 0, (struct ml_str){text, ML_LISTS_TEXT_MAX + 1}));
    for (int i = 1; i < ML_LISTS_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        CHECK(ml_lists_set(r, ml_str_of(name), 0, ML_STR("x")));
    }
    CHECK(!ml_lists_set(r, ML_STR("one more"), 0, ML_STR("x")));
    CHECK(holds(r, "n17", "x", 0));
    done(r);
}

static void write_for_ever(struct ml_lists_region *r)
{
    static char text[20000];

    alarm(60);
    for (unsigned n = 0;; n++) {
        memset(text, (int)('a' + n % 26), sizeof text);
        ml_lists_set(r, ML_STR("list"), n, (struct ml_str){text, sizeof text});
    }
}

static bool whole(struct ml_lists_region *r)
{
    struct ml_buf out = {0};
    uint64_t mark = 0, version = ml_lists_get(r, ML_STR("list"), &mark, &out);
    struct ml_str s = ml_buf_str(&out);
    bool ok = version == 0 || s.len == 20000;

    for (size_t i = 0; i < s.len; i++)
        ok &= s.p[i] == (char)('a' + mark % 26);
    ml_buf_release(&out);
    return ok;
}

TEST(a_writer_that_is_killed_leaves_a_whole_text)
{
    struct ml_lists_region *r = region();

    for (int round = 0; round < 20; round++) {
        pid_t pid = fork();

        if (pid == 0)
            write_for_ever(r);
        for (int i = 0; i < 50; i++)
            CHECK(whole(r));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        CHECK(whole(r));
    }
    CHECK(ml_lists_set(r, ML_STR("list"), 0, ML_STR("after")) && holds(r, "list", "after", 0));
    done(r);
}
