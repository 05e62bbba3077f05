/* conn_all.c - what is done with all connections of a port. */
#include "inbound/conn_parts.h"

void ml_conn_close_idle(struct ml_port *port)
{
    struct ml_conn *c = port->conns, *next;

    for (; c != NULL; c = next) {
        next = c->next;
        if (c->state == CONN_WRITE && port->in->draining && !port->in->patient)
            ml_exchange_leave(c->turn->ex);
        if (c->state != CONN_HEAD)
            continue;
        if (port->closing)
            ml_conn_drop(c, ML_CANCELLED);
        else
            ml_conn_run(c); /* which sets the timer of a drain */
    }
}

void ml_conn_close_all(struct ml_port *port)
{
    struct ml_conn *c = port->conns, *next;

    for (; c != NULL; c = next) {
        next = c->next;
        ml_conn_drop(c, ML_CANCELLED);
    }
}
