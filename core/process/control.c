/* control.c - clients of the control socket: one request, one answer, the end.
 *
 *   READ --"status", "notify"--> WRITE --all written, time is up, or gone--> freed after the turn
 *     |                            ^
 *     '--"reload"--> WAIT --ml_control_reply
 *
 * A waiter stands between the supervisor and a client, because either may go away first: a client
 * that leaves takes itself out of its waiter. */
#include "process/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 32, REQUEST_MAX = 4096, BACKLOG = 64 };
static const double CLIENT_TIMEOUT_S = 10; /* to say what it wants, and to take the answer */
static const double REST_S = 0.1;

enum state { READ, WAIT, WRITE, CLOSED };

struct client {
    struct ml_control *control;
    struct client *next, **link;
    struct ml_control_waiter *waiter; /* in WAIT */
    struct ml_buf in, out;            /* owned */
    struct ml_timer timer;
    ev_io io;
    int fd; /* owned */
    enum state state;
};

struct ml_control_waiter {
    struct client *client; /* NULL: nobody waits any more */
};

struct ml_control {
    struct ml_loop *loop; /* borrowed */
    struct ml_control_handler handler;
    struct client *clients;
    unsigned client_count;
    struct sockaddr_un address;
    dev_t dev; /* of the socket file */
    ino_t ino;
    int fd; /* owned */
    ev_io io;
    struct ml_timer rest; /* until accepting goes on, when no descriptor was free */
};

/* ---- one client ---- */

static void client_release(void *p)
{
    struct client *c = p;

    ml_buf_release(&c->in);
    ml_buf_release(&c->out);
    free(c);
}

static void client_close(struct client *c)
{
    if (c->state == CLOSED)
        return;
    c->state = CLOSED;
    if (c->waiter != NULL)
        c->waiter->client = NULL;
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    c->control->client_count--;
    ev_io_stop(ml_loop_ev(c->control->loop), &c->io);
    ml_timer_drop(&c->timer);
    close(c->fd);
    ml_loop_bury(c->control->loop, client_release, c);
}

static void client_watch(struct client *c, int events)
{
    ev_io_stop(ml_loop_ev(c->control->loop), &c->io);
    ev_io_set(&c->io, c->fd, events);
    ev_io_start(ml_loop_ev(c->control->loop), &c->io);
}

static void client_write(struct client *c)
{
    while (ml_buf_len(&c->out) > 0) {
        struct ml_str left = ml_buf_str(&c->out);
        ssize_t n = send(c->fd, left.p, left.len, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            client_watch(c, EV_WRITE);
            return;
        }
        if (n < 0)
            break;
        ml_buf_consume(&c->out, (size_t)n);
    }
    client_close(c);
}

static void client_answer(struct client *c, bool ok, struct ml_str json)
{
    c->state = WRITE;
    ml_timer_set(&c->timer, CLIENT_TIMEOUT_S);
    ml_buf_append(&c->out, ok ? ML_STR("ok ") : ML_STR("error "));
    ml_buf_append(&c->out, json);
    ml_buf_append(&c->out, ML_STR("\n"));
    client_write(c);
}

static struct ml_control_waiter *waiter_new(struct client *c)
{
    struct ml_control_waiter *w = calloc(1, sizeof *w);

    if (w == NULL)
        abort();
    w->client = c;
    return w;
}

void ml_control_reply(struct ml_control_waiter *w, bool ok, struct ml_str json)
{
    struct client *c = w->client;

    free(w);
    if (c == NULL)
        return;
    c->waiter = NULL;
    client_answer(c, ok, json);
}

static void serve_status(struct client *c)
{
    struct ml_control *control = c->control;
    struct ml_buf json = {0};

    control->handler.status(control->handler.ctx, &json);
    client_answer(c, true, ml_buf_str(&json));
    ml_buf_release(&json);
}

static void serve_reload(struct client *c)
{
    struct ml_control *control = c->control;

    c->state = WAIT;
    ml_timer_stop(&c->timer); /* how long that may take is the supervisor's business */
    c->waiter = waiter_new(c);
    control->handler.reload(control->handler.ctx, c->waiter); /* last: it may answer */
}

static void serve_upgrade(struct client *c)
{
    struct ml_control *control = c->control;

    c->state = WAIT;
    ml_timer_stop(&c->timer);
    c->waiter = waiter_new(c);
    control->handler.upgrade(control->handler.ctx, c->waiter); /* last: it may answer */
}

static void serve_notify(struct client *c)
{
    struct ml_control *control = c->control;

    client_answer(c, true, ML_STR("{}"));
    control->handler.reload(control->handler.ctx, waiter_new(NULL));
}

/* The words behind "drain ": a server's URL has no space, so the last one is it. */
static void serve_drain(struct client *c, struct ml_str words, bool on)
{
    struct ml_control *control = c->control;
    const char *space = memrchr(words.p, ' ', words.len);
    struct ml_buf json = {0};
    size_t len;
    bool ok;

    if (space == NULL) {
        client_answer(c, false, ML_STR("{\"error\":\"an upstream and a server are expected\"}"));
        return;
    }
    len = (size_t)(space - words.p);
    ok = control->handler.drain(control->handler.ctx, (struct ml_str){words.p, len},
                                (struct ml_str){space + 1, words.len - len - 1}, on, &json);
    client_answer(c, ok, ml_buf_str(&json));
    ml_buf_release(&json);
}

static bool begins(struct ml_str line, struct ml_str with, struct ml_str *rest)
{
    if (line.len < with.len || memcmp(line.p, with.p, with.len) != 0)
        return false;
    *rest = (struct ml_str){line.p + with.len, line.len - with.len};
    return true;
}

static void serve(struct client *c, struct ml_str line)
{
    struct ml_str rest;

    if (ml_str_eq(line, ML_STR("status")))
        serve_status(c);
    else if (ml_str_eq(line, ML_STR("reload")))
        serve_reload(c);
    else if (begins(line, ML_STR("drain "), &rest))
        serve_drain(c, rest, true);
    else if (begins(line, ML_STR("undrain "), &rest))
        serve_drain(c, rest, false);
    else if (ml_str_eq(line, ML_STR("upgrade")))
        serve_upgrade(c);
    else if (ml_str_eq(line, ML_STR("notify")))
        serve_notify(c);
    else
        client_answer(c, false, ML_STR("{\"error\":\"unknown request\"}"));
}

static void client_read(struct client *c)
{
    char *to = ml_buf_reserve(&c->in, REQUEST_MAX);
    ssize_t n = recv(c->fd, to, REQUEST_MAX - ml_buf_len(&c->in), MSG_DONTWAIT);
    struct ml_str have;
    const char *end;

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0) { /* a client that waits and hangs up does not want to know any more */
        client_close(c);
        return;
    }
    ml_buf_commit(&c->in, (size_t)n);
    have = ml_buf_str(&c->in);
    end = memchr(have.p, '\n', have.len);
    if (c->state == READ && end != NULL)
        serve(c, (struct ml_str){have.p, (size_t)(end - have.p)});
    else if (have.len >= REQUEST_MAX || c->state != READ)
        client_close(c);
}

static void on_client(struct ev_loop *ev, ev_io *io, int events)
{
    struct client *c = io->data;

    (void)ev;
    if (c->state == WRITE && events & EV_WRITE)
        client_write(c);
    else if (c->state == READ || c->state == WAIT)
        client_read(c);
}

static void on_timeout(void *ctx)
{
    client_close(ctx);
}

static void client_new(struct ml_control *control, int fd)
{
    struct client *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    c->control = control;
    c->fd = fd;
    c->next = control->clients;
    c->link = &control->clients;
    if (c->next != NULL)
        c->next->link = &c->next;
    control->clients = c;
    control->client_count++;
    ml_timer_init(&c->timer, control->loop, on_timeout, c);
    ml_timer_set(&c->timer, CLIENT_TIMEOUT_S);
    ev_io_init(&c->io, on_client, fd, EV_READ);
    c->io.data = c;
    ev_io_start(ml_loop_ev(control->loop), &c->io);
    if (control->client_count > CLIENTS_MAX)
        client_answer(c, false, ML_STR("{\"error\":\"too many clients\"}"));
}

static void on_connection(struct ev_loop *ev, ev_io *io, int events)
{
    struct ml_control *control = io->data;
    int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0 && control->client_count < 2 * CLIENTS_MAX) {
        client_new(control, fd);
    } else if (fd >= 0) {
        close(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        ev_io_stop(ev, io);
        ml_timer_set(&control->rest, REST_S);
    } /* else that client is gone already */
}

static void on_rested(void *ctx)
{
    struct ml_control *control = ctx;

    ev_io_start(ml_loop_ev(control->loop), &control->io);
}

/* ---- binding ---- */

static bool refuse(struct ml_buf *why, const char *path, const char *what)
{
    ml_buf_printf(why, "control socket %s: %s", path, what);
    return false;
}

/* A socket file that nobody listens on was left by a process that died. */
static bool remove_stale(const struct sockaddr_un *address, struct ml_buf *why)
{
    const char *path = address->sun_path;
    struct stat st;
    int fd, err;

    if (lstat(path, &st) != 0)
        return errno == ENOENT || refuse(why, path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return refuse(why, path, "there is another kind of file with that name");
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return refuse(why, path, strerror(errno));
    err = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (err == 0 || err == EAGAIN)
        return refuse(why, path, "a gateway is already running there");
    if (err != ECONNREFUSED)
        return refuse(why, path, strerror(err));
    return unlink(path) == 0 || errno == ENOENT || refuse(why, path, strerror(errno));
}

/* Two gateways that start at once must not both find the same stale socket.  The lock is on the
 * directory, so that no file is left; who holds it for ever keeps nobody from starting. */
static int lock_directory(const char *path)
{
    static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
    struct sockaddr_un dir = {0};
    char *slash;
    int fd;

    strcpy(dir.sun_path, path);
    slash = strrchr(dir.sun_path, '/');
    if (slash == NULL)
        strcpy(dir.sun_path, ".");
    else
        slash[slash == dir.sun_path] = '\0';
    fd = open(dir.sun_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int tries = 100; fd >= 0 && tries > 0 && flock(fd, LOCK_EX | LOCK_NB) != 0; tries--)
        nanosleep(&pause, NULL);
    return fd;
}

static bool listen_on(struct ml_control *control, struct ml_buf *why)
{
    const char *path = control->address.sun_path;
    mode_t mask = umask(0177); /* mode 0600 from the first moment on */
    bool ok;
    int err;

    ok = bind(control->fd, (struct sockaddr *)&control->address, sizeof control->address) == 0 &&
         listen(control->fd, BACKLOG) == 0;
    err = errno;
    umask(mask);
    return ok || refuse(why, path, strerror(err));
}

static bool control_bind(struct ml_control *control, struct ml_buf *why)
{
    const char *path = control->address.sun_path;
    int lock = lock_directory(path);
    bool ok = remove_stale(&control->address, why) && listen_on(control, why);
    struct stat st;

    if (ok && (ok = lstat(path, &st) == 0 || refuse(why, path, strerror(errno)))) {
        control->dev = st.st_dev;
        control->ino = st.st_ino;
    }
    if (lock >= 0)
        close(lock);
    return ok;
}

static struct ml_control *control_socket(const char *path, struct ml_buf *why)
{
    struct ml_control *control = calloc(1, sizeof *control);

    if (control == NULL)
        abort();
    control->address.sun_family = AF_UNIX;
    control->fd = -1;
    if (path[0] == '\0' || strlen(path) >= sizeof control->address.sun_path) {
        refuse(why, path, "the name is empty or longer than 107 bytes");
        free(control);
        return NULL;
    }
    strcpy(control->address.sun_path, path);
    control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (control->fd >= 0 ? control_bind(control, why) : refuse(why, path, strerror(errno)))
        return control;
    if (control->fd >= 0)
        close(control->fd);
    free(control);
    return NULL;
}

struct ml_control *ml_control_new(struct ml_loop *loop, const char *path,
                                  const struct ml_control_handler *handler, struct ml_buf *why)
{
    struct ml_control *control = control_socket(path, why);

    if (control == NULL)
        return NULL;
    control->loop = loop;
    control->handler = *handler;
    ml_timer_init(&control->rest, loop, on_rested, control);
    ev_io_init(&control->io, on_connection, control->fd, EV_READ);
    control->io.data = control;
    ev_io_start(ml_loop_ev(loop), &control->io);
    return control;
}

void ml_control_unlisten(struct ml_control *control)
{
    struct stat st;

    if (control->fd < 0)
        return;
    ev_io_stop(ml_loop_ev(control->loop), &control->io);
    ml_timer_stop(&control->rest);
    close(control->fd);
    control->fd = -1;
    if (lstat(control->address.sun_path, &st) == 0 && st.st_dev == control->dev &&
        st.st_ino == control->ino)
        (void)unlink(control->address.sun_path);
}

void ml_control_free(struct ml_control **cp)
{
    struct ml_control *control = *cp;

    if (control == NULL)
        return;
    *cp = NULL;
    while (control->clients != NULL)
        client_close(control->clients);
    ml_control_unlisten(control);
    ml_timer_drop(&control->rest);
    ml_loop_bury(control->loop, free, control);
}
