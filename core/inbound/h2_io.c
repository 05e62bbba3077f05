/* h2_io.c - bytes between the stream and nghttp2.
 *
 * Reads go into a buffer that all connections share, for nghttp2 takes what it is given.  What it
 * has to say goes into the connection's own output, up to a mark: beyond it nothing more is made,
 * and while the kernel takes none of it nothing is read either.  So a client that does not read can
 * not make us collect anything, whatever it sends. */
#include "inbound/h2_parts.h"

#include "base/log_event.h"

static const double REPORT_S = 10;

enum {
    READ_MAX = 64 << 10,
    STARTS_PER_RUN = 64, /* then the other connections have their turn */
};

static struct ml_buf scratch; /* what was read last; a worker has one thread */

/* ---- a client that is too much ---- */

/* One line for many: a flood of clients is no flood of log lines. */
static void report(struct ml_h2 *h, const char *what)
{
    static double next_s;
    static uint64_t times;
    char ip[ML_ADDRESS_TEXT_CAP];
    size_t len = ml_address_text(&h->peer, ip);

    times++;
    if (h->port->in->stats != NULL)
        atomic_fetch_add_explicit(&h->port->in->stats->h2_calmed, 1, memory_order_relaxed);
    if (h2_now_s(h) < next_s)
        return;
    ml_log_event(ML_LOG_WARN, "an HTTP/2 client was told to calm down", ML_KV("error", what),
                 ML_KV("ip", ((struct ml_str){ip, len})), ML_KV("port", h->port->conf->port),
                 ML_KV("times", times));
    times = 0;
    next_s = h2_now_s(h) + REPORT_S;
}

/* GOAWAY; nghttp2 takes nothing in any more. */
static void terminate(struct ml_h2 *h, uint32_t code)
{
    if (!h->over)
        nghttp2_session_terminate_session(h->session, code);
    h->over = true;
}

void ml_h2_io_calm(struct ml_h2 *h, const char *what)
{
    if (!h->over)
        report(h, what);
    terminate(h, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- input ---- */

bool ml_h2_io_full(const struct ml_h2 *h)
{
    return ml_buf_len(&h->out) >= H2_OUT_HIGH;
}

/* nghttp2 gives the connection up, which it has not told the client by itself. */
static void refused(struct ml_h2 *h, ssize_t err)
{
    if (h->too_long)
        ml_h2_io_calm(h, "header_list");
    else if (err == NGHTTP2_ERR_FLOODED)
        ml_h2_io_calm(h, "flood");
    else if (err == NGHTTP2_ERR_BAD_CLIENT_MAGIC)
        terminate(h, NGHTTP2_PROTOCOL_ERROR);
    else
        ml_h2_io_calm(h, nghttp2_strerror((int)err));
}

void ml_h2_io_feed(struct ml_h2 *h, struct ml_str bytes)
{
    bool in_block = ml_http2_scan_in_block(&h->scan);
    ssize_t n;

    if (h->over)
        return;
    switch (ml_http2_scan(&h->scan, bytes, h2_now_s(h), &h->patience)) {
    case ML_OK:
        break;
    case ML_LIMIT:
        ml_h2_io_calm(h, ml_http2_toll_word(h->scan.toll));
        return;
    case ML_EOF:
        terminate(h, NGHTTP2_STREAM_CLOSED);
        return;
    default:
        terminate(h, NGHTTP2_PROTOCOL_ERROR);
        return;
    }
    if (!ml_http2_scan_in_block(&h->scan))
        h->block_s = 0;
    else if (!in_block || h->block_s == 0)
        h->block_s = h2_now_s(h);
    n = nghttp2_session_mem_recv(h->session, (const uint8_t *)bytes.p, bytes.len);
    if (n < 0)
        refused(h, n);
}

bool ml_h2_io_started_enough(const struct ml_h2 *h)
{
    return h->started_in_run >= STARTS_PER_RUN;
}

/* Reads once; false: there is nothing to read, or it is not the time to. */
bool ml_h2_io_take_in(struct ml_h2 *h)
{
    bool rest = (h->blocked && ml_h2_io_full(h)) || ml_h2_io_started_enough(h);
    enum ml_err err;

    ml_stream_want_read(h->stream, !h->eof && !(h->blocked && ml_h2_io_full(h)));
    if (h->eof || rest || !h->readable || h->reads_left == 0)
        return false;
    h->reads_left--;
    err = ml_stream_read(h->stream, &scratch, READ_MAX, &h->readable);
    if (err == ML_AGAIN)
        return false;
    if (err != ML_OK) {
        h->eof = true;
        return false;
    }
    ml_h2_io_feed(h, ml_buf_str(&scratch));
    ml_buf_consume(&scratch, ml_buf_len(&scratch));
    return true;
}

enum ml_err ml_h2_io_drop(struct ml_h2 *h)
{
    enum ml_err err = ml_stream_read(h->stream, &scratch, READ_MAX, &h->readable);

    h->lingered += ml_buf_len(&scratch);
    ml_buf_consume(&scratch, ml_buf_len(&scratch));
    h->heard_s = h2_now_s(h);
    return err;
}

/* ---- output ---- */

static void pump(struct ml_h2 *h)
{
    const uint8_t *bytes;
    ssize_t n = 1;

    while (n > 0 && !ml_h2_io_full(h)) {
        n = nghttp2_session_mem_send(h->session, &bytes);
        if (n > 0)
            ml_buf_append(&h->out, (struct ml_str){(const char *)bytes, (size_t)n});
    }
    if (h->calm_down) {
        h->calm_down = false;
        ml_h2_io_calm(h, ml_http2_toll_word(h->toll));
    }
}

/* Lets nghttp2 and the streams do all they can.  False: the session is over. */
bool ml_h2_io_make(struct ml_h2 *h)
{
    bool worked;

    do {
        pump(h);
        worked = h->woken != NULL;
        ml_h2_stream_work(h);
    } while (worked && !ml_h2_io_full(h));
    return nghttp2_session_want_read(h->session) || nghttp2_session_want_write(h->session);
}

/* One write.  False: the client is gone. */
bool ml_h2_io_give_out(struct ml_h2 *h)
{
    size_t before = ml_buf_len(&h->out);
    enum ml_err err;

    if (h->blocked || before == 0)
        return true;
    err = ml_stream_write(h->stream, &h->out);
    if (ml_buf_len(&h->out) < before || err == ML_AGAIN) /* it was not blocked before */
        h->progress_s = h2_now_s(h);
    h->blocked = err == ML_AGAIN;
    if (ml_buf_len(&h->out) == 0)
        ml_buf_release(&h->out);
    return err != ML_RESET;
}
