/* listener.c - accepts clients of one port and backs off instead of spinning.
 *
 * When descriptors run out, idle connections make room (scarce.c).  When there are none, accept
 * fails and the socket stays readable: listening rests until a connection has ended, or for a
 * moment, since another process may be the one that has too many.  A client beyond the limit of
 * connections is told so.  A listener that was freed lives until its last connection has ended. */
#include "inbound/listener.h"

#include "base/log_event.h"
#include "inbound/conn.h"
#include "inbound/greeting.h"
#include "inbound/h2.h"
#include "inbound/scarce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ACCEPT_BATCH = 64, WAITING_MAX = 65536 };
static const double BACK_OFF_S = 0.1;
static const double REPORT_S = 10; /* a flood of clients is no flood of log lines */

struct ml_listener {
    struct ml_port port; /* first: empty() gets its address */
    struct ml_listener *next, **link;
    ev_io watcher;
    struct ml_timer rest; /* until accepting goes on */
    uint64_t refused;     /* clients since the last report */
    double next_report_s; /* no line in the log before then */
    bool stopped, freed;
};

void ml_listener_defaults(struct ml_listener_conf *conf)
{
    *conf = (struct ml_listener_conf){
        .host = ML_STR("0.0.0.0"),
        .limits = {.line_max = 16384, .head_max = 32768, .fields_max = 100},
        .body_max = 16 << 20,
        .header_timeout = 10,
        .handshake_timeout = 10,
        .body_timeout = 30,
        .idle_timeout = 75,
        .send_timeout = 30,
        .body_rate_min = 50,
        .connections_max = 16384,
        .http2 = true,
        .http2_websockets = true,
        .http2_streams = 100,
    };
}

/* ---- accepting ---- */

/* Somebody was not served: says so in the log, but not for each of them. */
static void report(struct ml_listener *l, const char *why)
{
    double now_s = ml_loop_now_s(l->port.in->loop);

    l->refused++;
    if (now_s < l->next_report_s)
        return;
    ml_log_event(ML_LOG_WARN, "clients are not accepted", ML_KV("host", l->port.conf->host),
                 ML_KV("port", l->port.conf->port), ML_KV("error", why),
                 ML_KV("connections", l->port.in->connections), ML_KV("times", l->refused));
    l->refused = 0;
    l->next_report_s = now_s + REPORT_S;
}

/* Says 503 as far as that goes without waiting. */
static void turn_away(int fd)
{
    static const char answer[] =
        "HTTP/1.1 503 Service Unavailable\r\n"
        "Content-Type: application/json\r\n"
        "Content-Length: 59\r\n"
        "Retry-After: 1\r\n"
        "Connection: close\r\n\r\n"
        "{\"error\":\"overload\",\"message\":\"the gateway is overloaded\"}\n";
    char unread[4096];

    (void)!send(fd, answer, sizeof answer - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    (void)!recv(fd, unread, sizeof unread, MSG_DONTWAIT); /* unread input would become a reset */
    close(fd);
}

static void enter(struct ml_port *port, int fd, const struct ml_address *peer)
{
    struct ml_stream *stream = ml_stream_new(port->in->loop, fd);

    if (port->conf->tls != NULL)
        ml_stream_start_tls(stream, port->conf->tls, NULL);
    ml_conn_new(port, &stream, peer);
}

static void on_refused(struct ml_port *port, const char *why)
{
    report((struct ml_listener *)port, why);
}

static const struct ml_greeting_handler greeting = {.done = enter, .refused = on_refused};

static void refuse(struct ml_listener *l, int fd, const char *why)
{
    if (l->port.conf->tls == NULL)
        turn_away(fd);
    else
        close(fd); /* it understands no plain words */
    report(l, why);
}

static void take_in(struct ml_listener *l, int fd, const struct ml_addr *addr)
{
    struct ml_inbound *in = l->port.in;
    const struct ml_listener_conf *conf = l->port.conf;
    struct ml_address peer = ml_address_of(addr);

    const char *why = in->connections >= l->port.conf->connections_max
                          ? "limits.connections is reached"
                          : ml_scarce_objection(in, fd);

    if (why != NULL) {
        refuse(l, fd, why);
        return;
    }
    if (ml_address_within(conf->proxies, conf->proxy_count, &peer)) {
        ml_greeting_new(&l->port, fd, &peer, &greeting);
    } else if (conf->proxies_only) {
        close(fd);
        report(l, "only balancers may connect");
    } else {
        enter(&l->port, fd, &peer);
    }
}

static void back_off(struct ml_listener *l)
{
    l->port.in->resting = true;
    ev_io_stop(ml_loop_ev(l->port.in->loop), &l->watcher);
    ml_timer_set(&l->rest, BACK_OFF_S);
}

static void on_rested(void *ctx)
{
    struct ml_listener *l = ctx;

    if (!l->stopped)
        ev_io_start(ml_loop_ev(l->port.in->loop), &l->watcher);
}

void ml_inbound_resume(struct ml_inbound *in)
{
    in->resting = false;
    for (struct ml_listener *l = in->listeners; l != NULL; l = l->next)
        if (!l->stopped && !ev_is_active(&l->watcher))
            ml_timer_set(&l->rest, 0);
}

/* No descriptor is free.  True: there are some now. */
static bool make_room(struct ml_listener *l)
{
    const char *why = strerror(errno);
    int fd;

    if (ml_scarce_reclaim(l->port.in) > 0)
        return true;
    fd = ml_scarce_accept(l->port.in, l->watcher.fd);
    if (fd >= 0)
        refuse(l, fd, why);
    else
        report(l, why);
    ml_scarce_restore(l->port.in);
    back_off(l);
    return false;
}

static void take_clients(struct ml_listener *l, int at_most)
{
    for (int left = at_most; left > 0; left--) {
        struct ml_addr addr = {.len = sizeof addr.storage};
        int fd = accept4(l->watcher.fd, &addr.sa, &addr.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            take_in(l, fd, &addr);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!make_room(l))
                return;
        } /* else that client is gone already (accept(2)): the next one */
    }
}

static void on_client(struct ev_loop *ev, ev_io *w, int events)
{
    (void)ev;
    (void)events;
    take_clients(w->data, ACCEPT_BATCH);
}

void ml_listener_take_waiting(struct ml_listener *l)
{
    if (!l->stopped)
        take_clients(l, WAITING_MAX);
}

/* ---- life ---- */

static void listener_bury(struct ml_listener *l)
{
    *l->link = l->next;
    if (l->next != NULL)
        l->next->link = l->link;
    *l->port.link = l->port.next;
    if (l->port.next != NULL)
        l->port.next->link = l->port.link;
    ml_timer_drop(&l->rest);
    ml_loop_bury(l->port.in->loop, free, l);
}

static void on_empty(struct ml_port *port)
{
    struct ml_listener *l = (struct ml_listener *)port;

    if (l->freed)
        listener_bury(l);
}

struct ml_listener *ml_listener_new(struct ml_inbound *in, int fd,
                                    const struct ml_listener_conf *conf)
{
    struct ml_listener *l = calloc(1, sizeof *l);

    if (l == NULL)
        abort();
    l->port = (struct ml_port){.in = in, .conf = conf, .empty = on_empty};
    l->next = in->listeners;
    l->link = &in->listeners;
    if (l->next != NULL)
        l->next->link = &l->next;
    in->listeners = l;
    l->port.next = in->ports;
    l->port.link = &in->ports;
    if (l->port.next != NULL)
        l->port.next->link = &l->port.next;
    in->ports = &l->port;
    ml_timer_init(&l->rest, in->loop, on_rested, l);
    ev_io_init(&l->watcher, on_client, fd, EV_READ);
    l->watcher.data = l;
    ev_io_start(ml_loop_ev(in->loop), &l->watcher);
    return l;
}

void ml_listener_configure(struct ml_listener *l, const struct ml_listener_conf *conf)
{
    l->port.conf = conf;
}

void ml_listener_stop(struct ml_listener *l)
{
    l->stopped = true;
    ml_timer_stop(&l->rest);
    ev_io_stop(ml_loop_ev(l->port.in->loop), &l->watcher);
}

void ml_listener_free(struct ml_listener **lp)
{
    struct ml_listener *l = *lp;

    if (l == NULL)
        return;
    *lp = NULL;
    ml_listener_stop(l);
    l->port.closing = true;
    ml_greeting_close_all(&l->port);
    ml_conn_close_idle(&l->port);
    ml_h2_leave_all(&l->port);
    l->freed = true;
    if (l->port.conns == NULL && l->port.h2s == NULL)
        listener_bury(l);
}

/* ---- all listeners of a worker ---- */

void ml_inbound_drain(struct ml_inbound *in)
{
    struct ml_listener *next;

    in->draining = true;
    for (struct ml_listener *l = in->listeners; l != NULL; l = next) {
        next = l->next;
        ml_conn_close_idle(&l->port);
        ml_h2_leave_all(&l->port);
    }
}

void ml_inbound_abort(struct ml_inbound *in)
{
    struct ml_listener *next;

    for (struct ml_listener *l = in->listeners; l != NULL; l = next) {
        next = l->next;
        ml_greeting_close_all(&l->port);
        ml_h2_close_all(&l->port);
        ml_conn_close_all(&l->port);
    }
}
