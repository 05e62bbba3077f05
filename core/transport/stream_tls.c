/* stream_tls.c - a stream whose bytes are TLS: what the watchers wait for, and for whom.
 *
 * The read watcher is on while the owner wants to read, or while its write waits for the handshake;
 * it rests while the peer takes nothing of what it makes us send.  The write watcher is on while
 * the owner wants to write or encrypted bytes wait.  OpenSSL may hold bytes of which no event will
 * tell: when a read leaves some behind, READ is repeated in the next turn. */
#include "transport/stream_parts.h"

#include <assert.h>
#include <stdlib.h>

static void set_watchers(struct ml_stream *s)
{
    struct stream_tls *t = s->tls;
    struct ev_loop *ev = ml_loop_ev(s->loop);
    bool waits = ml_tls_link_waits(t->link);

    t->refused &= waits;
    if ((!t->read_off || t->needs_read) && !t->refused && !s->connecting)
        ev_io_start(ev, &s->rd);
    else
        ev_io_stop(ev, &s->rd);
    if (waits)
        ev_io_start(ev, &s->wr);
    else if (!t->wants_write)
        ev_io_stop(ev, &s->wr); /* no system call when it was started in this turn */
    if ((!t->read_off && ml_tls_link_pending(t->link)) ||
        (t->needs_read && ml_tls_link_open(t->link)))
        ml_loop_defer_later(s->loop, &t->again);
}

static void on_again(void *ctx)
{
    struct stream_tls *t = ctx;
    struct ml_stream *s = t->stream;
    int what = !t->read_off && ml_tls_link_pending(t->link) ? ML_STREAM_READ : 0;

    if (t->needs_read && ml_tls_link_open(t->link)) { /* a read has ended the handshake */
        t->needs_read = t->wants_write = false;
        what |= ML_STREAM_WRITE;
    }
    if (what == 0 || s->ready == NULL)
        return;
    if (what & ML_STREAM_READ)
        ml_loop_defer_later(s->loop, &t->again); /* until it was read, as a socket would say it */
    s->ready(s->ctx, what);                      /* may close the stream */
}

void stream_tls_begin(struct ml_stream *s, struct ml_tls *tls, const char *name)
{
    struct stream_tls *t;

    assert(s->tls == NULL);
    t = calloc(1, sizeof *t);
    if (t == NULL)
        abort();
    t->link = ml_tls_link_new(tls, s->rd.fd, name);
    t->stream = s;
    t->again = (struct ml_deferred){.fire = on_again, .ctx = t};
    t->read_off = !s->connecting && !ev_is_active(&s->rd);
    t->wants_write = ev_is_active(&s->wr);
    s->tls = t;
}

/* ---- events ---- */

void stream_tls_readable(struct ml_stream *s)
{
    struct stream_tls *t = s->tls;
    int what = t->read_off ? 0 : ML_STREAM_READ;

    if (t->needs_read) {
        t->needs_read = false;
        t->wants_write = false;
        what |= ML_STREAM_WRITE;
        set_watchers(s);
    }
    if (what != 0)
        s->ready(s->ctx, what);
}

void stream_tls_writable(struct ml_stream *s)
{
    struct stream_tls *t = s->tls;
    enum ml_err err = s->connecting ? ML_OK : ml_tls_link_flush(t->link);
    int what = 0;

    if (err == ML_AGAIN) {
        set_watchers(s);
        return;
    }
    if (t->wants_write && !t->needs_read)
        what |= ML_STREAM_WRITE;
    if (!t->read_off && (t->refused || err != ML_OK))
        what |= ML_STREAM_READ;
    if (what & ML_STREAM_WRITE)
        t->wants_write = false;
    set_watchers(s);
    if (what != 0)
        s->ready(s->ctx, what);
}

/* ---- the owner's calls ---- */

enum ml_err ml_stream_handshake(struct ml_stream *s)
{
    enum ml_err err;

    if (s->tls == NULL)
        return ML_OK;
    err = ml_tls_link_handshake(s->tls->link);
    s->tls->needs_read = err == ML_AGAIN;
    set_watchers(s);
    return err;
}

enum ml_err stream_tls_read(struct ml_stream *s, struct ml_buf *in, char *to, size_t len,
                            bool *more)
{
    struct stream_tls *t = s->tls;
    size_t got;
    enum ml_err err = ml_tls_link_read(t->link, to, len, &got);

    if (more != NULL)
        *more = ml_tls_link_pending(t->link);
    if (err == ML_OK)
        ml_buf_commit(in, got);
    else if (ml_buf_len(in) == 0)
        ml_buf_release(in);
    t->refused = err == ML_AGAIN && ml_tls_link_full(t->link);
    set_watchers(s);
    return err;
}

enum ml_err stream_tls_write(struct ml_stream *s, struct ml_buf *out, struct ml_buf *body)
{
    struct stream_tls *t = s->tls;
    struct ml_str a = ml_buf_str(out), b = body != NULL ? ml_buf_str(body) : ML_STR_NONE;
    size_t took, of_a;
    enum ml_err err = ml_tls_link_write(t->link, a, b, &took);

    of_a = took < a.len ? took : a.len;
    ml_buf_consume(out, of_a);
    if (took > of_a)
        ml_buf_consume(body, took - of_a);
    t->wants_write |= err == ML_AGAIN;
    t->needs_read = err == ML_AGAIN && !ml_tls_link_open(t->link);
    set_watchers(s);
    return err;
}

void stream_tls_want_read(struct ml_stream *s, bool on)
{
    s->tls->read_off = !on;
    set_watchers(s);
}

void stream_tls_end(struct ml_stream *s)
{
    struct stream_tls *t = s->tls;

    if (t == NULL)
        return;
    s->tls = NULL;
    ml_loop_undefer(s->loop, &t->again);
    if (!s->poisoned)
        ml_tls_link_bye(t->link);
    ml_tls_link_free(&t->link);
    free(t);
}

const char *ml_stream_tls_failure(const struct ml_stream *s)
{
    return s->tls != NULL ? ml_tls_link_failure(s->tls->link) : NULL;
}

const char *ml_stream_tls_failed(const struct ml_stream *s)
{
    return s->tls != NULL ? ml_tls_link_failed(s->tls->link) : NULL;
}

bool ml_stream_is_tls(const struct ml_stream *s)
{
    return s->tls != NULL;
}

struct ssl_st *ml_stream_tls_session(const struct ml_stream *s)
{
    if (s->tls == NULL || !ml_tls_link_open(s->tls->link))
        return NULL;
    return ml_tls_link_ssl(s->tls->link);
}

bool ml_stream_shaking_hands(const struct ml_stream *s)
{
    return s->tls != NULL && !ml_tls_link_open(s->tls->link);
}
