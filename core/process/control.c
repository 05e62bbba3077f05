/* control.c - clients of the admin API: one request, one answer, the end.
 *
 *   READ --"status", "notify"--> WRITE --all written, time is up, or gone--> freed after the turn
 *     |                            ^
 *     '--"reload", a call--> WAIT --ml_control_reply
 *
 * A request is a line, or one of HTTP; over TCP it is always one of HTTP, with the token.  A waiter
 * stands between the supervisor and a client, because either may go away first: a client that
 * leaves takes itself out of its waiter.  Clients by TCP have places of their own: strangers can
 * not keep the operator of the machine out. */
#include "process/control.h"

#include "process/admin_http.h"
#include "process/control_bind.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS_MAX = 32, TOKEN_MAX = 512 };
static const double CLIENT_TIMEOUT_S = 10; /* to say what it wants, and to take the answer */
static const double REST_S = 0.1;

enum state { READ, WAIT, WRITE, CLOSED };

struct client {
    struct ml_control *control;
    struct door *door;
    struct client *next, **link;
    struct ml_control_waiter *waiter; /* in WAIT */
    struct ml_buf in, out;            /* owned */
    struct ml_timer timer;
    ev_io io;
    int fd; /* owned */
    enum state state;
    bool http;
};

struct ml_control_waiter {
    struct client *client; /* NULL: nobody waits any more */
};

struct door { /* what clients come in by */
    struct ml_control *control;
    ev_io io;
    struct ml_timer rest; /* until accepting goes on, when no descriptor was free */
    unsigned clients;
    int fd; /* -1: closed */
    bool tcp;
};

struct ml_control {
    struct ml_loop *loop; /* borrowed */
    struct ml_control_handler handler;
    struct client *clients;
    struct ml_control_socket socket;
    struct door local, tcp;
    struct ml_buf tcp_address;
    struct ml_buf token;
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
    c->door->clients--;
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

static void client_answer(struct client *c, int status, const char *type, struct ml_str bytes)
{
    c->state = WRITE;
    ml_timer_set(&c->timer, CLIENT_TIMEOUT_S);
    if (c->http)
        ml_admin_http_head(&c->out, status, type, bytes.len + 1);
    else
        ml_buf_append(&c->out, status == 200 ? ML_STR("ok ") : ML_STR("error "));
    ml_buf_append(&c->out, bytes);
    ml_buf_append(&c->out, ML_STR("\n"));
    client_write(c);
}

static void client_answer_json(struct client *c, bool ok, struct ml_str json)
{
    client_answer(c, ok ? 200 : 409, ML_ADMIN_JSON, json);
}

static struct ml_control_waiter *waiter_new(struct client *c)
{
    struct ml_control_waiter *w = calloc(1, sizeof *w);

    if (w == NULL)
        abort();
    w->client = c;
    return w;
}

void ml_control_answer(struct ml_control_waiter *w, int status, const char *type,
                       struct ml_str bytes)
{
    struct client *c = w->client;

    free(w);
    if (c == NULL)
        return;
    c->waiter = NULL;
    client_answer(c, status, type, bytes);
}

void ml_control_reply(struct ml_control_waiter *w, bool ok, struct ml_str json)
{
    ml_control_answer(w, ok ? 200 : 409, ML_ADMIN_JSON, json);
}

bool ml_control_waits(const struct ml_control_waiter *w)
{
    return w->client != NULL;
}

static void serve_status(struct client *c)
{
    struct ml_control *control = c->control;
    struct ml_buf json = {0};

    control->handler.status(control->handler.ctx, &json);
    client_answer_json(c, true, ml_buf_str(&json));
    ml_buf_release(&json);
}

/* How long that may take is the supervisor's business. */
static void client_wait(struct client *c)
{
    c->state = WAIT;
    ml_timer_stop(&c->timer);
    c->waiter = waiter_new(c);
}

static void serve_reload(struct client *c)
{
    struct ml_control *control = c->control;

    client_wait(c);
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

    client_answer_json(c, true, ML_STR("{}"));
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
        client_answer_json(c, false,
                           ML_STR("{\"error\":\"an upstream and a server are expected\"}"));
        return;
    }
    len = (size_t)(space - words.p);
    ok = control->handler.drain(control->handler.ctx, (struct ml_str){words.p, len},
                                (struct ml_str){space + 1, words.len - len - 1}, on, &json);
    client_answer_json(c, ok, ml_buf_str(&json));
    ml_buf_release(&json);
}

static bool begins(struct ml_str line, struct ml_str with, struct ml_str *rest)
{
    if (line.len < with.len || memcmp(line.p, with.p, with.len) != 0)
        return false;
    *rest = (struct ml_str){line.p + with.len, line.len - with.len};
    return true;
}

static void serve_call(struct client *c, const struct ml_admin_request *request)
{
    struct ml_control *control = c->control;

    if (control->handler.call == NULL) {
        client_answer(c, 404, ML_ADMIN_JSON, ML_STR("{\"error\":\"unknown request\"}"));
        return;
    }
    client_wait(c);
    control->handler.call(control->handler.ctx, request, c->waiter); /* last: it may answer */
}

/* "why id=1f&last=3": both methods at once, for who may open the socket may do all. */
static void serve_line_call(struct client *c, struct ml_str words)
{
    const char *space = memchr(words.p, ' ', words.len);
    struct ml_admin_request request = {.verb = words, .read = true, .change = true};

    if (space != NULL) {
        request.verb.len = (size_t)(space - words.p);
        request.query = (struct ml_str){space + 1, words.len - request.verb.len - 1};
    }
    serve_call(c, &request);
}

static void serve_http(struct client *c)
{
    struct ml_arena *arena = ml_arena_new();
    struct ml_admin_request request = {0};
    struct ml_admin_guard guard = {.tcp = c->door->tcp, .token = ml_buf_str(&c->control->token)};
    int status = ml_admin_http_read(ml_buf_str(&c->in), &guard, arena, &request);

    c->http = true;
    if (status == 200)
        serve_call(c, &request);
    else if (status != 0)
        client_answer(c, status, ML_ADMIN_JSON, ml_str_of(request.refusal));
    ml_arena_free(&arena);
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
    else if (begins(line, ML_STR("call "), &rest))
        serve_line_call(c, rest);
    else
        client_answer_json(c, false, ML_STR("{\"error\":\"unknown request\"}"));
}

static void client_read(struct client *c)
{
    char *to = ml_buf_reserve(&c->in, ML_ADMIN_REQUEST_MAX);
    ssize_t n = recv(c->fd, to, ML_ADMIN_REQUEST_MAX - ml_buf_len(&c->in), MSG_DONTWAIT);
    bool waits = c->state == WAIT;
    struct ml_str have;
    const char *end;

    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    if (n <= 0 || waits) { /* a client that waits and hangs up does not want to know any more */
        client_close(c);
        return;
    }
    ml_buf_commit(&c->in, (size_t)n);
    have = ml_buf_str(&c->in);
    end = memchr(have.p, '\n', have.len);
    if (c->state == READ && (c->door->tcp || ml_admin_is_http(have)))
        serve_http(c);
    else if (c->state == READ && end != NULL)
        serve(c, (struct ml_str){have.p, (size_t)(end - have.p)});
    if (c->state == READ && have.len >= ML_ADMIN_REQUEST_MAX)
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

static void client_new(struct door *door, int fd)
{
    struct ml_control *control = door->control;
    struct client *c = calloc(1, sizeof *c);

    if (c == NULL)
        abort();
    c->control = control;
    c->door = door;
    c->http = door->tcp;
    c->fd = fd;
    c->next = control->clients;
    c->link = &control->clients;
    if (c->next != NULL)
        c->next->link = &c->next;
    control->clients = c;
    door->clients++;
    ml_timer_init(&c->timer, control->loop, on_timeout, c);
    ml_timer_set(&c->timer, CLIENT_TIMEOUT_S);
    ev_io_init(&c->io, on_client, fd, EV_READ);
    c->io.data = c;
    ev_io_start(ml_loop_ev(control->loop), &c->io);
    if (door->clients > CLIENTS_MAX)
        client_answer(c, 503, ML_ADMIN_JSON, ML_STR("{\"error\":\"too many clients\"}"));
}

/* ---- doors ---- */

static void on_connection(struct ev_loop *ev, ev_io *io, int events)
{
    struct door *door = io->data;
    int fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)events;
    if (fd >= 0 && door->clients < 2 * CLIENTS_MAX) {
        client_new(door, fd);
    } else if (fd >= 0) {
        close(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        ev_io_stop(ev, io);
        ml_timer_set(&door->rest, REST_S);
    } /* else that client is gone already */
}

static void on_rested(void *ctx)
{
    struct door *door = ctx;

    if (door->fd >= 0)
        ev_io_start(ml_loop_ev(door->control->loop), &door->io);
}

static void door_init(struct ml_control *control, struct door *door, bool tcp)
{
    door->control = control;
    door->tcp = tcp;
    door->fd = -1;
    ml_timer_init(&door->rest, control->loop, on_rested, door);
    ev_io_init(&door->io, on_connection, -1, EV_READ);
    door->io.data = door;
}

static void door_open(struct door *door, int fd)
{
    door->fd = fd;
    ev_io_set(&door->io, fd, EV_READ);
    ev_io_start(ml_loop_ev(door->control->loop), &door->io);
}

static void door_close(struct door *door)
{
    ev_io_stop(ml_loop_ev(door->control->loop), &door->io);
    ml_timer_stop(&door->rest);
    door->fd = -1;
}

static void close_tcp(struct ml_control *control)
{
    int fd = control->tcp.fd;

    if (fd < 0)
        return;
    door_close(&control->tcp);
    close(fd);
}

bool ml_control_listen(struct ml_control *control, struct ml_str address, struct ml_str token,
                       struct ml_buf *why)
{
    bool same = ml_str_eq(address, ml_buf_str(&control->tcp_address));
    int fd = -1;

    if (!same && address.len > 0) {
        fd = ml_control_bind_tcp(address, why);
        if (fd < 0)
            return false;
    }
    ml_buf_release(&control->token);
    ml_buf_append(&control->token, token);
    if (same)
        return true;
    close_tcp(control);
    ml_buf_release(&control->tcp_address);
    ml_buf_append(&control->tcp_address, address);
    if (fd >= 0)
        door_open(&control->tcp, fd);
    return true;
}

/* ---- life ---- */

struct ml_control *ml_control_new(struct ml_loop *loop, const char *path,
                                  const struct ml_control_handler *handler, struct ml_buf *why)
{
    struct ml_control *control = calloc(1, sizeof *control);

    if (control == NULL)
        abort();
    control->socket.fd = -1;
    if (path != NULL && !ml_control_bind(&control->socket, path, why)) {
        free(control);
        return NULL;
    }
    control->loop = loop;
    control->handler = *handler;
    door_init(control, &control->local, false);
    door_init(control, &control->tcp, true);
    if (control->socket.fd >= 0)
        door_open(&control->local, control->socket.fd);
    return control;
}

void ml_control_unlisten(struct ml_control *control)
{
    close_tcp(control);
    door_close(&control->local);
    ml_control_unbind(&control->socket);
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
    ml_timer_drop(&control->local.rest);
    ml_timer_drop(&control->tcp.rest);
    ml_buf_release(&control->tcp_address);
    ml_buf_release(&control->token);
    ml_loop_bury(control->loop, free, control);
}
