/* control.h - the unix socket through which `moonlatch reload` and `moonlatch status` talk to a
 * supervisor: one request and one answer per connection.
 *
 *   "status\n", "reload\n" -->     <-- "ok JSON" or "error JSON", then the end
 *   "drain UPSTREAM SERVER\n", "undrain UPSTREAM SERVER\n" -->   <-- "ok JSON" or "error JSON"
 *   "upgrade\n" -->                <-- "ok JSON" when another process has taken over, or "error JSON"
 *   "notify\n" -->                 <-- "ok {}" at once: a reload that the client does not wait for
 *
 * The socket has mode 0600: who may open it may also change the site.  A client that is slow, sends
 * too much or is one too many is dropped; it cannot hold the supervisor up. */
#ifndef ML_PROCESS_CONTROL_H
#define ML_PROCESS_CONTROL_H

#include "base/buf.h"
#include "transport/loop.h"

struct ml_control;
struct ml_control_waiter; /* a client that waits for the answer to "reload" */

struct ml_control_handler {
    void (*status)(void *ctx, struct ml_buf *json); /* appends one JSON value */
    /* Answer w once with ml_control_reply, at once or later, even after ml_control_free. */
    void (*reload)(void *ctx, struct ml_control_waiter *w);
    void (*upgrade)(void *ctx, struct ml_control_waiter *w); /* likewise */
    /* Appends JSON that says what came of it; false: that is an error. */
    bool (*drain)(void *ctx, struct ml_str group, struct ml_str server, bool on,
                  struct ml_buf *json);
    void *ctx;
};

/* Binds path.  NULL with a sentence in why: a live gateway has it, or it cannot be bound.  handler
 * is copied. */
struct ml_control *ml_control_new(struct ml_loop *loop, const char *path,
                                  const struct ml_control_handler *handler, struct ml_buf *why);
/* Answers; w is gone.  The client may have left long before. */
void ml_control_reply(struct ml_control_waiter *w, bool ok, struct ml_str json);
/* No new clients: the socket's name is free for another process. */
void ml_control_unlisten(struct ml_control *control);
/* Unlinks the socket if it is still this one.  Clients that wait for an answer see the end. */
void ml_control_free(struct ml_control **control);

#endif
