/* test_control.c - one request, one answer; clients that are late, greedy or gone; stale sockets.
 */
#include "process/control.h"

#include "process/control_client.h"

#include "test.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static const double GUARD_S = 10;

static struct ml_loop *loop;
static struct ml_control *control;
static struct ml_control_waiter *waiting, *all[100];
static struct ml_buf why;
static struct ml_timer guard, tick;
static char dir[64], path[ML_CONTROL_PATH_MAX];
static int reloads;
static size_t padding; /* bytes that make the status long */
static bool late;

static void status(void *ctx, struct ml_buf *json)
{
    (void)ctx;
    ml_buf_append(json, ML_STR("\""));
    memset(ml_buf_reserve(json, padding + 1), 'x', padding);
    ml_buf_commit(json, padding);
    ml_buf_append(json, ML_STR("\""));
}

static void reload(void *ctx, struct ml_control_waiter *w)
{
    (void)ctx;
    all[reloads++] = w;
    waiting = w;
}

static const struct ml_control_handler handler = {.status = status, .reload = reload};

static void on_guard(void *ctx)
{
    (void)ctx;
    late = true;
}

static void on_tick(void *ctx)
{
    (void)ctx;
}

static void setup(void)
{
    reloads = 0;
    padding = 0;
    late = false;
    waiting = NULL;
    loop = ml_loop_new();
    ml_timer_init(&guard, loop, on_guard, NULL);
    ml_timer_init(&tick, loop, on_tick, NULL);
    ml_timer_set(&guard, GUARD_S);
    strcpy(dir, "/tmp/moonlatch-test-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/control.sock", dir);
    control = ml_control_new(loop, path, &handler, &why);
    CHECK(control != NULL);
}

static void teardown(void)
{
    ml_control_free(&control);
    CHECK(control == NULL);
    CHECK(access(path, F_OK) != 0); /* the socket file is gone */
    CHECK(!late);
    ml_timer_drop(&guard);
    ml_timer_drop(&tick);
    ml_loop_free(&loop);
    CHECK(rmdir(dir) == 0);
    ml_buf_release(&why);
}

static int client(const char *bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    strcpy(address.sun_path, path);
    CHECK(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(send(fd, bytes, strlen(bytes), MSG_NOSIGNAL) == (ssize_t)strlen(bytes));
    return fd;
}

/* Runs the loop until the gateway has closed the connection; what it sent. */
static struct ml_str answer(int fd)
{
    static char text[1 << 20];
    size_t len = 0;
    ssize_t n;

    while ((n = recv(fd, text + len, sizeof text - len, 0)) != 0 && !late) {
        if (n > 0)
            len += (size_t)n;
        else if (errno == EAGAIN)
            ml_loop_turn(loop);
        else
            break;
    }
    close(fd);
    return (struct ml_str){text, len};
}

#define ANSWERS(fd, wanted) CHECK(ml_str_eq(answer(fd), ML_STR(wanted)))

static void turn_until_reloads(int n)
{
    while (reloads < n && !late)
        ml_loop_turn(loop);
}

TEST(status_is_answered_at_once)
{
    setup();
    ANSWERS(client("status\n"), "ok \"\"\n");
    ANSWERS(client("status\nmore"), "ok \"\"\n");
    ANSWERS(client("shutdown\n"), "error {\"error\":\"unknown request\"}\n");
    ANSWERS(client("\n"), "error {\"error\":\"unknown request\"}\n");
    teardown();
}

TEST(a_long_answer_arrives_whole)
{
    setup();
    padding = 900 * 1024; /* more than a socket buffer */
    CHECK(answer(client("status\n")).len == padding + 6);
    teardown();
}

TEST(a_request_may_come_in_pieces)
{
    int fd;

    setup();
    fd = client("sta");
    ml_loop_turn(loop);
    ml_loop_turn(loop);
    CHECK(send(fd, "tus\n", 4, MSG_NOSIGNAL) == 4);
    ANSWERS(fd, "ok \"\"\n");
    teardown();
}

TEST(a_reload_is_answered_later)
{
    int fd;

    setup();
    fd = client("reload\n");
    turn_until_reloads(1);
    ANSWERS(client("status\n"), "ok \"\"\n"); /* others are served meanwhile */
    ml_control_reply(waiting, false, ML_STR("{\"error\":\"x\"}"));
    ANSWERS(fd, "error {\"error\":\"x\"}\n");
    teardown();
}

TEST(who_does_not_wait_is_answered_before_the_reload)
{
    setup();
    ANSWERS(client("notify\n"), "ok {}\n");
    CHECK(reloads == 1);
    ml_control_reply(waiting, true, ML_STR("{}"));
    teardown();
}

TEST(a_client_may_leave_before_its_answer)
{
    setup();
    close(client("reload\n"));
    turn_until_reloads(1);
    ANSWERS(client("status\n"), "ok \"\"\n"); /* the turns in which its leaving is seen */
    ml_control_reply(waiting, true, ML_STR("{}"));
    teardown();
}

TEST(the_gateway_may_end_before_its_answer)
{
    int fd;

    setup();
    fd = client("reload\n");
    turn_until_reloads(1);
    ml_control_free(&control);
    CHECK(answer(fd).len == 0);
    ml_control_reply(waiting, true, ML_STR("{}"));
    teardown();
}

TEST(greedy_clients_are_dropped)
{
    char bytes[ML_ADMIN_REQUEST_MAX + 100];
    int fds[100];
    struct ml_str first;

    setup();
    memset(bytes, 'x', sizeof bytes - 1);
    bytes[sizeof bytes - 1] = '\0';
    CHECK(answer(client(bytes)).len == 0);
    for (int i = 0; i < 60; i++) /* the socket's own queue takes 64 */
        fds[i] = client("reload\n");
    for (int i = 0; i < 60 && !late; i++)
        ml_loop_turn(loop);
    first = answer(fds[59]);
    CHECK(ml_str_eq(first, ML_STR("error {\"error\":\"too many clients\"}\n")));
    CHECK(reloads == 32);
    for (int i = 0; i < 59; i++)
        close(fds[i]);
    for (int i = 0; i < reloads; i++)
        ml_control_reply(all[i], true, ML_STR("{}"));
    teardown();
}

TEST(the_socket_is_for_its_owner_only)
{
    struct stat st;

    setup();
    CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600);
    teardown();
}

TEST(a_live_socket_is_not_taken)
{
    struct ml_control *second;

    setup();
    second = ml_control_new(loop, path, &handler, &why);
    CHECK(second == NULL);
    CHECK(memmem(ml_buf_str(&why).p, ml_buf_len(&why), "already running", 15) != NULL);
    ANSWERS(client("status\n"), "ok \"\"\n");
    teardown();
}

TEST(a_stale_socket_is_replaced_and_another_file_is_not)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    FILE *f;
    int fd;

    setup();
    ml_control_free(&control);
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    close(fd);
    control = ml_control_new(loop, path, &handler, &why);
    CHECK(control != NULL);
    ANSWERS(client("status\n"), "ok \"\"\n");
    ml_control_free(&control);
    f = fopen(path, "w");
    CHECK(f != NULL && fclose(f) == 0);
    CHECK(ml_control_new(loop, path, &handler, &why) == NULL);
    CHECK(unlink(path) == 0);
    CHECK(ml_control_new(loop, "/nonexistent/x.sock", &handler, &why) == NULL);
    teardown();
}

TEST(the_socket_of_a_successor_stays)
{
    struct ml_control *next;

    setup();
    CHECK(unlink(path) == 0);
    next = ml_control_new(loop, path, &handler, &why);
    ml_control_free(&control);
    CHECK(access(path, F_OK) == 0);
    control = next;
    teardown();
}

/* ---- the client side ---- */

/* Asks from a process of its own, which ends with the answer as its code. */
static int ask(const char *request, double timeout_s)
{
    pid_t pid = fork();
    int state = -1;

    if (pid == 0) {
        struct ml_buf json = {0};
        int code = (int)ml_control_ask(path, request, timeout_s, &json, &why);

        if (code == ML_CONTROL_OK && !ml_str_eq(ml_buf_str(&json), ML_STR("\"\"")))
            code = 9;
        _exit(code);
    }
    while (waitpid(pid, &state, WNOHANG) == 0 && !late) {
        ml_timer_set(&tick, 0.005);
        ml_loop_turn(loop);
        if (waiting != NULL && strcmp(request, "reload") == 0) {
            ml_control_reply(waiting, false, ML_STR("{}"));
            waiting = NULL;
        }
    }
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

TEST(the_client_tells_the_answers_apart)
{
    setup();
    CHECK(ask("status", GUARD_S) == ML_CONTROL_OK);
    CHECK(ask("reload", GUARD_S) == ML_CONTROL_REFUSED);
    CHECK(ask("what", GUARD_S) == ML_CONTROL_REFUSED);
    ml_control_free(&control);
    CHECK(ask("status", GUARD_S) == ML_CONTROL_NO_ANSWER);
    teardown();
}

TEST(the_client_gives_up_in_time)
{
    setup(); /* the loop does not run while it asks */
    struct ml_buf json = {0};

    CHECK(ml_control_ask(path, "status", 0.05, &json, &why) == ML_CONTROL_NO_ANSWER);
    ml_buf_release(&json);
    teardown();
}

TEST(a_site_and_its_socket_find_each_other)
{
    char found[ML_CONTROL_PATH_MAX], wanted[ML_CONTROL_PATH_MAX], spelt[128];

    setup();
    CHECK(unsetenv("MOONLATCH_CONTROL") == 0);
    CHECK(ml_control_path("/x/y.sock", dir, found, &why) && strcmp(found, "/x/y.sock") == 0);
    CHECK(ml_control_path(NULL, dir, wanted, &why));
    CHECK(ml_control_find(NULL, dir, found, &why) == ML_CONTROL_NONE);
    ml_control_free(&control);
    control = ml_control_new(loop, wanted, &handler, &why);
    CHECK(control != NULL);
    snprintf(spelt, sizeof spelt, "/tmp/.//%s/./", dir + 5);
    CHECK(ml_control_find(NULL, spelt, found, &why) == ML_CONTROL_FOUND);
    CHECK(strcmp(found, wanted) == 0);
    CHECK(setenv("MOONLATCH_CONTROL", "/from/env", 1) == 0);
    CHECK(ml_control_path(NULL, dir, found, &why) && strcmp(found, "/from/env") == 0);
    CHECK(unsetenv("MOONLATCH_CONTROL") == 0);
    teardown();
}
