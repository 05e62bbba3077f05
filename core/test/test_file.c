/* test_file.c - paths that stay below the root, whatever a request or the disk says. */
#include "inbound/file.h"
#include "inbound/static.h"

#include "test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

static char dir[64];
static int root = -1;

static void in_dir(const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", dir, name);
}

static void put(const char *name, const char *text)
{
    char path[256];
    int fd;

    in_dir(name, path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
    close(fd);
}

static void add_link(const char *to, const char *name)
{
    char path[256];

    in_dir(name, path);
    if (symlink(to, path) != 0)
        abort();
}

static void make(const char *name)
{
    char path[256];

    in_dir(name, path);
    if (mkdir(path, 0755) != 0)
        abort();
}

static void add_socket(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", dir, name);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) != 0)
        abort();
    close(fd);
}

static void setup(void)
{
    char path[256];

    snprintf(dir, sizeof dir, "/tmp/moonlatch-file-XXXXXX");
    if (mkdtemp(dir) == NULL)
        abort();
    put("secret", "secret");
    make("root");
    make("root/sub");
    put("root/a.txt", "aaaa");
    put("root/sub/b.txt", "bb");
    add_link("a.txt", "root/inside");
    add_link("../a.txt", "root/sub/up");
    add_link("../secret", "root/outside");
    add_link("/etc/passwd", "root/absolute");
    add_link("sub", "root/dir");
    add_link("..", "root/parent");
    add_link("loop", "root/loop");
    in_dir("root/fifo", path);
    if (mkfifo(path, 0644) != 0)
        abort();
    add_socket("root/socket");
    in_dir("root", path);
    root = ml_file_root(path);
}

static void teardown(void)
{
    char command[128];

    close(root);
    CHECK(ml_file_count() == 0);
    snprintf(command, sizeof command, "rm -r %s", dir);
    if (system(command) != 0)
        abort();
}

/* Opens and closes. */
static enum ml_file_kind kind(const char *path, enum ml_symlinks links)
{
    struct ml_file *f = NULL;
    enum ml_file_kind k = ml_file_open(root, path, links, &f);

    CHECK((k == ML_FILE_REGULAR) == (f != NULL));
    ml_file_release(&f);
    return k;
}

static void regular_files_and_nothing_else(void)
{
    CHECK(kind("a.txt", ML_SYMLINKS_NO) == ML_FILE_REGULAR);
    CHECK(kind("sub/b.txt", ML_SYMLINKS_NO) == ML_FILE_REGULAR);
    CHECK(kind("sub", ML_SYMLINKS_NO) == ML_FILE_DIRECTORY);
    CHECK(kind("", ML_SYMLINKS_NO) == ML_FILE_DIRECTORY);
    CHECK(kind("fifo", ML_SYMLINKS_ANY) == ML_FILE_MISSING);
    CHECK(kind("fifo", ML_SYMLINKS_NO) == ML_FILE_MISSING);
    CHECK(kind("socket", ML_SYMLINKS_NO) == ML_FILE_MISSING);
    CHECK(kind("none", ML_SYMLINKS_NO) == ML_FILE_MISSING);
    CHECK(kind("a.txt/x", ML_SYMLINKS_NO) == ML_FILE_MISSING);
}

static void nothing_outside(void)
{
    const enum ml_symlinks careful[] = {ML_SYMLINKS_NO, ML_SYMLINKS_INSIDE};

    for (int i = 0; i < 2; i++) {
        CHECK(kind("outside", careful[i]) == ML_FILE_MISSING);
        CHECK(kind("absolute", careful[i]) == ML_FILE_MISSING);
        CHECK(kind("parent/secret", careful[i]) == ML_FILE_MISSING);
        CHECK(kind("loop", careful[i]) == ML_FILE_MISSING);
        CHECK(kind("../secret", careful[i]) != ML_FILE_REGULAR);
        CHECK(kind("/etc/passwd", careful[i]) != ML_FILE_REGULAR);
    }
    CHECK(kind("inside", ML_SYMLINKS_NO) == ML_FILE_MISSING);
    CHECK(kind("dir/b.txt", ML_SYMLINKS_NO) == ML_FILE_MISSING);
    CHECK(kind("outside", ML_SYMLINKS_ANY) == ML_FILE_REGULAR);
    CHECK(kind("absolute", ML_SYMLINKS_ANY) == ML_FILE_REGULAR);
}

TEST(with_openat2)
{
    setup();
    regular_files_and_nothing_else();
    nothing_outside();
    CHECK(kind("inside", ML_SYMLINKS_INSIDE) == ML_FILE_REGULAR);
    CHECK(kind("sub/up", ML_SYMLINKS_INSIDE) == ML_FILE_REGULAR);
    CHECK(kind("dir/b.txt", ML_SYMLINKS_INSIDE) == ML_FILE_REGULAR);
    teardown();
}

TEST(without_openat2_no_link_is_followed)
{
    setup();
    ml_file_walk_only(true);
    regular_files_and_nothing_else();
    nothing_outside();
    CHECK(kind("inside", ML_SYMLINKS_INSIDE) == ML_FILE_MISSING);
    CHECK(kind("dir/b.txt", ML_SYMLINKS_INSIDE) == ML_FILE_MISSING);
    ml_file_walk_only(false);
    teardown();
}

TEST(an_open_file_knows_when_it_is_no_more_what_it_was)
{
    struct ml_file *f = NULL, *other;
    char path[256], new_path[256];

    setup();
    CHECK(ml_file_open(root, "a.txt", ML_SYMLINKS_NO, &f) == ML_FILE_REGULAR);
    CHECK(f->size == 4 && ml_file_same(f));
    put("root/a.txt", "longer");
    CHECK(!ml_file_same(f));
    ml_file_release(&f);
    CHECK(ml_file_open(root, "a.txt", ML_SYMLINKS_NO, &f) == ML_FILE_REGULAR);
    other = ml_file_hold(f);
    put("root/new", "new");
    in_dir("root/new", new_path);
    in_dir("root/a.txt", path);
    CHECK(rename(new_path, path) == 0);
    CHECK(!ml_file_same(f));
    ml_file_release(&f);
    CHECK(ml_file_count() == 1);
    ml_file_release(&other);
    teardown();
}

/* ---- paths ---- */

static const char *path(const char *escaped, bool dotfiles)
{
    static char text[8192];
    struct ml_buf out = {0};
    size_t len = strlen(escaped);
    char *copy = test_cliff(escaped, len);
    bool ok = ml_file_path((struct ml_str){copy, len}, dotfiles, &out);

    test_cliff_free(copy, len);
    snprintf(text, sizeof text, "%.*s", (int)ml_buf_len(&out), ml_buf_str(&out).p);
    ml_buf_release(&out);
    return ok ? text : "refused";
}

TEST(paths_are_unescaped_once)
{
    CHECK(strcmp(path("/a%20b/c.txt", false), "a b/c.txt") == 0);
    CHECK(strcmp(path("a//b/", false), "a/b") == 0);
    CHECK(strcmp(path("", false), "") == 0);
    CHECK(strcmp(path("/", false), "") == 0);
    CHECK(strcmp(path("%C3%A4", false), "\xc3\xa4") == 0);
    CHECK(strcmp(path("a%2525", false), "a%25") == 0);
}

TEST(paths_that_could_lead_elsewhere_are_refused)
{
    const char *const bad[] = {"..",     "a/../b", "%2e%2e/x", ".",      "a/./b",   "a%2fb",
                               "%2Fetc", "a%00b",  "a%5cb",    "a\\b",   "a%0ab",   "a%7f",
                               "a%",     "a%2",    "a%zz",     "%2e%2E", "x/%2e%2e"};
    char longer[ML_FILE_PATH_MAX + 2];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(strcmp(path(bad[i], true), "refused") == 0);
    memset(longer, 'a', sizeof longer);
    longer[ML_FILE_NAME_MAX + 1] = '\0';
    CHECK(strcmp(path(longer, true), "refused") == 0);
    memset(longer, '/', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    CHECK(strcmp(path(longer, true), "refused") == 0);
}

TEST(hidden_names_are_hidden)
{
    CHECK(strcmp(path("/.git/config", false), "refused") == 0);
    CHECK(strcmp(path("/a/.env", false), "refused") == 0);
    CHECK(strcmp(path("/%2egit/config", false), "refused") == 0);
    CHECK(strcmp(path("/a/.well-known/x", false), "refused") == 0);
    CHECK(strcmp(path("/.well-known/x", false), ".well-known/x") == 0);
    CHECK(strcmp(path("/.git/config", true), ".git/config") == 0);
}

/* ---- patterns ---- */

static bool match(const char *pattern, const char *name)
{
    return ml_static_match(ml_str_of(pattern), ml_str_of(name));
}

TEST(patterns)
{
    CHECK(match("*.js", "/a/b.js") && !match("*.js", "/a.js/b"));
    CHECK(match("/a/*", "/a/b/c") && !match("/a/*", "/b/a/c"));
    CHECK(match("*", "/x") && match("a?c", "/abc") && !match("a?c", "/ac"));
    CHECK(match("*/img/*.png", "/x/img/y/z.png"));
    CHECK(match("/index.html", "/index.html") && !match("/index.html", "/a/index.html"));
    CHECK(match("index.html", "/a/index.html"));
    CHECK(match("*-*-*.js", "/a-b-c-d.js") && !match("*-*-*.js", "/a-b.js"));
    CHECK(match("", "") && !match("", "/a"));
}

TEST(a_pattern_of_many_stars_takes_no_long_time)
{
    char name[4096], pattern[256];

    memset(name, 'a', sizeof name);
    name[0] = '/';
    name[sizeof name - 1] = '\0';
    for (size_t i = 0; i + 2 < sizeof pattern; i += 2)
        memcpy(pattern + i, "*a", 3);
    strcat(pattern, "b");
    CHECK(!match(pattern, name));
}
