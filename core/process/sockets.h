/* sockets.h - the listening sockets of all workers: one per listener and worker, SO_REUSEPORT.
 *
 * The supervisor opens them and keeps them open, so a worker that dies leaves its clients in the
 * queue of a socket that its successor gets.  A change is planned first, and then committed or
 * taken back. */
#ifndef ML_PROCESS_SOCKETS_H
#define ML_PROCESS_SOCKETS_H

#include "process/summary.h"

struct ml_sockets;

struct ml_sockets *ml_sockets_new(unsigned workers);
void ml_sockets_free(struct ml_sockets **s);

/* Opens what the summary names and is not open yet.  False with a sentence in why, and nothing has
 * changed. */
bool ml_sockets_plan(struct ml_sockets *s, const struct ml_summary *summary, struct ml_buf *why);
/* Closes what the plan no longer names. */
void ml_sockets_commit(struct ml_sockets *s);
/* Closes what the plan has opened. */
void ml_sockets_rollback(struct ml_sockets *s);
/* Closes all: clients are refused as soon as the workers have closed theirs. */
void ml_sockets_close(struct ml_sockets *s);

enum ml_sockets_which { ML_SOCKETS_OPEN, ML_SOCKETS_PLANNED };
/* Those of one worker that are open, or those that the plan has added: appends "host:port" packed
 * to names (see pack.h), the descriptors to fds (room for ML_SITE_LISTENERS_MAX); how many. */
unsigned ml_sockets_of(const struct ml_sockets *s, enum ml_sockets_which which, unsigned worker,
                       struct ml_buf *names, int *fds);
/* All that are open, in memory that the caller frees. */
unsigned ml_sockets_all(const struct ml_sockets *s, int **fds);
/* "127.0.0.1:3100\n" for each open one. */
void ml_sockets_list(const struct ml_sockets *s, struct ml_buf *out);

/* "host:port", as ml_sockets_of names them; brackets around an IPv6 address. */
void ml_sockets_name(struct ml_buf *out, struct ml_str host, int port);
/* The address of a listener; false when host is none. */
bool ml_sockets_address(struct ml_str host, int port, struct ml_addr *addr);

#endif
