/* test_log.c - a log never waits, never cuts a line, and counts what it drops. */
#include "base/log.h"

#include "base/clock.h"
#include "base/log_event.h"
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char dir[64], path[96], moved[96];

__attribute__((constructor)) static void prepare(void)
{
    signal(SIGPIPE, SIG_IGN);
    alarm(100); /* a log that waits fails the test instead of hanging it */
    snprintf(dir, sizeof dir, "/tmp/moonlatch-log-XXXXXX");
    if (mkdtemp(dir) == NULL)
        abort();
    snprintf(path, sizeof path, "%s/log", dir);
    snprintf(moved, sizeof moved, "%s/moved", dir);
}

__attribute__((destructor)) static void clean_up(void)
{
    unlink(path);
    unlink(moved);
    rmdir(dir);
}

static char content[3 << 20];

/* What can be read from fd now, NUL-terminated. */
static size_t read_all(int fd)
{
    size_t len = 0;
    ssize_t n;

    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    while ((n = read(fd, content + len, sizeof content - 1 - len)) > 0)
        len += (size_t)n;
    content[len] = '\0';
    return len;
}

static const char *file_content(const char *name)
{
    int fd = open(name, O_RDONLY);

    CHECK(fd >= 0);
    read_all(fd);
    close(fd);
    return content;
}

static void put(struct ml_log *log, const char *line)
{
    ml_log_line(log, ml_str_of(line));
}

TEST(lines_of_a_file_are_appended)
{
    struct ml_log *log = ml_log_open(path);

    put(log, "one\n");
    CHECK(ml_log_pending(log) == 4);
    ml_log_flush(log);
    CHECK(ml_log_pending(log) == 0);
    put(log, "two\n");
    ml_log_free(&log);
    CHECK(log == NULL);
    log = ml_log_open(path);
    put(log, "three\n");
    ml_log_free(&log);
    CHECK(strcmp(file_content(path), "one\ntwo\nthree\n") == 0);
    unlink(path);
}

TEST(a_log_that_cannot_be_opened_is_null_with_errno)
{
    char below[128];

    snprintf(below, sizeof below, "%s/none/log", dir);
    CHECK(ml_log_open(below) == NULL && errno == ENOENT);
    CHECK(mkfifo(path, 0600) == 0);
    CHECK(ml_log_open(path) == NULL && errno == ENXIO);
    unlink(path);
}

TEST(reopen_follows_a_renamed_file_and_keeps_the_old_one_when_it_cannot)
{
    struct ml_log *log = ml_log_open(path);

    put(log, "old\n");
    CHECK(rename(path, moved) == 0);
    CHECK(ml_log_reopen(log));
    put(log, "new\n");
    ml_log_flush(log);
    CHECK(strcmp(file_content(moved), "old\n") == 0);
    CHECK(strcmp(file_content(path), "new\n") == 0);
    unlink(path);
    CHECK(mkdir(path, 0700) == 0);
    CHECK(!ml_log_reopen(log) && errno == EISDIR);
    put(log, "still\n");
    ml_log_free(&log);
    rmdir(path);
    unlink(moved);
}

/* Fills a pipe whose reader sleeps; all lines are "0000000 xxx...\n" of 100 bytes. */
static unsigned fill(struct ml_log *log, unsigned count)
{
    char line[128];

    for (unsigned i = 0; i < count; i++) {
        snprintf(line, sizeof line, "%07u %091d\n", i, 0);
        put(log, line);
    }
    return count;
}

/* Checks that content has whole lines in order from number first; returns how many. */
static unsigned whole_lines_from(unsigned first)
{
    unsigned n = 0;

    for (const char *p = content; *p != '\0'; p += 100, n++)
        if (strlen(p) < 100 || p[99] != '\n' || strtoul(p, NULL, 10) != first + n) {
            CHECK(!"a cut line");
            break;
        }
    return n;
}

static void check_full_pipe(int read_fd, int write_fd)
{
    struct ml_log *log = ml_log_on_fd(write_fd);
    int flags = fcntl(write_fd, F_GETFL);
    double begin_s = ml_clock_mono_s();
    unsigned lines = fill(log, 30000), seen = 0;

    for (int i = 0; i < 100; i++)
        ml_log_flush(log);
    CHECK(ml_clock_mono_s() - begin_s < 5);
    CHECK(ml_log_dropped(log) > 10000);
    CHECK(ml_log_pending(log) <= ML_LOG_CAP);
    CHECK(fcntl(write_fd, F_GETFL) == flags);
    do {
        read_all(read_fd);
        seen += whole_lines_from(seen);
        ml_log_flush(log);
    } while (content[0] != '\0');
    CHECK(seen + ml_log_dropped(log) == lines);
    CHECK(ml_log_pending(log) == 0);
    put(log, "after\n");
    ml_log_flush(log);
    read_all(read_fd);
    CHECK(strcmp(content, "after\n") == 0);
    ml_log_free(&log);
}

TEST(a_full_pipe_does_not_block_and_drops_are_counted)
{
    int ends[2];

    CHECK(pipe(ends) == 0);
    check_full_pipe(ends[0], ends[1]);
    close(ends[0]);
    close(ends[1]);
}

/* As for a user who may not open the pipe of another: here there is no descriptor left for it. */
TEST(a_full_pipe_that_cannot_be_opened_again_does_not_block_either)
{
    struct rlimit old, none;
    int ends[2];

    CHECK(pipe(ends) == 0 && getrlimit(RLIMIT_NOFILE, &old) == 0);
    none = (struct rlimit){(rlim_t)ends[1] + 1, old.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
    check_full_pipe(ends[0], ends[1]);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    close(ends[0]);
    close(ends[1]);
}

TEST(a_full_socket_does_not_block_and_drops_are_counted)
{
    int ends[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    check_full_pipe(ends[0], ends[1]);
    close(ends[0]);
    close(ends[1]);
}

TEST(a_full_named_pipe_does_not_block)
{
    struct ml_log *log;
    int fd;

    CHECK(mkfifo(path, 0600) == 0);
    fd = open(path, O_RDONLY | O_NONBLOCK);
    log = ml_log_open(path);
    CHECK(log != NULL);
    fill(log, 2000);
    ml_log_flush(log);
    CHECK(ml_log_pending(log) > 0);
    read_all(fd);
    CHECK(whole_lines_from(0) > 100);
    ml_log_free(&log);
    close(fd);
    unlink(path);
}

TEST(a_pipe_without_reader_keeps_lines_until_the_cap)
{
    struct ml_log *log;
    int ends[2];

    CHECK(pipe(ends) == 0);
    log = ml_log_on_fd(ends[1]);
    close(ends[0]);
    fill(log, 20000);
    CHECK(ml_log_dropped(log) > 0 && ml_log_pending(log) > 0);
    ml_log_free(&log);
    close(ends[1]);
}

TEST(a_line_longer_than_pipe_buf_arrives_whole)
{
    static char line[20001];
    struct ml_log *log;
    int ends[2];

    CHECK(pipe(ends) == 0);
    log = ml_log_on_fd(ends[1]);
    memset(line, 'x', sizeof line - 2);
    line[sizeof line - 2] = '\n';
    put(log, "before\n");
    put(log, line);
    put(log, "after\n");
    ml_log_flush(log);
    read_all(ends[0]);
    CHECK(strlen(content) == 7 + strlen(line) + 6);
    CHECK(strncmp(content + 7, line, strlen(line)) == 0);
    ml_log_free(&log);
    close(ends[0]);
    close(ends[1]);
}

static void write_lines(int fd, int child)
{
    struct ml_log *log = ml_log_on_fd(fd);
    char line[202];

    memset(line, 'a' + child, sizeof line);
    for (int i = 0; i < 2000; i++) {
        int len = 1 + (i * 31 + child) % 199;

        line[len] = '\n';
        ml_log_line(log, (struct ml_str){line, (size_t)len + 1});
        line[len] = (char)('a' + child);
    }
    while (ml_log_pending(log) > 0) /* the reader is busy: wait here, the log itself never does */
        usleep(1000), ml_log_flush(log);
    ml_log_free(&log);
    _exit(0);
}

/* Reads until the writers are gone; false when one line has letters of two writers. */
static bool lines_are_pure(int fd, unsigned *lines)
{
    FILE *in = fdopen(fd, "r");
    char line[300];
    bool pure = true;

    for (*lines = 0; fgets(line, sizeof line, in) != NULL; ++*lines)
        pure = pure && strspn(line, (char[]){line[0], '\0'}) == strlen(line) - 1;
    fclose(in);
    return pure;
}

TEST(lines_of_processes_that_share_a_pipe_do_not_mix)
{
    enum { CHILDREN = 4 };
    unsigned lines;
    int ends[2];

    CHECK(pipe(ends) == 0);
    for (int c = 0; c < CHILDREN; c++)
        if (fork() == 0) {
            close(ends[0]);
            write_lines(ends[1], c);
        }
    close(ends[1]);
    CHECK(lines_are_pure(ends[0], &lines));
    CHECK(lines == CHILDREN * 2000);
    for (int c = 0; c < CHILDREN; c++)
        CHECK(wait(NULL) > 0);
}

TEST(lines_of_processes_that_append_to_a_file_do_not_mix)
{
    enum { CHILDREN = 4 };
    unsigned lines;

    for (int c = 0; c < CHILDREN; c++)
        if (fork() == 0)
            write_lines(open(path, O_WRONLY | O_APPEND | O_CREAT, 0600), c);
    for (int c = 0; c < CHILDREN; c++)
        CHECK(wait(NULL) > 0);
    CHECK(lines_are_pure(open(path, O_RDONLY), &lines));
    CHECK(lines == CHILDREN * 2000);
    unlink(path);
}

static double fixed_wall_s(void *ctx)
{
    return *(double *)ctx;
}

static uint64_t no_mono_ns(void *ctx)
{
    (void)ctx;
    return 0;
}

static void no_random(void *ctx, void *p, size_t len)
{
    (void)ctx;
    memset(p, 0, len);
}

TEST(an_event_is_one_json_line)
{
    double now_s = 1714979289.1234;
    struct ml_clock_source fake = {no_mono_ns, fixed_wall_s, no_random, &now_s};
    struct ml_log *log = ml_log_open(path);
    char expect[400];

    ml_clock_set_source(&fake);
    ml_log_event_set_sink(log);
    ml_log_event(ML_LOG_WARN, "worker \"1\" died\n", ML_KV("worker", 7), ML_KV("why", "kill\x1b"),
                 ML_KV("after_s", 1.5), ML_KV("big", UINT64_MAX), ML_KV("s", ML_STR("\xff")));
    ml_log_event(ML_LOG_DEBUG, "not written");
    ml_log_event(ML_LOG_INFO, ML_STR("plain"));
    ml_log_event_set_sink(NULL);
    ml_clock_set_source(NULL);
    snprintf(expect, sizeof expect,
             "{\"@timestamp\":\"2024-05-06T07:08:09.123Z\",\"level\":\"warn\","
             "\"message\":\"worker \\\"1\\\" died\\n\",\"pid\":%d,\"worker\":7,"
             "\"why\":\"kill\\u001b\",\"after_s\":1.5,\"big\":18446744073709551615,"
             "\"s\":\"\\ufffd\"}\n"
             "{\"@timestamp\":\"2024-05-06T07:08:09.123Z\",\"level\":\"info\","
             "\"message\":\"plain\",\"pid\":%d}\n",
             getpid(), getpid());
    CHECK(strcmp(file_content(path), expect) == 0);
    ml_log_free(&log);
    unlink(path);
}

TEST(levels_have_names_and_a_minimum)
{
    enum ml_log_level level = ML_LOG_ERROR;

    CHECK(ml_log_level_parse(ML_STR("debug"), &level) && level == ML_LOG_DEBUG);
    CHECK(ml_log_level_parse(ML_STR("error"), &level) && level == ML_LOG_ERROR);
    CHECK(!ml_log_level_parse(ML_STR("loud"), &level) && level == ML_LOG_ERROR);
    CHECK(strcmp(ml_log_level_name(ML_LOG_WARN), "warn") == 0);
    CHECK(ml_log_event_level() == ML_LOG_INFO);
}

static bool stamp_is(double wall_s, const char *expect)
{
    struct ml_buf b = {0};
    bool same;

    ml_log_timestamp(&b, wall_s);
    same = ml_str_eq(ml_buf_str(&b), ml_str_of(expect));
    ml_buf_release(&b);
    return same;
}

TEST(timestamps_are_rfc_3339_in_utc)
{
    CHECK(stamp_is(0, "1970-01-01T00:00:00.000Z"));
    CHECK(stamp_is(0.9999, "1970-01-01T00:00:00.999Z"));
    CHECK(stamp_is(951782400.25, "2000-02-29T00:00:00.250Z"));
    CHECK(stamp_is(4102444799.0, "2099-12-31T23:59:59.000Z"));
    CHECK(stamp_is(951782400.75, "2000-02-29T00:00:00.750Z"));
}
