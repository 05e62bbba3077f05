/* test_snapshot.c - which files are a site, and that damaged snapshots are refused. */
#include "script/snapshot.h"

#include "script/scan.h"

#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

static char dir[64];
static struct ml_buf why;

static void setup(void)
{
    strcpy(dir, "/tmp/moonlatch-test-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void teardown(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    CHECK(system(command) == 0);
    ml_buf_release(&why);
}

static const char *at(const char *name)
{
    static char path[4][512];
    static unsigned turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
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

/* "a=text of a b=..." of a snapshot of dir, or the sentence why there is none. */
static const char *contents(void)
{
    static char text[4096];
    struct ml_snapshot *s = ml_snapshot_read(dir, &why);
    size_t len = 0;

    text[0] = '\0';
    if (s == NULL) {
        snprintf(text, sizeof text, "%.*s", (int)ml_buf_len(&why), ml_buf_str(&why).p);
        return text;
    }
    for (unsigned i = 0; i < ml_snapshot_count(s); i++) {
        struct ml_str name = ml_snapshot_name(s, i), bytes = ml_snapshot_bytes(s, i), found;

        CHECK(ml_snapshot_find(s, name, &found) && ml_str_eq(found, bytes));
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%.*s=%.*s", i > 0 ? " " : "",
                                (int)name.len, name.p, (int)bytes.len, bytes.p);
    }
    CHECK(strcmp(ml_snapshot_dir(s), dir) == 0);
    ml_snapshot_free(&s);
    CHECK(s == NULL);
    return text;
}

static bool contents_are(const char *wanted)
{
    const char *have = contents();

    if (strcmp(have, wanted) != 0)
        printf("# have:   %s\n# wanted: %s\n", have, wanted);
    return strcmp(have, wanted) == 0;
}

/* A sentence that ends as given; every "%s" in it is the directory. */
static bool refused(const char *format)
{
    char wanted[512];

    snprintf(wanted, sizeof wanted, format, dir);
    return contents_are(wanted);
}

TEST(files_come_in_name_order_with_their_bytes)
{
    setup();
    make_dir("routes");
    make_dir("lib");
    put("routes/b.lua", "B");
    put("gateway.lua", "G");
    put("routes/a.lua", "");
    put("lib/data.json", "{}");
    CHECK(contents_are("gateway.lua=G lib/data.json={} routes/a.lua= routes/b.lua=B"));
    teardown();
}

TEST(only_files_of_the_site_count)
{
    static const char *const others[] = {".hidden.lua", "old.lua~", "#new.lua#", ".#lock.lua",
                                         "readme.md",   ".lua",     "x.lua.bak"};

    setup();
    put("gateway.lua", "G");
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        put(others[i], "no");
    make_dir("spec");
    put("spec/a_spec.lua", "no");
    make_dir("public");
    put("public/index.html", "no");
    make_dir("node_modules");
    put("node_modules/a.json", "no");
    make_dir(".git");
    put(".git/a.lua", "no");
    CHECK(mkfifo(at("pipe.lua"), 0600) == 0); /* opening it would wait */
    CHECK(contents_are("gateway.lua=G"));
    teardown();
}

TEST(a_site_inside_a_site_is_another_site)
{
    setup();
    put("gateway.lua", "G");
    make_dir("services");
    put("services/gateway.lua", "no");
    put("services/a.lua", "no");
    make_dir("lib");
    make_dir("lib/public");
    put("lib/public/a.html", "P");
    make_dir("lib/spec"); /* only the site's own spec/ is left out */
    put("lib/spec/a.lua", "A");
    CHECK(contents_are("gateway.lua=G lib/public/a.html=P lib/spec/a.lua=A"));
    teardown();
}

TEST(links_count_under_the_name_that_is_seen)
{
    setup();
    make_dir("..2024_05");
    put("..2024_05/gateway.lua", "G");
    make_dir("..2024_05/lib");
    put("..2024_05/lib/a.lua", "A");
    CHECK(symlink("..2024_05", at("..data")) == 0);
    CHECK(symlink("..data/gateway.lua", at("gateway.lua")) == 0);
    CHECK(symlink("..data/lib", at("lib")) == 0);
    CHECK(contents_are("gateway.lua=G lib/a.lua=A"));
    teardown();
}

TEST(a_circle_of_links_ends)
{
    setup();
    put("gateway.lua", "G");
    make_dir("a");
    make_dir("b");
    put("a/x.lua", "X");
    CHECK(symlink("..", at("a/up")) == 0);
    CHECK(symlink("../b", at("a/b")) == 0);
    CHECK(symlink("../a", at("b/a")) == 0);
    CHECK(symlink("self.lua", at("c")) == 0); /* leads nowhere, but is no name of a site file */
    CHECK(contents_are("a/x.lua=X b/a/x.lua=X gateway.lua=G"));
    teardown();
}

TEST(what_cannot_be_read_is_named)
{
    setup();
    CHECK(refused("%s has no gateway.lua"));
    CHECK(symlink("nothing", at("gateway.lua")) == 0);
    CHECK(refused("cannot read %s/gateway.lua: No such file or directory"));
    CHECK(unlink(at("gateway.lua")) == 0);
    put("gateway.lua", "G");
    make_dir("routes");
    CHECK(symlink("loop.lua", at("routes/loop.lua")) == 0);
    CHECK(refused("cannot read %s/routes/loop.lua: Too many levels of symbolic links"));
    teardown();
    CHECK(refused("%s: there is no such directory"));
    CHECK(ml_snapshot_read("/dev/null", &why) == NULL);
    CHECK(ml_str_eq(ml_buf_str(&why), ML_STR("/dev/null is not a directory")));
    ml_buf_release(&why);
}

TEST(too_many_files_are_refused)
{
    char name[64];

    setup();
    put("gateway.lua", "G");
    for (int i = 0; i < ML_SCAN_FILES_MAX; i++) {
        snprintf(name, sizeof name, "f%d.lua", i);
        put(name, "");
    }
    CHECK(refused("%s has more than 4096 files"));
    teardown();
}

TEST(too_many_bytes_are_refused)
{
    setup();
    put("gateway.lua", "G");
    put("big.json", "");
    CHECK(truncate(at("big.json"), ML_SCAN_BYTES_MAX) == 0);
    CHECK(refused("%s has more than 64 MiB of files"));
    teardown();
}

TEST(too_deep_is_refused)
{
    char name[128] = "d";

    setup();
    put("gateway.lua", "G");
    for (int i = 0; i < 17; i++, strcat(name, "/d"))
        make_dir(name);
    CHECK(refused("%s has more than 16 directories inside each other"));
    teardown();
}

TEST(the_hash_is_of_names_and_bytes)
{
    char hash[5][17], again[17];
    struct ml_snapshot *s;

    setup();
    put("gateway.lua", "G");
    ml_snapshot_hash_dir(dir, hash[0]);
    put("a.lua", "");
    ml_snapshot_hash_dir(dir, hash[1]);
    put("a.lua", "x");
    ml_snapshot_hash_dir(dir, hash[2]);
    CHECK(rename(at("a.lua"), at("b.lua")) == 0);
    ml_snapshot_hash_dir(dir, hash[3]);
    put(".c.lua", "not a part");
    ml_snapshot_hash_dir(dir, hash[4]);
    for (int i = 0; i < 4; i++)
        CHECK(strlen(hash[i]) == 16 && (i == 0 || strcmp(hash[i], hash[i - 1]) != 0));
    CHECK(strcmp(hash[3], hash[4]) == 0);
    s = ml_snapshot_read(dir, &why);
    CHECK(s != NULL && strcmp(ml_snapshot_hash(s), hash[3]) == 0);
    ml_snapshot_free(&s);
    teardown();
    ml_snapshot_hash_dir(dir, again);
    CHECK(again[0] == '\0');
}

/* ---- memory files of other processes ---- */

static int sealed(const void *bytes, size_t len)
{
    int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);

    CHECK(fd >= 0 && write(fd, bytes, len) == (ssize_t)len);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    return fd;
}

static bool opens(const void *bytes, size_t len)
{
    int fd = sealed(bytes, len);
    struct ml_snapshot *s = ml_snapshot_open(fd, &why);
    bool ok = s != NULL;

    ml_snapshot_free(&s);
    close(fd);
    return ok;
}

static size_t serialised(char *to, size_t cap)
{
    struct ml_snapshot *s;
    ssize_t len;

    put("gateway.lua", "return 1");
    put("a.json", "{}");
    s = ml_snapshot_read(dir, &why);
    CHECK(s != NULL);
    len = pread(ml_snapshot_fd(s), to, cap, 0);
    CHECK(len > 0 && (size_t)len < cap);
    ml_snapshot_free(&s);
    return (size_t)len;
}

TEST(another_process_opens_the_same_bytes)
{
    struct ml_snapshot *s, *other;
    struct ml_str bytes;

    setup();
    put("gateway.lua", "return 1");
    s = ml_snapshot_read(dir, &why);
    other = ml_snapshot_open(ml_snapshot_fd(s), &why);
    CHECK(other != NULL && strcmp(ml_snapshot_hash(s), ml_snapshot_hash(other)) == 0);
    ml_snapshot_free(&s);
    CHECK(ml_snapshot_find(other, ML_STR("gateway.lua"), &bytes));
    CHECK(ml_str_eq(bytes, ML_STR("return 1")));
    CHECK(!ml_snapshot_find(other, ML_STR("gateway"), &bytes));
    CHECK(!ml_snapshot_find(other, ML_STR("gateway.luax"), &bytes));
    CHECK(write(ml_snapshot_fd(other), "x", 1) < 0); /* sealed */
    ml_snapshot_free(&other);
    teardown();
}

TEST(truncated_and_flipped_snapshots_are_refused)
{
    char bytes[1024];
    size_t len;

    setup();
    len = serialised(bytes, sizeof bytes);
    CHECK(opens(bytes, len));
    for (size_t i = 0; i < len; i++)
        CHECK(!opens(bytes, i));
    for (size_t i = 0; i < len * 8; i++) {
        size_t dir_at = 32 + 2 * 32, byte = i / 8;

        bytes[byte] ^= (char)(1 << i % 8);
        /* The directory's name is for messages only and not in the hash. */
        CHECK(opens(bytes, len) == (byte >= dir_at && byte < dir_at + strlen(dir)));
        bytes[byte] ^= (char)(1 << i % 8);
    }
    teardown();
}

TEST(numbers_that_overflow_are_refused)
{
    static const uint64_t numbers[] = {UINT64_MAX, UINT64_MAX - 8, INT64_MAX, UINT32_MAX, 1u << 20};
    char bytes[1024], copy[1024];
    size_t len;

    setup();
    len = serialised(bytes, sizeof bytes);
    for (size_t at_byte = 8; at_byte < 32 + 2 * 32; at_byte += 4)
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            memcpy(copy, bytes, len);
            memcpy(copy + at_byte, &numbers[i], 8);
            CHECK(!opens(copy, len));
        }
    teardown();
}

TEST(files_that_are_not_sealed_are_refused)
{
    int fd = memfd_create("test", MFD_ALLOW_SEALING | MFD_CLOEXEC);

    CHECK(write(fd, "mlsite1", 8) == 8);
    CHECK(ml_snapshot_open(fd, &why) == NULL);
    close(fd);
    CHECK(ml_snapshot_open(fd, &why) == NULL);
    ml_buf_release(&why);
}

/* ---- changes meanwhile ---- */

static atomic_bool stop;

/* Saves two files one after the other, over and over: a snapshot must never mix a late "one" with
 * an early "two" except as neighbours. */
static void *keep_saving(void *arg)
{
    char text[2][32];

    (void)arg;
    for (int i = 0; !atomic_load(&stop); i++) {
        char from[2][512], to[2][512];

        for (int f = 0; f < 2; f++) {
            FILE *out;

            snprintf(text[f], sizeof text[f], "%d", i);
            snprintf(from[f], sizeof from[f], "%s/.new%d", dir, f);
            snprintf(to[f], sizeof to[f], "%s/%d.lua", dir, f);
            out = fopen(from[f], "w");
            if (out == NULL || fputs(text[f], out) < 0 || fclose(out) != 0 ||
                rename(from[f], to[f]) != 0)
                abort();
        }
    }
    return NULL;
}

TEST(two_passes_agree_or_say_that_they_do_not)
{
    pthread_t thread;
    int first, second;

    setup();
    put("gateway.lua", "G");
    put("0.lua", "0");
    put("1.lua", "0");
    CHECK(pthread_create(&thread, NULL, keep_saving, NULL) == 0);
    for (int i = 0; i < 50; i++) {
        const char *have = contents();
        bool changing = strstr(have, "keeps changing while it is read") != NULL;

        CHECK(changing || (sscanf(have, "0.lua=%d 1.lua=%d", &first, &second) == 2 &&
                           (first == second || first == second + 1)));
    }
    atomic_store(&stop, true);
    CHECK(pthread_join(thread, NULL) == 0);
    teardown();
}
