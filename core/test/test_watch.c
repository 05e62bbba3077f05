/* test_watch.c - what people and tools do to a directory is seen once, and quickly. */
#include "process/watch.h"

#include "script/snapshot.h"

#include "test.h"

#include <dirent.h>
#include <sys/stat.h>

static const double NEVER_S = 3600, GUARD_S = 10;

static struct ml_loop *loop;
static struct ml_watch *watch;
static struct ml_timer guard;
static char base[64], dir[96];
static int calls;
static bool late;

static void on_changed(void *ctx)
{
    (void)ctx;
    calls++;
}

static void on_guard(void *ctx)
{
    (void)ctx;
    late = true;
}

static const char *at(const char *name)
{
    static char path[4][256];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", base, name);
    return path[turn];
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(at(name), "w");

    CHECK(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void make_dir(const char *name)
{
    CHECK(mkdir(at(name), 0755) == 0);
}

static void start(const char *name, double poll_s)
{
    snprintf(dir, sizeof dir, "%s/%s", base, name);
    watch = ml_watch_new(loop, dir, poll_s, on_changed, NULL);
}

static void setup(void)
{
    calls = 0;
    late = false;
    loop = ml_loop_new();
    ml_timer_init(&guard, loop, on_guard, NULL);
    strcpy(base, "/tmp/moonlatch-test-XXXXXX");
    CHECK(mkdtemp(base) != NULL);
    make_dir("site");
    make_dir("site/routes");
    put("site/gateway.lua", "one");
}

static void teardown(void)
{
    char command[128];

    ml_watch_free(&watch);
    CHECK(watch == NULL);
    ml_timer_drop(&guard);
    ml_loop_free(&loop);
    snprintf(command, sizeof command, "rm -rf '%s'", base);
    CHECK(system(command) == 0);
}

/* Runs the loop until changed() was called n times in all. */
static bool seen(int n)
{
    late = false;
    ml_timer_set(&guard, GUARD_S);
    while (calls < n && !late)
        ml_loop_turn(loop);
    ml_timer_stop(&guard);
    return calls == n;
}

/* Nothing more comes for longer than a burst of events can last. */
static bool quiet(void)
{
    int before = calls;

    late = false;
    ml_timer_set(&guard, 0.4);
    while (!late)
        ml_loop_turn(loop);
    return calls == before;
}

TEST(a_saved_file_is_seen_once)
{
    setup();
    start("site", NEVER_S);
    put("site/gateway.lua", "two");
    CHECK(seen(1));
    put("site/gateway.lua", "three");
    put("site/routes/a.lua", "new");
    CHECK(seen(2));
    CHECK(quiet());
    teardown();
}

TEST(a_file_that_is_renamed_over_is_seen)
{
    setup();
    start("site", NEVER_S);
    put("site/gateway.lua.new~", "two");
    CHECK(rename(at("site/gateway.lua.new~"), at("site/gateway.lua")) == 0);
    CHECK(seen(1));
    CHECK(quiet());
    teardown();
}

TEST(a_new_directory_is_watched)
{
    setup();
    start("site", NEVER_S);
    make_dir("site/lib");
    make_dir("site/lib/deep");
    put("site/lib/deep/a.lua", "A");
    CHECK(seen(1));
    put("site/lib/deep/a.lua", "B");
    CHECK(seen(2));
    teardown();
}

TEST(a_deleted_file_is_seen)
{
    setup();
    put("site/routes/a.lua", "A");
    start("site", NEVER_S);
    CHECK(unlink(at("site/routes/a.lua")) == 0);
    CHECK(seen(1));
    CHECK(rename(at("site/routes"), at("routes")) == 0); /* empty: no change of content */
    CHECK(quiet());
    teardown();
}

TEST(what_is_no_part_of_the_site_is_not_reported)
{
    setup();
    make_dir("site/spec");
    start("site", NEVER_S);
    put("site/.gateway.lua.swp", "x");
    put("site/4913", "x");
    put("site/old.lua~", "x");
    put("site/spec/a_spec.lua", "x");
    put("site/gateway.lua", "one"); /* saved without a change */
    CHECK(quiet());
    CHECK(calls == 0);
    teardown();
}

/* What kubelet does: a new hidden directory, then ..data is renamed over. */
TEST(a_config_map_swap_is_seen)
{
    setup();
    make_dir("map");
    make_dir("map/..2024_1");
    put("map/..2024_1/gateway.lua", "one");
    CHECK(symlink("..2024_1", at("map/..data")) == 0);
    CHECK(symlink("..data/gateway.lua", at("map/gateway.lua")) == 0);
    start("map", NEVER_S);
    make_dir("map/..2024_2");
    put("map/..2024_2/gateway.lua", "two");
    CHECK(symlink("..2024_2", at("map/..data_tmp")) == 0);
    CHECK(rename(at("map/..data_tmp"), at("map/..data")) == 0);
    CHECK(seen(1));
    teardown();
}

TEST(a_directory_that_is_replaced_is_seen)
{
    setup();
    make_dir("next");
    put("next/gateway.lua", "two");
    start("site", NEVER_S);
    CHECK(rename(at("site"), at("before")) == 0);
    CHECK(rename(at("next"), at("site")) == 0);
    CHECK(seen(1));
    put("site/gateway.lua", "three");
    CHECK(seen(2));
    put("before/gateway.lua", "no part of it any more");
    CHECK(quiet());
    teardown();
}

TEST(a_directory_that_went_away_is_seen_when_it_comes_back)
{
    setup();
    start("site", NEVER_S);
    CHECK(rename(at("site"), at("away")) == 0);
    CHECK(seen(1));
    put("away/gateway.lua", "two");
    CHECK(rename(at("away"), at("site")) == 0);
    CHECK(seen(2));
    teardown();
}

TEST(a_link_on_the_way_that_is_swapped_is_seen)
{
    setup();
    make_dir("v1");
    make_dir("v1/site");
    put("v1/site/gateway.lua", "one");
    make_dir("v2");
    make_dir("v2/site");
    put("v2/site/gateway.lua", "two");
    CHECK(symlink("v1", at("current")) == 0);
    start("current/site", NEVER_S);
    CHECK(symlink("v2", at("current.new")) == 0);
    CHECK(rename(at("current.new"), at("current")) == 0);
    CHECK(seen(1));
    put("v2/site/gateway.lua", "three");
    CHECK(seen(2));
    teardown();
}

/* Writing through a descriptor that stays open raises no event that counts. */
TEST(the_poll_sees_what_inotify_does_not)
{
    FILE *f;

    setup();
    f = fopen(at("site/gateway.lua"), "w");
    start("site", 0.05);
    CHECK(f != NULL && fputs("two", f) >= 0 && fflush(f) == 0);
    CHECK(seen(1));
    CHECK(quiet()); /* the same content is not reported again by the next polls */
    fclose(f);
    teardown();
}

TEST(what_was_committed_is_no_change)
{
    char first[17], hash[17];

    setup();
    start("site", 0.05);
    ml_snapshot_hash_dir(dir, first);
    put("site/gateway.lua", "two");
    ml_snapshot_hash_dir(dir, hash);
    ml_watch_committed(watch, hash);
    CHECK(quiet());
    CHECK(calls == 0);
    ml_watch_committed(watch, first); /* what is on disk has never been reported */
    CHECK(seen(1));
    teardown();
}

TEST(what_somebody_else_looks_at_is_not_reported_but_what_comes_after_is)
{
    setup();
    start("site", 0.05);
    put("site/gateway.lua", "two");
    ml_watch_reported(watch);
    CHECK(quiet() && calls == 0);
    put("site/gateway.lua", "three");
    CHECK(seen(1));
    teardown();
}

TEST(a_stream_of_changes_does_not_put_the_report_off)
{
    char text[16];

    setup();
    start("site", NEVER_S);
    late = false;
    ml_timer_set(&guard, GUARD_S);
    for (int i = 0; calls == 0 && !late; i++) {
        snprintf(text, sizeof text, "%d", i);
        put("site/gateway.lua", text);
        ml_loop_turn(loop);
    }
    CHECK(calls == 1);
    teardown();
}

static void free_in_callback(void *ctx)
{
    (void)ctx;
    calls++;
    ml_watch_free(&watch);
}

static int open_files(void)
{
    DIR *list = opendir("/proc/self/fd");
    int n = 0;

    while (readdir(list) != NULL)
        n++;
    closedir(list);
    return n;
}

TEST(it_may_be_freed_from_its_callback_and_leaves_nothing_open)
{
    int before;

    setup();
    before = open_files();
    watch = ml_watch_new(loop, at("site"), NEVER_S, free_in_callback, NULL);
    put("site/gateway.lua", "two");
    CHECK(seen(1));
    CHECK(watch == NULL);
    CHECK(open_files() == before);
    teardown();
}
