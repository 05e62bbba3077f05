/* h2_parts.h - what the files of h2_link share: h2_set.c (all connections to a server), h2_link.c
 * (the life of one, bytes in and out), h2_call.c (requests on it), h2_events.c (what nghttp2
 * tells). Nobody else includes it.
 *
 * As in inbound/h2_parts.h: the callbacks of nghttp2 only note what happened to a call and queue
 * the call; callers are woken afterwards, outside of nghttp2. */
#ifndef ML_OUTBOUND_H2_PARTS_H
#define ML_OUTBOUND_H2_PARTS_H

#include "outbound/h2_fields.h"
#include "outbound/h2_link.h"
#include "protocol/http2.h"
#include "transport/loop.h"

#include <nghttp2/nghttp2.h>

enum { H2_OUT_HIGH = 64 << 10, H2_CONN_WINDOW = 64 << 20 };

struct ml_h2_link {
    struct ml_h2_link *next, **prev; /* in set->links */
    struct ml_h2_set *set;
    struct ml_stream *stream;
    nghttp2_session *session;
    struct ml_h2_call *calls, *woken, **woken_end;
    struct ml_deferred wake;
    struct ml_timer timer;
    struct ml_buf out;
    struct ml_http2_scan scan;
    struct ml_http2_patience patience;
    struct ml_str name;
    uint64_t peer;
    double begun_s, heard_s, wrote_s, idle_s;
    double asked_s;     /* since when a PING waits for any sign of life; 0: none does */
    unsigned open;      /* streams that nghttp2 knows */
    unsigned answered;  /* calls that ended well */
    size_t block_len;   /* of the fields that are coming, whoever they are for */
    const char *broken; /* what the server did wrong */
    enum ml_err why;    /* it ended */
    bool readable, blocked, eof, running, dead;
    bool settled; /* the server's SETTINGS came: it speaks HTTP/2 */
    bool leaving; /* no new calls */
    bool alone, refusing;
};

static inline double h2_link_now_s(const struct ml_h2_link *link)
{
    return ml_loop_now_s(link->set->loop);
}

/* h2_set.c */
void ml_h2_set_add(struct ml_h2_set *set, struct ml_h2_link *link);
void ml_h2_set_remove(struct ml_h2_link *link);

/* h2_link.c */
bool ml_h2_link_room(const struct ml_h2_link *link);
void ml_h2_link_wake(struct ml_h2_link *link); /* at the end of the turn, if it does not run now */
void ml_h2_link_close(struct ml_h2_link *link);

/* h2_call.c */
void ml_h2_call_queue(struct ml_h2_call *call);
void ml_h2_call_work(struct ml_h2_link *link); /* wakes the callers of those that are queued */
void ml_h2_call_lose(struct ml_h2_link *link); /* ends all of them: the connection has */
ssize_t ml_h2_call_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t max,
                        uint32_t *flags, nghttp2_data_source *source, void *user);
/* len bytes behind the frame's head go into the output. */
void ml_h2_call_data(struct ml_h2_call *call, const uint8_t *head, size_t len);

/* h2_events.c */
nghttp2_session *ml_h2_events_session(struct ml_h2_link *link);

#endif
