/* control_bind.h - the sockets that the admin API listens on: a unix socket with mode 0600, and
 * TCP. */
#ifndef ML_PROCESS_CONTROL_BIND_H
#define ML_PROCESS_CONTROL_BIND_H

#include "base/buf.h"

#include <sys/types.h>
#include <sys/un.h>

struct ml_control_socket {
    struct sockaddr_un address;
    dev_t dev; /* of the socket file */
    ino_t ino;
    int fd; /* owned */
};

/* False with a sentence in why: a live gateway has it, or it cannot be bound. */
bool ml_control_bind(struct ml_control_socket *s, const char *path, struct ml_buf *why);
/* Closes it, and unlinks the file if it is still this one. */
void ml_control_unbind(struct ml_control_socket *s);
/* A listening socket at "address:port", or -1 with a sentence in why. */
int ml_control_bind_tcp(struct ml_str address, struct ml_buf *why);

#endif
