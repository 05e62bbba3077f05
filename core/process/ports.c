/* ports.c - a table of sockets by name. */
#include "process/ports.h"

#include "base/log_event.h"
#include "process/pack.h"
#include "process/sockets.h"

#include <stdlib.h>
#include <unistd.h>

enum { PORTS_MAX = 2 * ML_SITE_LISTENERS_MAX };

struct port {
    char *name;                   /* owned */
    int fd;                       /* owned */
    struct ml_listener *listener; /* owned; NULL: not accepted on */
    bool named;                   /* by the site that is being applied */
};

struct ml_ports {
    struct ml_inbound *inbound; /* borrowed */
    struct port ports[PORTS_MAX];
    unsigned count;
};

/* The generation that a listener had its options from may end before the last connection of the
 * listener; these options stay. */
static struct ml_listener_conf options_of_closed;

struct ml_ports *ml_ports_new(struct ml_inbound *inbound)
{
    struct ml_ports *p = calloc(1, sizeof *p);

    if (p == NULL)
        abort();
    p->inbound = inbound;
    ml_listener_defaults(&options_of_closed);
    return p;
}

static void close_port(struct port *port)
{
    if (port->listener != NULL)
        ml_listener_configure(port->listener, &options_of_closed);
    ml_listener_free(&port->listener);
    close(port->fd);
    free(port->name);
}

bool ml_ports_add(struct ml_ports *p, struct ml_str names, const int *fds, unsigned count)
{
    struct ml_unpack in = {.left = names};

    for (unsigned i = 0; i < count; i++) {
        struct ml_str name = ml_unpack_str(&in);

        if (in.bad || p->count == PORTS_MAX) {
            for (; i < count; i++)
                close(fds[i]);
            ml_ports_discard(p);
            return false;
        }
        p->ports[p->count] = (struct port){.name = strndup(name.p, name.len), .fd = fds[i]};
        if (p->ports[p->count++].name == NULL)
            abort();
    }
    return ml_unpack_done(&in);
}

/* Closes what is not accepted on or, after an apply, not named. */
static void sweep(struct ml_ports *p, bool unnamed)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < p->count; i++) {
        struct port *port = &p->ports[i];

        if (unnamed ? !port->named : port->listener == NULL)
            close_port(port);
        else
            p->ports[kept++] = *port;
    }
    p->count = kept;
}

void ml_ports_discard(struct ml_ports *p)
{
    sweep(p, false);
}

static struct port *find(struct ml_ports *p, const struct ml_listener_conf *conf)
{
    struct ml_buf name = {0};
    struct port *found = NULL;

    ml_sockets_name(&name, conf->host, conf->port);
    for (unsigned i = 0; i < p->count && found == NULL; i++)
        if (ml_str_eq(ml_str_of(p->ports[i].name), ml_buf_str(&name)))
            found = &p->ports[i];
    ml_buf_release(&name);
    return found;
}

static void apply(struct ml_ports *p, const struct ml_listener_conf *conf)
{
    struct port *port = find(p, conf);

    if (port == NULL) {
        ml_log_event(ML_LOG_ERROR, "no socket for a listener", ML_KV("host", conf->host),
                     ML_KV("port", conf->port));
        return;
    }
    port->named = true;
    if (port->listener == NULL)
        port->listener = ml_listener_new(p->inbound, port->fd, conf);
    else
        ml_listener_configure(port->listener, conf);
}

void ml_ports_apply(struct ml_ports *p, const struct ml_site *site)
{
    for (unsigned i = 0; i < p->count; i++)
        p->ports[i].named = false;
    for (unsigned i = 0; i < site->listener_count; i++)
        apply(p, &site->listeners[i]);
    sweep(p, true);
}

void ml_ports_close(struct ml_ports *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct port *port = &p->ports[i];

        if (port->listener != NULL && port->fd >= 0)
            ml_listener_take_waiting(port->listener); /* the kernel would reset them */
        if (port->listener != NULL)
            ml_listener_stop(port->listener);
        if (port->fd >= 0)
            close(port->fd);
        port->fd = -1;
    }
}

void ml_ports_free(struct ml_ports **ports)
{
    struct ml_ports *p = *ports;

    if (p == NULL)
        return;
    *ports = NULL;
    ml_ports_close(p);
    for (unsigned i = 0; i < p->count; i++) {
        if (p->ports[i].listener != NULL)
            ml_listener_configure(p->ports[i].listener, &options_of_closed);
        ml_listener_free(&p->ports[i].listener);
        free(p->ports[i].name);
    }
    free(p);
}
