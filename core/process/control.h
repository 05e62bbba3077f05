/* control.h - the admin API of a supervisor, by a unix socket and perhaps TCP: one request and one
 * answer per connection.
 *
 *   "status\n", "reload\n" -->     <-- "ok JSON" or "error JSON", then the end
 *   "drain UPSTREAM SERVER\n", "undrain UPSTREAM SERVER\n" -->   <-- "ok JSON" or "error JSON"
 *   "upgrade\n" -->                <-- "ok JSON" when another process has taken over, or "error JSON"
 *   "notify\n" -->                 <-- "ok {}" at once: a reload that the client does not wait for
 *   "call VERB QUERY\n" -->        <-- "ok BYTES" or "error JSON": what is in process/admin.h
 *   an HTTP/1.1 request -->        <-- the same as HTTP; over TCP nothing else is understood
 *
 * The socket has mode 0600: who may open it may also change the site.  A client that is slow, sends
 * too much or is one too many is dropped; it cannot hold the supervisor up. */
#ifndef ML_PROCESS_CONTROL_H
#define ML_PROCESS_CONTROL_H

#include "process/admin_http.h"
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
    /* Any other call, and all of HTTP: answer w once as above; may be NULL.  request dies with the
     * call. */
    void (*call)(void *ctx, const struct ml_admin_request *request, struct ml_control_waiter *w);
    void *ctx;
};

/* Binds path (NULL: there is no unix socket).  NULL with a sentence in why: a live gateway has it,
 * or it cannot be bound.  handler is copied. */
struct ml_control *ml_control_new(struct ml_loop *loop, const char *path,
                                  const struct ml_control_handler *handler, struct ml_buf *why);
/* From now on also listens on address ("127.0.0.1:9900"; empty: not any more) for clients that know
 * the token.  False with a sentence in why: it cannot, and nothing has changed. */
bool ml_control_listen(struct ml_control *control, struct ml_str address, struct ml_str token,
                       struct ml_buf *why);
/* Is the client still there? */
bool ml_control_waits(const struct ml_control_waiter *w);
/* Answers with a status of HTTP; 200 is "ok" in a line. */
void ml_control_answer(struct ml_control_waiter *w, int status, const char *type,
                       struct ml_str bytes);
/* Answers; w is gone.  The client may have left long before. */
void ml_control_reply(struct ml_control_waiter *w, bool ok, struct ml_str json);
/* No new clients: the socket's name, and the port, are free for another process. */
void ml_control_unlisten(struct ml_control *control);
/* Unlinks the socket if it is still this one.  Clients that wait for an answer see the end. */
void ml_control_free(struct ml_control **control);

#endif
